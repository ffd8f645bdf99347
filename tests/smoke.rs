//! Plays every `tests/smoke/*.toml`: a world of DNS and servers, a campaign, and what the smoke
//! test says of it. The expected text stands in `NAME.expected` beside the cases; `BLESS=1` writes
//! it anew. And the program as a process, against the scenarios of a campaign.
//!
//! All cases of a file share its world; a case says what is different in it.

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "the facts of a probe are for other players")]
mod facts;
#[path = "support/world.rs"]
#[expect(dead_code, reason = "what else is shown of a run is for other players")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, Parameters};
use mxprobe::auth::{Key, Signer};
use mxprobe::gate::pool;
use mxprobe::probe::Dkim;
use mxprobe::record::{Check, CheckName, CheckResult, Gate, Line, Variant};
use mxprobe::sim::{Ports, Provider, Scenario};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use world::{Ran, World};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The scenario; `{name}` stands for the text of that name in `texts`.
    world: String,
    /// What stands behind `mxprobe smoke`.
    argv: Vec<String>,
    texts: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    case: Vec<Case>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// In the place of the file's texts of these names.
    #[serde(default)]
    texts: BTreeMap<String, String>,
    /// Added to the scenario.
    #[serde(default)]
    add: String,
    /// Added to the command line.
    #[serde(default)]
    argv: Vec<String>,
    /// Whether the file's own command line is left out.
    #[serde(default)]
    alone: bool,
    /// In the place of the files of these names. Every line of a `.eml` ends in CRLF, `\L` is a
    /// bare LF, `\8` a byte beyond ASCII.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Where the other reading of SPF comes to another result: which, and why it is wrong.
    #[serde(default)]
    otherwise: Option<(String, String)>,
    /// The checks that are shown, all of them; without any, all that did not pass.
    #[serde(default)]
    show: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_world_is_judged_as_expected() {
    // A question is given up on after seconds, which a hundred worlds at once would use up.
    let room = Arc::new(Semaphore::new(8));
    let (mut playing, mut found, mut played) = (JoinSet::new(), BTreeMap::new(), 0);
    for path in facts::files(&folder(), "toml") {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = Arc::new(file);
        for number in 0..file.case.len() {
            let (path, file) = (path.clone(), Arc::clone(&file));
            let room = Arc::clone(&room);
            playing.spawn(async move {
                let _room = room.acquire().await.unwrap();
                (path, number, play(&file, &file.case[number]).await)
            });
            played += 1;
        }
    }
    while let Some(ended) = playing.join_next().await {
        let (path, number, text) = ended.unwrap();
        found.entry(path).or_insert_with(BTreeMap::new).insert(number, text);
    }
    for (path, texts) in found {
        let text: Vec<String> = texts.into_values().collect();
        facts::compare(&path.with_extension("expected"), &text.join("\n"));
    }
    assert!(played >= 60, "only {played} cases in {}", folder().display());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smoke")
}

async fn play(file: &File, case: &Case) -> String {
    let mut scenario = format!("{}\n{}", file.world, case.add);
    let mut texts = file.texts.clone();
    texts.extend(case.texts.clone());
    texts.extend(published());
    // Twice, as texts name each other.
    for _ in 0..2 {
        for (name, text) in &texts {
            scenario = scenario.replace(&format!("{{{name}}}"), text);
        }
    }
    let mut files = file.files.clone();
    files.extend(case.files.clone());
    for (name, text) in &mut files {
        if Path::new(name).extension().is_some_and(|extension| extension == "eml") {
            *text = text.replace('\n', "\r\n").replace("\\L", "\n").replace("\\8", "\u{fc}");
        }
    }
    // A message that was signed elsewhere, and the same with another body.
    let signed = sign(files.get("campaign.eml").map_or("", String::as_str));
    files.insert("changed.eml".to_owned(), signed.replace("must go", "may stay"));
    files.insert("signed.eml".to_owned(), signed);
    for key in facts::files(&folder().join("keys"), "pem") {
        let name = key.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(name, std::fs::read_to_string(&key).unwrap());
    }
    let world = World::start(&scenario, &files, false).await;
    let argv: Vec<String> =
        if case.alone { Vec::new() } else { file.argv.clone() }.into_iter().chain(case.argv.clone()).collect();
    let mut text = format!("# {}\n", case.name);
    match world.command("smoke", &argv).await {
        Err(message) => writeln!(text, "{}", world.plain(message.trim_end())).unwrap(),
        Ok(ran) => {
            keeps_the_rules(&case.name, &ran);
            agrees_about_spf(case, &ran, &world).await;
            tell(&mut text, &ran, &case.show, &world);
        }
    }
    text
}

fn tell(text: &mut String, ran: &Ran, show: &BTreeSet<String>, world: &World) {
    let shown = |check: &&Check| {
        if show.is_empty() { check.result != CheckResult::Pass } else { show.contains(check.check.as_str()) }
    };
    for check in ran.checks().filter(shown) {
        let Check { source, check, result, detail, fix, .. } = check;
        let of = source.map_or_else(|| "all".to_owned(), |source| source.to_string());
        let detail = detail.as_deref().unwrap_or_default();
        writeln!(text, "{of} {check} {result}: {}", world.plain(detail)).unwrap();
        if let Some(fix) = fix {
            writeln!(text, "    do: {}", world.plain(fix)).unwrap();
        }
    }
    let mut variants: BTreeMap<(String, Variant), [usize; 3]> = BTreeMap::new();
    for session in ran.sessions() {
        let count = variants.entry((session.until.to_string(), session.variant)).or_default();
        count[0] += 1;
        count[1] += usize::from(mxprobe::status::failed(session));
        count[2] += usize::from(!session.kind.is_trial());
    }
    let told = variants.into_iter().map(|((until, variant), [all, failed, untried])| {
        let untried = if untried == 0 { String::new() } else { format!(", {untried} not tried") };
        format!("{all} {variant} to {until} ({failed} failed{untried})")
    });
    writeln!(text, "sessions: {}", told.collect::<Vec<_>>().join(", ")).unwrap();
    for gate in ran.gates() {
        let of = gate.source.map_or_else(|| "whole".to_owned(), |source| source.to_string());
        let unknown = if gate.unknown { " unknown" } else { "" };
        let until = gate.until.map_or_else(String::new, |until| {
            let hours = (until.as_second() - ran.sessions().next().unwrap().at.as_second() + 30) / 60;
            format!(" for {hours} min")
        });
        let reason = gate.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        writeln!(text, "{of} {}{unknown}{until}{}", gate.verdict, world.plain(&reason)).unwrap();
    }
    let gates: Vec<Gate> = ran.gates().cloned().collect();
    let pool: Vec<String> = pool(&gates).iter().map(ToString::to_string).collect();
    writeln!(text, "pool: [{}], exit {}", pool.join(" "), ran.summary.exit).unwrap();
}

/// What no smoke test may break, whatever its case is about.
fn keeps_the_rules(name: &str, ran: &Ran) {
    for line in &ran.lines {
        let text = serde_json::to_string(line).unwrap();
        assert_eq!(Line::parse(&text).unwrap().as_ref(), Some(line), "{name}: read back otherwise: {text}");
    }
    world::judged_again(name, ran);
    // One pair of messages per source and mailbox at most, and no id twice.
    let mut sent: BTreeMap<_, usize> = BTreeMap::new();
    for session in ran.sessions().filter(|s| s.until == mxprobe::stage::Stage::EndOfData) {
        *sent.entry((session.source, session.to.clone(), session.variant)).or_default() += 1;
        assert!(matches!(session.variant, Variant::ControlMessage | Variant::Campaign), "{name}: {session:?}");
    }
    assert!(sent.values().all(|count| *count == 1), "{name}: {sent:?}");
    let ids: Vec<_> = ran.seen.iter().filter_map(|seen| world::message_id(&seen.message)).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{name}: a Message-ID twice");
    // A verdict for every source, the whole behind them, and no GO beside a check that failed.
    assert_eq!(ran.gates().filter(|gate| gate.source.is_none()).count(), 1, "{name}");
    let warn = ran.gates().find(|gate| gate.source.is_none()).map(|gate| gate.warn.clone()).unwrap();
    for gate in ran.gates().filter(|gate| gate.source.is_some() && gate.reason.is_none()) {
        let bad = ran.checks().find(|check| {
            matches!(check.result, CheckResult::Fail | CheckResult::Unknown)
                && check.source.is_none_or(|source| Some(source) == gate.source)
                && !warn.contains(&check.check)
        });
        assert!(bad.is_none(), "{name}: {gate:?} beside {bad:?}");
    }
}

/// The library evaluates SPF too, without saying how: the results must be the same.
async fn agrees_about_spf(case: &Case, ran: &Ran, world: &World) {
    let mut config = ConnectionConfig::udp();
    config.port = world.provider.dns().port();
    let server = NameServerConfig::new(world.provider.dns().ip(), true, vec![config]);
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap();
    let library = MessageAuthenticator(resolver);
    let answered = |check: &&Check| check.check == CheckName::Spf && check.result != CheckResult::Unknown;
    for check in ran.checks().filter(answered) {
        let Some(session) = ran.sessions().find(|s| s.source == check.source && s.seen_as.is_some()) else { continue };
        let Some((from, ehlo)) = session.from.as_deref().zip(session.ehlo.as_deref()) else { continue };
        let (ip, sender) = (session.seen_as.unwrap(), from.trim_matches(['<', '>']));
        let parameters = match sender {
            "" => SpfParameters::verify_ehlo(ip, ehlo, "host.example"),
            sender => SpfParameters::verify_mail_from(ip, ehlo, "host.example", sender),
        };
        let theirs = library.check_host(Parameters::new(parameters)).await.result().to_string().to_lowercase();
        let ours = check.detail.as_deref().unwrap_or_default().split(':').next().unwrap();
        let wanted = case.otherwise.as_ref().map_or(ours, |(result, _)| result);
        assert_eq!(theirs, wanted, "{}: the library's result, ours is {check:?}", case.name);
    }
}

fn sign(message: &str) -> String {
    let settings =
        Dkim { domain: "example.net".parse().unwrap(), selector: "s1".to_owned(), key: folder().join("keys/rsa.pem") };
    String::from_utf8(Signer::open(&settings).unwrap().sign(message.as_bytes())).unwrap()
}

/// The public halves of the keys, as records have them, in character strings that are not too long.
fn published() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for name in ["rsa", "ed25519", "other"] {
        let key = Key::read(&folder().join(format!("keys/{name}.pem"))).unwrap();
        let public = STANDARD.encode(key.public());
        let (head, tail) = public.split_at(public.len().min(200));
        all.insert(format!("p={name}"), format!("p={head}\", \"{tail}"));
    }
    all
}

/// The program itself: the table of the README, the pool, the test report, and GO when all is mended.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_what_the_readme_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let (pool, records) = (directory.path().join("pool"), tempfile::tempdir().unwrap());
    let history = records.path().join("history.sqlite");
    let smoke = |provider: &Provider, more: &[&str]| {
        let (dns, port) = (provider.dns().to_string(), provider.port().to_string());
        Command::new(env!("CARGO_BIN_EXE_mxprobe"))
            .args(["smoke", "docs/campaign/probe.toml", "--history", history.to_str().unwrap(), "--seed", "7"])
            .arg("--write-pool")
            .args([pool.to_str().unwrap(), "--dns", &dns, "--port", &port])
            .args(more)
            .current_dir(root)
            .env_clear()
            .output()
            .unwrap()
    };
    // What was GO yesterday is not GO today.
    std::fs::write(&pool, "127.0.0.99\n").unwrap();
    let provider = provider("campaign").await;
    let output = smoke(&provider, &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let table = printed.find("passed by all: ").unwrap();
    let shown = format!("```text\n{}```\n", &printed[table..]);
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let start = readme.find("```text\npassed by all: ").unwrap();
    let end = start + readme[start + 3..].find("```\n").unwrap() + 7;
    if std::env::var_os("BLESS").is_some() && masked(&readme[start..end]) != masked(&shown) {
        std::fs::write(root.join("README.md"), format!("{}{shown}{}", &readme[..start], &readme[end..])).unwrap();
    } else {
        assert_eq!(masked(&readme[start..end]), masked(&shown), "the README shows another table");
    }
    assert_eq!(std::fs::read_to_string(&pool).unwrap(), "");

    let report = smoke(&provider, &["--format", "junit"]);
    assert_eq!(report.status.code(), Some(1));
    let report = String::from_utf8(report.stdout).unwrap();
    for case in ["127.0.0.12 ptr", "127.0.0.13 spf", "127.0.0.11 verdict", "all verdict"] {
        let behind = report.split(&format!("name=\"{case}\"")).nth(1).unwrap_or_else(|| panic!("{case}: {report}"));
        assert!(behind.split("</testcase>").next().unwrap().contains("<failure"), "{case}: {report}");
    }
    assert_eq!(smoke(&provider, &["--format", "nagios"]).status.code(), Some(2));
    // One of the four is put off, and that is all: three are enough.
    let held = smoke(&provider, &["--until", "mail", "--warn", "ptr,fcrdns,spf"]);
    assert_eq!(held.status.code(), Some(2), "a list is no value of --warn");
    let held = smoke(&provider, &["--until", "mail", "--warn", "ptr", "--warn", "fcrdns", "--warn", "spf"]);
    assert_eq!(held.status.code(), Some(0), "{}", String::from_utf8_lossy(&held.stdout));
    assert_eq!(std::fs::read_to_string(&pool).unwrap(), "127.0.0.12\n127.0.0.13\n127.0.0.14\n");
    // A mistake leaves the pool as it was, and so does a dry run.
    assert_eq!(smoke(&provider, &["--warn", "moon"]).status.code(), Some(2));
    let nowhere = directory.path().join("nowhere/pool");
    let refused = Command::new(env!("CARGO_BIN_EXE_mxprobe"))
        .args(["smoke", "aol.com", "--dns", &provider.dns().to_string(), "--history", "none", "--write-pool"])
        .arg(&nowhere)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--write-pool"), "before anything is sent");
    assert_eq!(smoke(&provider, &["--dry-run"]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&pool).unwrap(), "127.0.0.12\n127.0.0.13\n127.0.0.14\n");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing lies beside the pool");

    let mended = self::provider("campaign-mended").await;
    let output = smoke(&mended, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8(output.stdout).unwrap().contains("\naol.com     GO "));
    let all = "127.0.0.11\n127.0.0.12\n127.0.0.13\n127.0.0.14\n";
    assert_eq!(std::fs::read_to_string(&pool).unwrap(), all);
    // What is on record is shown again as it was.
    let history = Command::new(env!("CARGO_BIN_EXE_mxprobe"))
        .args(["history", "last", "--history", history.to_str().unwrap()])
        .env_clear()
        .output()
        .unwrap();
    let history = String::from_utf8(history.stdout).unwrap();
    assert!(history.contains("\naol.com     GO "), "{history}");
    // The messages that came are signed, and by the key that is published.
    let received: Vec<Vec<u8>> =
        mended.seen().into_iter().map(|seen| seen.message).filter(|message| !message.is_empty()).collect();
    assert_eq!(received.len(), 8);
    for message in received {
        let text = String::from_utf8(message).unwrap();
        assert!(text.starts_with("DKIM-Signature: v=1; a=rsa-sha256; s=s1; d=example.net;"), "{text}");
        // Some verifiers find a signature broken that has a fold behind it.
        assert!(!text.contains("\r\n\t;"), "{text}");
    }
}

async fn provider(scenario: &str) -> Provider {
    let scenario = Scenario::parse(scenario, &world::scenario(scenario)).unwrap_or_else(|e| panic!("{e}"));
    Provider::start(scenario, Ports::default()).await.unwrap()
}

/// The text without what no two runs share.
fn masked(text: &str) -> String {
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z|; [\d.]+ s; exit").unwrap();
    time.replace_all(text, "…").into_owned()
}
