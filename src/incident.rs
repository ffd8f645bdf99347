//! Trouble that lasts: from the rounds of one probe to the incidents they make up.
//!
//! Pure: the rounds come with their times, and the same rounds make the same incidents. A
//! [`Tracker`] belongs to one probe; what it finds is about the probe's target.
//!
//! # When an incident opens, changes and closes
//!
//! - A place is a source, an address of theirs, or the target as a whole. A round fails at a place
//!   where its sessions there are likelier under a failure rate of 30 % than of 2 %: where one in
//!   nine or more failed. It is clean where something was tried and it did not fail.
//! - Trouble at a place is real after `after` failing rounds in a row or, in a mixed series, after
//!   as many failing rounds and when the sequential test over the rounds says so. Then the judge
//!   is asked, over everything since the first failing round, and what it names is opened: one
//!   incident per diagnosis, about the diagnosis's unit.
//! - While the unit fails, the judge is asked again each round over the incident's whole evidence.
//!   Another kind or unit is an event; so is a refusal that was not met before. An `undecided` that
//!   is decided later is the same incident; a decided one does not become undecided again.
//! - After `clear` clean rounds in a row at the unit it is closed. What comes back before that is
//!   an episode of the same incident; what comes back later is another one.
//! - Opened and closed are intervals: from the last good to the first bad session, and back.
//!
//! # Whose trouble
//!
//! Sessions that never got away (`local`), were left out (`skipped`) or are explained by a fault of
//! ours that the round's own diagnosis names say nothing about the provider: they neither open nor
//! close its incidents. A fault of ours is an incident of its own kind (`local-config`, `local-dns`,
//! `egress-blocked`, `port25-interception`, `egress-mismatch`), by the same counts.
//!
//! A session inside the narrower unit of another open incident says nothing about the wider one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::catalog::Catalog;
use crate::record::{Diagnosis, DiagnosisKind, Incident, IncidentEvent, Kind, Line, Session};

mod diagnosis;
mod kept;
mod open;
mod track;
mod unit;

use kept::Kept;
use open::Open;
use track::{Heard, Track};
use unit::{Unit, failed, is_ours};

/// When an incident opens and closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Failing rounds that open it.
    pub after: u32,
    /// Clean rounds in a row that close it.
    pub clear: u32,
}

impl Default for Rule {
    fn default() -> Self {
        Self { after: 2, clear: 3 }
    }
}

/// One round that is over.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// When it was over.
    pub at: Timestamp,
    /// Everything that the run wrote, its diagnoses among it.
    pub lines: &'a [Line],
}

impl Round<'_> {
    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.lines.iter().filter_map(|line| if let Line::Session(session) = line { Some(&**session) } else { None })
    }

    fn diagnoses(&self) -> Vec<Diagnosis> {
        let diagnosis = |line: &Line| if let Line::Diagnosis(d) = line { Some((**d).clone()) } else { None };
        self.lines.iter().filter_map(diagnosis).collect()
    }
}

/// An incident that a round said something about.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Tells a tracker's incidents apart, before they are on record too.
    pub key: u64,
    /// As it is now.
    pub incident: Incident,
    /// How many of its events are new, from the last one on.
    pub news: usize,
}

impl Update {
    /// What has happened to it in this round.
    #[must_use]
    pub fn events(&self) -> &[IncidentEvent] {
        &self.incident.events[self.incident.events.len().saturating_sub(self.news)..]
    }
}

/// A place whose rounds are counted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    Target,
    Source(IpAddr),
    Address(IpAddr),
    /// A fault of ours of that kind.
    Ours(DiagnosisKind),
}

/// The incidents of one probe, and what could become one.
#[derive(Clone, Debug)]
pub struct Tracker {
    domain: String,
    rule: Rule,
    round: u64,
    tracks: BTreeMap<Place, Track>,
    open: BTreeMap<u64, Open>,
    next_key: u64,
    kept: Kept,
}

/// A place that has not been met for so many rounds is forgotten.
const FORGOTTEN: u64 = 1000;

impl Tracker {
    /// A probe without a past. `domain` is what its incidents are about.
    #[must_use]
    pub fn new(domain: String, rule: Rule) -> Self {
        let (tracks, open) = (BTreeMap::new(), BTreeMap::new());
        Self { domain, rule, round: 0, tracks, open, next_key: 1, kept: Kept::default() }
    }

    /// Another rule, from the next round on.
    pub fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// Goes on with incidents that are on record as open, and returns their keys.
    pub fn resume(&mut self, incidents: impl IntoIterator<Item = Incident>) -> Vec<u64> {
        let resumed = incidents.into_iter().filter(|incident| incident.closed.is_none()).map(|incident| {
            let key = self.next_key;
            self.next_key += 1;
            self.open.insert(key, Open::resumed(incident, self.round));
            key
        });
        resumed.collect()
    }

    /// Takes in a round that is on record already: it is remembered, and nothing is opened, closed
    /// or counted again.
    pub fn remember(&mut self, round: Round<'_>) {
        self.take(round, true);
        self.tidy();
    }

    /// Takes in a round, and returns the incidents that it says something about.
    pub fn hear(&mut self, round: Round<'_>, catalog: &Catalog) -> Vec<Update> {
        let before: BTreeMap<u64, usize> = self.open.iter().map(|(key, o)| (*key, o.incident.events.len())).collect();
        let taken = self.take(round, false);
        self.rejudge(&taken.failing, round.at, catalog);
        self.open_ours(&taken, round.at);
        self.open_theirs(&taken, round, catalog);
        let gone = u64::from(self.rule.clear) * self.addresses().max(1);
        let mut updates = Vec::new();
        for (key, open) in &mut self.open {
            open.close(self.rule.clear, gone, round.at);
            let news = open.incident.events.len() - before.get(key).copied().unwrap_or(0);
            if news > 0 || taken.heard.contains(key) {
                updates.push(Update { key: *key, incident: open.incident.clone(), news });
            }
        }
        self.open.retain(|_, open| open.incident.closed.is_none());
        self.tidy();
        updates
    }

    /// The incidents that last, by key.
    pub fn incidents(&self) -> impl Iterator<Item = (u64, &Incident)> {
        self.open.iter().map(|(key, open)| (*key, &open.incident))
    }

    /// The number under which the incident is on record.
    pub fn number(&mut self, key: u64, id: u64) {
        if let Some(open) = self.open.get_mut(&key) {
            open.incident.id = id;
        }
    }

    /// Counts a round.
    fn take(&mut self, round: Round<'_>, on_record: bool) -> Taken {
        self.round += 1;
        self.kept.add(self.round, round.lines);
        let diagnoses = round.diagnoses();
        let trials: Vec<(&Session, bool)> =
            round.sessions().filter_map(|session| Some((session, failed(session, &diagnoses)?))).collect();
        let mut taken = Taken { diagnoses, ..Taken::default() };
        let units: Vec<(u64, Unit)> =
            self.open.iter().filter(|(_, o)| !o.is_ours()).map(|(key, o)| (*key, o.unit.clone())).collect();
        for (key, unit) in &units {
            let Some(open) = self.open.get_mut(key) else { continue };
            if on_record && round.at < open.incident.opened.by {
                open.begins_behind(self.round);
                continue;
            }
            let others = || units.iter().filter(|(other, narrow)| other != key && !narrow.is_whole());
            let says = |session: &Session| unit.holds(session) && !others().any(|(_, narrow)| narrow.holds(session));
            let heard = heard(trials.iter().copied().filter(|(session, _)| says(session)));
            open.planned(round.sessions().any(|session| unit.holds(session)));
            if heard.tried > 0 {
                taken.heard.push(*key);
            }
            if !on_record {
                open.count(heard.tried, heard.failed);
            }
            if open.hear(&heard, round.at, on_record) {
                let failures = trials.iter().filter(|(session, failed)| *failed && says(session));
                open.replies(failures.map(|(session, _)| *session), round.at, on_record);
                taken.failing.push(*key);
            }
        }
        self.count(&trials, &units, &mut taken);
        self.count_ours(&round, &mut taken, on_record);
        taken
    }

    /// Counts the round at each place, as far as no open incident covers it.
    fn count(&mut self, trials: &[(&Session, bool)], units: &[(u64, Unit)], taken: &mut Taken) {
        let mut met: BTreeMap<Place, (Heard, Heard)> = BTreeMap::new();
        for (session, failed) in trials {
            let covered = units.iter().any(|(_, unit)| unit.holds(session));
            for place in places(session) {
                let (free, held) = met.entry(place).or_default();
                (if covered { held } else { free }).add(*failed, session.at);
            }
        }
        for (place, (free, held)) in met {
            let track = self.tracks.entry(place).or_default();
            if free.tried == 0 {
                track.covered(&held, self.round);
            } else if track.hear(&free, self.round) && track.is_real(self.rule.after) {
                taken.real.push(place);
            }
        }
    }

    /// Counts the faults of ours that the round's diagnosis names.
    fn count_ours(&mut self, round: &Round<'_>, taken: &mut Taken, on_record: bool) {
        let tried = round.sessions().any(|session| !matches!(session.kind, Kind::Local | Kind::Skipped));
        let at = round.sessions().map(|session| session.at).min().unwrap_or(round.at);
        for kind in DiagnosisKind::ALL.iter().copied().filter(|kind| is_ours(*kind)) {
            let mut heard = Heard::default();
            let named = ours(&taken.diagnoses, kind);
            if named.is_some() || tried {
                heard.add(named.is_some(), at);
            }
            let covering = self.open.iter_mut().find(|(_, open)| open.incident.kind == kind);
            let track = self.tracks.entry(Place::Ours(kind)).or_default();
            if let Some((key, open)) = covering {
                open.planned(true);
                if heard.tried > 0 {
                    open.hear(&heard, round.at, on_record);
                    taken.heard.push(*key);
                }
                if let Some(d) = named.filter(|_| !on_record) {
                    open.count(d.tried, d.failed);
                    open.rejudge(&d, Unit::from(&d), round.at);
                }
                track.covered(&heard, self.round);
            } else if track.hear(&heard, self.round) && track.is_real(self.rule.after) {
                taken.real.push(Place::Ours(kind));
            }
        }
    }

    fn insert(&mut self, open: Open) {
        self.open.insert(self.next_key, open);
        self.next_key += 1;
    }

    fn settle(&mut self, place: Place) {
        if let Some(track) = self.tracks.get_mut(&place) {
            track.settle();
        }
    }

    /// How many of their addresses are known.
    fn addresses(&self) -> u64 {
        self.tracks.keys().filter(|place| matches!(place, Place::Address(_))).count() as u64
    }

    /// Forgets what nothing that lasts rests on.
    fn tidy(&mut self) {
        let round = self.round;
        self.tracks.retain(|_, track| track.onset().is_some() || round.saturating_sub(track.seen) < FORGOTTEN);
        let open = self.open.values().filter(|open| !open.is_ours()).map(|open| open.since);
        let suspected = self.tracks.values().filter_map(|track| Some(track.onset()?.round));
        self.kept.forget_before(open.chain(suspected).min().unwrap_or(round + 1));
    }
}

/// What a round came to.
#[derive(Default)]
struct Taken {
    diagnoses: Vec<Diagnosis>,
    /// The incidents it says something about, and those whose unit failed.
    heard: Vec<u64>,
    failing: Vec<u64>,
    /// The places whose trouble is real, and failed in this round.
    real: Vec<Place>,
}

/// Where a session counts.
fn places(session: &Session) -> impl Iterator<Item = Place> {
    let of = [Some(Place::Target), session.source.map(Place::Source), session.address.map(Place::Address)];
    of.into_iter().flatten()
}

/// A fault of ours of that kind, of all the sources that have it.
fn ours(diagnoses: &[Diagnosis], kind: DiagnosisKind) -> Option<Diagnosis> {
    let mut of_kind = diagnoses.iter().filter(|d| d.kind == kind);
    let mut all = of_kind.next()?.clone();
    for d in of_kind {
        all.sources.extend(&d.sources);
        (all.tried, all.failed) = (all.tried.saturating_add(d.tried), all.failed.saturating_add(d.failed));
        all.because.extend(d.because.iter().cloned());
    }
    Some(all)
}

fn heard<'a>(trials: impl Iterator<Item = (&'a Session, bool)>) -> Heard {
    let mut heard = Heard::default();
    trials.for_each(|(session, failed)| heard.add(failed, session.at));
    heard
}
