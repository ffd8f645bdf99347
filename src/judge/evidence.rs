//! Recorded lines as trials of a hundred bytes each, every text kept once, and beyond a bound many
//! sessions in one trial.
//!
//! Apart from the judging because a month of logs is millions of lines: what is kept of each is
//! what some rule asks for, and a line's text is gone before the next one is read.

use std::io::{BufRead, Read};
use std::ops::Deref;

use super::fold::Folded;
use super::lean::{Lean, Text};
use super::names::{Name, Names};
use super::trial::{COUNTED, Trial};
use crate::record::{Check, Kind, Line, Lookup, Passed, Role, Variant};
use crate::stage::Stage;
use crate::status::Tally;

/// Everything the judge knows: sessions, lookups, checks and counts of deliveries, from one run
/// or many.
///
/// Up to [`Evidence::BOUND`] sessions it is all there. Of more, those that say the same within a
/// stretch of time become one, of which the number, the first and the last time are known: one second
/// at first, and twice as much whenever that does not make them few enough. Memory then grows with the
/// number of different things that are said (by each source, at each address, with each reply), not
/// with the number of sessions. Of what may differ from session to session (recipients, senders, the
/// names that servers give themselves, the words of replies) only so much is kept as was in the first
/// sessions, and the first 4,096 that were new after them.
///
/// A line that is read twice counts once: then too, where it has a run and a number. The order of
/// reading says nothing: then too, while no more than 6,250 different things are said (an eighth of the
/// bound), and no more texts are new than are kept.
#[derive(Clone, Debug)]
pub struct Evidence {
    names: Names,
    /// The sessions one by one, while they are few.
    trials: Vec<Trial>,
    /// All of them, once they are many.
    folded: Option<Folded>,
    bound: usize,
    tally: Tally,
    pub(super) lookups: Vec<Lookup>,
    pub(super) checks: Vec<Check>,
    /// The run of the last `run` line.
    run: Option<String>,
    /// The time and the run of the latest session.
    latest: Option<(i64, String)>,
    /// What the `run` lines say was probed.
    targets: Vec<Name>,
}

/// What is wrong with a file of lines.
#[derive(Debug, thiserror::Error)]
#[error("{name}:{line}: {problem}")]
pub struct ReadError {
    /// The name of the file, as given.
    pub name: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What was found.
    pub problem: String,
}

/// A count that no log of an hour comes near, and of which millions still add up.
const MOST_COUNTED: u64 = 1 << 40;

/// No line that this program writes comes near it.
const LONGEST_LINE: usize = 16 << 20;

impl Default for Evidence {
    fn default() -> Self {
        Self::new()
    }
}

impl Evidence {
    /// So many sessions are kept one by one.
    pub const BOUND: usize = 50_000;

    /// No evidence yet.
    #[must_use]
    pub fn new() -> Self {
        Self::bounded(Self::BOUND)
    }

    /// The same with another bound than [`Evidence::BOUND`].
    #[must_use]
    pub fn bounded(bound: usize) -> Self {
        Self {
            names: Names::default(),
            trials: Vec::new(),
            folded: None,
            bound,
            tally: Tally::default(),
            lookups: Vec::new(),
            checks: Vec::new(),
            run: None,
            latest: None,
            targets: Vec::new(),
        }
    }

    /// Takes one line. Diagnoses, summaries and what repeats other lines are no evidence.
    pub fn add(&mut self, line: &Line) {
        match line {
            Line::Run(run) => {
                self.targets.extend(run.targets.iter().filter_map(|t| self.names.host(t)));
                self.run = Some(run.run.clone());
            }
            Line::Lookup(lookup) => {
                self.names.host(&lookup.name);
                self.lookups.push(lookup.clone());
            }
            Line::Check(check) => self.checks.push(check.clone()),
            Line::Session(session) => self.session(&Lean::from(&**session)),
            Line::Passed(passed) => self.passed(passed),
            Line::Planned(_)
            | Line::Report(_)
            | Line::Reproduction(_)
            | Line::Diagnosis(_)
            | Line::Gate(_)
            | Line::Summary(_)
            | Line::Incident(_) => {}
        }
    }

    /// Reads JSON lines, one at a time. `name` is what errors call the input. Empty lines and
    /// lines of an unknown type are passed over.
    ///
    /// # Errors
    ///
    /// Names the file, the line and what was found there. What was read before stays.
    pub fn read(&mut self, input: impl BufRead, name: &str) -> Result<(), ReadError> {
        self.read_with(input, name, &mut |_| ())
    }

    /// The same, and shows every line to `seen` as it is taken in.
    ///
    /// # Errors
    ///
    /// As [`Evidence::read`].
    pub fn read_with(
        &mut self,
        mut input: impl BufRead,
        name: &str,
        seen: &mut dyn FnMut(&str),
    ) -> Result<(), ReadError> {
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            number += 1;
            line.clear();
            let error = |problem: String| ReadError { name: name.to_owned(), line: number, problem };
            let mut limited = input.by_ref().take(LONGEST_LINE as u64 + 1);
            if limited.read_until(b'\n', &mut line).map_err(|e| error(e.to_string()))? == 0 {
                return Ok(());
            }
            if line.len() > LONGEST_LINE {
                return Err(error(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            let text = std::str::from_utf8(&line).map_err(|e| error(e.to_string()))?.trim();
            if text.is_empty() {
                continue;
            }
            self.line(text).map_err(|e| error(located(&e)))?;
            seen(text);
        }
    }

    /// The sessions, counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The last run: that of the last `run` line, else that of the latest session.
    pub(super) fn run(&self) -> String {
        let of_session = || self.latest.as_ref().map(|(_, run)| run.clone());
        self.run.clone().or_else(of_session).unwrap_or_default()
    }

    /// The trials, the names behind their numbers, numbered in the order of content, and what was
    /// probed of those.
    pub(super) fn in_order(&self) -> (Names, Vec<Trial>, Vec<Name>) {
        let mut trials = self.folded.as_ref().map_or_else(|| self.trials.clone(), Folded::trials);
        let names = self.names.in_order(&mut trials);
        let targets = self.targets.iter().filter_map(|target| names.find(self.names.text(*target))).collect();
        (names, trials, targets)
    }

    fn line(&mut self, text: &str) -> Result<(), serde_json::Error> {
        if text.starts_with(r#"{"type":"session","#) {
            let session: Lean<'_, Vec<Text<'_>>> = serde_json::from_str(text)?;
            self.session(&session);
        } else if let Some(line) = Line::parse(text)? {
            self.add(&line);
        }
        Ok(())
    }

    fn session<L, T>(&mut self, s: &Lean<'_, L>)
    where
        L: Deref<Target = [T]>,
        T: AsRef<str>,
    {
        let expected = s.expected && s.kind != Kind::Completed;
        *match s.kind {
            Kind::Local => &mut self.tally.local,
            Kind::Skipped => &mut self.tally.skipped,
            Kind::Completed => &mut self.tally.completed,
            _ if expected => &mut self.tally.completed,
            _ => &mut self.tally.failed,
        } += 1;
        let at = s.at.as_millisecond();
        self.is_of(at, &s.run.0);
        if self.folded.as_mut().is_some_and(|folded| folded.repeats.again(&s.run.0, s.seq)) {
            return;
        }
        let names = &mut self.names;
        let note = |wanted: &str| s.notes.iter().any(|n| n.as_ref() == wanted);
        let reply = s.reply.as_deref().filter(|lines| !lines.is_empty());
        let (from, to) = (s.from.as_ref().and_then(Text::given), s.to.as_ref().and_then(Text::given));
        let (sender, recipient) = (from.and_then(|from| names.any(from)), to.and_then(|to| names.any(to)));
        let trial = Trial {
            at,
            // Of sessions that are folded nobody asks.
            run: if self.folded.is_none() { names.name(&s.run.0) } else { None },
            seq: s.seq,
            source: s.source.map(|a| names.addr(a)),
            address: s.address.map(|a| names.addr(a)),
            role: s.role,
            variant: s.variant,
            domain: s.domain.as_ref().and_then(Text::given).and_then(|domain| names.host(domain)),
            mx: s.mx.as_ref().and_then(Text::given).and_then(|mx| names.host(mx)),
            backend: s.backend.as_ref().and_then(Text::given).and_then(|backend| names.any_hosts(&[backend])),
            greeting: s.banner.as_ref().and_then(|b| b.first()).and_then(|l| names.any_hosts(&[greeting(l.as_ref())])),
            certificate: s.tls.as_ref().and_then(|t| names.any_hosts(&t.names)),
            seen_as: s.seen_as.map(|a| names.addr(a)),
            from: sender,
            to: recipient,
            until: s.until,
            kind: s.kind,
            stage: s.stage,
            code: s.code,
            enhanced: s.enhanced,
            tag: s.tag.as_ref().and_then(Text::given).and_then(|tag| names.any(tag)),
            said: reply.and_then(|lines| names.said(lines)),
            detail: s
                .detail
                .as_ref()
                .and_then(Text::given)
                .filter(|_| reply.is_none())
                .and_then(|detail| names.any(detail)),
            tls: s.tls.is_some(),
            verified: s.tls.as_ref().is_some_and(|t| t.verified),
            expected,
            inconsistent: note("inconsistent-reply"),
            overload: note("overload"),
            nameless: sender.is_some() != from.is_some() || recipient.is_some() != to.is_some(),
            weight: 1,
            extent: 0,
        };
        self.push(trial);
    }

    fn passed(&mut self, p: &Passed) {
        let (from, to) = (p.from_time.as_millisecond(), p.to_time.as_millisecond());
        if p.count == 0 {
            return;
        }
        let at = from + (to - from) / 2;
        self.is_of(at, &p.run);
        let names = &mut self.names;
        let trial = Trial {
            at,
            run: if self.folded.is_none() { names.name(&p.run) } else { None },
            seq: COUNTED,
            source: p.source.map(|a| names.addr(a)),
            address: p.address.map(|a| names.addr(a)),
            role: Role::Target,
            variant: Variant::Plain,
            domain: p.domain.as_ref().and_then(|d| names.host(d)),
            mx: p.mx.as_ref().and_then(|d| names.host(d)),
            backend: None,
            greeting: None,
            certificate: None,
            seen_as: None,
            from: None,
            to: None,
            // A delivery went all the way.
            until: Stage::EndOfData,
            kind: Kind::Completed,
            stage: Some(Stage::EndOfData),
            code: None,
            enhanced: None,
            tag: None,
            said: None,
            detail: None,
            tls: false,
            verified: false,
            expected: false,
            inconsistent: false,
            overload: false,
            nameless: false,
            weight: p.count.min(MOST_COUNTED),
            extent: (to - from).abs(),
        };
        self.push(trial);
    }

    /// Notes whose the latest session is; of two at a time, of the run that is later in the alphabet.
    fn is_of(&mut self, at: i64, run: &str) {
        match &mut self.latest {
            Some((latest, of)) if (at, run) <= (*latest, of.as_str()) => {}
            Some((latest, of)) => {
                *latest = at;
                run.clone_into(of);
            }
            None => self.latest = Some((at, run.to_owned())),
        }
    }

    fn push(&mut self, trial: Trial) {
        if let Some(folded) = &mut self.folded {
            return folded.add(&trial);
        }
        self.trials.push(trial);
        if self.trials.len() <= self.bound {
            return;
        }
        self.trials.sort_unstable();
        self.trials.dedup();
        if self.trials.len() > self.bound / 4 * 3 {
            let mut folded = Folded::new(self.bound);
            for trial in std::mem::take(&mut self.trials) {
                folded.repeats.again(trial.run.map_or("", |run| self.names.text(run)), trial.seq);
                folded.add(&trial);
            }
            self.folded = Some(folded);
            self.names.close();
        }
    }
}

/// The host that a greeting names, else the greeting itself.
fn greeting(line: &str) -> &str {
    let text = line.get(4..).unwrap_or_default();
    let word = text.split_ascii_whitespace().next().unwrap_or_default();
    if word.contains('.') {
        return word;
    }
    let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&i| i <= 80).last().unwrap_or(0);
    &text[..end]
}

/// serde's message, with its "line 1" taken off: the line is ours to name.
fn located(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}
