//! Plays every case of `tests/tls`: servers of every make on loopback, the handshake with them,
//! and what must be on record of it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use mxprobe::address::Host;
use mxprobe::dane::Dane;
use mxprobe::wire::{Expected as Wanted, Handshake, Must, Stream, TlsFault, Trust, connect};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A case file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "for the reader of the file")]
    description: String,
    /// The name asked for; none = the address.
    host: Option<HostText>,
    #[serde(default)]
    must_verify: bool,
    /// TLSA records of the host, one of which must vouch for the certificate.
    #[serde(default)]
    tlsa: Vec<String>,
    server: ServerSpec,
    expect: Expected,
}

/// A host name as text.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct HostText(Host);

impl TryFrom<String> for HostText {
    type Error = mxprobe::address::InvalidAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum ServerSpec {
    /// A TLS server of this process.
    Tls {
        /// `1.2` or `1.3`.
        version: String,
        certificate: CertificateSpec,
    },
    /// `openssl s_server` with these options; `CERTS` stands for the directory of certificates.
    Openssl { options: Vec<String> },
    /// Reads the first bytes and answers with these, `\xNN` for what is no text, then waits.
    Says { text: String },
    /// Reads the first bytes and closes.
    Closes,
    /// Closes unread, which makes it a reset.
    Resets,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CertificateSpec {
    #[serde(default)]
    names: Vec<String>,
    /// `trusted`, `unknown`, `expired` or `self`.
    issuer: String,
    /// Years of validity, to and including.
    from: Option<i32>,
    until: Option<i32>,
    /// Signed by a key that is another's.
    #[serde(default)]
    forged: bool,
    /// For clients only.
    #[serde(default)]
    client_only: bool,
    /// How many names of 300 letters more.
    #[serde(default)]
    long_names: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Expected {
    /// `ok` or what the fault says.
    outcome: String,
    /// Which fault.
    fault: Option<String>,
    version: Option<String>,
    cipher: Option<String>,
    verified: Option<bool>,
    problem: Option<String>,
    names: Option<Vec<String>>,
    issuer: Option<String>,
    not_after: Option<String>,
    chain: Option<Vec<String>>,
    /// The record that vouches for the certificate, or why none does.
    dane: Option<String>,
    dane_problem: Option<String>,
    /// What the fault is that comes after the handshake.
    then: Option<String>,
    /// How many names are kept, where they are too many to write down.
    names_kept: Option<usize>,
}

#[tokio::test]
async fn every_case_comes_out_as_written() {
    let pki = Pki::new();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, format!("{}{}", pki.trusted_pem, pki.expired_pem)).unwrap();
    let trust = Trust::system().with_file(&roots).unwrap();
    let openssl = Command::new("openssl").arg("version").output().is_ok();

    let (mut played, mut wrong) = (0, String::new());
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let case: Case =
            toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        if matches!(case.server, ServerSpec::Openssl { .. }) && !openssl {
            eprintln!("{name}: skipped, there is no openssl");
            continue;
        }
        let (address, _server) = serve(&case.server, &pki).await;
        let mut stream = Stream::plain(connect(None, address).await.unwrap());
        let host = case.host.as_ref().map(|host| &host.0);
        let records = host.filter(|_| !case.tlsa.is_empty()).map(|host| {
            let all = case.tlsa.iter().map(|record| record.parse().unwrap()).collect();
            match Dane::of(all, host.clone(), 25, []) {
                Dane::Wanted(records) => records,
                other => panic!("{name}: {other:?}"),
            }
        });
        let must = match (&records, case.must_verify) {
            (Some(_), _) => Must::BeVouchedFor,
            (None, true) => Must::Hold,
            (None, false) => Must::Nothing,
        };
        let wanted = Wanted { host, dane: records.as_ref(), must };
        let handshake = stream.upgrade(&wanted, &trust).await;
        let under_way = matches!(handshake.outcome, Ok(()) | Err(TlsFault::Unverified(_)));
        assert_eq!(stream.is_tls(), under_way, "{name}: under TLS unless the handshake failed");
        if under_way && matches!(case.server, ServerSpec::Tls { .. }) {
            stream.write_all(b"QUIT\r\n").await.unwrap();
            stream.flush().await.unwrap();
            let mut echo = Vec::new();
            stream.read_to_end(&mut echo).await.unwrap();
            assert_eq!(echo, b"QUIT\r\n", "{name}: what goes over TLS comes back, and a bare close is a close");
        }
        if let Some(then) = &case.expect.then {
            let error = stream.read(&mut [0; 512]).await.unwrap_err();
            assert_eq!(TlsFault::of(&error).map(|fault| fault.to_string()).as_ref(), Some(then), "{name}: {error}");
        }
        differences(&name, &handshake, &case.expect, &mut wrong);
        played += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(played >= 15, "only {played} cases");
}

#[test]
fn roots_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    let error = || Trust::system().with_file(&path).unwrap_err().to_string().replace(path.to_str().unwrap(), "FILE");
    assert_eq!(error(), "FILE: I/O error: No such file or directory (os error 2)");
    std::fs::write(&path, "not PEM").unwrap();
    assert_eq!(error(), "FILE: found no certificate, wanted PEM");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n").unwrap();
    assert!(error().starts_with("FILE: "), "{}", error());
}

fn differences(name: &str, handshake: &Handshake, expected: &Expected, wrong: &mut String) {
    let mut check = |what: &str, found: String, expected: Option<String>| {
        if expected.as_ref().is_some_and(|expected| *expected != found) {
            writeln!(wrong, "{name}: {what}\n     found {found}\n  expected {}", expected.unwrap()).unwrap();
        }
    };
    let outcome = handshake.outcome.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
    check("outcome", outcome, Some(expected.outcome.clone()));
    let fault = handshake.outcome.as_ref().err().map(|fault| match fault {
        TlsFault::Alert(_) => "alert",
        TlsFault::OurLimit(_) => "our-limit",
        TlsFault::Garbage(_) => "garbage",
        TlsFault::Closed => "closed",
        TlsFault::Reset => "reset",
        TlsFault::Unverified(_) => "unverified",
        TlsFault::Other(_) => "other",
    });
    check(
        "fault",
        fault.unwrap_or("none").to_owned(),
        Some(expected.fault.clone().unwrap_or_else(|| "none".to_owned())),
    );
    let seen = handshake.seen.clone().unwrap_or_default();
    check("version", seen.version.unwrap_or_default(), expected.version.clone());
    check("cipher", seen.cipher.unwrap_or_default(), expected.cipher.clone());
    check("verified", seen.verified.to_string(), expected.verified.map(|verified| verified.to_string()));
    check(
        "verified and no problem",
        seen.verified.to_string(),
        handshake.seen.as_ref().map(|seen| seen.problem.is_none().to_string()),
    );
    check("problem", seen.problem.unwrap_or_default(), expected.problem.clone());
    check("names", format!("{:?}", seen.names), expected.names.as_ref().map(|names| format!("{names:?}")));
    check("names kept", seen.names.len().to_string(), expected.names_kept.map(|kept| kept.to_string()));
    check("issuer", seen.issuer.unwrap_or_default(), expected.issuer.clone());
    check("not-after", seen.not_after.map(|at| at.to_string()).unwrap_or_default(), expected.not_after.clone());
    check("dane", seen.dane.unwrap_or_default(), expected.dane.clone());
    check("dane-problem", seen.dane_problem.unwrap_or_default(), expected.dane_problem.clone());
    check("chain", format!("{:#?}", seen.chain), expected.chain.as_ref().map(|chain| format!("{chain:#?}")));
    assert!(seen.names.iter().chain(&seen.chain).all(|text| text.chars().count() <= 255), "{name}: texts are cut");
}

/// A server that runs until it is dropped.
enum Running {
    Task(JoinHandle<()>),
    /// Its output is kept open, or it would end where it writes.
    Process(Child, BufReader<ChildStdout>),
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Task(task) => task.abort(),
            Self::Process(child, _) => {
                _ = child.kill();
                _ = child.wait();
            }
        }
    }
}

async fn serve(spec: &ServerSpec, pki: &Pki) -> (SocketAddr, Running) {
    if let ServerSpec::Openssl { options } = spec {
        let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certs");
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"])
            .args(options.iter().map(|option| option.replace("CERTS", certificates)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running::Process(child, output);
        let Running::Process(_, output) = &mut running else { unreachable!() };
        let accepts =
            output.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        return (accepts.expect("openssl accepts").parse().unwrap(), running);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = match spec {
        ServerSpec::Tls { version, certificate } => {
            let version = if version == "1.2" { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
            let (chain, key) = pki.issue(certificate);
            let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            tokio::spawn(async move {
                let (tcp, _) = listener.accept().await.unwrap();
                let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await.unwrap();
                let mut line = [0; 6];
                tls.read_exact(&mut line).await.unwrap();
                tls.write_all(&line).await.unwrap();
                tls.flush().await.unwrap();
                // Closes without a close_notify.
            })
        }
        ServerSpec::Says { text } => {
            let bytes = unescape(text);
            tokio::spawn(async move {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut hello = [0; 4096];
                assert!(tcp.read(&mut hello).await.unwrap() > 0);
                tcp.write_all(&bytes).await.unwrap();
                while tcp.read(&mut hello).await.is_ok_and(|length| length > 0) {}
            })
        }
        ServerSpec::Closes => tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            assert!(tcp.read(&mut hello).await.unwrap() > 0);
        }),
        ServerSpec::Resets => tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.readable().await.unwrap();
        }),
        ServerSpec::Openssl { .. } => unreachable!(),
    };
    (address, Running::Task(task))
}

/// Certificate authorities, and what they sign.
struct Pki {
    trusted: Issuer<'static, KeyPair>,
    unknown: Issuer<'static, KeyPair>,
    expired: Issuer<'static, KeyPair>,
    /// Of the trusted one's name, and not its key.
    forger: Issuer<'static, KeyPair>,
    trusted_pem: String,
    expired_pem: String,
    expired_between: CertificateDer<'static>,
}

impl Pki {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.distinguished_name = named(name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let own = |params: CertificateParams| {
            let key = KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            (Issuer::new(params, key), pem)
        };
        let (trusted, trusted_pem) = own(authority("Trusted Test CA"));
        let (unknown, _) = own(authority("Unknown Test CA"));
        let (forger, _) = own(authority("Trusted Test CA"));
        let (root, expired_pem) = own(authority("Root of the Expired"));
        let mut params = authority("Expired Test CA");
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2011, 1, 1);
        let key = KeyPair::generate().unwrap();
        let expired_between = params.signed_by(&key, &root).unwrap().der().clone();
        let expired = Issuer::new(params, key);
        Self { trusted, unknown, expired, forger, trusted_pem, expired_pem, expired_between }
    }

    fn issue(&self, spec: &CertificateSpec) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut names = spec.names.clone();
        names.extend((0..spec.long_names).map(|i| format!("{i:0300}.example")));
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = named("leaf");
        if let Some(year) = spec.from {
            params.not_before = date_time_ymd(year, 1, 1);
        }
        if let Some(year) = spec.until {
            params.not_after = date_time_ymd(year, 1, 1);
        }
        if spec.client_only {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        }
        let key = KeyPair::generate().unwrap();
        let leaf = match (spec.issuer.as_str(), spec.forged) {
            ("trusted", false) => params.signed_by(&key, &self.trusted),
            ("trusted", true) => params.signed_by(&key, &self.forger),
            ("unknown", _) => params.signed_by(&key, &self.unknown),
            ("expired", _) => params.signed_by(&key, &self.expired),
            ("self", _) => params.self_signed(&key),
            (other, _) => panic!("issuer {other:?}"),
        };
        let mut chain = vec![leaf.unwrap().der().clone()];
        if spec.issuer == "expired" {
            chain.push(self.expired_between.clone());
        }
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Text with `\xNN` in it, as bytes.
fn unescape(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(piece[2..].bytes());
    }
    bytes
}
