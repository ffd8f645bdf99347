//! Plays every case of `tests/theirs`: a target with its records, its policy host and what sessions
//! showed of its exchangers, and what the checks of it say.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mxprobe::cli;
use mxprobe::dns::{Anchors, Dns};
use mxprobe::plan::{Exchanger, Route};
use mxprobe::preflight::Room;
use mxprobe::preflight::https::Https;
use mxprobe::preflight::theirs::{seen, theirs_over};
use mxprobe::probe::Probe;
use mxprobe::record::{Check, Line, LookupError, Role, Session};
use mxprobe::smtp::fault::Fault;
use mxprobe::wire::Trust;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

#[path = "dane/signer.rs"]
mod signer;

use signer::{How, Signer};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "for the reader of the file")]
    description: String,
    /// None: only hosts were given.
    domain: Option<String>,
    #[serde(default)]
    zones: BTreeMap<String, How>,
    /// `NAME TYPE RDATA` lines.
    #[serde(default)]
    records: String,
    #[serde(default)]
    faults: HashMap<String, signer::Fault>,
    policy_host: Option<PolicyHost>,
    /// How long the policy may take.
    #[serde(default = "ten_seconds")]
    patience_ms: u64,
    /// Why there are no exchangers.
    fault: Option<LookupError>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    exchanger: Vec<ExchangerSpec>,
    /// Lines of a recording.
    #[serde(default)]
    sessions: String,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExchangerSpec {
    name: Option<String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    fault: Option<LookupError>,
    #[serde(default)]
    notes: Vec<String>,
}

/// At 127.0.0.1.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PolicyHost {
    /// What is said, once the question has come.
    says: String,
    /// Whether the issuer is trusted.
    #[serde(default = "yes")]
    trusted: bool,
    names: Vec<String>,
    until: Option<i32>,
    /// So many bytes more.
    #[serde(default)]
    more: u64,
    /// And then nothing, instead of a close.
    #[serde(default)]
    hangs: bool,
    /// No TLS at all.
    #[serde(default)]
    clear: bool,
    /// OpenSSL's server says it.
    #[serde(default)]
    openssl: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Expected {
    /// `CHECK RESULT: DETAIL`, and `FIX` behind an arrow.
    before: Vec<String>,
    #[serde(default)]
    after: Vec<String>,
}

const fn ten_seconds() -> u64 {
    10_000
}

const fn yes() -> bool {
    true
}

#[tokio::test]
async fn every_case_comes_out_as_written() {
    let (mut played, mut wrong) = (0, String::new());
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/theirs"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let pki = Pki::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let case: Case =
            toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        if case.policy_host.as_ref().is_some_and(|host| host.openssl)
            && Command::new("openssl").arg("version").output().is_err()
        {
            eprintln!("{name}: skipped, there is no openssl");
            continue;
        }
        let begun = Instant::now();
        let (before, after) = play(&case, &pki).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{name} took {:?}", begun.elapsed());
        for (what, found, expected) in [("before", before, &case.expect.before), ("after", after, &case.expect.after)] {
            if found != *expected {
                writeln!(wrong, "{name}: {what}\n     found {found:#?}\n  expected {expected:#?}").unwrap();
            }
        }
        played += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(played >= 25, "only {played} cases");
}

async fn play(case: &Case, pki: &Pki) -> (Vec<String>, Vec<String>) {
    let (https, _host) = match &case.policy_host {
        Some(host) => {
            let (address, running) = pki.serve(host).await;
            (address.port(), Some(running))
        }
        // Nobody listens there.
        None => (1, None),
    };
    let signer = Signer::new(&case.zones, &case.records, &case.faults);
    let directory = tempfile::tempdir().unwrap();
    let (anchors, roots) = (directory.path().join("anchors"), directory.path().join("roots"));
    std::fs::write(&anchors, signer.anchor()).unwrap();
    std::fs::write(&roots, &pki.root).unwrap();
    let (server, dns_task) = signer.serve().await;
    let room = Room {
        probe: Arc::new(probe()),
        route: route(case),
        sources: Vec::new(),
        dns: Dns::new(&[server], Duration::from_secs(5)).anchored(Anchors::from_file(&anchors).unwrap()),
        trust: Trust::system().with_file(&roots).unwrap(),
        signer: None,
    };
    let https = Https { port: https, patience: Duration::from_millis(case.patience_ms) };
    let found = theirs_over(&room, https).await;
    let lines = case.sessions.lines().filter(|line| !line.trim().is_empty());
    let sessions: Vec<Session> = lines
        .map(|line| match Line::parse(line).unwrap() {
            Some(Line::Session(session)) => *session,
            other => panic!("{other:?}"),
        })
        .collect();
    let after = if sessions.is_empty() { Vec::new() } else { seen(&found, &sessions) };
    dns_task.abort();
    let told = |check: &Check| {
        let Check { check, result, detail, fix, .. } = check;
        let fix = fix.as_ref().map(|fix| format!(" -> {fix}")).unwrap_or_default();
        format!("{check} {result}: {}{fix}", detail.as_deref().unwrap_or_default())
    };
    (found.checks.iter().map(told).collect(), after.iter().map(told).collect())
}

fn probe() -> Probe {
    let argv = ["mxprobe", "run", "target.example", "--source", "127.0.0.1"].map(Into::into);
    let Ok(cli::Command::Run(mut flags)) = cli::parse_with(argv, &|_| None) else { panic!("no run") };
    flags.probes.remove(0)
}

fn route(case: &Case) -> Route {
    let exchangers = case.exchanger.iter().map(|spec| Exchanger {
        name: spec.name.clone(),
        preference: spec.name.as_ref().and(case.domain.as_ref()).map(|_| 10),
        addresses: spec.addresses.clone(),
        fault: spec.fault.map(Fault::Dns),
        notes: spec.notes.clone(),
        dane: None,
    });
    Route {
        role: Role::Target,
        domain: case.domain.as_ref().map(|domain| domain.parse().unwrap()),
        fault: case.fault.map(Fault::Dns),
        notes: case.notes.clone(),
        exchangers: exchangers.collect(),
    }
}

struct Pki {
    root: String,
    trusted: Issuer<'static, KeyPair>,
    stranger: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
        };
        let ((root, trusted), (_, stranger)) = (authority("Test CA"), authority("Stranger's CA"));
        Self { root, trusted, stranger }
    }

    async fn serve(&self, spec: &PolicyHost) -> (SocketAddr, Running) {
        let mut params = CertificateParams::new(spec.names.clone()).unwrap();
        if let Some(year) = spec.until {
            params.not_after = date_time_ymd(year, 12, 31);
        }
        let key = KeyPair::generate().unwrap();
        let issuer = if spec.trusted { &self.trusted } else { &self.stranger };
        let leaf = params.signed_by(&key, issuer).unwrap();
        if spec.openssl {
            return serve_by_openssl(&spec.says, &leaf.pem(), &key.serialize_pem());
        }
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = (!spec.clear).then(|| TlsAcceptor::from(Arc::new(config)));
        let (says, more, hangs) = (spec.says.clone(), spec.more, spec.hangs);
        let task = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            // Whoever hangs up on a bad certificate or a long body is right to.
            let _ = answer(tcp, acceptor, &says, more, hangs).await;
        });
        (address, Running::Task(task))
    }
}

/// A server that runs until it is dropped.
enum Running {
    Task(JoinHandle<()>),
    /// Its output is kept open, or it would end where it writes; so is what it serves.
    Process(Child, BufReader<ChildStdout>, #[expect(dead_code, reason = "it is removed when dropped")] TempDir),
}

impl Drop for Running {
    fn drop(&mut self) {
        match self {
            Self::Task(task) => task.abort(),
            Self::Process(child, ..) => {
                _ = child.kill();
                _ = child.wait();
            }
        }
    }
}

fn serve_by_openssl(says: &str, certificate: &str, key: &str) -> (SocketAddr, Running) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join(".well-known");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("mta-sts.txt"), says).unwrap();
    std::fs::write(directory.path().join("server.pem"), format!("{certificate}{key}")).unwrap();
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", "server.pem", "-HTTP"])
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut running = Running::Process(child, output, directory);
    let Running::Process(_, output, _) = &mut running else { unreachable!() };
    let accepts = output.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
    (accepts.expect("openssl accepts").parse().unwrap(), running)
}

async fn answer(
    mut tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    says: &str,
    mut more: u64,
    hangs: bool,
) -> std::io::Result<()> {
    let Some(acceptor) = acceptor else { return tcp.write_all(says.as_bytes()).await };
    let mut tls = acceptor.accept(tcp).await?;
    let mut question = Vec::new();
    while !question.ends_with(b"\r\n\r\n") {
        question.push(tls.read_u8().await?);
    }
    let question = String::from_utf8(question).unwrap().to_ascii_lowercase();
    assert!(question.starts_with("get /.well-known/mta-sts.txt http/1.1\r\n"), "{question}");
    assert!(question.contains("\r\nhost: mta-sts.target.example\r\n"), "{question}");
    tls.write_all(says.as_bytes()).await?;
    while more > 0 {
        let piece = more.min(1 << 16);
        tls.write_all(&vec![b'x'; usize::try_from(piece).unwrap()]).await?;
        more -= piece;
    }
    tls.flush().await?;
    if hangs {
        std::future::pending::<()>().await;
    }
    tls.shutdown().await
}
