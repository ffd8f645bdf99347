//! DNS as a prober needs it: every server's own answer, on record.
//!
//! A stub resolver hides what evidence is made of: which server answered, how long it took, that
//! the first one failed, and the loopback names it answers itself. So the questions are put one by
//! one (`ask`), nothing is cached, no search list, hosts file or special name is applied, and
//! each exchange leaves a [`Lookup`]. Only the host's own resolver configuration is read through
//! `hickory-resolver`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::{Host, is_private};
use crate::record::{Lookup, LookupError};
use crate::words::words;

mod ask;
mod dane;
mod dnssec;
mod name;
mod records;
mod resolvers;

pub use dnssec::{AnchorError, Anchors};
use name::{dns_name, shown_name};
use records::Kept;
use resolvers::{Resolvers, weightiest};

/// Exchangers followed of one domain, lowest preference first.
const MOST_EXCHANGERS: usize = 64;
/// Addresses kept of one exchanger.
const MOST_ADDRESSES: usize = 256;
/// How long a sign of life is waited for.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// The resolvers, and what they have been asked. Clones share both.
#[derive(Clone)]
pub struct Dns {
    resolvers: Arc<Resolvers>,
    timeout: Duration,
    kept: Option<Arc<Kept>>,
    anchors: Anchors,
}

/// Where a domain's mail goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// By preference, then name. Never empty; each may still have failed to resolve.
    Exchangers(Vec<Exchanger>),
    /// The domain says that it takes no mail (RFC 7505).
    NullMx,
    /// NXDOMAIN.
    NoSuchDomain,
    /// The domain exists, with neither MX nor address.
    NoMail,
    /// The question for the MX records, or for the addresses that stand in for them, failed.
    Failed(LookupError),
}

/// One mail exchanger with all its addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchanger {
    pub name: ExchangerName,
    /// Null for the implicit MX, the domain itself (RFC 5321, section 5.1).
    pub preference: Option<u16>,
    /// IPv4 before IPv6, each in numeric order, without repetition; never `Ok` and empty.
    pub addresses: Result<Vec<IpAddr>, LookupError>,
    pub notes: Vec<Note>,
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// IPv4 before IPv6, each in numeric order, without repetition; never `Ok` and empty.
    pub addresses: Result<Vec<IpAddr>, LookupError>,
    pub notes: Vec<Note>,
}

/// What an MX record names. The order is that of the text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ExchangerName {
    Host(Host),
    /// Something that is no host name, in presentation form (RFC 1035, section 5.1): for the
    /// record only.
    Odd(String),
}

impl ExchangerName {
    /// The name as the record writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Host(host) => host.as_str(),
            Self::Odd(text) => text,
        }
    }

    /// The host, where it is one.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        match self {
            Self::Host(host) => Some(host),
            Self::Odd(_) => None,
        }
    }
}

impl fmt::Display for ExchangerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

words! {
    /// What is remarkable about an exchanger's records.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Note ("DNS note") {
        /// The exchanger is an alias (against RFC 2181, section 10.3).
        Cname = "mx-cname",
        /// The exchanger is an address in a name's clothing (against RFC 1035, section 3.3.9).
        IsAddress = "mx-is-address",
        /// One of its addresses is not public: loopback, private, link-local, unspecified.
        Private = "mx-private",
        /// One address family could not be looked up; the addresses are the other's.
        Partial = "mx-partial",
        /// There were more exchangers or addresses than are followed.
        Cut = "mx-cut",
    }
}

impl Dns {
    /// Resolvers to ask in this order, the next one where one fails; none = the host's own, from
    /// `/etc/resolv.conf`. `timeout` is the total for one call of the methods below.
    #[must_use]
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Self {
        Self { resolvers: Arc::new(Resolvers::new(servers)), timeout, kept: None, anchors: Anchors::default() }
    }

    /// The same with other keys to start proofs from than the root zone's.
    #[must_use]
    pub fn anchored(self, anchors: Anchors) -> Self {
        Self { anchors, ..self }
    }

    /// The resolvers asked, in order.
    #[must_use]
    pub fn servers(&self) -> &[SocketAddr] {
        &self.resolvers.servers
    }

    /// Why there is no resolver to ask, where there is none. Every lookup is then `unreachable`.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.resolvers.missing.as_deref()
    }

    /// Where a domain's mail goes, with every address of every exchanger (RFC 5321, section 5.1).
    pub async fn route(&self, domain: &Host) -> Route {
        let deadline = self.deadline();
        let domain_name = dns_name(domain);
        let mut exchangers = match self.ask(&domain_name, RecordType::MX, deadline).await.records {
            Ok(records) => exchangers(&records),
            Err(LookupError::Nodata) => return self.implicit(domain, deadline).await,
            Err(LookupError::Nxdomain) => return Route::NoSuchDomain,
            Err(error) => return Route::Failed(error),
        };
        if let [(_, only)] = &exchangers[..]
            && only.is_root()
        {
            return Route::NullMx;
        }
        let cut = exchangers.len() > MOST_EXCHANGERS;
        exchangers.truncate(MOST_EXCHANGERS);
        let mut found = self.resolve_all(exchangers, deadline).await;
        if let Some(last) = found.last_mut()
            && cut
        {
            last.notes.push(Note::Cut);
        }
        Route::Exchangers(found)
    }

    /// The addresses of a host that was named to be probed.
    pub async fn addresses(&self, host: &Host) -> Resolved {
        self.resolve(&dns_name(host), self.deadline()).await
    }

    /// The names that an address's PTR records give, in the order of the answer. Those that are no
    /// host names are left out; where none is left, `nodata`.
    ///
    /// # Errors
    ///
    /// How the lookup failed.
    pub async fn ptr(&self, ip: IpAddr) -> Result<Vec<Host>, LookupError> {
        let records = self.ask(&Name::from(ip), RecordType::PTR, self.deadline()).await.records?;
        let names: Vec<Host> = records
            .iter()
            .filter_map(|record| match record {
                RData::PTR(name) => shown_name(&name.0).parse().ok(),
                _ => None,
            })
            .collect();
        if names.is_empty() { Err(LookupError::Nodata) } else { Ok(names) }
    }

    /// Where the last questions met with silence, though others were answered before: one more that
    /// is nobody's in particular, after the root's name servers. A resolver that is still there knows
    /// them or refuses; so the record tells one that is gone from a zone that is silent.
    pub async fn ask_for_a_sign_of_life(&self) {
        if self.resolvers.fell_silent() {
            let deadline = Instant::now() + self.timeout.min(SIGN_OF_LIFE);
            self.resolvers.lookup(&Name::root(), RecordType::NS, deadline).await;
        }
    }

    /// Takes what has been asked since the last call: one line per question and server, in the
    /// order in which the answers came, `run` left empty.
    #[must_use]
    pub fn take_lookups(&self) -> Vec<Lookup> {
        self.resolvers.take_lookups()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// The domain as its own exchanger.
    async fn implicit(&self, domain: &Host, deadline: Instant) -> Route {
        let Resolved { addresses, mut notes } = self.resolve(&dns_name(domain), deadline).await;
        // An alias is what a domain may be; only an exchanger may not.
        notes.retain(|&note| note != Note::Cname);
        match addresses {
            Ok(_) => Route::Exchangers(vec![Exchanger {
                name: ExchangerName::Host(domain.clone()),
                preference: None,
                addresses,
                notes,
            }]),
            Err(LookupError::Nodata) => Route::NoMail,
            Err(LookupError::Nxdomain) => Route::NoSuchDomain,
            Err(error) => Route::Failed(error),
        }
    }

    async fn resolve_all(&self, exchangers: Vec<(u16, Name)>, deadline: Instant) -> Vec<Exchanger> {
        let mut tasks = JoinSet::new();
        for (preference, name) in exchangers {
            let dns = self.clone();
            tasks.spawn(async move {
                let Resolved { addresses, notes } = if name.is_root() {
                    // RFC 7505, section 3: beside others, "." is an error, and no name to ask for.
                    Resolved { addresses: Err(LookupError::Nodata), notes: Vec::new() }
                } else {
                    dns.resolve(&name, deadline).await
                };
                Exchanger { name: exchanger_name(&name), preference: Some(preference), addresses, notes }
            });
        }
        let mut found = tasks.join_all().await;
        found.sort_by(|a, b| a.preference.cmp(&b.preference).then_with(|| a.name.as_str().cmp(b.name.as_str())));
        found
    }

    /// Both address families of a name at once.
    async fn resolve(&self, name: &Name, deadline: Instant) -> Resolved {
        let (four, six) =
            tokio::join!(self.ask(name, RecordType::A, deadline), self.ask(name, RecordType::AAAA, deadline));
        let mut notes = Vec::new();
        if four.alias || six.alias {
            notes.push(Note::Cname);
        }
        if name::is_address(name) {
            notes.push(Note::IsAddress);
        }
        let failed = [&four, &six].into_iter().filter_map(|answer| answer.records.as_ref().err()).copied();
        let failed: Vec<LookupError> = failed.collect();
        let mut addresses: Vec<IpAddr> = [four, six]
            .iter()
            .filter_map(|answer| answer.records.as_ref().ok())
            .flatten()
            .filter_map(address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.iter().copied().any(is_private) {
            notes.push(Note::Private);
        }
        if addresses.len() > MOST_ADDRESSES {
            addresses.truncate(MOST_ADDRESSES);
            notes.push(Note::Cut);
        }
        if addresses.is_empty() {
            return Resolved { addresses: Err(weightiest(&failed)), notes };
        }
        if failed.iter().any(|error| !error.is_denial()) {
            notes.push(Note::Partial);
        }
        Resolved { addresses: Ok(addresses), notes }
    }
}

/// The exchangers of an answer, each once with its lowest preference, in order.
fn exchangers(records: &[RData]) -> Vec<(u16, Name)> {
    let mut lowest: BTreeMap<Name, u16> = BTreeMap::new();
    for record in records {
        if let RData::MX(mx) = record {
            let preference = lowest.entry(mx.exchange.to_lowercase()).or_insert(mx.preference);
            *preference = mx.preference.min(*preference);
        }
    }
    let mut exchangers: Vec<(u16, Name)> = lowest.into_iter().map(|(name, preference)| (preference, name)).collect();
    exchangers.sort();
    exchangers
}

fn address(record: &RData) -> Option<IpAddr> {
    match record {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

fn exchanger_name(name: &Name) -> ExchangerName {
    let text = shown_name(name);
    text.parse().map_or_else(|_| ExchangerName::Odd(text), ExchangerName::Host)
}
