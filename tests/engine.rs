//! Plays every `tests/engine/*.toml`: a command line of `run`, a simulated provider, and all that
//! comes of the two: the records, what the provider saw, the exit status. Everything goes through
//! the library, over real sockets on loopback, all cases at once. The expected text stands in
//! `NAME.expected` beside the cases; `BLESS=1` writes it anew.
//!
//! Beside what a case states, every run must keep what no run may break ([`keeps_the_rules`]).

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "the facts of a probe are for other players")]
mod facts;
#[path = "support/world.rs"]
#[expect(dead_code, reason = "the checks and verdicts of a smoke test are for its player")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use mxprobe::record::{Line, Session, Summary};
use mxprobe::sim::{Ended, Seen};
use mxprobe::stage::Stage;
use serde::Deserialize;
use tokio::task::JoinSet;

use world::{Ran, World};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Scenarios that several cases share.
    #[serde(default)]
    scenarios: BTreeMap<String, String>,
    case: Vec<Case>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    name: String,
    /// One of `scenarios`, a file of the folder scenarios/, or the scenario itself.
    scenario: String,
    /// What stands behind `mxprobe run`. `{dir}` is where `files` are, `{port}` and `{dns}` are the
    /// provider's, `{dead}` is an address where no resolver answers.
    argv: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// The provider's authority is among the roots.
    #[serde(default)]
    trust: bool,
    /// What else is written down: `messages`, `diagnoses`, `lookups`, `plan`, `commands`.
    #[serde(default)]
    show: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_comes_to_what_is_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine");
    let (mut playing, mut found, mut played) = (JoinSet::new(), BTreeMap::new(), 0);
    for path in facts::files(&directory, "toml") {
        let file: File = toml::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let scenarios = Arc::new(file.scenarios);
        for (number, case) in file.case.into_iter().enumerate() {
            let (path, scenarios) = (path.clone(), Arc::clone(&scenarios));
            playing.spawn(async move { (path, number, play(&case, &scenarios).await) });
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
    assert!(played >= 50, "only {played} cases in {}", directory.display());
}

/// Plays one case and says what came of it.
async fn play(case: &Case, scenarios: &BTreeMap<String, String>) -> String {
    let Case { name, scenario, argv, files, trust, show } = case;
    let scenario = scenarios.get(scenario).cloned().unwrap_or_else(|| world::scenario(scenario));
    let world = World::start(&scenario, files, *trust).await;
    let mut text = format!("# {name}\n");
    match world.run(argv).await {
        Err(message) => writeln!(text, "{}", world.plain(message.trim_end())).unwrap(),
        Ok(ran) => {
            keeps_the_rules(name, &ran);
            let shows = |what| show.contains(what);
            ran.left_out.iter().for_each(|what| writeln!(text, "left out: {what}").unwrap());
            lines(&mut text, ran.lookups().filter(|_| shows("lookups")).map(lookup));
            lines(&mut text, ran.planned().filter(|_| shows("plan")).map(|plan| world.plain(&plan)));
            lines(&mut text, ran.sessions().map(|session| world.plain(&told(session))));
            lines(&mut text, ran.seen.iter().map(|seen| world.plain(&saw(seen, shows("messages")))));
            if shows("diagnoses") {
                ran.diagnoses().for_each(|diagnosis| writeln!(text, "diagnosis: {}", world::short(diagnosis)).unwrap());
            }
            let Summary { sessions, completed, failed, local, skipped, exit, .. } = ran.summary;
            writeln!(
                text,
                "{sessions} sessions: {completed} completed, {failed} failed, {local} local, {skipped} skipped: exit {exit}"
            )
            .unwrap();
        }
    }
    text
}

/// One line each, in order.
fn lines(text: &mut String, lines: impl Iterator<Item = String>) {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
}

/// A session as its record tells it: where it was to go, and behind the colon what came of it.
fn told(session: &Session) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let source = or_dash(session.source.map(|ip| ip.to_string()));
    let mut text = format!("{} {source}", session.role);
    if let Some(seen_as) = session.seen_as.filter(|seen_as| Some(*seen_as) != session.source) {
        write!(text, " (seen as {seen_as})").unwrap();
    }
    let at = or_dash(session.address.map(|ip| ip.to_string()));
    let mx = or_dash(session.mx.clone());
    write!(text, " to {} {at} {mx}", or_dash(session.domain.clone())).unwrap();
    session.preference.iter().for_each(|preference| write!(text, "/{preference}").unwrap());
    session.to.iter().for_each(|to| write!(text, " for {to}").unwrap());
    if session.attempt > 1 {
        write!(text, " attempt {}", session.attempt).unwrap();
    }
    if session.variant != mxprobe::record::Variant::Plain {
        write!(text, " {}", session.variant).unwrap();
    }
    write!(text, ": {}", session.kind).unwrap();
    session.stage.iter().for_each(|stage| write!(text, " {stage}").unwrap());
    session.code.iter().for_each(|code| write!(text, " {code}").unwrap());
    session.enhanced.iter().for_each(|enhanced| write!(text, " {enhanced}").unwrap());
    session.tag.iter().for_each(|tag| write!(text, " {tag}").unwrap());
    if let Some(tls) = &session.tls {
        let version = or_dash(tls.version.clone());
        write!(text, " {version} {}", if tls.verified { "verified" } else { "unverified" }).unwrap();
    }
    // Everything here is on loopback; that it can be noted is shown elsewhere.
    let notes = session.notes.iter().filter(|note| *note != "mx-private");
    notes.for_each(|note| write!(text, " +{note}").unwrap());
    if session.expected {
        text += " as expected";
    }
    session.also.iter().for_each(|also| write!(text, " also {also:?}").unwrap());
    session.detail.iter().for_each(|detail| write!(text, " ({detail})").unwrap());
    text
}

fn lookup(lookup: &mxprobe::record::Lookup) -> String {
    let error = lookup.error.map(|error| error.to_string());
    let answer = error.unwrap_or_else(|| lookup.answers.join(", "));
    format!("lookup {} {}: {answer}", lookup.name, lookup.rtype)
}

/// A connection as the provider saw it.
fn saw(seen: &Seen, message: bool) -> String {
    let Seen { source, address, commands, message_bytes, .. } = seen;
    let ended = seen.ended.map_or("open", Ended::as_str);
    let mut text = format!("saw {source} at {address}: {}: {ended}", commands.join(", "));
    if *message_bytes > 0 && message {
        for line in String::from_utf8_lossy(&seen.message).lines() {
            write!(text, "\n  | {line}").unwrap();
        }
    }
    text
}

/// What no run may break, whatever its case is about.
fn keeps_the_rules(name: &str, ran: &Ran) {
    let sessions: Vec<&Session> = ran.sessions().collect();
    let seqs: BTreeSet<u64> = sessions.iter().map(|session| session.seq).collect();
    assert!(seqs.iter().copied().eq(1..=sessions.len() as u64), "{name}: numbered {seqs:?}");
    assert_eq!(ran.summary.sessions, sessions.len() as u64, "{name}");
    assert!(matches!(ran.lines.first(), Some(Line::Run(_))), "{name}: the run comes first");
    for line in &ran.lines {
        let text = serde_json::to_string(line).unwrap();
        assert_eq!(Line::parse(&text).unwrap().as_ref(), Some(line), "{name}: read back otherwise: {text}");
    }
    world::judged_again(name, ran);

    // What is on record as spoken from an address was spoken from it, and nothing else was.
    let connected = sessions.iter().filter(|session| world::has_connected(session));
    let mut recorded: Vec<_> = connected.map(|s| (s.source.unwrap(), s.address.unwrap())).collect();
    let mut met: Vec<_> = ran.seen.iter().map(|seen| (seen.source, seen.address)).collect();
    recorded.sort_unstable();
    met.sort_unstable();
    assert_eq!(recorded, met, "{name}: on record, and as the provider saw it");

    let messages: Vec<_> = ran.seen.iter().filter_map(|seen| world::message_id(&seen.message)).collect();
    assert_eq!(messages.iter().collect::<BTreeSet<_>>().len(), messages.len(), "{name}: a Message-ID twice");
    for seen in &ran.seen {
        let said = |verb: &str| seen.commands.iter().filter(|line| line.starts_with(verb)).count();
        let owned = |line: &&String| ran.owned.iter().any(|mailbox| line.starts_with(&format!("RCPT TO:<{mailbox}>")));
        assert_eq!(said("RCPT"), seen.commands.iter().filter(owned).count(), "{name}: RCPT to a stranger: {seen:?}");
        assert!(said("RCPT") <= 1 && said("DATA") <= 1, "{name}: {seen:?}");
        assert!(said("DATA") == 0 || ran.until >= Stage::Data, "{name}: DATA without need: {seen:?}");
        assert!(said(".") == 0 || ran.until == Stage::EndOfData, "{name}: a message without leave: {seen:?}");
        assert_eq!(said("VRFY") + said("EXPN") + said("RSET") + said("NOOP"), 0, "{name}: {seen:?}");
        let theirs = matches!(seen.ended, Some(Ended::Closed | Ended::Reset | Ended::TlsFailed));
        // Nobody speaks before the greeting, and behind a 354 QUIT would be a line of the message.
        let in_order = seen.commands.last().is_none_or(|last| last == "QUIT" || last == "DATA");
        assert!(theirs || in_order, "{name}: no QUIT: {seen:?}");
    }
}
