//! How fast a Postfix log is imported: writes one, imports it, and searches it beside that.
//!
//! ```text
//! cargo bench --bench import [-- MEGABYTES]
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mxprobe::report::import::Import;

const RUNS: usize = 3;

fn main() -> io::Result<()> {
    let megabytes = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(1024);
    let path = std::env::temp_dir().join(format!("import-bench-{}.log", std::process::id()));
    let mut outcome = Ok(());
    for (name, whole) in [("every line of each message", true), ("delivery lines alone", false)] {
        let lines = write_log(&path, megabytes << 20, whole)?;
        let size = std::fs::metadata(&path)?.len();
        println!("{name}: {} MB, {lines} lines", size >> 20);
        outcome = outcome.and_then(|()| measure(&path, size));
    }
    std::fs::remove_file(&path)?;
    outcome
}

fn measure(path: &Path, size: u64) -> io::Result<()> {
    let mut told = None;
    report("import", size, || {
        let (mut sessions, mut passed) = (0_u64, 0_u64);
        let imported = Import::new(2026).read(File::open(path)?, &mut |line| match line {
            mxprobe::record::Line::Session(_) => sessions += 1,
            _ => passed += 1,
        })?;
        told = Some((imported, sessions, passed));
        Ok(())
    })?;
    if let Some((imported, sessions, passed)) = told {
        println!("  {sessions} session lines, {passed} passed lines for {} deliveries", imported.passed);
    }
    println!("  peak memory {}", peak());
    for program in ["rg", "grep"] {
        let found = Command::new(program).arg("--version").output().is_ok();
        if !found {
            println!("{program}: not here");
            continue;
        }
        let pattern = if program == "rg" { "status=(deferred|bounced)" } else { "status=\\(deferred\\|bounced\\)" };
        report(&format!("{program} -c"), size, || {
            Command::new(program).args(["-c", pattern]).arg(path).output().map(|_| ())
        })?;
    }
    report("cat", size, || {
        io::copy(&mut File::open(path)?, &mut io::sink())?;
        Ok(())
    })
}

/// Runs `work` a few times and prints the median.
fn report(name: &str, size: u64, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        work()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a size in MB")]
    let megabytes = size as f64 / 1e6;
    println!("{name}: {:.2} s, {:.0} MB/s", times[RUNS / 2], megabytes / times[RUNS / 2]);
    Ok(())
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .map_or("unknown".to_owned(), |peak| peak.trim().to_owned())
}

/// A day of a sender: of its delivery lines one in ten is a failure, of twelve kinds; in a `whole` log
/// stand around each the lines that Postfix writes for a message besides.
fn write_log(path: &Path, size: usize, whole: bool) -> io::Result<u64> {
    const FAILURES: [&str; 12] = [
        "dsn=4.7.0, status=deferred (host H said: 421 4.7.0 [TSS04] Messages from 198.51.100.9 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes (in reply to MAIL FROM command))",
        "dsn=5.1.1, status=bounced (host H said: 550 5.1.1 <a@example.org>: Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command))",
        "dsn=4.0.0, status=deferred (host H refused to talk to me: 554 ESMTP not accepting connections)",
        "dsn=4.7.1, status=deferred (host H refused to talk to me: 421 4.7.1 : (DYN:T1) http://postmaster.info.aol.com/errors/421dynt1.html)",
        "dsn=5.2.1, status=bounced (host H said: 521 5.2.1 :(CON:B1) http://postmaster.info.aol.com/errors/554conb1.html (in reply to end of DATA command))",
        "dsn=4.4.2, status=deferred (lost connection with H while receiving the initial server greeting)",
        "dsn=4.4.2, status=deferred (conversation with H timed out while sending RCPT TO)",
        "dsn=4.4.1, status=deferred (connect to H:25: Connection timed out)",
        "dsn=5.7.26, status=bounced (host H said: 550-5.7.26 This mail has been blocked because the sender is unauthenticated. 550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM. 550 5.7.26 https://support.google.com/mail/answer/81126 - gsmtp (in reply to end of DATA command))",
        "dsn=4.2.2, status=deferred (host H said: 452 4.2.2 The recipient's inbox is out of storage space. (in reply to RCPT TO command))",
        "dsn=4.7.1, status=deferred (host H said: 450 4.7.1 <a@example.org>: Recipient address rejected: Greylisted, see http://postgrey.example/help (in reply to RCPT TO command))",
        "dsn=4.0.0, status=deferred (delivery temporarily suspended: host H refused to talk to me: 421 Service unavailable - try again later)",
    ];
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut written, mut lines, mut seed) = (0, 0, 1_u64);
    let mut n = 0_u64;
    while written < size {
        n += 1;
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let roll = seed >> 33;
        let second = n / 60 % 86_400;
        let head = format!("Nov 24 {:02}:{:02}:{:02} out1 postfix", second / 3600, second / 60 % 60, second % 60);
        let (id, host) = (format!("{:011X}", roll * 977), roll % 40);
        let named = format!("mx{host}.provider{}.example[192.0.2.{host}]", host % 7);
        let to = format!("user{}@provider{}.example", roll % 100_000, host % 7);
        let told = if roll.is_multiple_of(10) {
            let kind = FAILURES[usize::try_from(roll / 10 % 12).unwrap_or_default()];
            kind.replace('H', &named)
        } else {
            format!("dsn=2.0.0, status=sent (250 2.0.0 OK  {roll} d2e1a72fcca58-1234si5678901pfb.123 - gsmtp)")
        };
        let delivery = format!(
            "{head}/smtp[2{}]: {id}: to=<{to}>, relay={named}:25, delay=1.{}, delays=0.02/0/0.6/0.5, {told}\n",
            roll % 200,
            roll % 100
        );
        let message = if whole {
            format!(
                "{head}/cleanup[1{}]: {id}: message-id=<{roll}.{n}@mail.example.net>\n\
                 {head}/qmgr[812]: {id}: from=<bounce-{roll}@mail.example.net>, size={}, nrcpt=1 (queue active)\n\
                 {delivery}{head}/qmgr[812]: {id}: removed\n",
                roll % 50,
                2000 + roll % 90_000,
            )
        } else {
            delivery
        };
        out.write_all(message.as_bytes())?;
        written += message.len();
        lines += if whole { 4 } else { 1 };
    }
    out.flush()?;
    Ok(lines)
}
