//! What a certificate says, and everything that is wrong with it at once.
//!
//! A library's verifier stops at its first objection. Here chain, dates, name and proof of
//! possession are asked apart, because which of them fail is what the operator needs to know.
//! Nothing is trusted to be short, printable or even parsable.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use super::dane;
use crate::dane::Records;
use crate::record;

/// Entries of the leaf's names that are kept.
const MOST_NAMES: usize = 100;
/// Certificates of a chain that are kept.
const LONGEST_CHAIN: usize = 10;
/// Characters kept of one text.
const LONGEST_TEXT: usize = 255;
/// Names quoted in a problem.
const MOST_QUOTED: usize = 5;
/// What RSA keys must have to be taken for a proof of anything.
const SHORTEST_RSA: usize = 2048;

/// What a certificate is held against.
pub(super) struct Checks<'a> {
    pub(super) roots: &'a RootCertStore,
    pub(super) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    pub(super) peer: &'a ServerName<'a>,
    pub(super) now: UnixTime,
    /// Whether the peer proved that it holds the key; null = the handshake did not get so far.
    pub(super) possession: Option<&'a Result<(), Error>>,
    /// The TLSA records of the peer, where they are wanted.
    pub(super) dane: Option<&'a Records>,
}

/// The record of a chain as sent, the leaf first; `version` and `cipher` are the caller's to fill.
pub(super) fn describe(certificates: &[CertificateDer<'_>], checks: &Checks<'_>) -> record::Tls {
    let parsed: Vec<Option<X509Certificate<'_>>> = certificates
        .iter()
        .map(|der| X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate))
        .collect();
    let leaf = parsed.first().and_then(Option::as_ref);
    let names = leaf.map(dns_names).unwrap_or_default();
    let problems = problems(certificates, leaf, &names, checks);
    let vouched = checks.dane.map(|records| {
        let record = dane::vouched(records, certificates, &names, checks)?;
        unproven(leaf, checks).map_or(Ok(record), Err)
    });
    record::Tls {
        version: None,
        cipher: None,
        verified: problems.is_empty(),
        problem: (!problems.is_empty()).then(|| problems.join("; ")),
        names,
        issuer: leaf.map(|leaf| cut(&leaf.issuer().to_string())),
        not_after: leaf.and_then(|leaf| Timestamp::from_second(leaf.validity().not_after.timestamp()).ok()),
        chain: parsed.iter().take(LONGEST_CHAIN).map(|certificate| link(certificate.as_ref())).collect(),
        dane: vouched.as_ref().and_then(|vouched| vouched.as_ref().ok()).map(ToString::to_string),
        dane_problem: vouched.and_then(Result::err),
    }
}

fn problems(
    certificates: &[CertificateDer<'_>],
    leaf: Option<&X509Certificate<'_>>,
    names: &[String],
    checks: &Checks<'_>,
) -> Vec<String> {
    let Some((leaf_der, others)) = certificates.split_first() else { return vec!["no certificate".to_owned()] };
    let mut problems = Vec::new();
    let mut when = checks.now;
    if let Some(leaf) = leaf {
        let [from, until] = [&leaf.validity().not_before, &leaf.validity().not_after].map(ASN1Time::timestamp);
        let now = i64::try_from(checks.now.as_secs()).unwrap_or(i64::MAX);
        if now < from {
            problems.push(format!("not valid before {}", seconds(from)));
        }
        if now > until {
            problems.push(format!("expired since {}", seconds(until)));
        }
        // So that the leaf's dates do not hide what else is wrong with the chain.
        let nearest = now.clamp(from, until.max(from));
        if nearest != now {
            when = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(nearest).unwrap_or_default()));
        }
    }
    match ParsedCertificate::try_from(leaf_der) {
        Ok(parsed) => {
            let chain =
                verify_server_cert_signed_by_trust_anchor(&parsed, checks.roots, others, when, checks.algorithms);
            // What an issuer's dates were at another time is nothing to report.
            problems.extend(
                chain
                    .err()
                    .filter(|error| when == checks.now || !is_about_dates(error))
                    .map(|error| chain_problem(&error, leaf, checks.roots)),
            );
            if verify_server_name(&parsed, checks.peer).is_err() {
                problems.push(name_problem(names, checks.peer));
            }
        }
        Err(error) => problems.push(match leaf {
            Some(leaf) if leaf.version() != X509Version::V3 => {
                format!("X.509 version {}, wanted 3", leaf.version().0.saturating_add(1))
            }
            _ => format!("not a certificate that can be checked: {}", reason(&error)),
        }),
    }
    problems.extend(unproven(leaf, checks));
    problems
}

/// Why the certificate says nothing about whoever showed it.
fn unproven(leaf: Option<&X509Certificate<'_>>, checks: &Checks<'_>) -> Option<String> {
    let why = match checks.possession {
        Some(Ok(())) => return None,
        Some(Err(error)) => possession_problem(error, leaf),
        None => "the handshake broke off before".to_owned(),
    };
    Some(format!("key possession not proven: {why}"))
}

fn is_about_dates(error: &Error) -> bool {
    use CertificateError::{ExpiredContext, NotValidYetContext};
    matches!(error, Error::InvalidCertificate(ExpiredContext { .. } | NotValidYetContext { .. }))
}

pub(super) fn chain_problem(error: &Error, leaf: Option<&X509Certificate<'_>>, roots: &RootCertStore) -> String {
    let self_signed = leaf.is_some_and(|leaf| leaf.subject().as_raw() == leaf.issuer().as_raw());
    let Error::InvalidCertificate(error) = error else { return reason(error) };
    match error {
        CertificateError::UnknownIssuer if self_signed => "self-signed".to_owned(),
        // What webpki says of a self-signed certificate that may sign others, as OpenSSL makes them.
        CertificateError::Other(inner) if self_signed && format!("{inner:?}").contains("CaUsedAsEndEntity") => {
            "self-signed".to_owned()
        }
        CertificateError::Other(inner) if format!("{inner:?}").contains("CaUsedAsEndEntity") => {
            "a CA's certificate used as a server's".to_owned()
        }
        CertificateError::UnknownIssuer if roots.is_empty() => "this host trusts no roots".to_owned(),
        CertificateError::UnknownIssuer => {
            let issuer = leaf.map(|leaf| cut(&leaf.issuer().to_string())).unwrap_or_default();
            format!("unknown issuer {issuer:?}, or a link of the chain is missing")
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("an issuer's certificate expired {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("an issuer's certificate is not valid before {}", date(*not_before))
        }
        CertificateError::Revoked => "revoked".to_owned(),
        CertificateError::BadSignature => "a signature in the chain is wrong, or its key too weak".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not made for servers (extended key usage)".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "signed with an algorithm that is not accepted".to_owned()
        }
        CertificateError::UnhandledCriticalExtension => "has a critical extension that is not understood".to_owned(),
        other => format!("cannot be checked: {}", cut(&other.to_string())),
    }
}

pub(super) fn name_problem(names: &[String], wanted: &ServerName<'_>) -> String {
    let wanted = match wanted {
        ServerName::IpAddress(ip) => IpAddr::from(*ip).to_string(),
        name => name.to_str().into_owned(),
    };
    if names.is_empty() {
        return format!("names no host, wanted {wanted}");
    }
    let mut quoted: Vec<&str> = names.iter().take(MOST_QUOTED).map(String::as_str).collect();
    let more = names.len().checked_sub(MOST_QUOTED + 1).map(|more| format!("{} more", more + 1));
    quoted.extend(more.as_deref());
    format!("names {}, wanted {wanted}", quoted.join(", "))
}

fn possession_problem(error: &Error, leaf: Option<&X509Certificate<'_>>) -> String {
    let Some(leaf) = leaf else { return reason(error) };
    if let Ok(PublicKey::RSA(key)) = leaf.public_key().parsed()
        && key.key_size() < SHORTEST_RSA
    {
        return format!("RSA key of {} bits, wanted {SHORTEST_RSA} or more", key.key_size());
    }
    if leaf.version() != X509Version::V3 {
        return "the certificate's version".to_owned();
    }
    reason(error)
}

fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => "the signature is wrong".to_owned(),
        Error::InvalidCertificate(CertificateError::BadEncoding) => "bad encoding".to_owned(),
        other => cut(&other.to_string()),
    }
}

/// The leaf's DNS names, as it writes them.
fn dns_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(cut(name)),
        _ => None,
    });
    names.take(MOST_NAMES).collect()
}

fn link(certificate: Option<&X509Certificate<'_>>) -> String {
    certificate.map_or_else(
        || "not a certificate".to_owned(),
        |certificate| cut(&format!("{}, issued by {}", certificate.subject(), certificate.issuer())),
    )
}

pub(super) fn date(at: UnixTime) -> String {
    seconds(i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

fn seconds(at: i64) -> String {
    Timestamp::from_second(at).map_or_else(|_| "a time beyond reckoning".to_owned(), |at| at.to_string())
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_with_any_byte_missing_or_changed_is_described_and_not_believed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let good = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let peer = ServerName::try_from("mx.example").unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let mut roots = RootCertStore::empty();
        roots.add(good.der().clone()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_hours(500_000));
        let checks = Checks { roots: &roots, algorithms, peer: &peer, now, possession: Some(&Ok(())), dane: None };
        let seen = |der: Vec<u8>| describe(&[CertificateDer::from(der)], &checks);
        assert_eq!(seen(good.der().to_vec()).problem, None);
        for i in 0..good.der().len() {
            assert!(!seen(good.der()[..i].to_vec()).verified, "cut at {i}");
            let mut changed = good.der().to_vec();
            changed[i] ^= 0x55;
            let seen = seen(changed);
            assert!(!seen.verified && seen.chain.len() == 1, "changed at {i}");
        }
        assert_eq!(describe(&[], &checks).problem.as_deref(), Some("no certificate"));
        let endless = vec![good.der().clone(); 200];
        assert_eq!(describe(&endless, &checks).chain.len(), LONGEST_CHAIN);
    }
}
