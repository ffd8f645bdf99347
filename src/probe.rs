//! What to probe, from where, how deep and how often: flags and probe file, with every default in
//! its place. A [`Probe`] holds no question that is still open, save those only DNS can answer.

pub mod alert;
pub mod conflict;
pub mod file;
pub mod layer;
pub mod spelling;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{EhloName, Host, Mailbox, Sender};
use crate::limits::Limits;
use crate::record::CheckName;
use crate::schedule::When;
use crate::smtp::reply::{Code, Enhanced};
use crate::smtp::session::TlsLevel;
use crate::source::SourceSpec;
use crate::stage::Stage;
use crate::timeouts::Timeouts;

/// One probe: a target and how to look at it.
#[derive(Clone, Debug)]
pub struct Probe {
    pub description: Option<String>,
    pub target: Target,
    pub source: Sources,
    pub envelope: Envelope,
    pub until: Stage,
    pub tls: TlsLevel,
    pub timeouts: Arc<Timeouts>,
    pub message: Message,
    pub limits: Limits,
    pub expect: Expect,
    pub gate: Gate,
    /// Lists that a smoke test asks about each source.
    pub dnsbl: Vec<Host>,
    /// After a failed handshake a second session without STARTTLS, as its pair.
    pub pair_plaintext: bool,
    /// Probe although a source rests (own and loopback targets only).
    pub ignore_rest: bool,
}

/// What is probed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The domain whose mail exchangers are probed; without one, `hosts` says it all.
    pub domain: Option<Host>,
    /// These instead of the domain's MX set.
    pub hosts: Vec<HostSpec>,
    /// Other providers, to tell our side from theirs.
    pub control: Vec<Host>,
    pub port: u16,
    pub family: Family,
    /// The target is the operator's own: no ceilings, no hour and day budgets.
    pub own_mx: bool,
}

impl Target {
    /// The domain, or the hosts in its place, as written.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match &self.domain {
            Some(domain) => vec![domain.to_string()],
            None => self.hosts.iter().map(HostSpec::to_string).collect(),
        }
    }
}

/// A host given by name or by address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostSpec {
    Name(Host),
    Address(IpAddr),
}

/// Which addresses are probed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Family {
    #[default]
    Both,
    V4,
    V6,
}

impl Family {
    #[must_use]
    pub const fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Where it is probed from, and under which names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sources {
    /// Empty: the address that the kernel picks.
    pub addresses: Vec<SourceSpec>,
    /// Sources whose reputation is known to be apart from the others'.
    pub neutral: Vec<IpAddr>,
    /// The EHLO name of every source that `ehlo_of` does not name; else its PTR name.
    pub ehlo: Option<EhloName>,
    pub ehlo_of: BTreeMap<IpAddr, EhloName>,
    /// Behind NAT: the address that the other side sees, by source.
    pub public: BTreeMap<IpAddr, IpAddr>,
}

/// Who writes to whom.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Envelope {
    /// Without one: `mxprobe@` and the EHLO name.
    pub from: Option<Sender>,
    /// The sender of the sessions that a smoke test sets beside the campaign's; without one:
    /// `mxprobe@` and the EHLO name.
    pub neutral: Option<Sender>,
    /// One session per recipient; each is on the list of owned mailboxes.
    pub to: Vec<Mailbox>,
}

/// What is sent when a session goes all the way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// The operator's own message; without one, a small text that says what it is.
    pub body: Option<Arc<[u8]>>,
    pub dkim: Option<Dkim>,
}

/// The key that signs the message.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Dkim {
    pub domain: Host,
    pub selector: String,
    pub key: PathBuf,
}

/// The ending that the probe's author counts on; every field that is set must agree. Nothing set:
/// the session completes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Expect {
    pub stage: Option<Stage>,
    pub code: Option<Code>,
    pub enhanced: Option<Enhanced>,
    pub tag: Option<String>,
}

impl Expect {
    /// Whether the author expects every session to complete.
    #[must_use]
    pub fn is_completion(&self) -> bool {
        *self == Self::default()
    }
}

/// What a smoke test takes for a GO.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// So many sources must be GO; None: all of them.
    pub min_go: Option<u32>,
    /// The share of a source's sessions, 0 to 1, that may fail for now.
    pub max_transient: f64,
    /// Checks that hinder nobody, whatever they find.
    pub warn: Vec<CheckName>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { min_go: None, max_transient: 0.05, warn: Vec::new() }
    }
}

/// How a watch repeats the probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schedule {
    pub when: When,
    /// Whether a round is the whole matrix, or one address per source, in turn.
    pub full: bool,
    pub jitter: Duration,
}
