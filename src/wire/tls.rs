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
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, Checks};
use crate::address::Host;
use crate::record;

/// What came of a handshake.
#[derive(Clone, Debug, PartialEq)]
pub struct Handshake {
    /// What was seen, also of a handshake that failed after the certificate.
    pub seen: Option<record::Tls>,
    pub outcome: Result<(), TlsFault>,
}

/// Why there is no TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsFault {
    /// The peer said no: the alert's name (RFC 8446, section 6), `internal_error`.
    Alert(String),
    /// What the peer offers is outside what this prober speaks; other mailers may well succeed.
    OurLimit(String),
    /// The peer did not answer in TLS: what it said instead.
    Garbage(String),
    /// The peer closed the connection.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// Verification was asked for and the certificate does not hold: why.
    Unverified(String),
    /// The peer's TLS is broken, or its connection: how.
    Other(String),
}

impl TlsFault {
    /// What an error of an established [`super::Stream`] says about its TLS; null = nothing, it is
    /// the connection's own. TLS 1.3 servers that want a client's certificate say so only then.
    #[must_use]
    pub fn of(e: &io::Error) -> Option<Self> {
        inner(e).map(|_| Self::read(e, &[]))
    }

    /// What an error during the handshake comes to, with what the peer had begun to say.
    fn read(e: &io::Error, head: &[u8]) -> Self {
        let Some(error) = inner(e) else {
            return match e.kind() {
                io::ErrorKind::UnexpectedEof => Self::Closed,
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                    Self::Reset
                }
                _ => Self::Other(format!("the connection broke during the handshake: {e}")),
            };
        };
        match error {
            Error::AlertReceived(alert) => match alert {
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity => {
                    Self::OurLimit(format!("the server answered with alert {}", alert_name(*alert)))
                }
                _ => Self::Alert(alert_name(*alert)),
            },
            Error::PeerIncompatible(what) => Self::OurLimit(match what {
                PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
                    "the server offers neither TLS 1.2 nor 1.3".to_owned()
                }
                other => format!("nothing in common with the server ({other:?})"),
            }),
            // A record begins with its content type, 20 to 24 (RFC 8446, section 5.1).
            _ if head.first().is_some_and(|byte| !(20..=24).contains(byte)) => {
                let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
                Self::Garbage(line.trim_ascii_end().escape_ascii().to_string())
            }
            other => Self::Other(format!("the server's TLS is broken: {other}")),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(name) => write!(f, "the server ended the handshake with alert {name}"),
            Self::OurLimit(text) => {
                write!(f, "{text}: outside what this prober's TLS speaks (TLS 1.2 and 1.3, ECDHE, AEAD ciphers)")?;
                f.write_str("; other mailers may succeed")
            }
            Self::Garbage(text) => write!(f, "no TLS came: {text}"),
            Self::Closed => f.write_str("the server closed the connection during the handshake"),
            Self::Reset => f.write_str("the server reset the connection during the handshake"),
            Self::Unverified(problem) => write!(f, "the certificate does not hold: {problem}"),
            Self::Other(text) => f.write_str(text),
        }
    }
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
    host: Option<&Host>,
    trust: &Trust,
    must_verify: bool,
) -> (Option<TlsStream<Heard>>, Handshake) {
    let peer = match peer_name(&tcp, host) {
        Ok(peer) => peer,
        Err(fault) => return (None, Handshake { seen: None, outcome: Err(fault) }),
    };
    let witness = Arc::new(Witness { trust: trust.clone(), seen: Mutex::default() });
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
            let outcome = match &seen.problem {
                Some(problem) if must_verify => Err(TlsFault::Unverified(problem.clone())),
                _ => Ok(()),
            };
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

/// The TLS error that an I/O error holds.
fn inner(e: &io::Error) -> Option<&Error> {
    e.get_ref().and_then(|inner| inner.downcast_ref())
}

fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The name as the RFCs write it, `handshake_failure`.
fn alert_name(alert: AlertDescription) -> String {
    let name = match alert {
        AlertDescription::UnrecognisedName => "UnrecognizedName",
        _ => match alert.as_str() {
            Some(name) => name,
            None => return u8::from(alert).to_string(),
        },
    };
    let mut written = String::new();
    let mut before_upper = true;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let starts_word = !before_upper || letters.peek().is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && !written.is_empty() && starts_word {
            written.push('_');
        }
        before_upper = letter.is_ascii_uppercase();
        written.push(letter.to_ascii_lowercase());
    }
    written
}
