//! Preflight: what can be known before a campaign without sending it. Of ourselves (`ours`): names,
//! SPF, DKIM, DMARC, the message. Of them (`theirs`): what a sender that enforces TLS would meet.
//!
//! A check is a finding, never an error. One that cannot be made is `unknown` with the reason, and
//! never `pass`. Every question goes through [`Dns`], so that it is on record, and ends in time.

use std::sync::Arc;

use tokio::time::timeout;

use crate::auth::Signer;
use crate::dns::Dns;
use crate::plan::{Route, Source};
use crate::probe::Probe;
use crate::record::{Check, CheckName, CheckResult, Session};
use crate::stage::Stage;
use crate::wire::Trust;

mod alignment;
mod dane;
mod dnsbl;
pub mod https;
mod key;
mod letter;
mod mta_sts;
mod names;
pub mod ours;
mod starttls;
pub mod theirs;
mod tls_rpt;

use theirs::Theirs;

/// What the checks of one target are made from.
#[derive(Clone)]
pub struct Room {
    pub probe: Arc<Probe>,
    /// The target's own route; controls are not checked.
    pub route: Route,
    /// All sources, neutral ones included.
    pub sources: Vec<Source>,
    pub dns: Dns,
    pub trust: Trust,
    /// Who signs the message, where a key is given.
    pub signer: Option<Arc<Signer>>,
}

impl Room {
    /// Makes the check, or says that it took too long.
    async fn in_time(&self, name: CheckName, check: impl Future<Output = Vec<Check>>) -> Vec<Check> {
        // A check is a few lookups one after the other, each of which has a time of its own.
        let patience = self.probe.timeouts.get(Stage::Resolve) * 3;
        timeout(patience, check).await.unwrap_or_else(|_| {
            let shown = humantime::format_duration(patience);
            vec![Check::new(name, CheckResult::Unknown, format!("no answer within {shown}"))]
        })
    }
}

/// What needs no session.
#[derive(Clone, Debug, Default)]
pub struct Before {
    pub checks: Vec<Check>,
    theirs: Theirs,
}

/// All checks that need no session.
pub async fn before(room: &Room) -> Before {
    let (ours, theirs) = tokio::join!(ours::ours(room), theirs::theirs(room));
    let checks = of(room, [ours, theirs.checks.clone()].concat());
    Before { checks, theirs }
}

/// The checks that the sessions with this target make possible.
#[must_use]
pub fn after(room: &Room, before: &Before, sessions: &[Session]) -> Vec<Check> {
    let domain = room.route.domain.as_ref().map(ToString::to_string);
    let sessions: Vec<Session> = sessions.iter().filter(|session| session.domain == domain).cloned().collect();
    of(room, [ours::seen(room, &sessions), theirs::seen(&before.theirs, &sessions)].concat())
}

/// The checks with the name of the target for whose sake they were made.
fn of(room: &Room, mut checks: Vec<Check>) -> Vec<Check> {
    for check in &mut checks {
        check.domain = room.route.domain.as_ref().map(ToString::to_string);
    }
    checks
}
