//! Checks of the target: MTA-STS, DANE, TLS-RPT, and STARTTLS at every address.

use super::Room;
use crate::record::{Check, Session};

/// What can be asked before any session: `mta-sts`, `dane`, `tls-rpt`.
pub async fn theirs(room: &Room) -> Vec<Check> {
    let _ = room;
    Vec::new()
}

/// What only the sessions show: `starttls`, and whether an enforcing sender would have come
/// through. `checks` are [`theirs`], `sessions` those with this target.
#[must_use]
pub fn seen(room: &Room, checks: &[Check], sessions: &[Session]) -> Vec<Check> {
    let _ = (room, checks, sessions);
    Vec::new()
}
