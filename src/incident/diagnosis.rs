//! From trouble that is real to what it is: the judge is asked over the evidence since it began, and
//! what it names becomes an incident, or what an incident has become.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::open::Open;
use super::track::{Onset, Track};
use super::unit::{Unit, failed, is_ours};
use super::{Place, Round, Taken, Tracker, heard, ours, places};
use crate::catalog::Catalog;
use crate::judge::judge;
use crate::record::{Diagnosis, DiagnosisKind, Session};

impl Tracker {
    /// Asks the judge again about the incidents that fail.
    pub(super) fn rejudge(&mut self, failing: &[u64], at: Timestamp, catalog: &Catalog) {
        let mut judged: BTreeMap<u64, Vec<Diagnosis>> = BTreeMap::new();
        let mut claimed: Vec<(DiagnosisKind, Unit)> = Vec::new();
        for key in failing {
            let Some(open) = self.open.get(key) else { continue };
            let since = open.since;
            let diagnoses = judged.entry(since).or_insert_with(|| judge(&self.kept.evidence(since), catalog));
            let best = diagnoses
                .iter()
                .filter(|d| !claimed.contains(&(d.kind, Unit::from(*d))))
                .filter_map(|d| Some((open.fit(d)?, d.rank, d)))
                .min_by_key(|(fit, rank, _)| (*fit, *rank));
            let Some((_, _, d)) = best else { continue };
            claimed.push((d.kind, Unit::from(d)));
            let wanted = Unit::from(d);
            let taken = self.open.iter().any(|(other, o)| other != key && !o.is_ours() && o.unit == wanted);
            let unit = if taken { open.unit.clone() } else { wanted };
            let (d, is_cut) = (d.clone(), self.kept.is_cut);
            let Some(open) = self.open.get_mut(key) else { continue };
            let before = open.unit.clone();
            open.rejudge(&d, unit, at);
            if is_cut {
                open.evidence_is_cut();
            }
            if open.unit != before && open.is_at_hand {
                let sessions = self.kept.sessions(since).filter(|session| open.unit.holds(session));
                let all = heard(sessions.filter_map(|session| Some((session, failed(session, &[])?))));
                open.count_anew(&all);
            }
        }
    }

    /// Opens what is real of our own faults, as the round's diagnosis has it.
    pub(super) fn open_ours(&mut self, taken: &Taken, at: Timestamp) {
        for place in &taken.real {
            let Place::Ours(kind) = place else { continue };
            let Some(d) = ours(&taken.diagnoses, *kind) else { continue };
            let Some(onset) = self.tracks.get(place).and_then(Track::onset) else { continue };
            let mut open = Open::new(&self.domain, &d, Unit::from(&d), onset, at);
            open.count(d.tried, d.failed);
            self.insert(open);
            self.settle(*place);
        }
    }

    /// Opens what the judge names of the trouble that has become real.
    pub(super) fn open_theirs(&mut self, taken: &Taken, round: Round<'_>, catalog: &Catalog) {
        let real = || taken.real.iter().filter(|place| !matches!(place, Place::Ours(_)));
        let onsets = real().filter_map(|place| self.tracks.get(place)?.onset());
        let Some(first) = onsets.min_by_key(|onset| onset.round) else { return };
        let diagnoses = judge(&self.kept.evidence(first.round), catalog);
        for d in diagnoses.iter().filter(|d| !is_ours(d.kind) && d.kind != DiagnosisKind::Healthy) {
            let mut others = self.open.values().filter(|open| !open.is_ours());
            let left = others.try_fold(Unit::from(d), |left, open| left.without(&open.unit));
            let Some(unit) = left.filter(|unit| self.fails_now(unit, taken, round)) else { continue };
            let onset = self.onset(&unit).unwrap_or(first);
            let mut open = Open::new(&self.domain, d, unit, onset, round.at);
            let sessions = self.kept.sessions(onset.round).filter(|session| open.unit.holds(session));
            let trials: Vec<_> =
                sessions.filter_map(|session| Some((session, failed(session, &taken.diagnoses)?))).collect();
            open.count_anew(&heard(trials.iter().copied()));
            let failures = trials.iter().filter(|(_, failed)| *failed).map(|(session, _)| *session);
            open.replies(failures, round.at, false);
            if self.kept.is_cut {
                open.evidence_is_cut();
            }
            self.insert(open);
        }
        // What is covered now begins anew when that is over.
        let units: Vec<Unit> = self.open.values().filter(|o| !o.is_ours()).map(|o| o.unit.clone()).collect();
        let uncovered = |session: &Session| !units.iter().any(|unit| unit.holds(session));
        let left: Vec<_> = round
            .sessions()
            .filter(|session| uncovered(session) && failed(session, &taken.diagnoses) == Some(true))
            .flat_map(places)
            .collect();
        let settled: Vec<Place> =
            self.tracks.keys().copied().filter(|p| !matches!(p, Place::Ours(_)) && !left.contains(p)).collect();
        for place in settled {
            self.settle(place);
        }
    }

    /// Whether a session of this round that no open incident covers failed in the unit.
    fn fails_now(&self, unit: &Unit, taken: &Taken, round: Round<'_>) -> bool {
        let covered = |session: &Session| self.open.values().any(|open| !open.is_ours() && open.unit.holds(session));
        let fails = |session: &Session| failed(session, &taken.diagnoses) == Some(true);
        round.sessions().any(|session| unit.holds(session) && fails(session) && !covered(session))
    }

    /// When the trouble of a unit began: the first of its places to fail.
    fn onset(&self, unit: &Unit) -> Option<Onset> {
        let sources = unit.sources.iter().map(|ip| Place::Source(*ip));
        let mut places: Vec<Place> = sources.chain(unit.addresses.iter().map(|ip| Place::Address(*ip))).collect();
        if places.is_empty() {
            places.push(Place::Target);
        }
        let onsets = places.iter().filter_map(|place| self.tracks.get(place)?.onset());
        onsets.min_by_key(|onset| onset.opened.by)
    }
}
