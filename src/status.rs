//! What a run comes to: its counts and its exit status.

use crate::record::{Diagnosis, DiagnosisKind, Kind, Session, Summary};

/// A run's sessions, counted.
///
/// Every session is in exactly one of the four, controls and neutral ones included. A rejection
/// that the probe's author expects is `completed`: it did what was wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub completed: u64,
    pub failed: u64,
    pub local: u64,
    pub skipped: u64,
}

impl Tally {
    /// Counts one more session.
    pub fn add(&mut self, session: &Session) {
        *match session.kind {
            Kind::Local => &mut self.local,
            Kind::Skipped => &mut self.skipped,
            _ if failed(session) => &mut self.failed,
            _ => &mut self.completed,
        } += 1;
    }

    /// All sessions.
    #[must_use]
    pub const fn sessions(self) -> u64 {
        self.completed + self.failed + self.local + self.skipped
    }

    /// Sessions that say something about the other side.
    #[must_use]
    pub const fn trials(self) -> u64 {
        self.completed + self.failed
    }

    /// The last line of a run that took `elapsed_ms` milliseconds; `None` where nothing was run.
    #[must_use]
    pub fn summary(self, run: &str, elapsed_ms: Option<f64>, exit: u8) -> Summary {
        Summary {
            run: run.to_owned(),
            sessions: self.sessions(),
            completed: self.completed,
            failed: self.failed,
            local: self.local,
            skipped: self.skipped,
            elapsed_ms,
            exit,
        }
    }
}

impl<'a> FromIterator<&'a Session> for Tally {
    fn from_iter<T: IntoIterator<Item = &'a Session>>(sessions: T) -> Self {
        let mut tally = Self::default();
        sessions.into_iter().for_each(|session| tally.add(session));
        tally
    }
}

/// Whether the other side, or the way to it, did what nobody wanted: a session that completes has
/// failed only where the probe's author expects another ending and the session says so.
#[must_use]
pub fn failed(session: &Session) -> bool {
    let unwanted = session.kind != Kind::Completed || session.notes.iter().any(|note| note == NOT_AS_EXPECTED);
    session.kind.is_trial() && !session.expected && unwanted
}

/// The note of a session that did not end as its probe's `[expect]` says.
pub const NOT_AS_EXPECTED: &str = "not-as-expected";

/// The exit status of `run`: 0 nothing found, 1 found, 3 could not tell.
///
/// - 1: a session failed, or a diagnosis blames the target though no session came about (a domain
///   without a mail server). A failed session counts for nothing where the first diagnosis says
///   that our own resolver or set-up was, or may have been, at fault: then nothing is known, 3.
/// - 3: no session says anything; or none failed, but some could not be held, or not be looked up,
///   for a reason of ours.
/// - 0: everything else. Sessions that a budget left out do not hide that the others went well.
#[must_use]
pub fn exit(tally: Tally, diagnoses: &[Diagnosis]) -> u8 {
    let ours = |d: &Diagnosis| match d.kind {
        DiagnosisKind::LocalConfig | DiagnosisKind::LocalDns => true,
        DiagnosisKind::Undecided => d.candidates.contains(&DiagnosisKind::LocalDns),
        _ => false,
    };
    let found = |d: &Diagnosis| !ours(d) && !matches!(d.kind, DiagnosisKind::Undecided | DiagnosisKind::Healthy);
    let undecided = diagnoses.iter().any(|d| d.kind == DiagnosisKind::Undecided);
    let (all_ours, any_found) = (!diagnoses.is_empty() && diagnoses.iter().all(ours), diagnoses.iter().any(found));
    if tally.trials() == 0 {
        return if any_found { 1 } else { 3 };
    }
    match (tally.failed, tally.local, tally.skipped) {
        (1.., ..) => {
            if all_ours {
                3
            } else {
                1
            }
        }
        (0, 1.., _) => 3,
        _ if diagnoses.iter().any(ours) => 3,
        (0, 0, 1..) if undecided => 3,
        _ => 0,
    }
}

/// The exit status of `judge`: 0 healthy, 1 anything else.
#[must_use]
pub fn judged(diagnoses: &[Diagnosis]) -> u8 {
    u8::from(diagnoses.iter().any(|d| d.kind != DiagnosisKind::Healthy))
}

#[cfg(test)]
mod tests {
    use super::{Tally, exit, judged};
    use crate::record::{Confidence, Diagnosis, DiagnosisKind};

    fn diagnosis(kind: DiagnosisKind) -> Diagnosis {
        serde_json::from_value(serde_json::json!({"rank": 1, "kind": kind, "confidence": Confidence::High})).unwrap()
    }

    #[test]
    fn the_exit_status_is_the_contracts() {
        for (completed, failed, local, skipped, kinds, want) in [
            (4, 0, 0, 0, "healthy", 0),
            (4, 0, 0, 0, "", 0),
            (3, 1, 0, 0, "undecided", 1),
            (3, 1, 0, 0, "", 1),
            (0, 4, 0, 0, "receiver-outage", 1),
            (0, 4, 0, 0, "egress-blocked", 1),
            (0, 4, 0, 0, "local-dns", 3),
            (2, 1, 1, 0, "local-config undecided", 1),
            (0, 0, 4, 0, "local-config", 3),
            (0, 0, 2, 2, "local-config", 3),
            (0, 0, 0, 4, "undecided", 3),
            (0, 0, 0, 0, "", 3),
            (0, 0, 0, 0, "bad-target", 1),
            (3, 0, 1, 0, "local-config healthy", 3),
            (3, 0, 0, 1, "healthy", 0),
            (3, 0, 0, 1, "undecided", 3),
            (3, 0, 0, 0, "local-dns", 3),
        ] {
            let diagnoses: Vec<_> = kinds.split_whitespace().map(|kind| diagnosis(kind.parse().unwrap())).collect();
            let tally = Tally { completed, failed, local, skipped };
            assert_eq!(exit(tally, &diagnoses), want, "{tally:?} {kinds}");
            assert_eq!(judged(&diagnoses), u8::from(!matches!(kinds, "" | "healthy")), "{kinds}");
        }
    }
}
