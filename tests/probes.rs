//! The probe files that are shipped: each can be planned as it is, within the limits that hold for
//! everybody; and those of the incident meet what they expect where it is so, and only there.

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "only the list of files is wanted here")]
mod facts;
#[path = "support/world.rs"]
#[expect(dead_code, reason = "what is shown of a run is for other players")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mxprobe::address::EhloName;
use mxprobe::plan::{Exchanger, Route, Source, plan};
use mxprobe::probe::file::ProbeFile;
use mxprobe::record::Role;
use mxprobe::stage::Stage;
use mxprobe::status::NOT_AS_EXPECTED;
use tokio::task::JoinSet;

use world::{Ran, World};

/// What was reported, and what else the record has to say about it.
const REPORTED: [(&str, &str, &[&str]); 9] = [
    ("con-b1", "521 5.2.1 :(CON:B1)", &[]),
    ("dyn-t1", "421 4.7.1 : (DYN:T1)", &["close-after-reply"]),
    ("not-accepting", "554 ESMTP not accepting connections", &[]),
    ("please-try-later", "421 4.2.1 \"Service unavailable. Please try again later.\"", &["close-after-reply"]),
    ("policy", "554 5.7.1 :", &[]),
    ("service-unavailable", "421 Service unavailable - try again later", &["close-after-reply"]),
    ("tempfail", "521 5.2.1 \"TempFail\"", &["inconsistent-reply"]),
    ("too-many-errors", "421 4.7.0 Error: too many errors", &["close-after-reply", "overload"]),
    ("will-not-accept", "521 5.2.1 : AOL will not accept delivery of this message.", &[]),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_errors_of_the_incident_are_met_where_they_are_and_only_there() {
    let shipped: Vec<String> = files("probes/seed").iter().map(|path| stem(path)).collect();
    assert_eq!(shipped, REPORTED.map(|(name, ..)| name));
    let mut playing = JoinSet::new();
    for (name, said, notes) in REPORTED {
        playing.spawn(async move {
            let ran = against(name, &format!("seed-{name}")).await;
            assert_eq!((ran.summary.exit, ran.summary.completed), (0, 2), "{name}: {:?}", ran.lines);
            for session in ran.sessions() {
                let lines: Vec<&String> = session.reply.iter().flatten().chain(&session.also).collect();
                assert!(session.expected && lines.iter().any(|line| *line == said), "{name}: {session:?}");
                let found: Vec<&str> =
                    session.notes.iter().map(String::as_str).filter(|n| *n != "mx-private").collect();
                assert_eq!(found, notes, "{name}");
            }
            let ran = against(name, "healthy").await;
            assert_eq!((ran.summary.exit, ran.summary.failed), (1, 8), "{name}: {:?}", ran.lines);
            for session in ran.sessions() {
                assert!(session.notes.iter().any(|note| note == NOT_AS_EXPECTED), "{name}: {session:?}");
            }
        });
    }
    while let Some(ended) = playing.join_next().await {
        ended.unwrap();
    }
}

/// Runs a probe of the incident against a scenario, from one source.
async fn against(probe: &str, scenario: &str) -> Ran {
    let files = BTreeMap::from([("owned".to_owned(), "mine@aol.com\n".to_owned())]);
    let world = World::start(&world::scenario(scenario), &files, false).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("probes/seed/{probe}.toml"));
    let argv = [path.to_str().unwrap(), "--source", "127.0.0.11", "--to", "mine@aol.com", "--owned", "{dir}/owned"];
    world.run(&argv.map(str::to_owned)).await.unwrap()
}

#[test]
fn every_probe_is_planned_as_it_is() {
    let sources: Vec<Source> = ["192.0.2.10", "192.0.2.11"].map(source).into();
    let paths = files("probes");
    assert!(paths.len() >= 7, "{paths:?}");
    for path in paths {
        let name = path.display();
        let file = read(&path);
        assert!(file.layer.owned.is_empty(), "{name}: whose mailboxes are these?");
        let probe = Arc::new(file.layer.settle(unread).unwrap_or_else(|e| panic!("{name}: {}", e.in_file())));
        assert!(probe.description.is_some(), "{name}");
        assert_eq!(probe.until, Stage::Mail, "{name}: refusals of an address come at MAIL FROM");
        assert_eq!(probe.limits.over_ceiling(), None, "{name}");
        let routes = [
            route(Role::Target, &probe.target.names()[0], &["198.51.100.1", "198.51.100.2", "2001:db8::1"]),
            route(Role::Control, probe.target.control[0].as_str(), &["203.0.113.1"]),
        ];
        let plan = plan(&probe, &routes, &sources, 7, 1);
        let cells: BTreeSet<_> =
            plan.attempts().map(|a| (a.role, a.address, a.source.clone().unwrap().address)).collect();
        assert_eq!((plan.len(), cells.len()), (6, 6), "{name}: two sources, two addresses and a control");
        assert!(plan.attempts().all(|attempt| attempt.to.is_none()), "{name}");
        let controls = plan.attempts().filter(|attempt| attempt.role == Role::Control);
        assert!(controls.map(|attempt| attempt.until).eq([Stage::Ehlo; 2]), "{name}");
        assert_eq!(plan.left_out.len(), 1, "{name}: the IPv6 address");
    }
}

#[test]
fn the_probes_that_send_do_not_until_they_are_told_to_whom() {
    let mut senders = 0;
    for path in files("probes/seed") {
        let probe = read(&path).layer.settle(unread);
        let sends = std::fs::read_to_string(&path).unwrap().contains("send = true");
        senders += usize::from(sends);
        assert_eq!(probe.is_err(), sends, "{}: {probe:?}", path.display());
    }
    assert_eq!(senders, 3);
}

#[test]
fn the_list_of_probes_is_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    let list = std::fs::read_to_string(root.join("README.md")).unwrap();
    for path in files("probes").into_iter().chain(files("probes/seed")) {
        let name = path.strip_prefix(&root).unwrap().display();
        assert!(list.contains(&format!("| `{name}` |")), "{name}");
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    facts::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), "toml")
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn read(path: &Path) -> ProbeFile {
    ProbeFile::parse(path, &std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{}", e.render()))
}

/// No message is named, so none is read.
fn unread(path: &Path) -> io::Result<Vec<u8>> {
    panic!("{} was to be read", path.display())
}

fn source(address: &str) -> Source {
    let address = address.parse().unwrap();
    Source { address, seen_as: address, ehlo: EhloName::Literal(address), neutral: false }
}

fn route(role: Role, domain: &str, addresses: &[&str]) -> Route {
    let exchanger = Exchanger {
        name: Some(format!("mx.{domain}")),
        preference: Some(10),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        fault: None,
        notes: Vec::new(),
        dane: None,
    };
    Route { role, domain: Some(domain.parse().unwrap()), fault: None, notes: Vec::new(), exchangers: vec![exchanger] }
}
