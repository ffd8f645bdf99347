//! What holds for the judge whatever the evidence.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge};
use mxprobe::record::{Diagnosis, DiagnosisKind};
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value, json};

/// How a session of these worlds can end: stage, kind, reply.
const ENDINGS: [(&str, &str, Option<&str>); 9] = [
    ("mail", "completed", None),
    ("connect", "timed-out", None),
    ("connect", "refused", None),
    ("banner", "dropped", None),
    ("banner", "rejected", Some("554 mx.target.example ESMTP not accepting connections")),
    ("tls", "tls-failed", None),
    ("mail", "rejected", Some("421 4.7.0 [TSS04] Messages from {source} temporarily deferred")),
    ("mail", "rejected", Some("451 4.7.1 Greylisted, try again")),
    ("mail", "rejected", Some("421 4.7.28 too many connections")),
];

/// One session in small numbers: source, address, ending, role, variant, minute.
type Small = (u8, u8, u8, u8, u8, u16);

fn small() -> impl Strategy<Value = Vec<Small>> {
    // Passes are as likely as everything else together, so that patterns come up.
    let ending = prop_oneof![Just(0_u8), 0..9_u8];
    prop::collection::vec((0..5_u8, 0..5_u8, ending, 0..8_u8, 0..8_u8, 0..240_u16), 0..60)
}

fn line(seq: usize, (source, address, ending, role, variant, minute): Small, label: &dyn Fn(u8) -> String) -> String {
    let (stage, kind, reply) = ENDINGS[usize::from(ending)];
    let source = label(source);
    let reply = reply.map(|r| r.replace("{source}", &source));
    let role = ["target", "target", "target", "target", "target", "target", "neutral", "control"][usize::from(role)];
    let variant =
        ["plain", "plain", "plain", "plain", "plain", "plaintext", "neutral-from", "campaign"][usize::from(variant)];
    let (domain, address) = if role == "control" {
        ("control.example", "203.0.113.1".to_owned())
    } else {
        ("target.example", format!("198.51.100.{}", 20 + address))
    };
    json!({
        "type": "session", "run": "r", "seq": seq, "at": format!("2026-11-24T{:02}:{:02}:{:02}Z", minute / 60, minute % 60, seq % 60),
        "role": role, "variant": variant, "domain": domain, "mx": format!("mx.{domain}"), "address": address, "source": source,
        "from": "probe@sender.example", "stage": stage, "kind": kind,
        "code": reply.as_ref().and_then(|r| r[..3].parse::<u16>().ok()), "reply": reply.map(|r| [r]),
    })
    .to_string()
}

fn plain_label(source: u8) -> String {
    format!("192.0.2.{}", 10 + source)
}

fn lines(sessions: &[Small]) -> Vec<String> {
    sessions.iter().enumerate().map(|(seq, s)| line(seq + 1, *s, &plain_label)).collect()
}

fn said(lines: &[String]) -> Vec<Diagnosis> {
    let mut evidence = Evidence::new();
    evidence.read(lines.join("\n").as_bytes(), "lines").unwrap();
    judge(&evidence, Catalog::built_in())
}

/// What is said, without the sentences, whose order hangs on names.
fn gist(d: &Diagnosis, rename: &BTreeMap<IpAddr, IpAddr>) -> Value {
    let mut sources: Vec<IpAddr> = d.sources.iter().map(|s| *rename.get(s).unwrap_or(s)).collect();
    sources.sort();
    json!([
        d.kind,
        d.confidence,
        sources,
        d.addresses,
        d.stage,
        d.code,
        d.failed,
        d.tried,
        d.elsewhere,
        d.p,
        d.windows,
        d.candidates,
        d.leaning,
        d.notes
    ])
}

fn gists(found: &[Diagnosis], rename: &BTreeMap<IpAddr, IpAddr>) -> Vec<String> {
    let mut gists: Vec<String> = found.iter().map(|d| gist(d, rename).to_string()).collect();
    gists.sort();
    gists
}

proptest! {
    #![proptest_config(Config::with_cases(128))]

    #[test]
    fn the_order_of_lines_changes_nothing(sessions in small(), seed in any::<u64>()) {
        let lines = lines(&sessions);
        let mut shuffled: Vec<(u64, String)> = lines.iter().cloned().enumerate()
            .map(|(i, l)| ((i as u64 + 1).wrapping_mul(seed | 1).rotate_left(17), l)).collect();
        shuffled.sort();
        let shuffled: Vec<String> = shuffled.into_iter().map(|(_, l)| l).collect();
        prop_assert_eq!(json!(said(&lines)).to_string(), json!(said(&shuffled)).to_string());
    }

    #[test]
    fn the_names_of_sources_change_nothing_but_the_names(sessions in small(), by in 1..5_u8) {
        let relabel = |s: u8| plain_label((s + by) % 5);
        let other: Vec<String> = sessions.iter().enumerate().map(|(seq, s)| line(seq + 1, *s, &relabel)).collect();
        let back = (0..5).map(|s| (relabel(s).parse().unwrap(), plain_label(s).parse().unwrap())).collect();
        prop_assert_eq!(gists(&said(&lines(&sessions)), &BTreeMap::new()), gists(&said(&other), &back));
    }

    #[test]
    fn lines_that_are_read_twice_count_once(sessions in small()) {
        let once = lines(&sessions);
        let twice: Vec<String> = once.iter().chain(&once).cloned().collect();
        prop_assert_eq!(json!(said(&once)).to_string(), json!(said(&twice)).to_string());
    }

    #[test]
    fn clean_cells_elsewhere_never_make_a_block_an_outage(sessions in small(), more in 1..12_u8) {
        let before = lines(&sessions);
        let blocked = said(&before).iter().any(|d| d.kind == DiagnosisKind::SenderIpBlock);
        // Sources and addresses that were not there, at times that were.
        let clean = (0..more).map(|i| line(1000 + usize::from(i), (10 + i, 10 + i % 3, 0, 0, 0, u16::from(i) * 20), &plain_label));
        let after: Vec<String> = before.iter().cloned().chain(clean).collect();
        let found = said(&after);
        prop_assert!(!blocked || found.iter().all(|d| d.kind != DiagnosisKind::ReceiverOutage), "{:?}", found);
    }

    #[test]
    fn diagnoses_keep_their_promises(sessions in small()) {
        let found = said(&lines(&sessions));
        prop_assert!(!found.is_empty());
        for d in &found {
            prop_assert!(d.kind != DiagnosisKind::Undecided || d.candidates.len() >= 2);
            prop_assert!(!d.because.is_empty() && !d.advice.is_empty() && d.failed <= d.tried, "{:?}", d);
            let written = serde_json::to_string(d).unwrap();
            prop_assert_eq!(serde_json::from_str::<Diagnosis>(&written).unwrap(), d.clone());
        }
    }

    #[test]
    fn lines_of_any_kind_are_read_or_refused(text in "(\\PC|\n|\\{\"type\":\"session\",|\"at\":|[0-9:T-]+Z?){0,40}") {
        let mut evidence = Evidence::new();
        let _ = evidence.read(text.as_bytes(), "noise");
        prop_assert!(!judge(&evidence, Catalog::built_in()).is_empty());
    }

    #[test]
    fn fields_of_any_value_do_no_harm(
        session in small(), field in 0..18_usize, value in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!(1e300)), Just(json!("")), Just(json!([])), Just(json!({})),
            Just(json!(["421"])), Just(json!(["\u{0}\u{202e}", "é"])), Just(json!("::")), Just(json!("0.0.0.0")),
            Just(json!("9999-12-30T00:00:00Z")), Just(json!("-009999-01-02T00:00:00Z")), Just(json!(18_446_744_073_709_551_615_u64)),
        ],
    ) {
        let names = ["run", "seq", "at", "role", "domain", "mx", "address", "backend", "banner", "variant", "source",
            "seen-as", "from", "to", "stage", "kind", "code", "reply"];
        let mut evidence = Evidence::new();
        for line in lines(&session) {
            let mut line: Value = serde_json::from_str(&line).unwrap();
            line[names[field]] = value.clone();
            let _ = evidence.read(line.to_string().as_bytes(), "odd");
        }
        prop_assert!(!judge(&evidence, Catalog::built_in()).is_empty());
    }
}

#[test]
fn a_broken_line_is_named() {
    let read = |text: &str| Evidence::new().read(text.as_bytes(), "run.jsonl").unwrap_err().to_string();
    let good = r#"{"type":"session","seq":1,"at":"2026-11-24T10:00:00Z","kind":"completed"}"#;
    insta::assert_snapshot!(read(&format!("{good}\n\n{{\"type\":\"session\",\"seq\":")), @"run.jsonl:3: EOF while parsing a value at column 24");
    insta::assert_snapshot!(read(r#"{"type":"session","seq":1,"at":"2026-11-24T10:00:00Z","kind":"fine"}"#), @r#"run.jsonl:1: unknown ending kind "fine": wanted one of completed, rejected, dropped, timed-out, refused, unreachable, tls-failed, malformed, dns-failed, local, skipped at column 67"#);
    insta::assert_snapshot!(read(r#"{"seq":1}"#), @"run.jsonl:1: missing field `type` at column 9");
    insta::assert_snapshot!(read("not a line"), @"run.jsonl:1: expected ident at column 2");
}

#[test]
fn lines_of_unknown_types_and_of_no_weight_are_passed_over() {
    let text = [
        r#"{"type":"weather","wind":3}"#,
        r#"{"type":"diagnosis","rank":1,"kind":"receiver-outage","confidence":"high"}"#,
        r#"{"type":"session","seq":1,"at":"2026-11-24T10:00:00Z","kind":"completed","source":"192.0.2.1","address":"198.51.100.1","novelty":[1]}"#,
        r#"{"type":"summary","sessions":1,"completed":1,"failed":0,"local":0,"skipped":0,"elapsed-ms":1.0,"exit":0}"#,
    ];
    let found = said(&text.map(str::to_owned));
    assert_eq!(found.iter().map(|d| (d.kind, d.tried)).collect::<Vec<_>>(), [(DiagnosisKind::Healthy, 1)]);
}

#[test]
fn both_ways_of_reading_a_session_agree() {
    // The type first is the quick way, the type last the other.
    let sessions: Vec<Small> =
        (0..60_u8).map(|i| (i % 5, i / 5 % 5, i * 4 % 9, i % 8, i * 3 % 8, u16::from(i) * 4)).collect();
    let quick = lines(&sessions);
    let slow: Vec<String> = quick
        .iter()
        .map(|l| {
            let mut fields: serde_json::Map<String, Value> = serde_json::from_str(l).unwrap();
            fields.shift_remove("type");
            fields.insert("type".to_owned(), json!("session"));
            Value::Object(fields).to_string()
        })
        .collect();
    assert!(quick[0].starts_with(r#"{"type":"session","#) && !slow[0].starts_with(r#"{"type""#));
    assert_eq!(said(&quick), said(&slow));
}
