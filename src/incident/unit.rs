//! What an incident is about, and which sessions say something about it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::record::{Diagnosis, DiagnosisKind, Incident, Kind, Role, Session, Variant};
use crate::stage::Stage;

/// Sources, addresses and backends; all empty: the target.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Unit {
    pub(super) sources: BTreeSet<IpAddr>,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) backends: BTreeSet<String>,
}

impl From<&Diagnosis> for Unit {
    fn from(d: &Diagnosis) -> Self {
        Self::new(&d.sources, &d.addresses, &d.backends)
    }
}

impl From<&Incident> for Unit {
    fn from(incident: &Incident) -> Self {
        Self::new(&incident.sources, &incident.addresses, &incident.backends)
    }
}

impl Unit {
    fn new(sources: &[IpAddr], addresses: &[IpAddr], backends: &[String]) -> Self {
        Self {
            sources: sources.iter().copied().collect(),
            addresses: addresses.iter().copied().collect(),
            backends: backends.iter().cloned().collect(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.sources.is_empty() && self.addresses.is_empty() && self.backends.is_empty()
    }

    /// Whether the session is about this unit.
    pub(super) fn holds(&self, session: &Session) -> bool {
        let is_in =
            |set: &BTreeSet<IpAddr>, ip: Option<IpAddr>| set.is_empty() || ip.is_some_and(|ip| set.contains(&ip));
        is_in(&self.sources, session.source)
            && is_in(&self.addresses, session.address)
            && (self.backends.is_empty() || session.backend.as_ref().is_some_and(|name| self.backends.contains(name)))
    }

    /// Whether some session could be about both, along the same line: two sets of sources, of
    /// addresses or of backends that meet.
    pub(super) fn meets(&self, other: &Self) -> bool {
        !self.sources.is_disjoint(&other.sources)
            || !self.addresses.is_disjoint(&other.addresses)
            || !self.backends.is_disjoint(&other.backends)
    }

    /// This unit without what `other` has of it; `None` where nothing is left.
    pub(super) fn without(&self, other: &Self) -> Option<Self> {
        if self == other {
            return None;
        }
        let rest = Self {
            sources: &self.sources - &other.sources,
            addresses: &self.addresses - &other.addresses,
            backends: &self.backends - &other.backends,
        };
        // A side that held something must still do: an empty one would mean everything.
        let emptied = |before: usize, after: usize| before > 0 && after == 0;
        let gone = emptied(self.sources.len(), rest.sources.len())
            || emptied(self.addresses.len(), rest.addresses.len())
            || emptied(self.backends.len(), rest.backends.len());
        (!gone).then_some(rest)
    }

    /// In words, `the target` for all of it.
    pub(super) fn in_words(&self) -> String {
        let addresses = self.sources.iter().chain(&self.addresses).map(ToString::to_string);
        let all: Vec<String> = addresses.chain(self.backends.iter().cloned()).collect();
        if all.is_empty() { "the target".to_owned() } else { all.join(", ") }
    }
}

/// Whether it is this host's or its network's trouble, and says nothing about the provider.
pub(super) fn is_ours(kind: DiagnosisKind) -> bool {
    use DiagnosisKind::{EgressBlocked, EgressMismatch, LocalConfig, LocalDns, Port25Interception};
    matches!(kind, LocalConfig | LocalDns | EgressBlocked | Port25Interception | EgressMismatch)
}

/// Whether a session of a round with these diagnoses failed, from where the provider stands: `None`
/// where it says nothing about it. A failure of ours is none of theirs, and an ending that the
/// probe's author expects is no failure.
pub(super) fn failed(session: &Session, round: &[Diagnosis]) -> Option<bool> {
    let counts = session.role == Role::Target
        && session.kind.is_trial()
        && matches!(session.variant, Variant::Plain | Variant::Campaign);
    if !counts || round.iter().any(|d| explains(d, session)) {
        return None;
    }
    Some(session.kind != Kind::Completed && !session.expected)
}

/// Whether a fault of ours explains how this session ended.
fn explains(d: &Diagnosis, session: &Session) -> bool {
    let from = d.sources.is_empty() || session.source.is_some_and(|source| d.sources.contains(&source));
    match d.kind {
        DiagnosisKind::LocalDns => session.kind == Kind::DnsFailed,
        DiagnosisKind::EgressBlocked => from && session.stage <= Some(Stage::Connect),
        DiagnosisKind::Port25Interception => from,
        _ => false,
    }
}
