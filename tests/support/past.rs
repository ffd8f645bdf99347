//! The past of a watch, drawn up: rounds over hours or days, every source at every address, kept in
//! a history, heard by a tracker and seen by a board.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mxprobe::catalog::Catalog;
use mxprobe::history::archive::Archive;
use mxprobe::incident::{Round, Rule, Tracker};
use mxprobe::judge::{Evidence, judge};
use mxprobe::probe::layer::ProbeLayer;
use mxprobe::record::{Line, Session};
use mxprobe::web::Board;
use serde_json::{Value, json};

pub(crate) const DOMAIN: &str = "aol.com";
pub(crate) const PROBE: &str = "probes/aol.toml";

/// How a past looks.
#[derive(Clone, Copy)]
pub(crate) struct Past {
    pub(crate) sources: u8,
    pub(crate) addresses: u8,
    pub(crate) rounds: u32,
    /// From round to round, in minutes.
    pub(crate) every: u32,
    /// Whether anything went wrong.
    pub(crate) failing: bool,
}

impl Past {
    /// Begins such that the last round is over at `now`, and returns that one's id.
    pub(crate) fn draw(self, now: Timestamp, archive: &mut dyn Archive, board: &Board) -> String {
        let layer = ProbeLayer { domain: DOMAIN.parse().ok(), ..ProbeLayer::default() };
        let probe = layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        board.watch([(PROBE.to_owned(), Arc::new(probe))]);
        board.history_open(true);
        let mut tracker = Tracker::new(DOMAIN.to_owned(), Rule::default());
        let mut last = String::new();
        for number in 0..self.rounds {
            let before = i64::from(self.every) * i64::from(self.rounds - 1 - number);
            let at = now - SignedDuration::from_mins(before) - SignedDuration::from_secs(90);
            let run = format!("0199{number:08x}-0000-7000-8000-000000000000");
            let lines = self.round(&run, at, before);
            archive.keep(&run, Some(PROBE), &lines).unwrap();
            let ended = at + SignedDuration::from_secs(60);
            for mut update in tracker.hear(Round { at: ended, lines: &lines }, Catalog::built_in()) {
                archive.put_incident(Some(PROBE), &mut update.incident, &[]).unwrap();
                tracker.number(update.key, update.incident.id);
            }
            board.round(PROBE, &lines, ended, Duration::from_mins(1));
            last = run;
        }
        board.incidents(PROBE, tracker.incidents().map(|(_, incident)| incident.clone()).collect());
        board.next_round(PROBE, Some(now + SignedDuration::from_mins(14)));
        last
    }

    /// A round that begins so many minutes before the last one.
    fn round(self, run: &str, at: Timestamp, before: i64) -> Vec<Line> {
        let sources: Vec<IpAddr> = (0..self.sources).map(|source| IpAddr::from([192, 0, 2, 10 + source])).collect();
        let mut lines = vec![read(&json!({
            "type": "run", "schema": 1, "run": run, "at": at, "version": "0.1.0", "targets": [DOMAIN],
            "sources": sources, "until": "mail", "seed": 7
        }))];
        for source in 0..self.sources {
            for address in 0..self.addresses {
                let seq = lines.len() as u64;
                let at = at + SignedDuration::from_millis(i64::try_from(seq * 20).unwrap());
                let fields = self.session(run, seq, at, (source, address), before);
                lines.push(Line::Session(Box::new(serde_json::from_value::<Session>(fields).unwrap())));
            }
        }
        let mut evidence = Evidence::new();
        for line in &lines {
            evidence.add(line);
        }
        let diagnoses = judge(&evidence, Catalog::built_in());
        lines.extend(diagnoses.into_iter().map(|mut diagnosis| {
            run.clone_into(&mut diagnosis.run);
            Line::Diagnosis(Box::new(diagnosis))
        }));
        let summary = evidence.tally().summary(run, Some(60_000.0), u8::from(self.failing));
        lines.push(Line::Summary(summary));
        lines
    }

    fn session(self, run: &str, seq: u64, at: Timestamp, (source, address): (u8, u8), before: i64) -> Value {
        let exchanger = address / self.addresses.div_ceil(6).max(2) + 1;
        let ms = |base: u64| json!(base + (seq * 7 + u64::from(address)) % 19);
        let backend = format!("mtaproxy{}.aol.example", address + 1);
        let mut fields = json!({
            "run": run, "seq": seq, "at": at, "domain": DOMAIN, "mx": format!("mailin-0{exchanger}.mx.aol.com"),
            "preference": 15, "address": format!("198.51.100.{}", 21 + address), "backend": backend,
            "banner": [format!("220 {backend} ESMTP ready")], "source": format!("192.0.2.{}", 10 + source),
            "ehlo": format!("out{}.example.net", source + 1), "from": "probe@example.net", "until": "mail",
            "stage": "mail", "kind": "completed", "extensions": ["PIPELINING", "STARTTLS", "8BITMIME"],
            "tls": {
                "version": "TLSv1.3", "cipher": "TLS13_AES_256_GCM_SHA384", "verified": true, "problem": null,
                "names": ["*.mx.aol.com"], "issuer": "CN=Example CA", "not-after": "2027-01-24T00:00:00Z"
            },
            "steps": [
                {"stage": "connect", "ms": ms(84)}, {"stage": "banner", "ms": ms(163), "code": 220},
                {"stage": "ehlo", "ms": ms(82), "code": 250}, {"stage": "starttls", "ms": ms(85), "code": 220},
                {"stage": "tls", "ms": ms(171)}, {"stage": "ehlo-tls", "ms": ms(82), "code": 250},
                {"stage": "mail", "ms": ms(91), "code": 250}
            ],
            "total-ms": ms(700)
        });
        if !self.failing {
            return fields;
        }
        if address == 5 && before < 150 {
            (fields["stage"], fields["kind"]) = (json!("connect"), json!("timed-out"));
            (fields["steps"], fields["banner"], fields["tls"]) =
                (json!([{"stage": "connect", "ms": 30_000}]), Value::Null, Value::Null);
        } else if source == 1 % self.sources && before < 330 {
            refuse(
                &mut fields,
                "mail",
                421,
                &format!(
                    "421 4.7.0 [TSS04] Messages from 192.0.2.{} temporarily deferred due to unexpected volume or user complaints - \
                 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
                    10 + source
                ),
            );
            (fields["tag"], fields["enhanced"]) = (json!("TSS04"), json!("4.7.0"));
        } else if (1080..1260).contains(&before) {
            refuse(&mut fields, "banner", 554, &format!("554 {backend} ESMTP not accepting connections"));
        }
        fields
    }
}

fn refuse(fields: &mut Value, stage: &str, code: u16, reply: &str) {
    (fields["stage"], fields["kind"], fields["code"]) = (json!(stage), json!("rejected"), json!(code));
    (fields["reply"], fields["class"]) = (json!([reply]), json!(if code < 500 { "transient" } else { "permanent" }));
    if stage == "banner" {
        fields["banner"] = json!([reply]);
        fields["tls"] = Value::Null;
        fields["steps"].as_array_mut().unwrap().truncate(2);
    }
    fields["steps"].as_array_mut().unwrap().last_mut().unwrap()["code"] = json!(code);
}

fn read(fields: &Value) -> Line {
    Line::parse(&fields.to_string()).unwrap().unwrap()
}
