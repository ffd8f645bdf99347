//! A server's certificate held against its TLSA records (RFC 7672, section 3).
//!
//! Apart from [`super::certificate`]: here no root of this host's counts, and of a certificate that a
//! record is of neither its name nor its dates do.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{Checks, chain_problem, date, name_problem};
use crate::address::Host;
use crate::dane::{Records, Tlsa};

/// Certificates of a chain that are looked at.
const LONGEST_CHAIN: usize = 20;
/// Reasons given.
const MOST_REASONS: usize = 3;

/// The first record that vouches for a chain as sent, the leaf first, or why none does. `names` are
/// the leaf's. That the server holds the leaf's key is for the caller to see.
pub(super) fn vouched(
    records: &Records,
    certificates: &[CertificateDer<'_>],
    names: &[String],
    checks: &Checks<'_>,
) -> Result<Tlsa, String> {
    let Some((leaf, issuers)) = certificates.split_first() else { return Err("no certificate".to_owned()) };
    let issuers = &issuers[..issuers.len().min(LONGEST_CHAIN)];
    let mut reasons = Vec::new();
    for record in &records.records {
        let anchors: Vec<CertificateDer<'_>> = match record.usage {
            3 if is_of(record, leaf) => return Ok(record.clone()),
            2 => issuers.iter().filter(|issuer| is_of(record, issuer)).cloned().chain(carried(record)).collect(),
            _ => continue,
        };
        for anchor in anchors {
            match holds(leaf, issuers, anchor, &records.names, names, checks) {
                Ok(()) => return Ok(record.clone()),
                Err(why) => reasons.push(format!("{record} is of an issuer, but {why}")),
            }
        }
    }
    reasons.truncate(MOST_REASONS);
    if !reasons.is_empty() {
        return Err(reasons.join("; "));
    }
    let shown = key(leaf).map(|key| Tlsa { usage: 3, selector: 1, matching: 1, data: sha256(key) });
    let shown = shown.map(|shown| format!(", which is {shown}")).unwrap_or_default();
    let who = match records.records.len() {
        1 => "the TLSA record is not".to_owned(),
        count => format!("none of the {count} TLSA records is"),
    };
    Err(format!("at {} {who} of the certificate that was shown{shown}", records.owner()))
}

/// Whether a record is of a certificate (RFC 6698, section 2.1).
fn is_of(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let part = if record.selector == 0 { Some(certificate.as_ref()) } else { key(certificate) };
    part.is_some_and(|part| match record.matching {
        0 => part == record.data,
        1 => sha256(part) == record.data,
        2 => digest(&SHA512, part).as_ref() == record.data,
        _ => false,
    })
}

/// The certificate that a record carries whole, and that a server need not send then (RFC 7671,
/// section 5.2.2).
fn carried(record: &Tlsa) -> Option<CertificateDer<'static>> {
    let whole = record.selector == 0 && record.matching == 0;
    whole.then(|| CertificateDer::from(record.data.clone()))
}

/// Whether the chain leads to this anchor, and the leaf bears one of the names (RFC 7672, sections
/// 3.1.2 and 3.2.2).
fn holds(
    leaf: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    anchor: CertificateDer<'_>,
    wanted: &[Host],
    names: &[String],
    checks: &Checks<'_>,
) -> Result<(), String> {
    let parsed = ParsedCertificate::try_from(leaf).map_err(|e| format!("the certificate cannot be checked: {e}"))?;
    let mut roots = RootCertStore::empty();
    roots.add(anchor.into_owned()).map_err(|e| format!("it cannot be used: {e}"))?;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, issuers, checks.now, checks.algorithms).map_err(
        |e| match &e {
            Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
                format!("a certificate below it expired {}", date(*not_after))
            }
            Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
                format!("a certificate below it is not valid before {}", date(*not_before))
            }
            _ => chain_problem(&e, X509Certificate::from_der(leaf).ok().map(|(_, leaf)| leaf).as_ref(), &roots),
        },
    )?;
    let mut wanted = wanted.iter().filter_map(|name| ServerName::try_from(name.as_str().to_owned()).ok()).peekable();
    let first = wanted.peek().cloned();
    if wanted.any(|name| verify_server_name(&parsed, &name).is_ok()) {
        return Ok(());
    }
    let first = first.ok_or_else(|| "TLS has no such name".to_owned())?;
    Err(format!("the certificate {}", name_problem(names, &first)))
}

/// The public key as a record has it (`SubjectPublicKeyInfo`).
fn key<'a>(certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    X509Certificate::from_der(certificate).ok().map(|(_, certificate)| certificate.tbs_certificate.subject_pki.raw)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}
