//! Source x address x backend: cells, and the group rule that finds what sets some of them apart.
//!
//! Apart from the hypotheses because rows, columns, backends and address families are all one
//! question: do these units fail where the others pass, and how likely is that by chance?

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Addr, Name};
use super::statistics::{fisher, float, ln_choose};
use super::trial::Trial;
use crate::record::{Confidence, Role};
use crate::stage::Stage;

const STAGES: usize = Stage::ALL.len();

/// The sessions of one source at one address (and backend).
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) source: Addr,
    pub(crate) address: Addr,
    pub(crate) backend: Option<Name>,
    /// Whether the source is neutral.
    pub(crate) neutral: bool,
    /// Failures by the stage they ended at; one without a stage counts for the first.
    failed: [u32; STAGES],
    /// Passes by the last stage entered.
    passed: [u32; STAGES],
}

/// Failures and trials.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Count {
    pub(crate) failed: u64,
    pub(crate) tried: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.failed += other.failed;
        self.tried += other.tried;
    }

    fn take(&mut self, other: Self) {
        self.failed -= other.failed;
        self.tried -= other.tried;
    }

    /// At least four in five failed.
    pub(crate) fn mostly_failed(self) -> bool {
        self.tried > 0 && 5 * self.failed >= 4 * self.tried
    }

    /// At most one in three failed.
    pub(crate) fn mostly_passed(self) -> bool {
        self.tried > 0 && 3 * self.failed <= self.tried
    }

    /// More than half failed.
    pub(crate) fn is_bad(self) -> bool {
        2 * self.failed > self.tried
    }

    fn as_cell(self) -> Self {
        Self { failed: u64::from(self.is_bad()), tried: 1 }
    }

    /// How unlikely it is by chance that these fail so much and those so little.
    pub(crate) fn against(self, rest: Self) -> f64 {
        fisher(self.failed, self.tried - self.failed, rest.failed, rest.tried - rest.failed)
    }
}

impl Cell {
    /// The trials for a stage: sessions that came that far, and those of them that ended there.
    /// Without a stage, all of them.
    pub(crate) fn count(&self, question: Option<Stage>) -> Count {
        let sum = |counts: &[u32]| counts.iter().copied().map(u64::from).sum::<u64>();
        let Some(stage) = question else {
            let failed = sum(&self.failed);
            return Count { failed, tried: failed + sum(&self.passed) };
        };
        let at = stage as usize;
        Count { failed: self.failed[at].into(), tried: sum(&self.failed[at..]) + sum(&self.passed[at..]) }
    }
}

/// The cells of these trials in order, one per source and address, or per backend too.
pub(crate) fn cells(trials: &[&Trial], by_backend: bool) -> Vec<Cell> {
    let mut index = BTreeMap::new();
    let mut cells: Vec<Cell> = Vec::new();
    let neutral: BTreeSet<Addr> = trials.iter().filter(|t| t.role == Role::Neutral).filter_map(|t| t.source).collect();
    for t in trials {
        let (Some(source), Some(address)) = (t.source, t.address) else { continue };
        let backend = if by_backend { t.backend } else { None };
        if by_backend && backend.is_none() {
            continue;
        }
        let at = *index.entry((source, address, backend)).or_insert_with(|| {
            let neutral = neutral.contains(&source);
            cells.push(Cell { source, address, backend, neutral, failed: [0; STAGES], passed: [0; STAGES] });
            cells.len() - 1
        });
        let count = if t.failed() {
            &mut cells[at].failed[t.stage.map_or(0, |s| s as usize)]
        } else {
            &mut cells[at].passed[t.until as usize]
        };
        *count = count.saturating_add(u32::try_from(t.weight).unwrap_or(u32::MAX));
    }
    cells.sort_unstable_by_key(|c| (c.source, c.address, c.backend));
    cells
}

/// Whether some address shows several backends.
pub(crate) fn has_backends(trials: &[&Trial]) -> bool {
    let mut first: BTreeMap<Addr, Name> = BTreeMap::new();
    trials.iter().any(|t| match (t.address, t.backend) {
        (Some(address), Some(backend)) => *first.entry(address).or_insert(backend) != backend,
        _ => false,
    })
}

/// Whether at least four in five cells of every own source, and of every address, failed.
pub(crate) fn everything_fails(cells: &[Cell]) -> bool {
    let (mut rows, mut columns): (BTreeMap<Addr, Count>, BTreeMap<Addr, Count>) = Default::default();
    for cell in cells.iter().filter(|c| !c.neutral) {
        let count = cell.count(None).as_cell();
        rows.entry(cell.source).or_default().add(count);
        columns.entry(cell.address).or_default().add(count);
    }
    !rows.is_empty() && rows.values().chain(columns.values()).all(|c| c.mostly_failed())
}

/// All cells of these sources.
pub(crate) fn total(cells: &[Cell], neutral: bool) -> Totals {
    let mut totals = Totals::default();
    for cell in cells.iter().filter(|c| c.neutral == neutral) {
        let sessions = cell.count(None);
        totals.cells.add(sessions.as_cell());
        totals.sessions.add(sessions);
    }
    totals
}

/// Counts of cells, and of the sessions in them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) cells: Count,
    pub(crate) sessions: Count,
}

impl Totals {
    fn add(&mut self, sessions: Count) {
        self.cells.add(sessions.as_cell());
        self.sessions.add(sessions);
    }

    fn join(&mut self, other: Self) {
        self.cells.add(other.cells);
        self.sessions.add(other.sessions);
    }

    fn part(&mut self, other: Self) {
        self.cells.take(other.cells);
        self.sessions.take(other.sessions);
    }
}

/// Units that fail where the rest passes.
#[derive(Clone, Debug)]
pub(crate) struct Group<U> {
    pub(crate) units: Vec<U>,
    /// The stage under question; none where the failures lie at several.
    pub(crate) question: Option<Stage>,
    /// What the units were compared over: the addresses of rows, the sources of columns.
    pub(crate) over: BTreeSet<Addr>,
    pub(crate) here: Totals,
    pub(crate) rest: Totals,
    /// k and n of the rule.
    pub(crate) chosen: u64,
    pub(crate) among: u64,
    pub(crate) families: u64,
    /// Corrected for the choice of the group, counted in cells.
    pub(crate) p: f64,
    /// The same, counted in sessions.
    pub(crate) p_sessions: f64,
}

impl<U> Group<U> {
    /// How sure the rule is; `None` is a candidate.
    pub(crate) fn grade(&self) -> Option<Confidence> {
        grade(self.p, self.p_sessions)
    }

    /// The p that the grade rests on.
    pub(crate) fn deciding_p(&self) -> f64 {
        if self.p < 0.05 || self.p_sessions >= 0.01 { self.p } else { self.p_sessions }
    }
}

impl Group<Addr> {
    /// Some of the group's sources, as a group of their own against the same rest.
    pub(crate) fn part(&self, cells: &[Cell], sources: &BTreeSet<Addr>) -> Self {
        let mut here = Totals::default();
        for cell in cells.iter().filter(|c| sources.contains(&c.source) && self.over.contains(&c.address)) {
            let count = cell.count(self.question);
            if count.tried > 0 {
                here.add(count);
            }
        }
        let chosen = sources.len() as u64;
        let (p, p_sessions) = corrected(here, self.rest, chosen, self.among, self.families);
        let units = sources.iter().copied().collect();
        Self { units, here, chosen, p, p_sessions, over: self.over.clone(), ..*self }
    }
}

/// Fisher's p in cells and in sessions, times the ways to choose the group.
fn corrected(here: Totals, rest: Totals, chosen: u64, among: u64, families: u64) -> (f64, f64) {
    let choices = (ln_choose(among, chosen) + float(families).ln()).exp();
    let p = |here: Count, rest: Count| (here.against(rest) * choices).min(1.0);
    (p(here.cells, rest.cells), p(here.sessions, rest.sessions))
}

/// The thresholds of the group rule. Cells are counted first, since attempts within one are not
/// independent; but where the sessions show less than the cells, the cells have failed by the one
/// attempt that made a majority, and that is no group.
pub(crate) fn grade(p: f64, p_sessions: f64) -> Option<Confidence> {
    if p_sessions > p.max(0.01) {
        None
    } else if p < 0.01 {
        Some(Confidence::High)
    } else if p < 0.05 || p_sessions < 0.01 {
        Some(Confidence::Medium)
    } else {
        None
    }
}

/// One cell as the rule sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a, U> {
    pub(crate) unit: U,
    pub(crate) over: Addr,
    /// Whether the unit may be named, or is there for comparison.
    pub(crate) nameable: bool,
    pub(crate) cell: &'a Cell,
}

/// The group least likely to be chance, if any fits the rule.
///
/// `living`: compare over those addresses only where a unit outside of the group passes.
pub(crate) fn best_group<U: Copy + Ord>(entries: &[Entry<'_, U>], living: bool, families: u64) -> Option<Group<U>> {
    let mut questions: BTreeSet<Option<Stage>> = BTreeSet::from([None]);
    for entry in entries.iter().filter(|e| e.nameable) {
        let failed = |stage: &Stage| entry.cell.failed[*stage as usize] > 0;
        questions.extend(Stage::ALL.iter().copied().filter(failed).map(Some));
    }
    let groups = questions.into_iter().flat_map(|q| groups(entries, living, families, q));
    groups.min_by(|a, b| {
        let key = |g: &Group<U>| (g.question.is_none(), g.chosen);
        a.p.total_cmp(&b.p).then(a.p_sessions.total_cmp(&b.p_sessions)).then(key(a).cmp(&key(b)))
    })
}

/// Every group that fits the rule for one stage: the units that fail most, the two that fail most,
/// and so on.
fn groups<U: Copy + Ord>(
    entries: &[Entry<'_, U>],
    living: bool,
    families: u64,
    question: Option<Stage>,
) -> Vec<Group<U>> {
    let mut passing: BTreeMap<Addr, u64> = BTreeMap::new();
    let entries: Vec<_> =
        entries.iter().map(|e| (e, e.cell.count(question))).filter(|(_, count)| count.tried > 0).collect();
    for (entry, count) in &entries {
        *passing.entry(entry.over).or_default() += u64::from(!count.is_bad());
    }
    if !living {
        for n in passing.values_mut() {
            *n = u64::MAX;
        }
    }
    // Where nobody passes, the address is to blame.
    passing.retain(|_, n| *n > 0);
    let mut by_unit: BTreeMap<U, Row> = BTreeMap::new();
    let mut rest_over: BTreeMap<Addr, Totals> = BTreeMap::new();
    let mut rest = Totals::default();
    for (entry, count) in entries.iter().filter(|(e, _)| passing.contains_key(&e.over)) {
        let row = by_unit.entry(entry.unit).or_default();
        row.nameable = entry.nameable;
        row.totals.add(*count);
        row.cells.push((entry.over, *count, entry.cell.count(None).failed));
        rest_over.entry(entry.over).or_default().add(*count);
        rest.add(*count);
    }
    let among = by_unit.values().filter(|row| row.nameable).count() as u64;
    let named = |row: &Row| row.nameable && is_bad_enough(row.totals.cells);
    let mut order: Vec<_> = by_unit.iter().filter(|(_, row)| named(row)).collect();
    let less = |a: Count, b: Count| (b.failed * a.tried, b.tried).cmp(&(a.failed * b.tried, a.tried));
    order.sort_by(|(_, a), (_, b)| less(a.totals.cells, b.totals.cells));

    let mut found = Vec::new();
    let mut here = Totals::default();
    let mut here_over: BTreeMap<Addr, (Totals, u64)> = BTreeMap::new();
    for (k, (_, row)) in order.iter().enumerate() {
        for &(over, count, all_failed) in &row.cells {
            let Some(outside) = passing.get_mut(&over) else { continue };
            let mut one = Totals::default();
            one.add(count);
            rest.part(one);
            here.join(one);
            let here_there = here_over.entry(over).or_default();
            here_there.0.join(one);
            here_there.1 += all_failed;
            let rest_there = rest_over.entry(over).or_default();
            rest_there.part(one);
            if living && !count.is_bad() {
                *outside -= 1;
            }
            if *outside == 0 {
                rest.part(*rest_there);
                here.part(here_there.0);
                passing.remove(&over);
                here_over.remove(&over);
            }
        }
        let alike = order.get(k + 1).is_some_and(|(_, next)| less(row.totals.cells, next.totals.cells).is_eq());
        if alike || k as u64 + 1 == among || !here.cells.mostly_failed() || !rest.cells.mostly_passed() {
            continue;
        }
        // A majority in each cell, of failures here and of passes there, can come of one attempt that
        // differs: then nearly all sessions must fail here, or few there.
        if !here.sessions.mostly_failed() && !rest.sessions.mostly_passed() {
            continue;
        }
        // The stage is the question only if most of what failed, failed there.
        let all_failed = here_over.values().map(|(_, failed)| failed).sum();
        if question.is_some() && !(Count { failed: here.sessions.failed, tried: all_failed }).mostly_failed() {
            continue;
        }
        let chosen = k as u64 + 1;
        let (p, p_sessions) = corrected(here, rest, chosen, among, families);
        found.push(Group {
            units: order[..=k].iter().map(|(unit, _)| **unit).collect(),
            question,
            over: here_over.keys().copied().collect(),
            here,
            rest,
            chosen,
            among,
            families,
            p,
            p_sessions,
        });
    }
    found
}

/// One unit: its cells with what failed in them at all, and their sum.
#[derive(Default)]
struct Row {
    nameable: bool,
    totals: Totals,
    cells: Vec<(Addr, Count, u64)>,
}

/// A unit of a group must look like one itself: no healthy unit hides behind sick ones.
fn is_bad_enough(cells: Count) -> bool {
    3 * cells.failed >= 2 * cells.tried && cells.tried > 0
}
