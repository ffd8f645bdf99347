//! Counts the sessions of each question until enough is known, and says what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::compare::{Verdict, compare, fell_short};
use super::group::Group;
use super::question::Question;
use crate::outcome::rest;
use crate::plan::Plan;
use crate::record::{Finding, Kind, Reproduction, Role, Session};

/// After so many failures of another kind and nothing else the sample ends: the reported one would
/// have shown in one of them, at 95 %, even if it hit every other session only.
const ONLY_DIFFERENT: u64 = 5;

/// More distinct failures or reasons than these are not told apart.
const MOST_KINDS: usize = 20;

/// The questions of one run, asked one after the other.
#[derive(Debug, Default)]
pub struct Inquiry {
    asked: Vec<Asked>,
    /// Groups that cannot be asked about, and why.
    unasked: Vec<(Group, String)>,
    /// Further groups were left for another time.
    more: bool,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    planned: Planned,
    seen: Seen,
}

/// What the plan holds.
#[derive(Debug, Default)]
struct Planned {
    sessions: u64,
    cells: usize,
    addresses: BTreeSet<IpAddr>,
    names: BTreeSet<String>,
    windows: usize,
    left_out: Vec<String>,
}

/// What the sessions said.
#[derive(Debug, Default)]
struct Seen {
    same: u64,
    different: u64,
    passed: u64,
    /// Different failures that came before the reported stage.
    early: u64,
    /// Source, address and recipient of each cell where the same showed.
    cells: BTreeSet<(Option<IpAddr>, Option<IpAddr>, Option<String>)>,
    addresses: BTreeSet<IpAddr>,
    sources: BTreeSet<IpAddr>,
    others: BTreeMap<String, u64>,
    /// Why sessions say nothing.
    silent: BTreeMap<String, u64>,
    /// How many of those were never held.
    missing: u64,
    rested: bool,
    control: (u64, u64),
    enough: bool,
}

impl Inquiry {
    /// The questions, in the order in which they are asked.
    #[must_use]
    pub fn new(questions: Vec<Question>) -> Self {
        let asked = |question| Asked { question, planned: Planned::default(), seen: Seen::default() };
        Self { asked: questions.into_iter().map(asked).collect(), ..Self::default() }
    }

    /// Adds groups that cannot be asked about, each with the reason, and whether `more` are left
    /// for another time.
    #[must_use]
    pub fn without(self, unasked: Vec<(Group, String)>, more: bool) -> Self {
        Self { unasked, more, ..self }
    }

    /// Learns how the question with this index will be asked.
    pub fn plan(&mut self, index: usize, plan: &Plan) {
        let Some(asked) = self.asked.get_mut(index) else { return };
        let target = plan.attempts().filter(|a| a.role == Role::Target && a.address.is_some());
        let planned = &mut asked.planned;
        let (mut cells, mut windows) = (BTreeSet::new(), BTreeSet::new());
        for attempt in target {
            planned.sessions += 1;
            let to = attempt.to.as_ref().map(ToString::to_string);
            cells.insert((attempt.source.as_ref().map(|source| source.address), attempt.address, to));
            windows.insert(attempt.not_before);
            planned.addresses.extend(attempt.address.map(|address| address.ip()));
            planned.names.extend(attempt.mx.as_deref().map(str::to_ascii_lowercase));
        }
        (planned.cells, planned.windows) = (cells.len(), windows.len());
        planned.left_out.clone_from(&plan.left_out);
    }

    /// Takes in a session of the question with this index; true when enough is known about it.
    pub fn take(&mut self, index: usize, session: &Session) -> bool {
        let Some(asked) = self.asked.get_mut(index) else { return false };
        asked.take(session);
        asked.seen.enough
    }

    /// What is known so far, in a few words.
    #[must_use]
    pub fn so_far(&self) -> String {
        let sum = |of: fn(&Seen) -> u64| self.asked.iter().map(|asked| of(&asked.seen)).sum::<u64>();
        let (same, different, tried) = (sum(|s| s.same), sum(|s| s.different), sum(Seen::trials));
        let other = if different > 0 { format!(", {different} otherwise") } else { String::new() };
        format!("{same} of {tried} as reported{other} so far")
    }

    /// What came of every question.
    #[must_use]
    pub fn results(&self) -> Vec<Reproduction> {
        let control = self.asked.iter().map(|asked| asked.seen.control);
        let control = control.fold((0, 0), |sum, (passed, tried)| (sum.0 + passed, sum.1 + tried));
        let control = (control.1 > 0).then_some(control);
        let asked = self.asked.iter().map(|asked| Reproduction { control, ..asked.result() });
        let mut results: Vec<_> = asked.chain(self.unasked.iter().map(answer::unasked)).collect();
        results.sort_by_key(|result| std::cmp::Reverse(result.reports));
        results
    }

    /// The exit status: 1 when a failure was found, else 3 when something stayed undecided, else 0.
    #[must_use]
    pub fn exit(&self) -> u8 {
        let found = |wanted: &[Finding]| self.asked.iter().any(|asked| wanted.contains(&asked.finding().0));
        let open = self.asked.is_empty() || !self.unasked.is_empty() || self.more || found(&[Finding::Undecided]);
        match (found(&[Finding::Reproduced, Finding::Different]), open) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 0,
        }
    }
}

impl Seen {
    const fn trials(&self) -> u64 {
        self.same + self.different + self.passed
    }

    fn silent(&mut self, why: String) {
        if self.silent.len() < MOST_KINDS || self.silent.contains_key(&why) {
            *self.silent.entry(why).or_default() += 1;
        }
    }
}

impl Asked {
    fn take(&mut self, session: &Session) {
        let (report, seen) = (&self.question.group.report, &mut self.seen);
        if session.role == Role::Control && session.kind.is_trial() {
            seen.control.0 += u64::from(session.kind == Kind::Completed);
            seen.control.1 += 1;
        }
        if session.role != Role::Target {
            return;
        }
        let held_back = session.kind == Kind::Skipped && session.detail.iter().any(|why| why.contains(" rests at "));
        seen.rested |= held_back || rest(session).is_some();
        match compare(report, session) {
            Verdict::Same => {
                seen.same += 1;
                seen.cells.insert((session.source, session.address, session.to.clone()));
                seen.addresses.extend(session.address);
            }
            Verdict::Different => {
                seen.different += 1;
                seen.early += u64::from(fell_short(report, session));
                let what = failure(session);
                if seen.others.len() < MOST_KINDS || seen.others.contains_key(&what) {
                    *seen.others.entry(what).or_default() += 1;
                }
            }
            Verdict::Passed => seen.passed += 1,
            Verdict::NoTrial => {
                seen.missing += u64::from(!session.kind.is_trial());
                seen.silent(silence(session));
            }
        }
        if session.kind.is_trial() {
            seen.sources.extend(session.source);
        }
        let confirmed = seen.cells.len() >= 2 || self.planned.cells == 1 && seen.same >= 2;
        let elsewhere = seen.same == 0 && seen.passed == 0 && seen.different >= ONLY_DIFFERENT;
        seen.enough |= confirmed || elsewhere;
    }

    /// Whether every session of the sample was held.
    fn whole(&self) -> bool {
        self.seen.missing == 0
    }

    fn confirmed(&self) -> bool {
        self.seen.enough && self.seen.same > 0
    }

    /// The sessions in which the reported failure could have shown.
    const fn tried(&self) -> u64 {
        self.seen.trials() - self.seen.early
    }

    /// What came of it, and why or how sure.
    fn finding(&self) -> (Finding, Option<String>) {
        let (seen, short) = (&self.seen, self.question.depth.short.as_deref());
        match (seen.same, seen.different, seen.passed) {
            (1.., ..) if self.confirmed() => {
                let cells = if self.planned.cells == 1 { "twice in the only cell" } else { "in different cells" };
                (Finding::Reproduced, Some(format!("confirmed: {cells}")))
            }
            (1.., ..) if self.whole() => (Finding::Reproduced, None),
            (1.., ..) => {
                let why =
                    if seen.rested { "the reply asks for a rest, which is kept" } else { "the sample was cut short" };
                (Finding::Undecided, Some(format!("seen as reported, in one cell, and not confirmed: {why}")))
            }
            (0, 1.., _) => (Finding::Different, None),
            (0, 0, 1..) => (Finding::NotReproduced, None),
            (0, 0, 0) => {
                let silent = seen.silent.iter().max_by_key(|(_, count)| **count).map(|(why, _)| why.clone());
                let left_out = || self.planned.left_out.first().map(|what| format!("not probed: {what}"));
                let never = || "no session was held".to_owned();
                let why = match short {
                    Some(short) if seen.missing == 0 && !seen.silent.is_empty() => {
                        let stage = self.question.depth.wanted.map_or_else(String::new, |stage| stage.to_string());
                        format!("{stage} is not reachable at this depth: {short}")
                    }
                    _ => silent.or_else(left_out).unwrap_or_else(never),
                };
                (Finding::Undecided, Some(why))
            }
        }
    }
}

/// A failure in a few words: `banner 421 Service unavailable`.
fn failure(session: &Session) -> String {
    let stage = session.stage.map_or("?", |stage| stage.as_str());
    match session.reply.as_deref().unwrap_or_default() {
        [] => format!("{} at {stage}", session.kind),
        [reply, ..] => format!("{stage}: {}", reply.chars().take(200).collect::<String>()),
    }
}

/// Why a session says nothing.
fn silence(session: &Session) -> String {
    let detail = session.detail.as_deref().unwrap_or_default();
    let name = session.mx.as_deref().or(session.domain.as_deref()).unwrap_or("the name");
    let text = match (session.kind, session.source) {
        (Kind::DnsFailed, _) => format!("{name} does not resolve: {detail}"),
        (Kind::Local, Some(source)) => format!("from {source}: {detail}"),
        (Kind::Completed, _) => format!("passed up to {}", session.until),
        _ => detail.to_owned(),
    };
    text.chars().take(300).collect()
}

mod answer;
#[cfg(test)]
mod tests;
