//! One incident that lasts: what each round does to it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::track::{Heard, Onset};
use super::unit::{Unit, is_ours};
use crate::catalog::normalise;
use crate::record::{Between, Diagnosis, DiagnosisKind, Incident, IncidentChange, IncidentEvent, Session};

/// So many events of an incident are kept, and the last of them is never its end.
const MOST_EVENTS: usize = 200;

/// What is said of a diagnosis that rests on a part of the evidence.
const CUT: &str = "judged over the first rounds of it and the latest ones: it lasts too long to keep them all";

/// So many different replies of an incident are told apart.
const MOST_REPLIES: usize = 20;

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) incident: Incident,
    pub(super) unit: Unit,
    /// The round of its first failure.
    pub(super) since: u64,
    /// Whether all its sessions are at hand, so that they can be counted anew.
    pub(super) is_at_hand: bool,
    last_bad: Timestamp,
    /// The first good session behind it.
    first_good: Option<Timestamp>,
    clean_in_a_row: u32,
    /// For how many rounds in a row none of its sessions was even planned.
    unplanned: u64,
    /// How often each refusal was met, normalised.
    replies: BTreeMap<String, u64>,
}

impl Open {
    /// An incident that a diagnosis makes of the sessions since `onset`.
    pub(super) fn new(domain: &str, d: &Diagnosis, unit: Unit, onset: Onset, at: Timestamp) -> Self {
        let incident = Incident {
            id: 0,
            domain: domain.to_owned(),
            kind: d.kind,
            confidence: d.confidence,
            opened: onset.opened,
            closed: None,
            episodes: 1,
            sources: unit.sources.iter().copied().collect(),
            addresses: unit.addresses.iter().copied().collect(),
            backends: unit.backends.iter().cloned().collect(),
            stage: d.stage,
            code: d.code,
            reply: None,
            sessions: 0,
            failed: 0,
            because: d.because.clone(),
            ruled_out: d.ruled_out.clone(),
            advice: d.advice.clone(),
            events: vec![IncidentEvent { at, event: IncidentChange::Opened, detail: Some(in_words(d)) }],
        };
        Self { unit, is_at_hand: true, ..Self::resumed(incident, onset.round) }
    }

    /// One that is on record, to go on from `round`.
    pub(super) fn resumed(incident: Incident, round: u64) -> Self {
        let unit = Unit::from(&incident);
        let replies = incident.reply.iter().map(|reply| (reply.clone(), 1)).collect();
        let last_bad = incident.opened.by;
        Self {
            incident,
            unit,
            since: round,
            is_at_hand: false,
            last_bad,
            first_good: None,
            clean_in_a_row: 0,
            unplanned: 0,
            replies,
        }
    }

    pub(super) fn is_ours(&self) -> bool {
        is_ours(self.incident.kind)
    }

    /// Counts trials.
    pub(super) fn count(&mut self, tried: u64, failed: u64) {
        self.incident.sessions = self.incident.sessions.saturating_add(tried);
        self.incident.failed = self.incident.failed.saturating_add(failed);
    }

    /// Counts everything that was tried at its unit since its onset.
    pub(super) fn count_anew(&mut self, all: &Heard) {
        (self.incident.sessions, self.incident.failed) = (all.tried, all.failed);
        self.last_bad = all.last_bad.unwrap_or(self.last_bad);
    }

    /// Where in the evidence it begins, of one that is on record.
    pub(super) fn begins_behind(&mut self, round: u64) {
        self.since = round + 1;
    }

    /// Takes in what a round says of the unit; true where it failed. `on_record` rounds have had
    /// their events before.
    pub(super) fn hear(&mut self, heard: &Heard, at: Timestamp, on_record: bool) -> bool {
        let Some(failing) = heard.failing() else { return false };
        if failing {
            if self.clean_in_a_row > 0 && !on_record {
                self.incident.episodes = self.incident.episodes.saturating_add(1);
                let clean = self.clean_in_a_row;
                let detail = format!("back after {clean} clean round{}", if clean == 1 { "" } else { "s" });
                self.event(at, IncidentChange::Episode, detail);
            }
            self.last_bad = heard.last_bad.unwrap_or(self.last_bad).max(self.last_bad);
            (self.first_good, self.clean_in_a_row) = (None, 0);
        } else {
            self.first_good = self.first_good.or(heard.first_good);
            self.clean_in_a_row = self.clean_in_a_row.saturating_add(1);
        }
        failing
    }

    /// Notes whether any session of the unit was planned in a round, whatever became of it.
    pub(super) fn planned(&mut self, is_planned: bool) {
        self.unplanned = if is_planned { 0 } else { self.unplanned.saturating_add(1) };
    }

    /// Counts the refusals of a round. One that was not met before and is the round's most frequent
    /// is an event.
    pub(super) fn replies<'a>(&mut self, failed: impl Iterator<Item = &'a Session>, at: Timestamp, on_record: bool) {
        let mut round: BTreeMap<String, u64> = BTreeMap::new();
        for reply in failed.filter_map(reply) {
            *round.entry(reply).or_default() += 1;
        }
        let most = round.iter().max_by_key(|(_, count)| **count).map(|(reply, _)| reply.clone());
        let is_new = most.as_ref().is_some_and(|reply| !self.replies.contains_key(reply));
        let had_any = !self.replies.is_empty();
        for (reply, count) in round {
            if self.replies.len() < MOST_REPLIES || self.replies.contains_key(&reply) {
                *self.replies.entry(reply).or_default() += count;
            }
        }
        if let Some(reply) = most.filter(|reply| is_new && had_any && self.replies.contains_key(reply) && !on_record) {
            self.event(at, IncidentChange::Reply, reply);
        }
        let most = self.replies.iter().max_by_key(|(_, count)| **count);
        self.incident.reply = most.map(|(reply, _)| reply.clone());
    }

    /// Whether a diagnosis over its evidence is this incident's, and how well it fits: the same kind
    /// of the same unit, the same unit, one that meets it; then whatever is about the whole target.
    pub(super) fn fit(&self, d: &Diagnosis) -> Option<u8> {
        if is_ours(d.kind) || d.kind == DiagnosisKind::Healthy {
            return None;
        }
        let (unit, same) = (Unit::from(d), d.kind == self.incident.kind);
        Some(match unit == self.unit {
            true if same => 0,
            true => 1,
            false if unit.meets(&self.unit) => 2,
            false if unit.is_whole() || self.unit.is_whole() => 3,
            false => return None,
        })
    }

    /// What a later diagnosis over the same evidence and more says. One that decides nothing takes
    /// nothing back from one that did: it stays as it was.
    pub(super) fn rejudge(&mut self, d: &Diagnosis, unit: Unit, at: Timestamp) {
        let undecided = DiagnosisKind::Undecided;
        if d.kind == undecided && self.incident.kind != undecided {
            return;
        }
        if d.kind != self.incident.kind {
            let detail = format!("{}, before {}", in_words(d), self.incident.kind);
            self.event(at, IncidentChange::Kind, detail);
        } else if unit != self.unit && d.kind != undecided {
            let detail = format!("{} of {}, before of {}", d.kind, unit.in_words(), self.unit.in_words());
            self.event(at, IncidentChange::Kind, detail);
        }
        let incident = &mut self.incident;
        (incident.kind, incident.confidence, incident.stage, incident.code) = (d.kind, d.confidence, d.stage, d.code);
        incident.sources = unit.sources.iter().copied().collect();
        incident.addresses = unit.addresses.iter().copied().collect();
        incident.backends = unit.backends.iter().cloned().collect();
        incident.because.clone_from(&d.because);
        incident.ruled_out.clone_from(&d.ruled_out);
        incident.advice.clone_from(&d.advice);
        self.unit = unit;
    }

    /// Says that the diagnosis rests on a part of the evidence.
    pub(super) fn evidence_is_cut(&mut self) {
        self.is_at_hand = false;
        if self.incident.because.last().is_none_or(|last| last != CUT) {
            self.incident.because.push(CUT.to_owned());
        }
    }

    /// Closes it, where `clear` clean rounds in a row or `gone` rounds that did not even ask say so.
    pub(super) fn close(&mut self, clear: u32, gone: u64, at: Timestamp) -> bool {
        let after = Some(self.last_bad);
        let (by, why) = if self.clean_in_a_row >= clear {
            let rounds = self.clean_in_a_row;
            let why = format!("{rounds} clean round{} in a row", if rounds == 1 { "" } else { "s" });
            (self.first_good.unwrap_or(at), why)
        } else if self.unplanned >= gone {
            (at, "no longer probed".to_owned())
        } else {
            return false;
        };
        self.incident.closed = Some(Between { after, by });
        self.incident.events.push(IncidentEvent { at, event: IncidentChange::Closed, detail: Some(why) });
        true
    }

    fn event(&mut self, at: Timestamp, event: IncidentChange, detail: String) {
        // One place is left for the end. What is left out is in the counts all the same.
        if self.incident.events.len() + 1 < MOST_EVENTS {
            self.incident.events.push(IncidentEvent { at, event, detail: Some(detail) });
        }
    }
}

/// A diagnosis in a few words.
fn in_words(d: &Diagnosis) -> String {
    let candidates: Vec<_> = d.candidates.iter().map(|kind| kind.as_str()).collect();
    let of = if candidates.is_empty() { "" } else { ": one of " };
    format!("{} of {}, confidence {}{of}{}", d.kind, Unit::from(d).in_words(), d.confidence, candidates.join(", "))
}

/// The refusal that ended a session, normalised.
pub(super) fn reply(session: &Session) -> Option<String> {
    let lines = session.reply.as_deref().filter(|lines| !lines.is_empty())?;
    Some(normalise(&lines.join(" ")))
}
