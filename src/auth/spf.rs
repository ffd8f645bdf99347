//! SPF, walked term by term, so that it can be said which one decided and on which way (RFC 7208).
//!
//! The library reads the terms and expands the macros; it evaluates records too, but says nothing
//! about how it came to its result.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::spf::{Macro, Mechanism, Qualifier, Spf as Record, Variables};

use crate::address::{EhloName, Host, Sender};
use crate::dns::{Dns, ExchangerName};
use crate::record::LookupError;
use crate::words::words;

mod terms;

use terms::{Term, terms};

/// Terms that ask DNS, in one evaluation (RFC 7208, section 4.6.4).
const MOST_LOOKUPS: u32 = 10;

/// Answers without a record, in one evaluation (the same section).
const MOST_VOID: u32 = 2;

/// Exchangers of one `mx`, and names of one `ptr` (the same section).
const MOST_NAMES: usize = 10;

/// What SPF says of one source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spf {
    pub result: SpfResult,
    /// Which term decided, on which way; or why none could.
    pub why: String,
    /// How many terms asked DNS, of ten.
    pub lookups: u32,
}

words! {
    /// The results of SPF (RFC 7208, section 2.6).
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum SpfResult ("SPF result") {
        Pass = "pass",
        Neutral = "neutral",
        SoftFail = "softfail",
        Fail = "fail",
        /// There is no record.
        None = "none",
        /// The records cannot be understood.
        PermError = "permerror",
        /// DNS did not answer.
        TempError = "temperror",
    }
}

/// Evaluates the policy of the sender's domain for a source; of the null sender, that of the EHLO
/// name (RFC 7208, section 2.4). None where neither is a domain.
pub async fn check_host(dns: &Dns, source: IpAddr, from: &Sender, ehlo: &EhloName) -> Option<Spf> {
    let (domain, sender) = match (from, ehlo) {
        (Sender::Mailbox(mailbox), _) => (mailbox.domain().clone(), mailbox.to_string()),
        (Sender::Null, EhloName::Name(name)) => (name.clone(), format!("postmaster@{name}")),
        (Sender::Null, EhloName::Literal(_)) => return None,
    };
    let mut walk = Walk {
        dns,
        source,
        sender,
        ehlo: ehlo.to_string(),
        lookups: 0,
        void: 0,
        way: Vec::new(),
        inner: None,
        ptr: None,
    };
    let (result, why) = match walk.domain(domain).await {
        Ok(found) => found,
        Err(stop) => (stop.result, stop.why),
    };
    Some(Spf { result, why, lookups: walk.lookups })
}

/// One evaluation.
struct Walk<'a> {
    dns: &'a Dns,
    source: IpAddr,
    sender: String,
    ehlo: String,
    lookups: u32,
    void: u32,
    /// The domains being evaluated, each included by the one before.
    way: Vec<Host>,
    /// What the record that was just included said.
    inner: Option<String>,
    /// The source's names that resolve back to it, once looked for.
    ptr: Option<Vec<Host>>,
}

/// An error of the policy, or of DNS, which ends all.
struct Stop {
    result: SpfResult,
    why: String,
}

type Found = Result<(SpfResult, String), Stop>;

impl Walk<'_> {
    /// Evaluates a domain's record. In a box, as a record includes others.
    fn domain(&mut self, domain: Host) -> Pin<Box<dyn Future<Output = Found> + Send + '_>> {
        Box::pin(async move {
            if self.way.contains(&domain) {
                return Err(Self::broken(format!("the records go round in a circle: {domain} is met again")));
            }
            self.way.push(domain.clone());
            let found = self.record(&domain).await;
            self.way.pop();
            found
        })
    }

    async fn record(&mut self, domain: &Host) -> Found {
        let records = match self.dns.txt(domain).await {
            Ok(records) => records,
            Err(LookupError::Nxdomain) => return Ok((SpfResult::None, format!("there is no domain {domain}"))),
            Err(LookupError::Nodata) => Vec::new(),
            Err(error) => return Err(Self::unanswered(domain, "TXT", error)),
        };
        let mut records = records.iter().filter(|record| terms::is_spf(record));
        let (record, more) = (records.next(), records.count());
        let Some(record) = record else { return Ok((SpfResult::None, format!("{domain} has no SPF record"))) };
        if more > 0 {
            return Err(Self::broken(format!("{domain} has {} SPF records: wanted one", more + 1)));
        }
        let read = Record::parse(record).ok();
        let terms = terms(record).map_err(|term| Self::broken(format!("{domain}: {term:?} is no term of SPF")))?;
        for term in terms {
            if self.matches(domain, &term).await? {
                let result = match term.directive.qualifier {
                    Qualifier::Pass => SpfResult::Pass,
                    Qualifier::Fail => SpfResult::Fail,
                    Qualifier::SoftFail => SpfResult::SoftFail,
                    Qualifier::Neutral => SpfResult::Neutral,
                };
                return Ok((result, self.told(&term, domain)));
            }
        }
        let Some(redirect) = read.as_ref().and_then(|read| read.redirect.as_ref()) else {
            return Ok((SpfResult::Neutral, format!("{domain}: no term matches, and there is no \"all\"")));
        };
        let Some(target) = self.expand(redirect, domain).await else {
            return Err(Self::broken(format!("{domain}: redirect= leads to no domain")));
        };
        self.count(&format!("redirect={target}"), domain)?;
        match self.domain(target.clone()).await? {
            (SpfResult::None, why) => Err(Self::broken(format!("redirect={target} of {domain}: {why}"))),
            found => Ok(found),
        }
    }

    async fn matches(&mut self, domain: &Host, term: &Term) -> Result<bool, Stop> {
        match &term.directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4 { addr, mask } => Ok(within(self.source, IpAddr::V4(*addr), *mask, 0)),
            Mechanism::Ip6 { addr, mask } => Ok(within(self.source, IpAddr::V6(*addr), 0, *mask)),
            Mechanism::A { macro_string, ip4_mask, ip6_mask } => {
                self.count(&term.text, domain)?;
                let Some(name) = self.expand(macro_string, domain).await else { return Ok(false) };
                let masks = (*ip4_mask, *ip6_mask);
                Ok(self.ips(&name, true).await?.iter().any(|ip| within(self.source, *ip, masks.0, masks.1)))
            }
            Mechanism::Mx { macro_string, ip4_mask, ip6_mask } => {
                self.count(&term.text, domain)?;
                let Some(name) = self.expand(macro_string, domain).await else { return Ok(false) };
                self.mx(domain, term, &name, (*ip4_mask, *ip6_mask)).await
            }
            Mechanism::Include { macro_string } => {
                self.count(&term.text, domain)?;
                let Some(name) = self.expand(macro_string, domain).await else {
                    return Err(Self::broken(format!("{domain}: {} leads to no domain", term.text)));
                };
                match self.domain(name).await? {
                    (SpfResult::Pass, why) => {
                        self.inner = Some(why);
                        Ok(true)
                    }
                    (SpfResult::None, why) => Err(Self::broken(format!("{} of {domain}: {why}", term.text))),
                    _ => Ok(false),
                }
            }
            Mechanism::Ptr { macro_string } => {
                self.count(&term.text, domain)?;
                let Some(name) = self.expand(macro_string, domain).await else { return Ok(false) };
                let below = format!(".{name}");
                Ok(self.names().await.iter().any(|n| *n == name || n.as_str().ends_with(&below)))
            }
            Mechanism::Exists { macro_string } => {
                self.count(&term.text, domain)?;
                let Some(name) = self.expand(macro_string, domain).await else { return Ok(false) };
                // The A record, whatever the source's family (section 5.7).
                match self.dns.ips(&name, true).await {
                    Ok(_) => Ok(true),
                    Err(error) => self.missing(&name, "A", error).map(|()| false),
                }
            }
        }
    }

    async fn mx(&mut self, domain: &Host, term: &Term, name: &Host, masks: (u32, u128)) -> Result<bool, Stop> {
        let exchangers = match self.dns.mx(name).await {
            Ok(exchangers) => exchangers,
            Err(error) => return self.missing(name, "MX", error).map(|()| false),
        };
        if exchangers.len() > MOST_NAMES {
            return Err(Self::broken(format!("{domain}: {} has more than {MOST_NAMES} exchangers", term.text)));
        }
        for host in exchangers.iter().filter_map(|(_, exchanger)| ExchangerName::host(exchanger)) {
            if self.ips(host, false).await?.iter().any(|ip| within(self.source, *ip, masks.0, masks.1)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A name's addresses of the source's family; none is no fault, but counts where it is asked
    /// for by a term of its own.
    async fn ips(&mut self, name: &Host, counts: bool) -> Result<Vec<IpAddr>, Stop> {
        let (v4, rtype) = if self.source.is_ipv4() { (true, "A") } else { (false, "AAAA") };
        match self.dns.ips(name, v4).await {
            Ok(ips) => Ok(ips),
            Err(LookupError::Nxdomain | LookupError::Nodata) if !counts => Ok(Vec::new()),
            Err(error) => self.missing(name, rtype, error).map(|()| Vec::new()),
        }
    }

    /// The source's names that resolve back to it (section 5.5). What fails here is no error.
    async fn names(&mut self) -> Vec<Host> {
        if let Some(known) = &self.ptr {
            return known.clone();
        }
        let mut valid = Vec::new();
        for name in self.dns.ptr(self.source).await.unwrap_or_default().into_iter().take(MOST_NAMES) {
            if self.dns.ips(&name, self.source.is_ipv4()).await.is_ok_and(|ips| ips.contains(&self.source)) {
                valid.push(name);
            }
        }
        self.ptr = Some(valid.clone());
        valid
    }

    /// The domain that a term names; None where it comes to no host name, and so cannot match
    /// (section 4.8).
    async fn expand(&mut self, target: &Macro, domain: &Host) -> Option<Host> {
        if *target == Macro::None {
            return Some(domain.clone());
        }
        let mut variables = Variables::new();
        variables.set_ip(&self.source);
        variables.set_sender(self.sender.clone().into_bytes());
        variables.set_domain(domain.as_str().as_bytes().to_vec());
        variables.set_helo_domain(self.ehlo.clone().into_bytes());
        if target.needs_ptr() {
            let name = self.names().await.into_iter().next();
            variables
                .set_validated_domain(name.map_or_else(|| b"unknown".to_vec(), |n| n.as_str().as_bytes().to_vec()));
        }
        let mut name: &str = &target.eval(&variables, domain.as_str(), false);
        // What is too long loses labels from the left (section 7.3).
        while name.len() > 253 {
            name = name.split_once('.')?.1;
        }
        name.parse().ok()
    }

    fn count(&mut self, term: &str, domain: &Host) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups <= MOST_LOOKUPS {
            return Ok(());
        }
        Err(Self::broken(format!(
            "more than {MOST_LOOKUPS} lookups: {term} of {domain} is one too many (RFC 7208, section 4.6.4)"
        )))
    }

    /// A lookup that found nothing, or failed.
    fn missing(&mut self, name: &Host, rtype: &str, error: LookupError) -> Result<(), Stop> {
        if !matches!(error, LookupError::Nxdomain | LookupError::Nodata) {
            return Err(Self::unanswered(name, rtype, error));
        }
        self.void += 1;
        if self.void <= MOST_VOID {
            return Ok(());
        }
        Err(Self::broken(format!(
            "more than {MOST_VOID} lookups without an answer: {name} {rtype} (RFC 7208, section 4.6.4)"
        )))
    }

    fn broken(why: String) -> Stop {
        Stop { result: SpfResult::PermError, why }
    }

    fn unanswered(name: &Host, rtype: &str, error: LookupError) -> Stop {
        Stop { result: SpfResult::TempError, why: format!("{name} {rtype}: {error}") }
    }

    /// `include:_spf.example.net of example.net, by ip4:192.0.2.0/24 of _spf.example.net`.
    fn told(&mut self, term: &Term, domain: &Host) -> String {
        let inner = self.inner.take().map_or_else(String::new, |inner| format!(", by {inner}"));
        format!("{} of {domain}{inner}", term.text)
    }
}

/// Whether a source is within the network of an address; the masks are those of the two families.
fn within(source: IpAddr, network: IpAddr, mask4: u32, mask6: u128) -> bool {
    match (source.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() & mask4 == b.to_bits() & mask4,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() & mask6 == b.to_bits() & mask6,
        _ => false,
    }
}
