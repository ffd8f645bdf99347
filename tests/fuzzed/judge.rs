//! Whatever the evidence, the judge keeps to its rules: something is always said, the same of the
//! same evidence in any order, and no more is claimed than the rules allow.

use std::fmt::Write as _;

use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge as diagnose};
use mxprobe::record::{Confidence, Diagnosis, DiagnosisKind, Line};

use super::tape::Tape;

/// How a session ends: stage, kind, and the reply's words.
const ENDINGS: [(&str, &str, &str); 24] = [
    ("mail", "completed", ""),
    ("mail", "completed", ""),
    ("mail", "completed", ""),
    ("resolve", "dns-failed", ""),
    ("resolve", "local", ""),
    ("connect", "timed-out", ""),
    ("connect", "refused", ""),
    ("connect", "unreachable", ""),
    ("connect", "local", ""),
    ("banner", "dropped", ""),
    ("banner", "rejected", "554 mx.target.example ESMTP not accepting connections"),
    ("banner", "rejected", "421 4.7.0 {source} [TSS04] try later"),
    ("banner", "rejected", "421 4.7.28 too many connections"),
    ("ehlo", "timed-out", ""),
    ("starttls", "rejected", "454 4.7.0 TLS not available"),
    ("tls", "tls-failed", ""),
    ("ehlo-tls", "malformed", ""),
    ("mail", "rejected", "421 4.7.0 [TSS04] Messages from {source} temporarily deferred"),
    ("mail", "rejected", "451 4.7.1 Greylisted, try again"),
    ("mail", "rejected", "550 5.7.25 no PTR record for {source}"),
    ("rcpt", "rejected", "550 5.1.1 no such user"),
    ("data", "dropped", ""),
    ("end-of-data", "rejected", "554 5.7.1 content rejected"),
    ("quit", "skipped", ""),
];

pub fn judge(bytes: &[u8]) {
    let written = world(Tape(bytes));
    let lines: Vec<Line> = written.iter().map(|line| Line::parse(line).unwrap().unwrap()).collect();
    judged(&lines);
    let read = |lines: &mut dyn Iterator<Item = &String>| {
        let mut evidence = Evidence::new();
        for line in lines {
            evidence.read(line.as_bytes(), "world").unwrap();
        }
        said(&evidence)
    };
    let forwards = read(&mut written.iter());
    assert_eq!(forwards, read(&mut written.iter().rev()), "the order of lines");
    // Counts of deliveries have no names of their own, and add up.
    if !lines.iter().any(|line| matches!(line, Line::Passed(_))) {
        assert_eq!(forwards, read(&mut written.iter().chain(&written)), "lines that are read twice");
    }
}

/// What the judge makes of these lines, if it is what its rules allow.
pub(super) fn judged(lines: &[Line]) {
    // Folded too, however little is kept.
    let bounds = [Evidence::BOUND, lines.len() / 3, 0];
    let tallies = bounds.map(|bound| {
        let mut evidence = Evidence::bounded(bound);
        for line in lines {
            evidence.add(line);
        }
        keeps_its_rules(&evidence);
        evidence.tally()
    });
    assert!(tallies.iter().all(|tally| *tally == tallies[0]), "{tallies:?}");
}

pub(super) fn keeps_its_rules(evidence: &Evidence) {
    let found = diagnose(evidence, Catalog::built_in());
    assert_eq!(said(evidence), said(&evidence.clone()), "the same evidence");
    assert!(!found.is_empty());
    for (d, rank) in found.iter().zip(1..) {
        let Diagnosis { kind, confidence, candidates, leaning, .. } = d;
        assert_eq!(d.rank, rank);
        assert!(!d.because.is_empty() && !d.advice.is_empty(), "{d:?}");
        assert!(d.failed <= d.tried && d.elsewhere.failed <= d.elsewhere.tried, "{d:?}");
        assert!(d.p.is_none_or(|p| (0.0..=1.0).contains(&p)), "{d:?}");
        if *kind == DiagnosisKind::Undecided {
            assert!(candidates.len() >= 2 && *confidence == Confidence::Low, "{d:?}");
            assert!(candidates.windows(2).all(|pair| pair[0] < pair[1]), "not in the table's order: {d:?}");
            assert!(leaning.is_none_or(|leaning| candidates.contains(&leaning)), "{d:?}");
            assert!(!candidates.contains(&DiagnosisKind::Undecided), "{d:?}");
            assert!(!d.would_raise.is_empty(), "what would settle it: {d:?}");
        } else {
            assert!(candidates.is_empty() && leaning.is_none(), "{d:?}");
        }
        let facts = [DiagnosisKind::LocalConfig, DiagnosisKind::BadTarget, DiagnosisKind::EgressMismatch];
        assert!(*confidence != Confidence::Certain || facts.contains(kind), "{d:?}");
        let sentences = d.because.iter().chain(&d.would_raise).chain(&d.ruled_out).chain([&d.advice]);
        for sentence in sentences {
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
        }
        let written = serde_json::to_string(d).unwrap();
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Diagnosis>(&written).unwrap()).unwrap(), written);
    }
    let healthy = found.iter().filter(|d| d.kind == DiagnosisKind::Healthy).count();
    assert!(healthy <= 1 && found.iter().rev().take(healthy).all(|d| d.kind == DiagnosisKind::Healthy));
}

fn said(evidence: &Evidence) -> String {
    serde_json::to_string(&diagnose(evidence, Catalog::built_in())).unwrap()
}

/// A world as the lines of its record: sessions above all, and what else is evidence.
fn world(mut tape: Tape<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    while !tape.is_over() && lines.len() < 200 {
        let seq = lines.len() + 1;
        let minute = tape.number() % 1440;
        let at = format!("2026-11-24T{:02}:{:02}:{:02}Z", minute / 60, minute % 60, seq % 60);
        let line = match tape.byte() {
            0..=7 => {
                let name = tape.one_of(&["target.example", "control.example", "mx1.target.example", "b.example"]);
                let (rtype, answers) = tape.one_of(&[
                    ("MX", "\"10 mx1.target.example\""),
                    ("MX", "\"0 .\""),
                    ("A", "\"198.51.100.20\""),
                    ("AAAA", ""),
                    ("MX", ""),
                ]);
                let error = tape.one_of(&[
                    "null",
                    "\"nxdomain\"",
                    "\"servfail\"",
                    "\"timeout\"",
                    "\"nodata\"",
                    "\"unreachable\"",
                ]);
                format!(
                    r#"{{"type":"lookup","run":"r","at":"{at}","name":"{name}","rtype":"{rtype}","resolver":"192.0.2.{}:53","answers":[{answers}],"error":{error},"ms":1.5}}"#,
                    tape.byte() % 3
                )
            }
            8..=15 => format!(
                r#"{{"type":"check","run":"r","source":"192.0.2.{}","check":"{}","result":"{}","detail":"x"}}"#,
                10 + tape.byte() % 5,
                tape.one_of(&["bound", "ptr", "fcrdns", "ehlo-name", "spf", "mx", "dane", "starttls"]),
                tape.one_of(&["pass", "warn", "fail", "unknown"]),
            ),
            16..=20 => format!(
                r#"{{"type":"passed","source":"192.0.2.{}","address":"198.51.100.{}","domain":"target.example","from-time":"{at}","to-time":"{at}","count":{}}}"#,
                10 + tape.byte() % 5,
                20 + tape.byte() % 5,
                tape.number()
            ),
            _ => session(&mut tape, seq, &at),
        };
        lines.push(line);
    }
    lines
}

fn session(tape: &mut Tape<'_>, seq: usize, at: &str) -> String {
    let (stage, kind, reply) = tape.one_of(&ENDINGS);
    let source = tape.one_of(&["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8::10"]);
    let role = tape.one_of(&["target", "target", "target", "target", "neutral", "control"]);
    let (domain, address) = match (role, tape.byte() % 8) {
        ("control", _) => ("control.example", "203.0.113.1".to_owned()),
        (_, 7) => ("b.example", "198.51.100.99".to_owned()),
        (_, 6) => ("target.example", "2001:db8::20".to_owned()),
        (_, n) => ("target.example", format!("198.51.100.{}", 20 + n)),
    };
    let mut line = format!(
        r#"{{"type":"session","run":"r","seq":{seq},"attempt":{},"at":"{at}","role":"{role}","domain":"{domain}","mx":"mx1.{domain}","kind":"{kind}""#,
        1 + tape.byte() % 3
    );
    let variant = tape.one_of(&["plain", "plain", "plain", "plaintext", "neutral-from", "control-message", "campaign"]);
    let _ = write!(line, r#","variant":"{variant}","until":"{}""#, tape.one_of(&["mail", "rcpt", "end-of-data"]));
    let odd = tape.byte();
    if odd % 16 != 1 {
        let _ = write!(line, r#","source":"{source}""#);
    }
    if kind != "dns-failed" && odd % 16 != 2 {
        let _ = write!(line, r#","address":"{address}""#);
    }
    if kind != "skipped" {
        let _ = write!(line, r#","stage":"{stage}""#);
    }
    if !reply.is_empty() {
        let reply = reply.replace("{source}", if odd < 200 { source } else { "192.0.2.99" });
        let _ = write!(line, r#","code":{},"reply":["{reply}"]"#, &reply[..3]);
    }
    if odd & 1 == 0 {
        let n = tape.byte() % 4;
        let _ = write!(line, r#","backend":"b{n}.example","banner":["220 b{n}.example ESMTP"]"#);
    }
    let _ =
        write!(line, r#","expected":{},"from":"a@{}"}}"#, odd % 32 == 3, tape.one_of(&["us.example", "other.example"]));
    line
}
