//! Preflight: what can be known before a campaign without sending it. Of ourselves (`ours`): names,
//! SPF, DKIM, DMARC, the message. Of them (`theirs`): what a sender that enforces TLS would meet.
//!
//! A check is a finding, never an error. One that cannot be made is `unknown` with the reason, and
//! never `pass`. Every question goes through [`Dns`], so that it is on record.

use std::sync::Arc;

use crate::dns::Dns;
use crate::plan::{Route, Source};
use crate::probe::Probe;
use crate::wire::Trust;

mod dane;
pub mod https;
mod mta_sts;
pub mod ours;
mod starttls;
pub mod theirs;
mod tls_rpt;

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
}
