//! Answers with a proof: signed all the way down from a trust anchor, proven to be unsigned, or
//! neither (RFC 4035, section 5).
//!
//! The validator is hickory's. What it wants to know on the way is asked for over the same wire as
//! everything else, so that the record shows every key and every delegation that a verdict rests on.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, Stream, StreamExt as _};
use hickory_proto::dnssec::{Proof, TrustAnchors};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, DnsHandle, NetError};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::ask::Question;
use super::name::shown_name;
use super::resolvers::{MOST_ALIASES, Resolvers};
use crate::record::LookupError;

/// The largest file of trust anchors that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// The keys that every proof starts from. Clones share them.
#[derive(Clone)]
pub struct Anchors {
    keys: Arc<TrustAnchors>,
    /// Whose keys they are.
    zones: Arc<[Name]>,
}

impl Default for Anchors {
    /// The root zone's.
    fn default() -> Self {
        Self { keys: Arc::default(), zones: Arc::new([Name::root()]) }
    }
}

impl Anchors {
    /// The keys of a file of DNSKEY records, in place of the root zone's that are built in: as dig or
    /// keymgr print them, with TTL and class or without.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or that holds something else or no key at all.
    pub fn from_file(path: &Path) -> Result<Self, AnchorError> {
        let error = |detail: &dyn fmt::Display| AnchorError(format!("{}: {detail}", path.display()));
        let size = std::fs::metadata(path).map_err(|e| error(&e))?.len();
        if size > LARGEST_FILE {
            return Err(error(&format_args!("{size} bytes, wanted DNSKEY records in {LARGEST_FILE} bytes at most")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| error(&e))?;
        let records = text.lines().filter_map(|line| line.split(';').next());
        let owners = records.filter(|line| line.contains("DNSKEY")).filter_map(|line| line.split_whitespace().next());
        let zones: Vec<Name> = owners.filter_map(|owner| Name::from_str(owner).ok()).collect();
        if zones.is_empty() {
            return Err(error(&"found no DNSKEY record, wanted some as in \". 3600 IN DNSKEY 257 3 8 AwEAA...\""));
        }
        // The reader of such files wants a class.
        let whole = text.lines().map(|line| match line.split_once(" DNSKEY ") {
            Some((owner, key)) if !owner.contains(char::is_whitespace) => format!("{owner} IN DNSKEY {key}\n"),
            _ => format!("{line}\n"),
        });
        let keys = TrustAnchors::from_str(&whole.collect::<Vec<_>>().concat())
            .map_err(|e| error(&format_args!("{e}, wanted DNSKEY records")))?;
        Ok(Self { keys: Arc::new(keys), zones: zones.into() })
    }
}

/// A file of trust anchors that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AnchorError(String);

/// What one look needs: within it every question is put once.
pub(super) struct Validator {
    asker: Asker,
    handle: DnssecDnsHandle<Asker>,
    anchored: Arc<[Name]>,
}

/// An answer, and whether it is signed.
#[derive(Clone, Debug)]
pub(super) struct Proven {
    /// Empty: there is nothing, and that is what is proven.
    pub(super) records: Vec<RData>,
    /// Whether all of it is signed, aliases included; else it is proven that something is not.
    pub(super) secure: bool,
    /// Where the aliases lead, if there are any.
    pub(super) alias: Option<Name>,
    /// Whether the first of the aliases is signed.
    pub(super) alias_secure: bool,
}

/// An answer that proves nothing, or none.
#[derive(Clone, Debug)]
pub(super) struct Unproven {
    pub(super) error: LookupError,
    /// What was asked, in words.
    pub(super) what: String,
}

/// One answer without the aliases behind it.
struct Step {
    found: Found,
    secure: bool,
}

enum Found {
    Records(Vec<RData>),
    Alias(Name),
    Nothing,
}

impl Validator {
    pub(super) fn new(resolvers: &Arc<Resolvers>, anchors: &Anchors, deadline: Instant) -> Self {
        let asker = Asker { resolvers: Arc::clone(resolvers), deadline, asked: Arc::default(), failed: Arc::default() };
        let handle = DnssecDnsHandle::with_trust_anchor(asker.clone(), Arc::clone(&anchors.keys));
        Self { asker, handle, anchored: Arc::clone(&anchors.zones) }
    }

    /// Looks up a name along its aliases, each link with its own proof.
    pub(super) async fn look(&self, name: &Name, rtype: RecordType) -> Result<Proven, Unproven> {
        let mut proven = Proven { records: Vec::new(), secure: true, alias: None, alias_secure: false };
        let mut owner = name.clone();
        for hop in 0..=MOST_ALIASES {
            let step = timeout_at(self.asker.deadline, self.step(&owner, rtype)).await;
            let late = Unproven { error: LookupError::Timeout, what: said(&owner, rtype) };
            let Step { found, secure } = match step.unwrap_or(Err(late)) {
                Ok(step) => step,
                Err(unproven) => return Err(self.whose(unproven, &owner, rtype).await),
            };
            proven.secure &= secure;
            match found {
                Found::Records(records) => return Ok(Proven { records, ..proven }),
                Found::Nothing => return Ok(proven),
                Found::Alias(target) => {
                    if hop == 0 {
                        proven.alias_secure = secure;
                    }
                    proven.alias = Some(target.clone());
                    owner = target;
                }
            }
        }
        Err(Unproven { error: LookupError::Servfail, what: said(name, rtype) })
    }

    /// Whose fault it is: a resolver that passes no signatures on, as many do, makes every zone look
    /// forged.
    async fn whose(&self, unproven: Unproven, owner: &Name, rtype: RecordType) -> Unproven {
        if !matches!(unproven.error, LookupError::Bogus | LookupError::Servfail | LookupError::Refused) {
            return unproven;
        }
        let ours = |what| Unproven { error: LookupError::Unreachable, what };
        let Some(zone) = self.anchored.iter().find(|zone| zone.zone_of(owner)) else {
            return ours(format!("no trust anchor for {}", shown_name(owner)));
        };
        let soa = timeout_at(self.asker.deadline, self.step(zone, RecordType::SOA)).await;
        if !matches!(soa, Ok(Ok(Step { found: Found::Records(_), secure: true }))) {
            let zone = shown_name(zone);
            return ours(format!(
                "no sound signature of zone {zone} came through the resolver, where every proof starts"
            ));
        }
        if unproven.error == LookupError::Bogus {
            self.asker.resolvers.note_bogus(owner, rtype);
        }
        unproven
    }

    async fn step(&self, owner: &Name, rtype: RecordType) -> Result<Step, Unproven> {
        let query = Query::query(owner.clone(), rtype);
        let answer = self.handle.lookup(query, DnsRequestOptions::default()).next().await;
        let (message, denial) = match answer {
            Some(Ok(response)) => (response.into_message(), None),
            Some(Err(NetError::Dns(DnsError::Nsec { response, proof, .. }))) => {
                ((*response).into_message(), Some(proof))
            }
            Some(Err(_)) | None => return Err(self.asker.why(owner, rtype)),
        };
        let here = |rtype| move |record: &&Record| record.name == *owner && record.record_type() == rtype;
        let alias = message.answers.iter().find(here(RecordType::CNAME)).and_then(|record| match &record.data {
            RData::CNAME(target) => Some((Found::Alias(target.0.clone()), record.proof)),
            _ => None,
        });
        let records: Vec<&Record> = message.answers.iter().filter(here(rtype)).collect();
        let (found, proof) = match (alias, records.iter().map(|record| record.proof).min()) {
            (_, Some(proof)) => (Found::Records(records.iter().map(|record| record.data.clone()).collect()), proof),
            // What lies behind an alias is asked for by itself, and so is its denial.
            (Some((alias, proof)), None) => (alias, proof),
            (None, None) => {
                let is_secure = message.authorities.iter().any(|record| record.proof == Proof::Secure);
                (Found::Nothing, denial.unwrap_or(if is_secure { Proof::Secure } else { Proof::Insecure }))
            }
        };
        match proof {
            Proof::Secure => Ok(Step { found, secure: true }),
            Proof::Insecure => Ok(Step { found, secure: false }),
            Proof::Bogus | Proof::Indeterminate => Err(self.asker.why(owner, rtype)),
        }
    }
}

/// What was asked, in words.
fn said(name: &Name, rtype: RecordType) -> String {
    format!("{rtype} records of {}", shown_name(name))
}

/// The validator's way to the servers.
#[derive(Clone)]
struct Asker {
    resolvers: Arc<Resolvers>,
    deadline: Instant,
    asked: Arc<Mutex<HashMap<(Name, RecordType), Asked>>>,
    failed: Arc<Mutex<Vec<(Name, RecordType, LookupError)>>>,
}

/// A question that is put once, and whoever waits for its answer.
type Asked = Arc<OnceCell<Result<Message, LookupError>>>;

impl Asker {
    async fn ask(&self, name: &Name, rtype: RecordType) -> Result<Message, LookupError> {
        let cell = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(asked.entry((name.to_lowercase(), rtype)).or_default())
        };
        let put = async {
            let question = Question { name, rtype, signed: true };
            let (answer, message) = self.resolvers.put(question, self.deadline).await;
            let error = answer.records.err().filter(|error| !error.is_denial());
            match (message, error) {
                (Some(message), None) => Ok(message),
                (_, error) => {
                    let error = error.unwrap_or(LookupError::Servfail);
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push((name.clone(), rtype, error));
                    Err(error)
                }
            }
        };
        cell.get_or_init(|| put).await.clone()
    }

    /// Why an answer proves nothing: a question on the way to its proof failed, or else it is bogus.
    fn why(&self, name: &Name, rtype: RecordType) -> Unproven {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_link = |of| matches!(of, RecordType::DNSKEY | RecordType::DS | RecordType::NS);
        let failed = failed
            .iter()
            .find(|(asked, of, _)| (asked == name && *of == rtype) || (is_link(*of) && asked.zone_of(name)));
        if let Some((asked, of, error)) = failed {
            return Unproven { error: *error, what: said(asked, *of) };
        }
        Unproven { error: LookupError::Bogus, what: said(name, rtype) }
    }
}

impl DnsHandle for Asker {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let asker = self.clone();
        Box::pin(stream::once(async move {
            let Some(query) = request.queries.first() else { return Err(NetError::Message("no question")) };
            match asker.ask(query.name(), query.query_type()).await {
                Ok(message) => Ok(DnsResponse::from_message(message)?),
                Err(LookupError::Timeout) => Err(NetError::Timeout),
                Err(_) => Err(NetError::Message("no answer")),
            }
        }))
    }
}
