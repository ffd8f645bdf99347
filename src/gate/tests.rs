//! The gate on evidence that is written down: one line per session or check.

use super::*;
use crate::record::{CheckName, CheckResult};

const NOW: &str = "2026-11-24T10:00:00Z";

/// `SOURCE check RESULT`, or `SOURCE at ADDRESS KIND [STAGE CODE] [REPLY]`; the source is a number.
fn evidence(lines: &str) -> (Vec<Check>, Vec<Session>) {
    let (mut checks, mut sessions) = (Vec::new(), Vec::new());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let source = words[0].parse::<u8>().ok().map(|n| IpAddr::from([192, 0, 2, n]));
        if words[1] != "at" {
            let check = Check::new(words[1].parse().unwrap(), words[2].parse().unwrap(), "found").fix("mend it");
            checks.push(Check { source, ..check });
            continue;
        }
        let mut session = serde_json::json!({
            "seq": 1, "at": NOW, "domain": "aol.com", "mx": "mx.aol.com", "source": source,
            "address": format!("198.51.100.{}", words[2]), "kind": words[3], "until": "mail",
        });
        if words[3] == "rejected" {
            let (stage, code) = (words[4], words[5]);
            let class = if code.starts_with('4') { "transient" } else { "permanent" };
            let reply = format!("{code} {}", words[6..].join(" "));
            session["stage"] = stage.into();
            session["code"] = code.parse::<u16>().unwrap().into();
            session["class"] = class.into();
            session["text-class"] =
                if reply.contains("TempFail") { "transient".into() } else { serde_json::Value::Null };
            session["tag"] = reply.contains("TSS04").then_some("TSS04").into();
            session["reply"] = vec![reply].into();
        } else {
            session["detail"] = words[4..].join(" ").into();
        }
        sessions.push(serde_json::from_value(session).unwrap_or_else(|e| panic!("{line}: {e}")));
    }
    (checks, sessions)
}

/// `1 go; 2 hold 120; whole hold 120`: the verdicts, the minutes until a second look, `?` unknown.
fn judged(sources: u8, settings: &probe::Gate, lines: &str) -> (String, u8) {
    let (checks, sessions) = evidence(lines);
    let sources: Vec<IpAddr> = (1..=sources).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let now = NOW.parse().unwrap();
    let (checks, sessions) = (&checks[..], &sessions[..]);
    let gates = verdicts(&Ground {
        domain: Some("aol.com"),
        settings,
        sources: &sources,
        checks,
        sessions,
        diagnoses: &[],
        now,
    });
    let shown = gates.iter().map(|gate| {
        let of = gate.source.map_or("whole".to_owned(), |ip| ip.to_string().rsplit('.').next().unwrap().to_owned());
        let unknown = if gate.unknown { "?" } else { "" };
        let until = gate.until.map_or_else(String::new, |at| format!(" {}", at.duration_since(now).as_mins()));
        format!("{of} {}{unknown}{until}", gate.verdict)
    });
    (shown.collect::<Vec<_>>().join("; "), exit(&gates))
}

#[test]
fn a_verdict_follows_from_what_was_found() {
    for (sources, min_go, share, lines, want, status) in [
        (1, None, 0.05, "1 at 1 completed", "1 go; whole go", 0),
        (1, None, 0.05, "", "1 hold?; whole hold?", 3),
        (1, None, 0.05, "1 at 1 skipped cancelled", "1 hold?; whole hold?", 3),
        (1, None, 0.05, "1 at 1 local no route", "1 hold?; whole hold?", 3),
        (1, None, 0.05, "1 at 1 completed\n1 at 2 local no descriptors", "1 hold?; whole hold?", 3),
        // Checks: of the source, of all, of another; warnings hinder nobody.
        (1, None, 0.05, "1 at 1 completed\n1 spf fail", "1 no-go; whole no-go", 1),
        (1, None, 0.05, "1 at 1 completed\n- dkim fail", "1 no-go; whole no-go", 1),
        (1, None, 0.05, "1 at 1 completed\n9 spf fail", "1 go; whole go", 0),
        (1, None, 0.05, "1 at 1 completed\n1 spf unknown", "1 hold?; whole hold?", 3),
        (1, None, 0.05, "1 at 1 completed\n1 spf warn", "1 go; whole go", 0),
        (1, None, 0.05, "1 at 1 completed\n1 dnsbl fail\n1 dnsbl unknown", "1 go; whole go", 0),
        (1, None, 0.05, "1 at 1 completed\n1 spf unknown\n1 ptr fail", "1 no-go; whole no-go", 1),
        // Refusals: for good, for now, for now with a rest, for good by the code alone.
        (1, None, 0.05, "1 at 1 rejected mail 550 5.7.1 no", "1 no-go; whole no-go", 1),
        (1, None, 0.05, "1 at 1 rejected mail 451 4.3.0 later", "1 hold 15; whole hold 15", 1),
        (1, None, 0.05, "1 at 1 rejected mail 421 4.7.0 [TSS04] x", "1 hold 120; whole hold 120", 1),
        (1, None, 0.05, "1 at 1 rejected data 521 5.2.1 TempFail", "1 hold 1440; whole hold 1440", 1),
        (1, None, 0.05, "1 at 1 timed-out", "1 hold 15; whole hold 15", 1),
        (1, None, 1.0, "1 at 1 rejected mail 421 4.7.0 [TSS04] x", "1 hold 120; whole hold 120", 1),
        (1, None, 1.0, "1 at 1 rejected mail 451 4.3.0 later", "1 go; whole go", 0),
        // The share is of the sessions that were tried, and may be reached.
        (1, None, 0.25, &[OK3, "1 at 9 timed-out"].concat(), "1 go; whole go", 0),
        (1, None, 0.24, &[OK3, "1 at 9 timed-out"].concat(), "1 hold 15; whole hold 15", 1),
        (1, None, 0.25, &[OK3, "1 at 9 timed-out\n1 at 8 skipped x"].concat(), "1 go; whole go", 0),
        // A source that rests since an earlier run.
        (
            1,
            None,
            0.05,
            "1 at 1 skipped 192.0.2.1 rests at aol.com until 2026-11-24T11:30:00Z: 421 [TSS04]",
            "1 hold 90; whole hold 90",
            1,
        ),
        // Enough is enough; waiting helps where it can; the whole waits for as many as are missing.
        (2, Some(1), 0.05, "1 at 1 completed\n2 at 1 rejected mail 550 no", "1 go; 2 no-go; whole go", 0),
        (2, None, 0.05, "1 at 1 completed\n2 at 1 rejected mail 550 no", "1 go; 2 no-go; whole no-go", 1),
        (
            3,
            Some(2),
            0.05,
            "1 at 1 completed\n2 at 1 timed-out\n3 at 1 rejected mail 421 [TSS04] x",
            "1 go; 2 hold 15; 3 hold 120; whole hold 15",
            1,
        ),
        (2, None, 0.05, "1 at 1 timed-out\n2 spf unknown", "1 hold 15; 2 hold?; whole hold?", 3),
        (2, Some(3), 0.05, "1 at 1 completed\n2 at 1 completed", "1 go; 2 go; whole no-go", 1),
        (0, None, 0.05, "", "whole hold?", 3),
    ] {
        let settings = probe::Gate { min_go, max_transient: share, warn: vec![CheckName::Dnsbl] };
        assert_eq!(judged(sources, &settings, lines), (want.to_owned(), status), "{lines}");
    }
}

const OK3: &str = "1 at 1 completed\n1 at 2 completed\n1 at 3 completed\n";

#[test]
fn a_pool_holds_who_is_go_everywhere() {
    let gate = |source: u8, verdict| Gate {
        source: (source > 0).then(|| IpAddr::from([192, 0, 2, source])),
        verdict,
        ..verdict_of_nothing()
    };
    let gates = [
        gate(2, Verdict::Go),
        gate(1, Verdict::Go),
        gate(3, Verdict::Hold),
        gate(0, Verdict::NoGo),
        gate(1, Verdict::Go),
        gate(2, Verdict::NoGo),
        gate(4, Verdict::Go),
        gate(0, Verdict::Go),
    ];
    assert_eq!(pool(&gates), [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 4])]);
    assert_eq!((exit(&gates), exit(&[])), (1, 3));
}

fn verdict_of_nothing() -> Gate {
    verdict(&[])
}

#[test]
fn what_hinders_all_is_told_once() {
    let settings = probe::Gate::default();
    let (checks, sessions) = evidence("1 at 1 completed\n- dkim fail\n1 ptr fail\n1 fcrdns fail");
    let checks: Vec<Check> = checks.into_iter().map(|c| if c.source.is_none() { c.fix("sign") } else { c }).collect();
    let sources = [IpAddr::from([192, 0, 2, 1])];
    let gates = verdicts(&Ground {
        domain: None,
        settings: &settings,
        sources: &sources,
        checks: &checks,
        sessions: &sessions,
        diagnoses: &[],
        now: NOW.parse().unwrap(),
    });
    assert_eq!(gates[0].reason.as_deref(), Some("ptr: found; what is in the way of all: dkim"));
    assert_eq!(gates[0].fix.as_deref(), Some("mend it"));
    assert_eq!(gates[1].reason.as_deref(), Some("0 of 1 source is GO, wanted 1; in the way of all: dkim: found"));
    assert_eq!(gates[1].fix.as_deref(), Some("sign"));
    assert_eq!(checks[0].result, CheckResult::Fail);
}
