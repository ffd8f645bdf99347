//! How every cell of a probe went when it was last tried. A round that rotates has one address per
//! source: the matrix of now is put together from several.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::record::{Line, Role, Session, Variant};

/// So many cells are held of a probe.
const MOST: usize = 8192;

/// So many attempts of one cell.
const ATTEMPTS: usize = 16;

/// A cell that was not tried for so long before the latest session says nothing of now.
const OLD: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Default)]
pub(super) struct Latest {
    /// All attempts of one run at each cell.
    cells: BTreeMap<Cell, Vec<Arc<Session>>>,
    newest: Option<Timestamp>,
}

/// Domain, role, source, exchanger, address, port.
type Cell = (Option<String>, Role, Option<IpAddr>, Option<String>, Option<IpAddr>, u16);

impl Latest {
    /// Takes in the sessions of a round.
    pub(super) fn hear(&mut self, lines: &[Line]) {
        for line in lines {
            if let Line::Session(session) = line {
                self.add(session);
            }
        }
        let Some(old) = self.newest.and_then(|newest| newest.checked_sub(OLD).ok()) else { return };
        self.cells.retain(|_, tried| tried.iter().any(|session| session.at >= old));
    }

    fn add(&mut self, session: &Session) {
        // The other variants ask another question.
        if !matches!(session.variant, Variant::Plain | Variant::Campaign) {
            return;
        }
        let Session { domain, role, source, mx, address, port, .. } = session;
        let cell = (domain.clone(), *role, *source, mx.clone(), *address, *port);
        if self.cells.len() >= MOST && !self.cells.contains_key(&cell) {
            return;
        }
        let tried = self.cells.entry(cell).or_default();
        if let Some(before) = tried.last().filter(|before| before.run != session.run) {
            // What was not even tried now says less than what was tried before.
            if !session.kind.is_trial() && before.kind.is_trial() {
                return;
            }
            tried.clear();
        }
        if tried.len() < ATTEMPTS {
            tried.push(Arc::new(session.clone()));
        }
        self.newest = self.newest.max(Some(session.at));
    }

    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.cells.values().flatten().cloned().collect()
    }

    pub(super) fn session(&self, run: &str, seq: u64) -> Option<Arc<Session>> {
        self.cells.values().flatten().find(|session| session.seq == seq && session.run == run).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(run: &str, address: u8, hour: u8, kind: &str) -> Line {
        let fields = serde_json::json!({
            "type": "session", "run": run, "seq": 1, "at": format!("2026-11-{:02}T{:02}:00:00Z", 20 + hour / 24, hour % 24),
            "source": "192.0.2.1", "address": format!("198.51.100.{address}"), "kind": kind, "stage": "mail",
        });
        Line::parse(&fields.to_string()).unwrap().unwrap()
    }

    #[test]
    fn a_cell_is_as_it_was_last_tried() {
        let mut latest = Latest::default();
        for (run, address, hour, kind, want) in [
            ("a", 1, 0, "completed", "a completed"),
            ("b", 2, 1, "completed", "a completed, b completed"),
            ("c", 1, 2, "timed-out", "c timed-out, b completed"),
            // Skipped: the one before says more.
            ("d", 1, 3, "skipped", "c timed-out, b completed"),
            ("d", 3, 3, "skipped", "c timed-out, b completed, d skipped"),
            // A day later nothing of that is now.
            ("e", 2, 29, "completed", "e completed"),
        ] {
            latest.hear(&[session(run, address, hour, kind)]);
            let found: Vec<_> = latest.sessions().iter().map(|s| format!("{} {}", s.run, s.kind)).collect();
            assert_eq!(found.join(", "), want, "{run}");
        }
        assert!(latest.session("e", 1).is_some() && latest.session("d", 1).is_none());
    }
}
