//! The simulated provider, spoken to over raw sockets by a client that knows nothing but the
//! dialog notation: `sim/*.toml` are scenarios, `sim/*.txt` beside them the conversations that
//! clients have with them, one after the other, or with the one that they name, `sim/*.dns` the
//! questions and answers, and
//! `sim/bad/*.toml` files that are not scenarios, with what is said about them in their first line.

#[path = "sim/client.rs"]
mod client;
#[path = "sim/question.rs"]
mod question;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mxprobe::record::{Confidence, Diagnosis, DiagnosisKind};
use mxprobe::sim::{Ended, Ports, Provider, Scenario, Seen};
use mxprobe::smtp::dialog::{Act, Dialog, escape};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, rustls};

use client::{Client, client_config, connect, connect_from, read_line};
use question::ask;

/// How long anything that is to come may take.
const SOON: Duration = Duration::from_secs(10);
/// How long nothing must come where nothing is to come.
const NOTHING: Duration = Duration::from_millis(100);

#[tokio::test]
async fn conversations_go_as_written() {
    let files = files("tests/sim", "txt");
    assert!(!files.is_empty());
    for file in files {
        let mut provider = start(&file.with_extension("toml")).await;
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, conversation) in text.split("\n----\n").enumerate() {
            let dialog: Dialog = conversation.parse().unwrap();
            let about = format!("{}, conversation {}: {:?}", file.display(), number + 1, dialog.about);
            if let Some(scenario) = dialog.setting("scenario") {
                provider = start(&Path::new("scenarios").join(scenario)).await;
            }
            let before = provider.seen().len();
            let mut ended = provider.ended();
            timeout(SOON, converse(&provider, &dialog, &about)).await.expect(&about);
            let seen = timeout(SOON, ended.recv()).await.expect(&about).unwrap();
            assert_eq!(provider.seen().len(), before + 1, "{about}");
            check(&dialog, &seen, &about);
        }
    }
}

/// Has one conversation.
async fn converse(provider: &Provider, dialog: &Dialog, about: &str) {
    let setting = |key: &str| dialog.setting(key).unwrap_or_else(|| panic!("{about}: no {key}="));
    let began = Instant::now();
    let stream = connect(setting("source"), setting("address"), provider.port()).await.unwrap();
    let mut client = Client::new(stream);
    let mut passed = Duration::ZERO;
    for line in &dialog.lines {
        let about = format!("{about}: {line}");
        passed += line.after;
        match &line.act {
            Act::Client(bytes) => client.write(bytes).await,
            Act::Server { bytes, joined, times } => {
                for _ in 0..*times {
                    client.expect(bytes, *joined, &about).await;
                }
            }
            Act::Tls => client.upgrade().await.expect(&about),
            Act::TlsFails => drop(client.upgrade().await.expect_err(&about)),
            Act::Close => client.expect_end(None, &about).await,
            Act::Reset => client.expect_end(Some(io::ErrorKind::ConnectionReset), &about).await,
            Act::Silence => assert!(timeout(NOTHING, client.read()).await.is_err(), "{about}"),
        }
        assert!(began.elapsed() >= passed, "{about}: came too early");
    }
    let more = dialog.setting("tail").is_some();
    assert!(more || client.buffer.is_empty(), "{about}: {} is left", escape(&client.buffer));
}

/// Compares what the provider saw with the conversation.
fn check(dialog: &Dialog, seen: &Seen, about: &str) {
    assert_eq!(seen.ended.unwrap().as_str(), dialog.ending.as_deref().unwrap_or("quit"), "{about}");
    assert_eq!(seen.behaviour, dialog.setting("meets").unwrap_or("accept"), "{about}");
    if let Some(backend) = dialog.setting("backend") {
        assert_eq!(seen.backend, backend, "{about}");
    }
    assert_eq!(seen.source.to_string(), dialog.setting("source").unwrap(), "{about}");
    assert_eq!(seen.address.to_string(), dialog.setting("address").unwrap(), "{about}");
    assert_eq!(seen.tls, dialog.lines.iter().any(|line| line.act == Act::Tls), "{about}");
    let said = dialog.lines.iter().filter_map(|line| match &line.act {
        Act::Client(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    let (mut commands, mut message) = (Vec::new(), String::new());
    for said in said {
        if said.ends_with("\r\n.\r\n") || said == ".\r\n" {
            commands.push(".".to_owned());
            message = said;
        } else {
            commands.extend(said.lines().map(str::to_owned));
        }
    }
    assert_eq!(seen.commands, commands, "{about}");
    assert_eq!(String::from_utf8_lossy(&seen.message), message, "{about}");
    assert_eq!(seen.message_bytes, message.len() as u64, "{about}");
}

#[tokio::test]
async fn names_are_answered_as_written() {
    let files = files("tests/sim", "dns");
    assert!(!files.is_empty());
    for file in files {
        let provider = start(&file.with_extension("toml")).await;
        let wanted = std::fs::read_to_string(&file).unwrap();
        let mut found = String::new();
        for question in wanted.lines().filter_map(|line| line.strip_prefix("? ")) {
            let _ = write!(found, "? {question}\n{}\n", ask(provider.dns(), question).await);
        }
        assert_eq!(found, wanted, "{}", file.display());
    }
}

#[test]
fn what_is_no_scenario_is_named() {
    let files = files("tests/sim/bad", "toml");
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let wanted = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let error = Scenario::parse(name, &text).expect_err(name);
        assert_eq!(error.to_string(), wanted);
        assert!(text.get(error.span()).is_some(), "{name}: {:?}", error.span());
    }
}

#[test]
fn the_scenario_in_the_documentation_is_one() {
    let text = std::fs::read_to_string("src/sim.rs").unwrap();
    let lines = text.lines().skip_while(|line| *line != "//! ```toml").skip(1).take_while(|line| *line != "//! ```");
    let toml: Vec<_> = lines.map(|line| line.trim_start_matches("//!").trim_start()).collect();
    assert!(toml.len() > 20);
    Scenario::parse("src/sim.rs", &toml.join("\n")).unwrap();
}

#[tokio::test]
async fn every_scenario_of_the_house_can_be_played() {
    let files = files("scenarios", "toml");
    assert!(files.len() > 9);
    for file in files {
        let provider = start(&file).await;
        assert!(!provider.scenario().description.is_empty(), "{}", file.display());
        assert!(provider.addresses().count() > 0, "{}", file.display());
    }
}

#[tokio::test]
async fn aol_2012_refuses_one_source_everywhere_and_everybody_at_one_address() {
    let scenario = Scenario::parse("aol-2012.toml", Scenario::aol_2012()).unwrap();
    let (sources, truth) = (scenario.probe.sources.clone(), scenario.truth.clone());
    let provider = Provider::start(scenario, Ports::default()).await.unwrap();
    let addresses: Vec<IpAddr> = provider.addresses().map(|(address, _)| address).collect();
    assert_eq!((sources.len(), addresses.len()), (4, 8));
    let mut replies = BTreeMap::new();
    for &source in &sources {
        for &address in &addresses {
            let mut stream = connect_from(source, address, provider.port()).await.unwrap();
            let refused = read_line(&mut stream).await;
            let blocked = truth[0].sources.contains(&source);
            let down = truth[1].addresses.contains(&address);
            assert_eq!(refused.starts_with("220 "), !(blocked || down), "{source} {address} {refused}");
            if !refused.starts_with("220 ") {
                *replies.entry(refused).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(
        replies,
        BTreeMap::from([
            ("421 4.7.1 : (DYN:T1) 127.0.0.12".to_owned(), 8),
            ("421 mailin-03.mx.aol.com Service unavailable - try again later".to_owned(), 1),
            ("554 mailin-03.mx.aol.com ESMTP not accepting connections".to_owned(), 1),
            ("421 4.2.1 Service unavailable. Please try again later.".to_owned(), 1),
        ])
    );
}

#[test]
fn a_truth_is_told_by_the_same_diagnoses_in_the_same_order() {
    let scenario = Scenario::parse("aol-2012.toml", Scenario::aol_2012()).unwrap();
    let diagnosis = |rank: u32, kind, sources: &[&str], addresses: &[&str]| Diagnosis {
        run: String::new(),
        rank,
        kind,
        confidence: Confidence::High,
        sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        backends: vec![],
        stage: None,
        code: None,
        failed: 7,
        tried: 7,
        elsewhere: mxprobe::record::Elsewhere::default(),
        p: None,
        leaning: None,
        candidates: vec![],
        windows: 1,
        because: vec![],
        would_raise: vec![],
        advice: String::new(),
        ruled_out: vec![],
        notes: vec![],
    };
    let block = diagnosis(1, DiagnosisKind::SenderIpBlock, &["127.0.0.12"], &[]);
    let outage = diagnosis(2, DiagnosisKind::ReceiverPartialOutage, &[], &["127.1.0.26"]);
    let other = diagnosis(2, DiagnosisKind::ReceiverPartialOutage, &[], &["127.1.0.27"]);
    assert!(scenario.is_told_by(&[block.clone(), outage.clone()]));
    for wrong in [vec![], vec![block.clone()], vec![outage.clone(), block.clone()], vec![block.clone(), other]] {
        assert!(!scenario.is_told_by(&wrong), "{wrong:?}");
    }
    let unsure = Diagnosis { confidence: Confidence::Medium, ..outage };
    assert!(!scenario.is_told_by(&[block, unsure]));
}

#[tokio::test]
async fn chance_does_not_depend_on_the_order_of_arrival() {
    let scenario = |seed: u64| {
        let text = format!(
            "seed = {seed}\n[domains.\"a.example\"]\naddresses = [\"127.1.0.1\", \"127.1.0.2\"]\n\
             [behaviour.bad]\ndialog = \"S: 421 no\"\n[[rule]]\nchance = 0.5\nbehaviour = \"bad\"\n"
        );
        Scenario::parse("chance.toml", &text).unwrap()
    };
    let cells: Vec<(IpAddr, IpAddr)> = (1..=4_u8)
        .flat_map(|source| (1..=2_u8).map(move |address| ([127, 0, 0, source].into(), [127, 1, 0, address].into())))
        .collect();
    let mut met = Vec::new();
    for (seed, backwards) in [(1, false), (1, true), (2, false)] {
        let provider = Provider::start(scenario(seed), Ports::default()).await.unwrap();
        let mut order: Vec<_> = (0..5).flat_map(|_| cells.clone()).collect();
        if backwards {
            order.sort_by_key(|&cell| std::cmp::Reverse(cell));
        }
        for (source, address) in order {
            let mut stream = connect_from(source, address, provider.port()).await.unwrap();
            read_line(&mut stream).await;
        }
        let behaviours: BTreeMap<_, _> = provider
            .stop()
            .await
            .into_iter()
            .map(|seen| ((seen.source, seen.address, seen.attempt), seen.behaviour))
            .collect();
        assert_eq!(behaviours.len(), 40);
        met.push(behaviours);
    }
    assert_eq!(met[0], met[1]);
    assert_ne!(met[0], met[2]);
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let provider = start(Path::new("scenarios/aol-2012.toml")).await;
    let mut open = Vec::new();
    for (source, address) in [(11, 21), (11, 21), (13, 21), (11, 22)] {
        let (source, address) = ([127, 0, 0, source].into(), [127, 1, 0, address].into());
        let mut stream = connect_from(source, address, provider.port()).await.unwrap();
        read_line(&mut stream).await;
        open.push(stream);
    }
    for stream in &mut open {
        stream.write_all(b"QUIT\r\n").await.unwrap();
        read_line(stream).await;
    }
    for _ in 0..50 {
        let mut stream = connect_from([127, 0, 0, 14].into(), [127, 1, 0, 23].into(), provider.port()).await.unwrap();
        read_line(&mut stream).await;
        stream.write_all(b"QUIT\r\n").await.unwrap();
        read_line(&mut stream).await;
    }
    let peaks = provider.peaks();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(peaks.all, 4);
    assert_eq!(peaks.by_address, BTreeMap::from([(ip("127.1.0.21"), 3), (ip("127.1.0.22"), 1), (ip("127.1.0.23"), 1)]));
    assert_eq!(peaks.by_source, BTreeMap::from([(ip("127.0.0.11"), 3), (ip("127.0.0.13"), 1), (ip("127.0.0.14"), 1)]));
    assert!(provider.seen().iter().all(|seen| seen.ended == Some(Ended::Quit)));
}

#[tokio::test]
async fn a_closed_address_refuses_and_a_stopped_provider_lets_go() {
    let text = "closed = \"127.1.0.2\"\n[domains.\"a.example\"]\naddresses = [\"127.1.0.1\", \"127.1.0.2\"]\n";
    let text = text.replace("\"127.1.0.2\"\n[", "[\"127.1.0.2\"]\n[");
    let provider = Provider::start(Scenario::parse("closed.toml", &text).unwrap(), Ports::default()).await.unwrap();
    let port = provider.port();
    let refused = connect("127.0.0.1", "127.1.0.2", port).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let taken = std::net::TcpListener::bind(("127.1.0.2", port)).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    let mut stream = connect("127.0.0.1", "127.1.0.1", port).await.unwrap();
    read_line(&mut stream).await;
    let seen = provider.stop().await;
    assert_eq!(seen.len(), 1);
    assert_eq!(timeout(SOON, stream.read(&mut [0; 9])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(connect("127.0.0.1", "127.1.0.1", port).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_line_without_an_end_is_not_collected() {
    let provider = start(Path::new("scenarios/aol-2012.toml")).await;
    let mut stream = connect("127.0.0.11", "127.1.0.21", provider.port()).await.unwrap();
    read_line(&mut stream).await;
    stream.write_all(&[b'x'; 9000]).await.unwrap();
    assert_eq!(read_line(&mut stream).await, "500 5.5.2 line too long");
    assert_eq!(timeout(SOON, stream.read(&mut [0; 9])).await.unwrap().unwrap_or(0), 0);
    assert_eq!(provider.seen()[0].ended, Some(Ended::TooLong));
    assert!(provider.seen()[0].commands.is_empty());
}

#[tokio::test]
async fn certificates_are_as_right_or_wrong_as_the_scenario_says() {
    for (kind, wanted) in [
        ("valid", "ok"),
        ("self-signed", "UnknownIssuer"),
        ("expired", "Expired"),
        ("not-yet-valid", "NotValidYet"),
        ("wrong-name", "NotValidForName"),
    ] {
        let text = format!(
            "[tls]\ncertificate = \"{kind}\"\n[domains.\"a.example\"]\n\
             mx = [{{ preference = 1, host = \"mx.a.example\", addresses = \"127.1.0.1\" }}]\n"
        );
        let provider = Provider::start(Scenario::parse(kind, &text).unwrap(), Ports::default()).await.unwrap();
        let mut stream = connect("127.0.0.1", "127.1.0.1", provider.port()).await.unwrap();
        read_line(&mut stream).await;
        stream.write_all(b"STARTTLS\r\n").await.unwrap();
        read_line(&mut stream).await;
        let mut roots = rustls::RootCertStore::empty();
        let pem = provider.authority().unwrap().as_bytes();
        roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(pem).unwrap()).unwrap();
        let config = client_config().with_root_certificates(roots).with_no_client_auth();
        let name = "mx.a.example".try_into().unwrap();
        let found = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
            Ok(_) => "ok".to_owned(),
            Err(e) => format!("{e:?}"),
        };
        assert!(found.contains(wanted), "{kind}: {found}");
    }
}

async fn start(file: &Path) -> Provider {
    let text = std::fs::read_to_string(file).unwrap();
    let scenario = Scenario::parse(&file.display().to_string(), &text).unwrap_or_else(|e| panic!("{e}"));
    Provider::start(scenario, Ports::default()).await.unwrap()
}

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|e| panic!("{directory}: {e}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}
