//! How long a million session lines take to read and to judge, and how much memory.
//!
//! `cargo bench --bench judge_million`. The lines are written to a temporary file first.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::time::Instant;

use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge};

const SESSIONS: usize = 1_000_000;
const SOURCES: usize = 64;
const ADDRESSES: usize = 64;

fn main() -> std::io::Result<()> {
    if std::env::args().any(|a| a == "--test") {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new()?;
    write_lines(&mut BufWriter::new(file.as_file_mut()))?;
    let bytes = file.as_file().metadata()?.len();
    println!("{SESSIONS} session lines, {} MiB", bytes >> 20);

    let written = processor();
    let start = Instant::now();
    let mut evidence = Evidence::new();
    let input = BufReader::with_capacity(1 << 16, File::open(file.path())?);
    evidence.read(input, "million.jsonl").map_err(std::io::Error::other)?;
    let read = start.elapsed();
    let found = judge(&evidence, Catalog::built_in());
    let judged = start.elapsed().saturating_sub(read);
    println!(
        "read {:.2} s, judged {:.2} s, together {:.2} s",
        read.as_secs_f64(),
        judged.as_secs_f64(),
        (read + judged).as_secs_f64()
    );
    for d in &found {
        println!("{} {} {} of {} ({:?})", d.confidence, d.kind, d.failed, d.tried, d.sources);
    }
    println!("{:.2} s of processor time, the writing of the lines not counted", processor() - written);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|l| l.starts_with("VmHWM")) {
        println!("{line}");
    }
    Ok(())
}

/// Seconds of processor time so far, in user and kernel mode: what is left of the clock's where
/// others share the machine.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Sessions as a run writes them: a blocked source, a dead address, a few deferrals with a queue id of
/// their own.
fn write_lines(out: &mut impl Write) -> std::io::Result<()> {
    for n in 0..SESSIONS {
        let (s, a) = (n % SOURCES, n / SOURCES % ADDRESSES);
        let at = jiff::Timestamp::from_millisecond(1_790_000_000_000 + 1_300 * i64::try_from(n).unwrap_or(0))
            .map_err(std::io::Error::other)?;
        let source = format!("192.0.2.{}", 10 + s);
        let (stage, kind, code, reply) = match (s, a, n % 97) {
            (_, 7, _) => ("connect", "timed-out", None, None),
            (3, ..) => (
                "mail",
                "rejected",
                Some(421),
                Some(format!("421 4.7.0 [TSS04] Messages from {source} temporarily deferred due to user complaints")),
            ),
            (_, _, 0) => (
                "mail",
                "rejected",
                Some(451),
                Some(format!("451 4.3.0 queue file write error (id 4Xq{n:07X}Zk) at {at}")),
            ),
            _ => ("mail", "completed", None, None),
        };
        let mut line = serde_json::json!({
            "type": "session", "run": "01990000-0000-7000-8000-000000000000", "seq": n + 1, "attempt": 1 + n / (SOURCES * ADDRESSES),
            "at": at.to_string(), "role": "target", "domain": "aol.com", "mx": "mx-aol.mail.gm0.yahoodns.net", "preference": 10,
            "address": format!("198.51.100.{}", 20 + a), "port": 25, "backend": format!("mtaproxy{}.example", n % 5),
            "banner": [format!("220 mtaproxy{}.example ESMTP ready", n % 5)], "variant": "plain", "source": source, "seen-as": source,
            "ehlo": format!("out{s}.example.net"), "from": "probe@example.net", "to": null, "until": "mail",
            "stage": stage, "kind": kind, "code": code, "enhanced": null, "tag": if s == 3 && code == Some(421) { Some("TSS04") } else { None },
            "class": null, "text-class": null, "reply": reply.map(|r| [r]), "also": [], "notes": [], "detail": null, "expected": false,
            "tls": {"version": "TLSv1.3", "cipher": "TLS13_AES_256_GCM_SHA384", "verified": true, "problem": null, "names": ["*.mx.example"], "issuer": "CN=Example CA", "not-after": "2027-01-24T00:00:00Z"},
            "extensions": ["PIPELINING", "STARTTLS", "8BITMIME", "SIZE 41943040"],
            "steps": [{"stage": "connect", "ms": 84.1}, {"stage": "banner", "ms": 163.0, "code": 220}, {"stage": "ehlo", "ms": 82.7, "code": 250}, {"stage": "mail", "ms": 91.5, "code": 250}],
            "total-ms": 702.2
        });
        if reply_is_null(&line) {
            line.as_object_mut().map(|fields| fields.remove("reply"));
        }
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn reply_is_null(line: &serde_json::Value) -> bool {
    line["reply"].is_null()
}
