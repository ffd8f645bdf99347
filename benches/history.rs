//! What a history of 2,000,000 sessions costs: its size, its questions, a round more.
//!
//! ```text
//! cargo bench --bench history [-- SESSIONS]
//! cargo bench --bench history -- kill [TIMES]
//! ```
//!
//! The file lies in the temporary directory (`TMPDIR`) and is gone afterwards.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mxprobe::history::archive::{Archive as _, Filter, Retention, StoreArchive};

#[path = "../tests/support/kept.rs"]
mod kept;

/// Sources and addresses of a round.
const ROUND: (u64, u64) = (10, 23);
const TIMES: usize = 11;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    match words.first().map(String::as_str) {
        Some("keep") => kept::keep_for_ever(Path::new(&words[1]), number(2).unwrap_or(0)),
        Some("kill") => kill(number(1).unwrap_or(100)),
        // A test run wants nothing but that it starts.
        _ if !std::env::args().any(|word| word == "--bench") => {}
        _ => measure(number(0).unwrap_or(2_000_000)),
    }
}

fn kill(times: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let begun = Instant::now();
    let acknowledged = kept::kill(times, &path, |first| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("keep").arg(&path).arg(first.to_string());
        command
    });
    println!(
        "killed {times} times in {:.1} s: {acknowledged} sessions acknowledged, none lost, none twice, the file whole",
        begun.elapsed().as_secs_f64()
    );
}

fn measure(sessions: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    let mut archive = StoreArchive::open(&path).unwrap();
    let rounds = sessions.div_ceil(ROUND.0 * ROUND.1);
    let begun = Instant::now();
    for n in 0..rounds {
        let run = format!("0199{n:08x}-0000-7000-8000-000000000000");
        archive.keep(&run, Some("probes/aol.toml"), &kept::round(&run, begins(n), ROUND.0, ROUND.1)).unwrap();
    }
    let filled = begun.elapsed().as_secs_f64();
    let sessions = rounds * ROUND.0 * ROUND.1;
    println!("{sessions} sessions in {rounds} rounds, written in {filled:.0} s");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    println!("{} MB, {} bytes a session", size(&path) / 1_000_000, size(&path) / sessions);

    let day = begins(rounds / 2);
    let of_day = Filter {
        source: "192.0.2.13".parse().ok(),
        since: Some(day),
        until: Some(day + Duration::from_hours(24)),
        ..Filter::default()
    };
    let last = Filter { limit: Some(20), ..Filter::default() };
    report("runs of a source and day", || archive.runs(&of_day).unwrap().len());
    report("the same by the command", || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
        command.args(["history", "--limit", "100", "--source", "192.0.2.13", "--since", &day.to_string()]);
        command.args(["--until-time", &(day + Duration::from_hours(24)).to_string(), "--history"]).arg(&path);
        String::from_utf8(command.output().unwrap().stdout).unwrap().lines().count() - 1
    });
    report("sessions of a source and day", || count(&mut archive, &of_day));
    let by_domain = Filter { source: None, domain: Some("aol.com".to_owned()), ..of_day.clone() };
    report("sessions of a domain and day", || count(&mut archive, &by_domain));
    let by_code = Filter { source: None, code: serde_json::from_str("451").ok(), ..of_day.clone() };
    report("runs of a code and day", || archive.runs(&by_code).unwrap().len());
    let code_ever = Filter { since: None, until: None, ..by_code.clone() };
    report("runs of a code, ever", || archive.runs(&code_ever).unwrap().len());
    report("hours of a source and day", || archive.hours(&of_day).unwrap().len());
    report("the last 20 runs", || archive.runs(&last).unwrap().len());
    let one = archive.runs(&of_day).unwrap().remove(0).run;
    report("one run, whole", || archive.run(&one).unwrap().unwrap().len());
    report("opening the file", || StoreArchive::open(&path).map(|_| 1).unwrap());

    let mut n = rounds;
    let mut inserted = Vec::new();
    for _ in 0..TIMES {
        let run = format!("0199{n:08x}-0000-7000-8000-000000000000");
        let lines = kept::round(&run, begins(n), 25, 40);
        n += 1;
        let begun = Instant::now();
        archive.keep(&run, Some("probes/aol.toml"), &lines).unwrap();
        inserted.push(begun.elapsed());
    }
    say("a round of 1,000 sessions kept", inserted, 1000);

    let now = begins(n);
    let retention = Retention { sessions: Duration::from_hours(60 * 24) };
    let (mut parts, mut forgotten) = (Vec::new(), 0);
    while parts.len() < 200 {
        let begun = Instant::now();
        let part = archive.retain(now, &retention).unwrap();
        parts.push(begun.elapsed());
        forgotten += part.sessions;
        if !part.more {
            break;
        }
    }
    println!("{forgotten} sessions forgotten in {} parts", parts.len());
    say("one part of forgetting", parts, 1);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
}

/// When a round begins: every 15 minutes.
fn begins(round: u64) -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap() + Duration::from_mins(15 * round)
}

fn count(archive: &mut StoreArchive, filter: &Filter) -> usize {
    let mut found = 0;
    archive
        .sessions(filter, &mut |session| {
            found += usize::from(session.seq > 0);
            true
        })
        .unwrap();
    found
}

fn report(what: &str, mut work: impl FnMut() -> usize) {
    let (mut times, mut found) = (Vec::new(), 0);
    for _ in 0..TIMES {
        let begun = Instant::now();
        found = work();
        times.push(begun.elapsed());
    }
    say(what, times, found);
}

fn say(what: &str, mut times: Vec<Duration>, found: usize) {
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
    println!("{what}: {:.1} ms, {:.1} to {:.1} ({found})", ms(times.len() / 2), ms(0), ms(times.len() - 1));
}
