//! A client that knows no SMTP: it says and expects bytes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mxprobe::smtp::dialog::escape;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::rustls;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::SOON;

pub(super) async fn connect(source: &str, address: &str, port: u16) -> io::Result<TcpStream> {
    connect_from(source.parse().unwrap(), address.parse().unwrap(), port).await
}

pub(super) async fn connect_from(source: IpAddr, address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let socket = if source.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((source, 0).into())?;
    socket.connect((address, port).into()).await
}

/// One line, without its end.
pub(super) async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    while !line.ends_with("\r\n") {
        line.push(char::from(timeout(SOON, stream.read_u8()).await.unwrap().unwrap()));
    }
    line.trim_end().to_owned()
}

/// A client that knows no SMTP.
pub(super) struct Client {
    stream: Option<Stream>,
    pub(super) buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Client {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Some(Stream::Plain(stream)), buffer: Vec::new() }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        match self.stream.as_mut().unwrap() {
            Stream::Plain(stream) => stream.write_all(bytes).await.unwrap(),
            Stream::Tls(stream) => {
                stream.write_all(bytes).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    }

    pub(super) async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(65_536);
        match self.stream.as_mut().unwrap() {
            Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await,
        }
    }

    /// The next bytes are these; joined ones have already come with those before.
    pub(super) async fn expect(&mut self, wanted: &[u8], joined: bool, about: &str) {
        while !joined && self.buffer.len() < wanted.len() {
            assert_ne!(self.read().await.expect(about), 0, "{about}: closed after {}", escape(&self.buffer));
        }
        let found = &self.buffer[..self.buffer.len().min(wanted.len())];
        assert_eq!(escape(found), escape(wanted), "{about}");
        self.buffer.drain(..wanted.len());
    }

    pub(super) async fn expect_end(&mut self, kind: Option<io::ErrorKind>, about: &str) {
        let end = self.read().await;
        assert_eq!(end.as_ref().err().map(io::Error::kind), kind, "{about}: {end:?} {}", escape(&self.buffer));
        assert!(end.is_err() || self.buffer.is_empty(), "{about}: {}", escape(&self.buffer));
    }

    pub(super) async fn upgrade(&mut self) -> io::Result<()> {
        assert!(self.buffer.is_empty());
        let Some(Stream::Plain(stream)) = self.stream.take() else { panic!("TLS twice") };
        let config =
            client_config().dangerous().with_custom_certificate_verifier(Arc::new(Anything)).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect("mx.example".try_into().unwrap(), stream).await?;
        self.stream = Some(Stream::Tls(Box::new(stream)));
        Ok(())
    }
}

pub(super) fn client_config() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier> {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// Takes any certificate.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
