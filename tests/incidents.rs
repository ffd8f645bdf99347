//! Plays every `tests/incidents/*.toml`: rounds of a watch, and the incidents they make up, which
//! stand in `NAME.expected` beside it. `BLESS=1` writes the expected text anew.

#[path = "support/facts.rs"]
#[expect(dead_code, reason = "the facts of a probe are for other players")]
mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use mxprobe::catalog::Catalog;
use mxprobe::incident::{Round, Rule, Tracker, Update};
use mxprobe::judge::{Evidence, judge};
use mxprobe::record::{Between, DiagnosisKind, Incident, IncidentChange, Line, Role, Session};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// A case's rounds are lines: a word per source, a letter per address of theirs; `x3` behind them
/// repeats the round. `.` passes, `R` is refused at the greeting, `B` at MAIL with the source named,
/// `D` put off at EHLO, `T` a connect that times out, `E` a refusal that is expected, `n` a name that
/// does not resolve, `l` a local fault, `s` skipped, `-` not planned. A word with `!` is a neutral
/// source, one with `=` a control. `restart` begins anew from what is on record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    after: Option<u32>,
    clear: Option<u32>,
    rounds: String,
}

/// Rounds are so far apart, in minutes.
const APART: i64 = 15;

fn begun() -> Timestamp {
    "2026-11-24T10:00:00Z".parse().unwrap()
}

/// The sessions of one round, and the diagnosis that a run would make of them.
fn round(number: i64, words: &str) -> (Timestamp, Vec<Line>) {
    let at = begun() + SignedDuration::from_mins(APART * number);
    let mut lines = Vec::new();
    let own = words.split_whitespace().filter(|word| !word.starts_with('=')).count();
    for (row, word) in (0..).zip(words.split_whitespace()) {
        // Controls are asked by the same sources.
        let row = u8::try_from(row % own.max(1)).unwrap() + 1;
        let (role, letters) = match (word.strip_prefix('!'), word.strip_prefix('=')) {
            (Some(rest), _) => (Role::Neutral, rest),
            (_, Some(rest)) => (Role::Control, rest),
            _ => (Role::Target, word),
        };
        for (column, letter) in (1..).zip(letters.chars()) {
            let at = at + SignedDuration::from_secs(i64::from(row) * 10 + i64::from(column));
            lines.extend(session(number, lines.len() as u64 + 1, at, role, row, column, letter).map(Box::new));
        }
    }
    let mut lines: Vec<Line> = lines.into_iter().map(Line::Session).collect();
    if words.contains('n') {
        lines.insert(0, serde_json::from_value(lookup(number, at)).map(Line::Lookup).unwrap());
    }
    let mut evidence = Evidence::new();
    for line in &lines {
        evidence.add(line);
    }
    lines.extend(judge(&evidence, Catalog::built_in()).into_iter().map(|d| Line::Diagnosis(Box::new(d))));
    (at + SignedDuration::from_mins(1), lines)
}

fn lookup(round: i64, at: Timestamp) -> serde_json::Value {
    serde_json::json!({
        "run": format!("run-{round}"), "at": format!("{at:.3}"), "name": "mail.example", "rtype": "MX",
        "resolver": "192.0.2.53:53", "answers": [], "error": "nxdomain", "ms": 1.0,
    })
}

fn session(round: i64, seq: u64, at: Timestamp, role: Role, row: u8, column: u8, letter: char) -> Option<Session> {
    let source = IpAddr::from([192, 0, 2, row]);
    let (net, domain) = if role == Role::Control { (99, "control.example") } else { (100, "mail.example") };
    let mut fields = serde_json::json!({
        "run": format!("run-{round}"), "seq": seq, "at": format!("{at:.3}"), "role": role, "domain": domain,
        "mx": format!("mx{column}.{domain}"), "address": format!("198.51.{net}.{column}"), "source": source,
        "from": "probe@example.net", "until": "mail", "stage": "mail", "kind": "completed",
    });
    let mut end = |stage: &str, kind: &str, code: Option<u16>, reply: &str| {
        (fields["stage"], fields["kind"], fields["code"]) = (stage.into(), kind.into(), code.into());
        if code.is_some() {
            fields["class"] = if code < Some(500) { "transient" } else { "permanent" }.into();
            fields["reply"] = serde_json::json!([reply]);
        }
    };
    match letter {
        '.' => {}
        '-' => return None,
        'R' | 'E' => end("banner", "rejected", Some(554), "554 mx.mail.example ESMTP not accepting connections"),
        'B' => end(
            "mail",
            "rejected",
            Some(421),
            &format!("421 4.7.0 [TSS04] Messages from {source} temporarily deferred"),
        ),
        'D' => end("ehlo", "rejected", Some(421), "421 mx.mail.example Service unavailable - try again later"),
        'T' => end("connect", "timed-out", None, ""),
        'n' => end("resolve", "dns-failed", None, ""),
        'l' => end("connect", "local", None, ""),
        's' => end("connect", "skipped", None, ""),
        other => panic!("{other:?} is no ending"),
    }
    if letter == 'E' {
        fields["expected"] = true.into();
    }
    if letter == 'n' {
        for name in ["address", "source"] {
            fields.as_object_mut().unwrap().remove(name);
        }
    }
    Some(serde_json::from_value(fields).unwrap())
}

/// What is on record of a watch, and the tracker that goes on with it.
struct Watch {
    rule: Rule,
    tracker: Tracker,
    record: Vec<(Timestamp, Vec<Line>)>,
    incidents: BTreeMap<u64, Incident>,
    /// Keys are a tracker's own; numbers are the record's.
    number: BTreeMap<u64, u64>,
}

impl Watch {
    fn new(rule: Rule) -> Self {
        let (record, incidents, number) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { rule, tracker: Tracker::new("mail.example".to_owned(), rule), record, incidents, number }
    }

    fn hear(&mut self, words: &str) -> Vec<(u64, Update)> {
        let (at, lines) = round(i64::try_from(self.record.len()).unwrap(), words);
        let updates = self.tracker.hear(Round { at, lines: &lines }, Catalog::built_in());
        self.record.push((at, lines));
        let numbered = updates.into_iter().map(|mut update| {
            let next = self.incidents.len() as u64 + 1;
            let id = *self.number.entry(update.key).or_insert(next);
            self.tracker.number(update.key, id);
            update.incident.id = id;
            self.incidents.insert(id, update.incident.clone());
            (id, update)
        });
        numbered.collect()
    }

    /// A process that knows nothing but the record.
    fn restart(&mut self) {
        self.tracker = Tracker::new("mail.example".to_owned(), self.rule);
        let open: Vec<Incident> = self.incidents.values().filter(|i| i.closed.is_none()).cloned().collect();
        let ids: Vec<u64> = open.iter().map(|incident| incident.id).collect();
        self.number = self.tracker.resume(open).into_iter().zip(ids).collect();
        let recent = self.record.len().saturating_sub(20);
        for (at, lines) in &self.record[recent..] {
            self.tracker.remember(Round { at: *at, lines });
        }
    }
}

/// A time as the number of its round.
fn of_round(at: Timestamp) -> i64 {
    at.duration_since(begun()).as_mins() / APART
}

fn between(between: &Between) -> String {
    let after = between.after.map_or_else(|| "?".to_owned(), |after| of_round(after).to_string());
    format!("between rounds {after} and {}", of_round(between.by))
}

fn told(id: u64, update: &Update) -> String {
    let mut text = String::new();
    let Incident { kind, episodes, sessions, failed, opened, closed, .. } = &update.incident;
    for event in update.events() {
        let detail = event.detail.as_deref().unwrap_or_default();
        let _ = write!(text, "  {} #{id} {}: {detail}", of_round(event.at), event.event);
        let _ = match (event.event, closed) {
            (IncidentChange::Opened, _) => write!(text, "; began {}", between(opened)),
            (IncidentChange::Closed, Some(closed)) => write!(
                text,
                "; {kind} ended {}, {failed} of {sessions} sessions failed, {episodes} episode{}",
                between(closed),
                if *episodes == 1 { "" } else { "s" },
            ),
            _ => Ok(()),
        };
        text.push('\n');
    }
    text
}

/// The rounds of a case, one by one.
fn rounds(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).flat_map(|line| {
        let (words, times) = match line.rsplit_once(" x") {
            Some((words, times)) if times.parse::<usize>().is_ok() => (words, times.parse().unwrap()),
            _ => (line, 1),
        };
        std::iter::repeat_n(words, times)
    })
}

#[test]
fn rounds_make_the_incidents_that_are_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/incidents");
    let mut played = 0;
    for path in facts::files(&directory, "toml") {
        let file: File = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut shown = String::new();
        for case in &file.case {
            let default = Rule::default();
            let rule = Rule { after: case.after.unwrap_or(default.after), clear: case.clear.unwrap_or(default.clear) };
            let mut watch = Watch::new(rule);
            let _ = writeln!(shown, "{}", case.name);
            for words in rounds(&case.rounds) {
                if words == "restart" {
                    watch.restart();
                    continue;
                }
                for (id, update) in watch.hear(words) {
                    shown += &told(id, &update);
                }
            }
            for (_, incident) in watch.tracker.incidents() {
                let Incident { id, kind, confidence, .. } = incident;
                let _ = writeln!(shown, "  open #{id} {kind}, confidence {confidence}");
            }
            played += 1;
        }
        facts::compare(&path.with_extension("expected"), &shown);
    }
    assert!(played >= 20, "only {played} cases in {}", directory.display());
}

/// A round of up to three sources and three addresses, in the notation of the cases.
fn any_round() -> impl Strategy<Value = String> {
    let letter = prop::sample::select(".....RRRRBDTEls-".chars().collect::<Vec<_>>());
    let mixed = prop::collection::vec(prop::collection::vec(letter, 3), 3);
    let mixed = mixed.prop_map(|rows| rows.into_iter().map(String::from_iter).collect::<Vec<_>>().join(" "));
    let whole = |rounds: &'static [&'static str]| prop::sample::select(rounds).prop_map(str::to_owned);
    prop_oneof![
        1 => mixed,
        2 => whole(&["... ... ...", "RRR RRR RRR", "... BBB ...", "R.. R.. R..", "R-- -.- --R", "... ... !...", "RRR RRR !RRR"]),
        1 => whole(&["lll lll lll", "sss sss sss", "--- --- ---", "n", "... lll ...", "TTT TTT TTT =T =T =T"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_rounds_the_incidents_are_sound(
        rounds in prop::collection::vec(any_round(), 1..30), after in 1_u32..4, clear in 1_u32..5, restart in prop::option::of(0_usize..30),
    ) {
        let mut watch = Watch::new(Rule { after, clear });
        let mut over = BTreeSet::new();
        for (number, words) in rounds.iter().enumerate() {
            if restart == Some(number) {
                watch.restart();
            }
            for (id, update) in watch.hear(words) {
                prop_assert!(!over.contains(&id), "a closed incident is heard of again");
                if update.incident.closed.is_some() {
                    over.insert(id);
                }
                is_sound(&update.incident)?;
                prop_assert!(update.news <= update.incident.events.len());
                let provider = !is_ours(update.incident.kind);
                let says_nothing = words.chars().all(|c| "ls- ".contains(c));
                if provider && says_nothing && !update.events().is_empty() {
                    // It may find that the unit is not even asked any more.
                    let gone = update.events().iter().all(|e| e.detail.as_deref() == Some("no longer probed"));
                    prop_assert!(gone, "{:?} by {words:?}", update.events());
                }
            }
            let mut units = BTreeSet::new();
            for (_, incident) in watch.tracker.incidents() {
                let kind = is_ours(incident.kind).then_some(incident.kind);
                let unit = (kind, incident.sources.clone(), incident.addresses.clone(), incident.backends.clone());
                prop_assert!(units.insert(unit), "two open incidents of one unit");
                prop_assert!(incident.closed.is_none());
            }
        }
    }

    #[test]
    fn the_same_rounds_make_the_same_incidents(rounds in prop::collection::vec(any_round(), 1..20)) {
        let play = || {
            let mut watch = Watch::new(Rule::default());
            for words in &rounds {
                watch.hear(words);
            }
            watch.incidents
        };
        prop_assert_eq!(play(), play());
    }
}

fn is_ours(kind: DiagnosisKind) -> bool {
    use DiagnosisKind::{EgressBlocked, EgressMismatch, LocalConfig, LocalDns, Port25Interception};
    [EgressBlocked, EgressMismatch, LocalConfig, LocalDns, Port25Interception].contains(&kind)
}

fn is_sound(incident: &Incident) -> Result<(), TestCaseError> {
    let Incident { opened, closed, events, episodes, sessions, failed, .. } = incident;
    let of = |event| events.iter().filter(|e| e.event == event).count();
    prop_assert!(opened.after.is_none_or(|after| after < opened.by), "{opened:?}");
    prop_assert!(failed <= sessions);
    prop_assert_eq!(events[0].event, IncidentChange::Opened);
    prop_assert_eq!(of(IncidentChange::Opened), 1);
    prop_assert_eq!(of(IncidentChange::Episode) + 1, *episodes as usize);
    prop_assert!(events.is_sorted_by_key(|event| event.at));
    prop_assert_eq!(of(IncidentChange::Closed), usize::from(closed.is_some()));
    if let Some(closed) = closed {
        prop_assert_eq!(events[events.len() - 1].event, IncidentChange::Closed);
        prop_assert!(
            closed.after.is_some_and(|after| opened.by <= after && after < closed.by),
            "{opened:?} {closed:?}"
        );
    }
    Ok(())
}
