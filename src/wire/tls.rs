//! The TLS handshake that goes through whatever the certificate says, and writes down what it says.
//!
//! A prober that hung up on a bad certificate would see less than the mailers it stands in for,
//! most of which do not verify. So the verifier here records and consents; the verdict is passed
//! on, for the caller to act on where verification was asked for.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, Checks};
use super::fault::TlsFault;
use crate::address::Host;
use crate::dane::Records;
use crate::record;

/// What came of a handshake.
#[derive(Clone, Debug, PartialEq)]
pub struct Handshake {
    /// What was seen, also of a handshake that failed after the certificate.
    pub seen: Option<record::Tls>,
    pub outcome: Result<(), TlsFault>,
}

/// What is expected of a server's certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// The name that it should have and that is sent as SNI; null = the peer's address is expected
    /// in it and no SNI is sent.
    pub host: Option<&'a Host>,
    /// The server's TLSA records, where it is held against them. Their base takes the host's place.
    pub dane: Option<&'a Records>,
    pub must: Must,
}

/// What a certificate must be for the handshake to be no fault.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Must {
    /// Any will do.
    #[default]
    Nothing,
    /// Chain, dates and name hold.
    Hold,
    /// One of the TLSA records vouches for it.
    BeVouchedFor,
}

/// What certificates are checked against. Clones share it.
#[derive(Clone, Debug)]
pub struct Trust {
    provider: Arc<CryptoProvider>,
    extra: Arc<[CertificateDer<'static>]>,
    roots: Arc<OnceLock<Arc<RootCertStore>>>,
}

impl Trust {
    /// The roots that this host trusts, read when they are first needed. A host without any
    /// trusts nobody.
    #[must_use]
    pub fn system() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), extra: Arc::default(), roots: Arc::default() }
    }

    /// The same and the certificates of a PEM file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or that holds no certificate.
    pub fn with_file(self, path: &Path) -> Result<Self, TrustError> {
        let error = |detail: &dyn fmt::Display| TrustError(format!("{}: {detail}", path.display()));
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let extra = read.map_err(|e| error(&e))?;
        if extra.is_empty() {
            return Err(error(&"found no certificate, wanted PEM"));
        }
        let extra = self.extra.iter().cloned().chain(extra).collect();
        Ok(Self { extra, roots: Arc::default(), ..self })
    }

    fn roots(&self) -> &Arc<RootCertStore> {
        self.roots.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots.add_parsable_certificates(self.extra.iter().cloned());
            Arc::new(roots)
        })
    }
}

/// A file of roots that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(String);

/// Shakes hands over a connection in the clear. The stream comes back where it is under TLS.
pub(super) async fn handshake(
    tcp: TcpStream,
    expected: &Expected<'_>,
    trust: &Trust,
) -> (Option<TlsStream<Heard>>, Handshake) {
    let host = expected.dane.map(|records| &records.base).or(expected.host);
    let peer = match peer_name(&tcp, host) {
        Ok(peer) => peer,
        Err(fault) => return (None, Handshake { seen: None, outcome: Err(fault) }),
    };
    let dane = expected.dane.cloned();
    let witness = Arc::new(Witness { trust: trust.clone(), dane, seen: Mutex::default() });
    let config = match config(trust, &witness) {
        Ok(config) => config,
        Err(e) => return (None, Handshake { seen: None, outcome: Err(TlsFault::Other(e.to_string())) }),
    };
    let connect = TlsConnector::from(Arc::new(config)).connect(peer, Heard { tcp, head: Vec::new() });
    match connect.into_fallible().await {
        Ok(stream) => {
            let mut seen = witness.record().unwrap_or_default();
            let session = stream.get_ref().1;
            seen.version = session.protocol_version().map(version_name);
            seen.cipher = session
                .negotiated_cipher_suite()
                .map(|suite| suite.suite().as_str().map_or_else(|| format!("{:?}", suite.suite()), str::to_owned));
            let problem = match expected.must {
                Must::Nothing => None,
                Must::Hold => seen.problem.clone(),
                Must::BeVouchedFor => seen.dane_problem.as_ref().map(|problem| format!("DANE: {problem}")),
            };
            let outcome = problem.map_or(Ok(()), |problem| Err(TlsFault::Unverified(problem)));
            (Some(stream), Handshake { seen: Some(seen), outcome })
        }
        Err((e, heard)) => {
            let outcome = Err(TlsFault::read(&e, &heard.head));
            (None, Handshake { seen: witness.record(), outcome })
        }
    }
}

/// A connection that remembers how its peer began, to quote it where that was no TLS.
#[derive(Debug)]
pub(super) struct Heard {
    tcp: TcpStream,
    head: Vec<u8>,
}

impl Heard {
    /// As much as is remembered: the longest line of a reply (RFC 5321, section 4.5.3.1.5).
    const LONGEST: usize = 512;

    pub(super) const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.tcp).poll_read(cx, buf);
        let room = Self::LONGEST.saturating_sub(self.head.len());
        let new = buf.filled().get(before..).unwrap_or_default();
        self.head.extend(new.iter().take(room));
        poll
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The verifier of one handshake: records what it is shown, and consents.
#[derive(Debug)]
struct Witness {
    trust: Trust,
    dane: Option<Records>,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    certificates: Vec<CertificateDer<'static>>,
    peer: ServerName<'static>,
    now: UnixTime,
    /// The proof that the peer holds the certificate's key.
    possession: Option<Result<(), Error>>,
}

impl Witness {
    fn seen(&self) -> std::sync::MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attest(&self, possession: Result<HandshakeSignatureValid, Error>) -> HandshakeSignatureValid {
        if let Some(seen) = &mut *self.seen() {
            seen.possession = Some(possession.map(|_| ()));
        }
        HandshakeSignatureValid::assertion()
    }

    fn record(&self) -> Option<record::Tls> {
        let seen = self.seen();
        let seen = seen.as_ref()?;
        let checks = Checks {
            roots: self.trust.roots(),
            algorithms: self.trust.provider.signature_verification_algorithms.all,
            peer: &seen.peer,
            now: seen.now,
            possession: seen.possession.as_ref(),
            dane: self.dane.as_ref(),
        };
        Some(certificate::describe(&seen.certificates, &checks))
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        peer: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificates = std::iter::once(leaf).chain(others).map(|der| der.clone().into_owned()).collect();
        *self.seen() = Some(Seen { certificates, peer: peer.to_owned(), now, possession: None });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        Ok(self.attest(verify_tls12_signature(message, leaf, signed, algorithms)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        Ok(self.attest(verify_tls13_signature(message, leaf, signed, algorithms)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn config(trust: &Trust, witness: &Arc<Witness>) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&trust.provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // A resumed session shows no certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn peer_name(tcp: &TcpStream, host: Option<&Host>) -> Result<ServerName<'static>, TlsFault> {
    let address = || {
        let peer = tcp.peer_addr().map_err(|e| TlsFault::Other(format!("the connection is gone: {e}")))?;
        Ok(ServerName::from(peer.ip()))
    };
    match host.map(|host| ServerName::try_from(host.as_str().to_owned())) {
        Some(Ok(name)) => Ok(name),
        // Names that DNS allows and TLS does not are sent as no name.
        Some(Err(_)) | None => address(),
    }
}

fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}
