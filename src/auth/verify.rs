//! Verifies signatures with key records that were looked up before.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, Error, MessageAuthenticator, Parameters, ResolverCache, Txt};

/// A signature on a message, as its header field has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    pub domain: String,
    pub selector: String,
    /// The signed fields, in lower case.
    pub fields: Vec<String>,
}

impl Signature {
    /// Where its key should be.
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

/// The signatures on a message whose lines end in CRLF, in order.
#[must_use]
pub fn signatures(message: &[u8]) -> Vec<Signature> {
    let Some(parsed) = AuthenticatedMessage::parse(message) else { return Vec::new() };
    let signature = |s: &mail_auth::dkim::Signature| Signature {
        domain: s.d.to_ascii_lowercase(),
        selector: s.s.to_ascii_lowercase(),
        fields: s.h.iter().map(|field| field.to_ascii_lowercase()).collect(),
    };
    parsed.dkim_headers.iter().map(|header| signature(&header.header)).collect()
}

/// Verifies every signature on a message whose lines end in CRLF, in order; the key records by
/// name. A name that is not among them has no record.
///
/// # Errors
///
/// Of each signature: why it does not hold, in words.
pub async fn verify(message: &[u8], keys: &BTreeMap<String, Vec<u8>>) -> Vec<Result<(), String>> {
    let Some(parsed) = AuthenticatedMessage::parse(message) else {
        return vec![Err("the message cannot be read".to_owned())];
    };
    // A resolver with nobody to ask: all there is to know is in the cache.
    let resolver = TokioResolver::builder_with_config(
        ResolverConfig::from_parts(None, vec![], vec![]),
        TokioRuntimeProvider::default(),
    );
    let Ok(resolver) = resolver.build() else {
        return vec![Err("the verifier could not be started".to_owned())];
    };
    let known = Known(keys.iter().map(|(name, record)| (format!("{name}."), key(record))).collect());
    let outputs = MessageAuthenticator(resolver).verify_dkim(Parameters::new(&parsed).with_txt_cache(&known)).await;
    outputs
        .iter()
        .map(|output| match output.result() {
            DkimResult::Pass => Ok(()),
            DkimResult::Fail(e) | DkimResult::Neutral(e) | DkimResult::TempError(e) | DkimResult::PermError(e) => {
                Err(e.to_string().to_lowercase())
            }
            DkimResult::None => Err("no result".to_owned()),
        })
        .collect()
}

fn key(record: &[u8]) -> Txt {
    DomainKey::parse(record).map_or_else(Txt::Error, |key| Txt::DomainKey(Arc::new(key)))
}

/// The key records, by absolute name.
struct Known(BTreeMap<String, Txt>);

impl ResolverCache<Box<str>, Txt> for Known {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.0.iter().find(|(known, _)| Borrow::<Q>::borrow(&Box::from(known.as_str())) == name);
        Some(found.map_or(Txt::Error(Error::ParseError), |(_, txt)| txt.clone()))
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}
