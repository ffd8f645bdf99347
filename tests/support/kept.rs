//! Rounds to keep in a history, a process that keeps them for ever, and what must be there when it
//! was killed.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use mxprobe::history::archive::{Archive as _, StoreArchive};
use mxprobe::record::{Line, Session};
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use serde_json::json;

/// One round: every source at every address, one source refused with its own address and a queue id
/// in the words, now and then a server that fails.
pub(crate) fn round(run: &str, at: Timestamp, sources: u64, addresses: u64) -> Vec<Line> {
    let read = |fields: serde_json::Value| Line::parse(&fields.to_string()).unwrap().unwrap();
    let head = json!({
        "type": "run", "schema": 1, "run": run, "at": at, "version": "0.1.0", "targets": ["aol.com"],
        "sources": (0..sources).map(|s| format!("192.0.2.{}", 10 + s)).collect::<Vec<_>>(), "until": "mail", "seed": 7
    });
    let lookup = json!({
        "type": "lookup", "run": run, "at": at, "name": "aol.com", "rtype": "MX", "resolver": "127.0.0.53:53",
        "answers": ["10 mx-aol.mail.gm0.yahoodns.net"], "error": null, "ms": 12.4
    });
    let mut lines = vec![read(head), read(lookup)];
    let Line::Session(model) = read(json!({
        "type": "session", "run": run, "seq": 1, "attempt": 1, "at": at, "role": "target", "domain": "aol.com",
        "mx": "mx-aol.mail.gm0.yahoodns.net", "preference": 10, "port": 25, "backend": "mtaproxy.example",
        "banner": [], "variant": "plain", "ehlo": "out.example.net", "from": "probe@example.net", "to": null,
        "until": "mail", "stage": "mail", "kind": "completed",
        "tls": {
            "version": "TLSv1.3", "cipher": "TLS13_AES_256_GCM_SHA384", "verified": true, "problem": null,
            "names": ["*.mx.example"], "issuer": "CN=Example CA", "not-after": "2027-01-24T00:00:00Z"
        },
        "extensions": ["PIPELINING", "STARTTLS", "8BITMIME", "SIZE 41943040"],
        "steps": [
            {"stage": "connect", "ms": 0}, {"stage": "banner", "ms": 0, "code": 220},
            {"stage": "ehlo", "ms": 0, "code": 250}, {"stage": "starttls", "ms": 0, "code": 220},
            {"stage": "tls", "ms": 0}, {"stage": "ehlo-tls", "ms": 0, "code": 250},
            {"stage": "mail", "ms": 0, "code": 250}
        ]
    })) else {
        unreachable!("it is a session")
    };
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(at.as_millisecond().cast_unsigned());
    let cells = (0..addresses).flat_map(|a| (0..sources).map(move |s| (s, a)));
    for ((s, a), seq) in cells.zip(1_u64..) {
        let mut session = Session { seq, at: at + Duration::from_millis(seq * 40), ..(*model).clone() };
        session.source = format!("192.0.2.{}", 10 + s).parse().ok();
        session.address = format!("198.51.{}.{}", 100 + a / 200, 20 + a % 200).parse().ok();
        session.backend = Some(format!("mtaproxy{}.example", a % 7));
        session.banner = Some(vec![format!("220 mtaproxy{}.example ESMTP {:.0}", a % 7, session.at)]);
        if s == 3 || dice.random_ratio(1, 50) {
            let reply = if s == 3 {
                format!(
                    "421 4.7.0 [TSS04] Messages from 192.0.2.{} temporarily deferred due to user complaints",
                    10 + s
                )
            } else {
                format!("451 4.3.0 queue file write error (id 4Xq{:07X}Zk)", dice.random_range(0..1 << 28))
            };
            let fields = json!({"code": reply[..3].parse::<u16>().unwrap(), "tag": (s == 3).then_some("TSS04")});
            session.kind = mxprobe::record::Kind::Rejected;
            session.code = serde_json::from_value(fields["code"].clone()).unwrap();
            session.tag = serde_json::from_value(fields["tag"].clone()).unwrap();
            session.reply = Some(vec![reply]);
            session.steps.last_mut().unwrap().code = session.code;
        }
        session.steps.iter_mut().for_each(|step| step.ms = f64::from(dice.random_range(80_000..90_000)) / 1000.0);
        session.total_ms = Some(session.steps.iter().map(|step| step.ms).sum());
        lines.push(Line::Session(Box::new(session)));
    }
    let diagnosis = json!({
        "type": "diagnosis", "run": run, "rank": 1, "kind": "sender-ip-block", "confidence": "high",
        "sources": ["192.0.2.13"], "failed": addresses, "tried": addresses, "because": ["one source is refused, all others pass"]
    });
    let summary = json!({
        "type": "summary", "run": run, "sessions": sources * addresses, "completed": 0, "failed": 0, "local": 0,
        "skipped": 0, "elapsed-ms": 96_011.4, "exit": 1
    });
    lines.extend([read(diagnosis), read(summary)]);
    lines
}

/// How many sessions [`keep_for_ever`] enters at once.
const PART: usize = 20;

/// Keeps rounds of 60 sessions in three parts, and says of each part when it is acknowledged. Each
/// part is said twice to the history, as by somebody who did not hear that it went well.
pub(crate) fn keep_for_ever(path: &Path, first: u64) {
    let mut archive = StoreArchive::open(path).unwrap();
    let begun = Timestamp::from_second(1_790_000_000).unwrap();
    for n in first.. {
        let run = format!("run-{n:06}");
        let lines = round(&run, begun + Duration::from_secs(900 * n), 6, 10);
        let sessions: Vec<_> = lines.into_iter().filter(|line| matches!(line, Line::Session(_))).collect();
        for (part, lines) in sessions.chunks(PART).enumerate() {
            archive.keep(&run, None, lines).unwrap();
            archive.keep(&run, None, lines).unwrap();
            let mut out = io::stdout().lock();
            writeln!(out, "kept {n} {part}").and_then(|()| out.flush()).unwrap();
        }
    }
}

/// Kills a process that keeps rounds so many times, each time at another moment, lets the next one go
/// on with the round that it was at, and looks whether all is there that was acknowledged, and once.
/// `command` gives the process that goes on at a round.
pub(crate) fn kill(times: u64, path: &Path, command: impl Fn(u64) -> Command) -> u64 {
    let mut dice = rand_chacha::ChaCha8Rng::seed_from_u64(times);
    let (mut acknowledged, mut first) = (BTreeSet::new(), 0);
    for _ in 0..times {
        let mut killed = command(first).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(killed.stdout.take().unwrap()).lines();
        let heard = |line: &str| {
            let mut words = line.split("kept ").nth(1)?.split(' ').map(|word| word.parse::<u64>().ok());
            Some((words.next()??, words.next()??))
        };
        // Once it is at work it is given some milliseconds.
        let first_word = said.by_ref().map_while(Result::ok).find_map(|line| heard(&line)).expect("it keeps something");
        acknowledged.insert(first_word);
        let (never, later) = mpsc::channel::<()>();
        let _ = later.recv_timeout(Duration::from_micros(dice.random_range(0..150_000)));
        killed.kill().unwrap();
        killed.wait().unwrap();
        drop(never);
        acknowledged.extend(said.map_while(Result::ok).filter_map(|line| heard(&line)));
        first = acknowledged.last().map_or(0, |(round, _)| *round);
    }

    let db = Connection::open(path).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let sessions = count("SELECT count(*) FROM session");
    assert_eq!(count("SELECT count(DISTINCT run * 1000 + seq) FROM session"), sessions);
    assert_eq!(count("SELECT sum(sessions) FROM hour"), sessions, "the hours count each once");
    assert_eq!(count("SELECT sum(completed + failed) FROM run"), sessions, "and so do the runs");
    let mut archive = StoreArchive::open(path).unwrap();
    for (round, part) in &acknowledged {
        let lines = archive.run(&format!("run-{round:06}")).unwrap().unwrap_or_default();
        let seqs: BTreeSet<u64> =
            lines.iter().filter_map(|line| if let Line::Session(s) = line { Some(s.seq) } else { None }).collect();
        let (from, part_long) = (part * PART as u64, PART as u64);
        assert!((from + 1..=from + part_long).all(|seq| seqs.contains(&seq)), "round {round}, part {part}: {seqs:?}");
    }
    acknowledged.len() as u64 * PART as u64
}
