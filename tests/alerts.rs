//! Plays every `tests/alerts/*.toml`: one incident opens, changes and ends, and receivers of every
//! make are told of it, over real sockets on loopback.
//!
//! Each receiver answers as its case says and writes down what it hears. What it must have heard is
//! in the case too, in order, what is asked of it again included; so is what is left untold.

#[path = "alerts/receivers.rs"]
mod receivers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use mxprobe::alert::{Audience, Courier, Delivery, Firing, Notice, Pace, deliver};
use mxprobe::history::archive::{Archive as _, CLAIM, StoreArchive};
use mxprobe::probe::alert::Receiver;
use mxprobe::record::{Incident, IncidentEvent};
use mxprobe::wire::Trust;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use receivers::{Heard, Receivers};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: String,
    receiver: Vec<Told>,
    /// Notices that are left in the outbox.
    #[serde(default)]
    left: usize,
    /// Nobody is configured any more when the delivery begins.
    #[serde(default)]
    forgotten: bool,
    /// Of what goes wrong the operator must read this.
    #[serde(default)]
    said: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Told {
    kind: String,
    /// What is answered, the last one again and again.
    #[serde(default)]
    answers: Vec<String>,
    /// Every request and what it was about, in order.
    #[serde(default)]
    hears: Vec<String>,
}

const PACE: Pace = Pace {
    patience: Duration::from_millis(1500),
    first: Duration::from_millis(20),
    longest: Duration::from_millis(80),
    again: Duration::from_hours(1),
};

#[tokio::test(flavor = "multi_thread")]
async fn every_receiver_is_told_once_and_in_order() {
    let (mut played, mut wrong) = (0, Vec::new());
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for case in file.case {
            wrong.extend(play(&case).await.into_iter().map(|fault| format!("{}: {fault}", case.name)));
            played += 1;
        }
    }
    assert!(played >= 12, "only {played} cases were found");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

async fn play(case: &Case) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite");
    let mut all = Receivers::new(dir.path());
    let mut told = Vec::new();
    for each in &case.receiver {
        told.push(all.open(&each.kind, each.answers.clone()).await);
    }
    let targets: Vec<Receiver> = told.iter().map(|(receiver, _)| receiver.clone()).collect();
    let mut archive = StoreArchive::open(&path).unwrap();
    enter(&mut archive, &targets);

    let (_running, cancel) = watch::channel(false);
    let known = if case.forgotten { Vec::new() } else { targets };
    let (_audience, audience) = watch::channel(Audience { receivers: known, firing: Vec::new() });
    let (say, said) = std::sync::mpsc::channel();
    let failing = Arc::new(AtomicUsize::new(usize::MAX));
    let counted = Arc::clone(&failing);
    let trust = Trust::system().with_file(&all.roots()).unwrap();
    let courier = Courier { trust, name: "probe.example".parse().unwrap(), page: None, pace: PACE };
    let delivery = Delivery {
        archive: Box::new(archive),
        courier,
        audience,
        tell: Box::new(move |what| say.send(what.to_owned()).unwrap()),
        failing: Box::new(move |receivers| counted.store(receivers, Ordering::SeqCst)),
    };
    let delivering = tokio::spawn(deliver(delivery, cancel));
    let end = Instant::now() + Duration::from_secs(20);
    let wanted = |(heard, each): (&Heard, &Told)| heard.all().len() >= each.hears.len();
    let mut log = Vec::new();
    loop {
        log.extend(said.try_iter());
        let heard = told.iter().map(|(_, heard)| heard).zip(&case.receiver).all(wanted);
        let told_operator = case.said.iter().all(|want| log.iter().any(|line| line.contains(want)));
        // What was heard is marked when its answer is read: only then is it out of the box.
        if heard && told_operator && left(&path) == case.left || Instant::now() > end {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let mut faults = Vec::new();
    if delivering.is_finished() {
        faults.push("the delivery ended by itself".to_owned());
    }
    delivering.abort();
    // Who is to be told and has not taken it, is failing; but not one that nobody configures.
    let unwell = if case.forgotten { 0 } else { usize::from(case.left > 0) };
    if failing.load(Ordering::SeqCst) != unwell {
        faults.push(format!("{} receivers are said to fail, wanted {unwell}", failing.load(Ordering::SeqCst)));
    }
    for ((receiver, heard), each) in told.iter().zip(&case.receiver) {
        let found: Vec<String> = heard.all().into_iter().map(|(about, _)| about).collect();
        // A receiver that never takes anything is asked for as long as somebody watches.
        let found = &found[..if case.left > 0 { found.len().min(each.hears.len()) } else { found.len() }];
        if found != each.hears {
            faults.push(format!("{receiver} heard {found:?}, wanted {:?}", each.hears));
        }
        faults.extend(one_key_each(heard).map(|fault| format!("{receiver}: {fault}")));
    }
    if left(&path) != case.left {
        faults.push(format!("{} notices are left, wanted {}", left(&path), case.left));
    }
    for want in case.said.iter().filter(|want| !log.iter().any(|line| line.contains(*want))) {
        faults.push(format!("{want:?} is not in what was said: {log:?}"));
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_before_a_notice_is_marked_tells_it_again_under_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Receivers::new(dir.path());
    let (receiver, heard) = all.open("webhook", vec!["silent".to_owned(), String::new()]).await;
    let path = dir.path().join("history.sqlite");
    let mut archive = StoreArchive::open(&path).unwrap();
    enter(&mut archive, std::slice::from_ref(&receiver));
    let courier = Courier {
        trust: Trust::system(),
        name: "probe.example".parse().unwrap(),
        page: None,
        pace: Pace { patience: Duration::from_secs(30), ..PACE },
    };
    let (_running, cancel) = watch::channel(false);
    let known = Audience { receivers: vec![receiver.clone()], firing: Vec::new() };
    let (_audience, audience) = watch::channel(known);
    let delivery = Delivery {
        archive: Box::new(archive),
        courier: courier.clone(),
        audience,
        tell: Box::new(|_| {}),
        failing: Box::new(|_| {}),
    };
    let delivering = tokio::spawn(deliver(delivery, cancel));
    soon(|| heard.all().len() == 1).await;
    delivering.abort();

    let mut archive = StoreArchive::open(&path).unwrap();
    let now = Timestamp::now();
    assert_eq!(archive.due_notices(now, 10).unwrap(), [], "it is still claimed");
    let due = archive.due_notices(now + CLAIM, 10).unwrap();
    let [notice] = &due[..] else { panic!("{due:?}") };
    let mut notice: Notice = serde_json::from_value(notice.payload.clone()).unwrap();
    notice.incident.id = 1;
    courier.hand_over(&receiver, &notice, now).await.unwrap();
    let all = heard.all();
    assert!(all.len() == 2 && all[0] == all[1], "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_hears_of_what_lasts_again_and_again_and_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Receivers::new(dir.path());
    let (forgetful, heard) = all.open("alertmanager", vec![]).await;
    let (other, not_heard) = all.open("webhook", vec![]).await;
    let mut archive = StoreArchive::open(&dir.path().join("history.sqlite")).unwrap();
    let receivers = vec![forgetful, other];
    let mut incident = incident();
    incident.id = 1;
    let event = serde_json::from_value(serde_json::json!({"at": Timestamp::now(), "event": "opened"})).unwrap();
    let notice = Notice::of(&incident, &[event], Timestamp::now()).unwrap();
    let firing = vec![Firing { notice, receivers: receivers.clone() }];
    let (_running, cancel) = watch::channel(false);
    let (tell, audience) = watch::channel(Audience { receivers: receivers.clone(), firing });
    let pace = Pace { again: Duration::from_millis(50), ..PACE };
    let courier = Courier { trust: Trust::system(), name: "probe.example".parse().unwrap(), page: None, pace };
    assert!(archive.due_notices(Timestamp::now(), 1).unwrap().is_empty());
    let delivery =
        Delivery { archive: Box::new(archive), courier, audience, tell: Box::new(|_| {}), failing: Box::new(|_| {}) };
    let delivering = tokio::spawn(deliver(delivery, cancel));
    soon(|| heard.all().len() >= 3).await;
    assert!(heard.all().iter().all(|said| said == &heard.all()[0] && said.0 == "opened"), "{:?}", heard.all());

    // What is over is lit no more: a delivery that ends has told all there was.
    tell.send_replace(Audience { receivers, firing: Vec::new() });
    drop(tell);
    delivering.await.unwrap();
    assert!(not_heard.all().is_empty());
}

/// Waits until something is so, but not for ever.
async fn soon(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "it does not come");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A notice bears the same key each time, and no two notices share one.
fn one_key_each(heard: &Heard) -> Option<String> {
    let mut keys = std::collections::BTreeMap::new();
    for (about, key) in heard.all() {
        let before = keys.entry(about.clone()).or_insert_with(|| key.clone());
        if *before != key || key.is_empty() {
            return Some(format!("{about} came as {before:?} and as {key:?}"));
        }
    }
    let distinct: std::collections::BTreeSet<_> = keys.values().collect();
    (distinct.len() != keys.len()).then(|| format!("different notices under one key: {keys:?}"))
}

fn incident() -> Incident {
    serde_json::from_value(serde_json::json!({
        "id": 0, "domain": "aol.com", "kind": "receiver-outage", "confidence": "high",
        "opened": {"after": "2026-11-24T09:55:00Z", "by": "2026-11-24T10:00:00Z"},
        "stage": "banner", "code": 554, "reply": "554 no\r\nBcc: all@example.net\r\n\r\n.\r\nQUIT", "sessions": 12, "failed": 12,
    }))
    .unwrap()
}

/// An incident that opens, shows another reply and ends, each on record with its notices.
fn enter(archive: &mut StoreArchive, receivers: &[Receiver]) {
    let mut incident = incident();
    for (event, minute) in [("opened", 0), ("reply", 5), ("closed", 30)] {
        let at: Timestamp = format!("2026-11-24T10:{minute:02}:00Z").parse().unwrap();
        let event: IncidentEvent =
            serde_json::from_value(serde_json::json!({"at": at, "event": event, "detail": "\r\n.\r\n"})).unwrap();
        incident.events.push(event.clone());
        if event.event.as_str() == "closed" {
            incident.closed = Some(mxprobe::record::Between { after: None, by: at });
        }
        let notice = Notice::of(&incident, &[event], at).unwrap();
        archive.put_incident(Some("aol"), &mut incident, &notice.to(receivers)).unwrap();
    }
}

/// How many notices are still to be told. Looked at in a copy, as looking claims them.
fn left(path: &Path) -> usize {
    let dir = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        let _ = std::fs::copy(from, dir.path().join(format!("copy{suffix}")));
    }
    let Ok(mut copy) = StoreArchive::open(&dir.path().join("copy")) else { return usize::MAX };
    let far = "2100-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let mut count = 0;
    // Those behind the first of an incident come when that is out of the way.
    while let Ok(due) = copy.due_notices(far, 1000) {
        if due.is_empty() {
            break;
        }
        for notice in due {
            copy.notice_delivered(notice.id, far).unwrap();
            count += 1;
        }
    }
    count
}
