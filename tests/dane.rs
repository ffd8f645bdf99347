//! Plays every case of `tests/dane`: a domain in signed zones, and in some that are signed wrong, its
//! exchangers with their certificates, and what a run that goes by DANE makes of it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::aws_lc_rs::digest::{SHA256, SHA512, digest};
use mxprobe::catalog::Catalog;
use mxprobe::cli::{self, Command};
use mxprobe::dns::{Anchors, Dns};
use mxprobe::ledger::RunLedger;
use mxprobe::record::{Line, Session};
use mxprobe::run::{self, Event, Setup};
use mxprobe::wire::Trust;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

#[path = "dane/signer.rs"]
mod signer;

use signer::{Fault, How, Signer};

/// A case file. In its texts `PORT` is the servers' port, and `SERVER:leaf.key.sha256` and the like
/// are a certificate, `leaf` or `issuer`, `whole` or its `key`, as it is (`raw`) or hashed.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "for the reader of the file")]
    description: String,
    /// What `run` is told beside where to ask and to go.
    argv: Vec<String>,
    /// How long the lookups may take.
    #[serde(default = "ten_seconds")]
    patience_ms: u64,
    /// The zones beside the root, which is signed.
    zones: BTreeMap<String, How>,
    /// `NAME TYPE RDATA` lines.
    records: String,
    #[serde(default)]
    faults: HashMap<String, Fault>,
    #[serde(default)]
    server: BTreeMap<String, ServerSpec>,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ServerSpec {
    address: String,
    /// The certificate's names.
    #[serde(default)]
    names: Vec<String>,
    /// Until the end of that year.
    until: Option<i32>,
    /// Signed by itself, not by an issuer that nobody knows.
    #[serde(default)]
    self_signed: bool,
    /// The issuer's certificate is not sent.
    #[serde(default)]
    alone: bool,
    /// No STARTTLS.
    #[serde(default)]
    clear: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Expected {
    /// `MX: KIND STAGE`, then what the certificate was vouched for by and the notes, then the detail.
    sessions: Vec<String>,
    diagnoses: Vec<String>,
    exit: u8,
    /// Lookups that failed other than by a denial: `NAME TYPE ERROR`.
    #[serde(default)]
    lookups: Vec<String>,
}

const fn ten_seconds() -> u64 {
    10_000
}

#[tokio::test]
async fn every_case_comes_out_as_written() {
    let (mut played, mut wrong) = (0, String::new());
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dane"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let case: Case =
            toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (found, expected) = (play(&case).await, &case.expect);
        let mut check = |what: &str, found: String, expected: String| {
            if found != expected {
                writeln!(wrong, "{name}: {what}\n     found {found}\n  expected {expected}").unwrap();
            }
        };
        check("sessions", format!("{:#?}", found.sessions), format!("{:#?}", expected.sessions));
        check("diagnoses", format!("{:?}", found.diagnoses), format!("{:?}", expected.diagnoses));
        check("exit", found.exit.to_string(), expected.exit.to_string());
        check("lookups", format!("{:?}", found.lookups), format!("{:?}", expected.lookups));
        played += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(played >= 20, "only {played} cases");
}

#[test]
fn anchors_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    let error = || match Anchors::from_file(&path) {
        Ok(_) => "none".to_owned(),
        Err(error) => error.to_string().replace(path.to_str().unwrap(), "FILE"),
    };
    assert_eq!(error(), "FILE: No such file or directory (os error 2)");
    for (text, found) in [
        ("", "FILE: found no DNSKEY record, wanted some as in \". 3600 IN DNSKEY 257 3 8 AwEAA...\""),
        ("; DNSKEY\n. IN DS 20326 8 2 00\n", "FILE: found no DNSKEY record"),
        (". IN DNSKEY 257 3 8 ???\n", "wanted DNSKEY records"),
        (". IN DNSKEY 257 3 8 \u{1b}[31m\n", "wanted DNSKEY records"),
        (". IN DNSKEY 257 3 8\n", "wanted DNSKEY records"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = error();
        assert!(error.contains(found), "{text:?}: {error}");
    }
    let anchor = Signer::new(&BTreeMap::new(), "", &HashMap::new()).anchor();
    for text in [anchor.replace(" 3600 IN ", " "), format!("; the root's\n\n{anchor}")] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(error(), "none");
    }
}

async fn play(case: &Case) -> Expected {
    let mut serving = JoinSet::new();
    let mut texts = vec![("PORT".to_owned(), String::new())];
    let (mut port, mut seen) = (0, Vec::new());
    for (name, spec) in &case.server {
        let (chain, key, all) = certificates(spec);
        for (place, der) in [("leaf", &all[0]), ("issuer", &all[1])] {
            texts.extend(forms(der).map(|(form, hex)| (format!("{name}:{place}.{form}"), hex)));
        }
        let listener = TcpListener::bind((spec.address.as_str(), port)).await.unwrap();
        port = listener.local_addr().unwrap().port();
        seen.push(spec.address.clone());
        let acceptor = (!spec.clear).then(|| acceptor(chain, key));
        serving.spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move { converse(tcp, acceptor).await });
            }
        });
    }
    texts[0].1 = port.to_string();
    texts.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let fill = |text: &str| texts.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    let faults = case.faults.iter().map(|(question, fault)| (fill(question), *fault)).collect();
    let signer = Signer::new(&case.zones, &fill(&case.records), &faults);
    let anchors = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(anchors.path(), signer.anchor()).unwrap();
    let (dns, task) = signer.serve().await;
    let mut found = run(case, dns, port, Anchors::from_file(anchors.path()).unwrap()).await;
    task.abort();
    // Back to the words of the case.
    for text in &mut found.sessions {
        for (name, value) in texts.iter().filter(|(name, value)| value.len() > 40 && name.contains(".sha")) {
            *text = text.replace(value, name);
        }
        *text = text.replace(&port.to_string(), "PORT");
    }
    for text in &mut found.lookups {
        *text = text.replace(&port.to_string(), "PORT");
    }
    found
}

async fn run(case: &Case, dns: SocketAddr, port: u16, anchors: Anchors) -> Expected {
    let port = port.to_string();
    let base = ["mxprobe", "run", "--port", &port, "--source", "127.0.0.1", "--ehlo", "probe.example", "--seed", "1"];
    let argv = base.into_iter().map(OsString::from).chain(case.argv.iter().map(OsString::from));
    let Ok(Command::Run(flags)) = cli::parse_with(argv, &|_| None) else { panic!("{:?}", case.argv) };
    let setup = Setup {
        probes: flags.probes.into_iter().map(Arc::new).collect(),
        dns: Dns::new(&[dns], Duration::from_millis(case.patience_ms)).anchored(anchors),
        trust: Trust::system(),
        ledger: Box::new(RunLedger::default()),
        catalog: Catalog::built_in(),
        seed: 1,
        dane: false,
        dry_run: false,
        transcript: false,
        simulated: false,
    };
    let (tell, mut events) = mpsc::channel(64);
    let (_stop, cancel) = watch::channel(false);
    let running = tokio::spawn(run::run(setup, tell, cancel));
    let mut found = Expected { sessions: Vec::new(), diagnoses: Vec::new(), exit: 0, lookups: Vec::new() };
    while let Some(event) = events.recv().await {
        let Event::Line(line) = event else { continue };
        match line {
            Line::Session(session) => found.sessions.push(told(&session)),
            Line::Diagnosis(diagnosis) => {
                let words = [diagnosis.kind.to_string(), diagnosis.confidence.to_string()];
                found.diagnoses.push(words.into_iter().chain(diagnosis.notes).collect::<Vec<_>>().join(" "));
            }
            Line::Summary(summary) => found.exit = summary.exit,
            Line::Lookup(lookup) => {
                let error = lookup.error.filter(|error| !error.is_denial());
                found.lookups.extend(error.map(|error| format!("{} {} {error}", lookup.name, lookup.rtype)));
            }
            _ => {}
        }
    }
    running.await.unwrap().unwrap();
    found.sessions.sort();
    found.lookups.sort();
    found
}

fn told(session: &Session) -> String {
    let stage = session.stage.map(|stage| stage.to_string()).unwrap_or_default();
    let mut told = format!("{}: {} {stage}", session.mx.as_deref().unwrap_or("-"), session.kind);
    let tls = session.tls.as_ref();
    if let Some(record) = tls.and_then(|tls| tls.dane.as_ref()) {
        let cut = record.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let record = if record.ends_with("...") { &format!("{cut} ...") } else { record };
        write!(told, ", by {record}").unwrap();
    }
    if tls.is_some_and(|tls| tls.dane.is_none() && tls.dane_problem.is_none()) {
        told.push_str(", any certificate");
    }
    for note in &session.notes {
        write!(told, ", {note}").unwrap();
    }
    if let Some(detail) = &session.detail {
        write!(told, "; {detail}").unwrap();
    }
    told
}

/// The least that is an SMTP server.
async fn converse(tcp: TcpStream, acceptor: Option<TlsAcceptor>) {
    let mut plain = BufReader::new(tcp);
    plain.write_all(b"220 mx.example ESMTP\r\n").await.unwrap();
    let Some(acceptor) = acceptor else { return answer(plain, &["250 mx.example"]).await.map_or((), drop) };
    if let Some(plain) = answer(plain, &["250-mx.example", "250 STARTTLS"]).await
        && let Ok(tls) = acceptor.accept(plain.into_inner()).await
    {
        answer(BufReader::new(tls), &["250 mx.example"]).await;
    }
}

/// Answers until the other side leaves or wants TLS.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: BufReader<S>, ehlo: &[&str]) -> Option<BufReader<S>> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let reply = match line.get(..4).unwrap_or_default() {
            "EHLO" => ehlo.join("\r\n"),
            "QUIT" => "221 bye".to_owned(),
            "STAR" => "220 go ahead".to_owned(),
            _ => "250 ok".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        if line.starts_with("STAR") {
            return Some(stream);
        }
    }
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What is sent, the key, and leaf and issuer.
fn certificates(
    spec: &ServerSpec,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, [CertificateDer<'static>; 2]) {
    let mut issuer = CertificateParams::new(vec![]).unwrap();
    issuer.distinguished_name.push(DnType::CommonName, "Nobody's CA");
    issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer_key = KeyPair::generate().unwrap();
    let issuer_der = issuer.self_signed(&issuer_key).unwrap().der().clone();
    let issuer = Issuer::new(issuer, issuer_key);
    let mut leaf = CertificateParams::new(spec.names.clone()).unwrap();
    if let Some(year) = spec.until {
        leaf.not_after = date_time_ymd(year, 12, 31);
    }
    let key = KeyPair::generate().unwrap();
    let leaf = if spec.self_signed { leaf.self_signed(&key) } else { leaf.signed_by(&key, &issuer) };
    let leaf = leaf.unwrap().der().clone();
    let alone = spec.alone || spec.self_signed;
    let chain = if alone { vec![leaf.clone()] } else { vec![leaf.clone(), issuer_der.clone()] };
    (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap(), [leaf, issuer_der])
}

/// A certificate in all the forms that a record may have it in, in hexadecimal.
fn forms(der: &CertificateDer<'_>) -> impl Iterator<Item = (String, String)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
    let key = parsed.tbs_certificate.subject_pki.raw.to_vec();
    let parts = [("whole", der.to_vec()), ("key", key)];
    parts.into_iter().flat_map(|(part, bytes)| {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        let (sha256, sha512) = (digest(&SHA256, &bytes), digest(&SHA512, &bytes));
        [("raw", hex(&bytes)), ("sha256", hex(sha256.as_ref())), ("sha512", hex(sha512.as_ref()))]
            .map(|(form, hex)| (format!("{part}.{form}"), hex))
    })
}
