//! The certificates that a simulated provider shows, made when it starts.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::address::Host;

/// What is right or wrong with the certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Certificate {
    /// STARTTLS is not offered. A dialog that says `TLS` shows a self-signed one.
    #[default]
    None,
    /// Signed by the provider's own authority, for the exchanger's name.
    Valid,
    SelfSigned,
    Expired,
    NotYetValid,
    WrongName,
}

/// The acceptors by exchanger, and the authority behind them.
pub(super) struct Certificates {
    pub(super) acceptors: BTreeMap<Host, TlsAcceptor>,
    /// The authority's certificate, PEM.
    pub(super) authority: String,
}

/// Makes one authority and one certificate for every host.
pub(super) fn issue<'a>(kind: Certificate, hosts: impl Iterator<Item = &'a Host>) -> io::Result<Certificates> {
    let mut ours = CertificateParams::default();
    ours.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ours.distinguished_name.push(DnType::CommonName, "mxprobe simulated authority");
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let root = ours.self_signed(&key).map_err(io::Error::other)?;
    let issuer = Issuer::new(ours, key);
    let mut acceptors = BTreeMap::new();
    for host in hosts {
        if !acceptors.contains_key(host) {
            acceptors.insert(host.clone(), acceptor(kind, host, &issuer, &root)?);
        }
    }
    Ok(Certificates { acceptors, authority: root.pem() })
}

fn acceptor(
    kind: Certificate,
    host: &Host,
    issuer: &Issuer<'_, KeyPair>,
    root: &rcgen::Certificate,
) -> io::Result<TlsAcceptor> {
    let name = if kind == Certificate::WrongName { "wrong-name.invalid" } else { host.as_str() };
    let mut params = CertificateParams::new([name.to_owned()]).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, name.get(..64).unwrap_or(name));
    match kind {
        Certificate::Expired => {
            params.not_before = date_time_ymd(2011, 10, 15);
            params.not_after = date_time_ymd(2012, 10, 15);
        }
        Certificate::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        _ => {}
    }
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let chain: Vec<CertificateDer<'static>> = match kind {
        Certificate::None | Certificate::SelfSigned => {
            vec![params.self_signed(&key).map_err(io::Error::other)?.der().clone()]
        }
        _ => {
            let leaf = params.signed_by(&key, issuer).map_err(io::Error::other)?;
            vec![leaf.der().clone(), root.der().clone()]
        }
    };
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
