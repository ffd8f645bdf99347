//! Sessions a second: whole transactions with one small message into Postfix's `smtp-sink`, beside
//! Postfix's own `smtp-source`, swaks and `floor.c`, turn by turn (Debian: packages `postfix`,
//! `swaks`, `gcc` and `time`).
//!
//! The times are whole processes', from start to exit. `-- million` is one run of 1,000,000 sessions
//! and the memory that it holds meanwhile.

use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clients::{Clients, Load, MXPROBE};
use sink::Sink;
use timed::{Took, median};

#[path = "support/clients.rs"]
mod clients;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/peers.rs"]
mod peers;
#[path = "support/sink.rs"]
mod sink;
#[path = "support/timed.rs"]
mod timed;

/// Several, because a source has only so many ports.
const SOURCES: u8 = 10;
const SWAKS: u32 = 100;

fn main() -> io::Result<()> {
    let asked = |word: &str| std::env::args().any(|arg| arg == word);
    // `cargo test --benches` wants to know that it runs, not how fast.
    let full = asked("--bench");
    let clients = Clients::gather()?;
    if asked("million") {
        return million(&clients, if full { 1 } else { 1000 });
    }
    let (rounds, part) = if full { (5, 1) } else { (1, 100) };
    let mut fresh = Fresh::default();
    println!("Each message is {} bytes, from DATA's reply to the dot.\n", clients.message);
    println!(
        "| at once | smtp-source /s | floor /s | mxprobe /s | of smtp-source's | CPU us, smtp-source | floor | mxprobe | of smtp-source's | of the floor's | peak MiB, smtp-source | floor | mxprobe |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut ours = None;
    for (at_once, sessions, tls) in [
        (1, 5000, "off"),
        (50, 20_000, "off"),
        (500, 20_000, "off"),
        (2000, 20_000, "off"),
        (50, 20_000, "opportunistic"),
    ] {
        let sessions = sessions / part;
        let mut turns = Vec::new();
        for _ in 0..rounds {
            turns.push([
                fresh.measure(at_once, sessions, tls, |load| clients.smtp_source(load))?,
                fresh.measure(at_once, sessions, tls, |load| clients.floor(load))?,
                fresh.measure(at_once, sessions, tls, |load| clients.mxprobe(load))?,
            ]);
        }
        let label = if tls == "off" { at_once.to_string() } else { format!("{at_once}, `--tls {tls}`") };
        let cpu = row(&label, sessions, &turns);
        ours.get_or_insert(cpu);
    }
    let sessions = SWAKS / part;
    let swaks = cpu(&fresh.measure(1, sessions, "off", |load| clients.swaks(load))?, sessions);
    let times = swaks / ours.unwrap_or(f64::NAN);
    println!(
        "\nswaks, {sessions} sessions one after another: {swaks:.0} CPU us each, {times:.0} times mxprobe's at 1."
    );
    Ok(())
}

/// A sink and sources for each measurement: the ports that the last one used up stay used up for a minute.
#[derive(Default)]
struct Fresh(u8);

impl Fresh {
    fn measure(
        &mut self,
        at_once: u32,
        sessions: u32,
        tls: &str,
        client: impl FnOnce(Load<'_>) -> io::Result<Took>,
    ) -> io::Result<Took> {
        self.0 = self.0 % 250 + 1;
        let [_, _, _, ours] = std::process::id().to_be_bytes();
        let sources: Vec<_> = (1..=SOURCES).map(|n| Ipv4Addr::new(127, 2 + n, ours, self.0)).collect();
        let sink = Sink::start(Ipv4Addr::new(127, 0, 4, self.0))?;
        client(Load { to: sink.at, at_once, sessions, sources: &sources, tls })
    }
}

fn cpu(took: &Took, sessions: u32) -> f64 {
    took.cpu.as_secs_f64() * 1e6 / f64::from(sessions)
}

/// Medians, of the ratios too. Returns mxprobe's CPU time per session.
fn row(label: &str, sessions: u32, turns: &[[Took; 3]]) -> f64 {
    let of = |figure: &dyn Fn(&[Took; 3]) -> f64| median(turns.iter().map(figure)).unwrap_or(f64::NAN);
    let rate = |took: &Took| f64::from(sessions) / took.wall.as_secs_f64();
    let cpu = |took: &Took| cpu(took, sessions);
    #[expect(clippy::cast_precision_loss, reason = "far fewer KiB than that")]
    let peak = |took: &Took| took.peak as f64 / 1024.0;
    println!(
        "| {label} | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
        of(&|[source, _, _]| rate(source)),
        of(&|[_, floor, _]| rate(floor)),
        of(&|[_, _, ours]| rate(ours)),
        of(&|[source, _, ours]| rate(ours) / rate(source)),
        of(&|[source, _, _]| cpu(source)),
        of(&|[_, floor, _]| cpu(floor)),
        of(&|[_, _, ours]| cpu(ours)),
        of(&|[source, _, ours]| cpu(ours) / cpu(source)),
        of(&|[_, floor, ours]| cpu(ours) / cpu(floor)),
        of(&|[source, _, _]| peak(source)),
        of(&|[_, floor, _]| peak(floor)),
        of(&|[_, _, ours]| peak(ours)),
    );
    of(&|[_, _, ours]| cpu(ours))
}

/// One run of 1,000,000 sessions, or a part of it, 500 at once. Its lines go through a pipe and are counted, so
/// that what it holds can be read when so many sessions are done.
fn million(clients: &Clients, part: u32) -> io::Result<()> {
    // 20,000 sessions from each: no port is needed twice.
    let sources: Vec<_> = (1..=50).map(|n| Ipv4Addr::new(127, 0, 2, n)).collect();
    let sink = Sink::start(Ipv4Addr::new(127, 0, 4, 254))?;
    let sessions = 1_000_000 / part;
    let load = Load { to: sink.at, at_once: 500, sessions, sources: &sources, tls: "off" };
    let begun = Instant::now();
    let mut running = Running(Command::new(MXPROBE).args(clients.words(load)).stdout(Stdio::piped()).spawn()?);
    let process = running.0.id();
    let mut said = running.0.stdout.take().ok_or_else(|| io::Error::other("mxprobe has no standard output"))?;
    let (mut lines, mut bytes, mut buffer) = (0, 0, vec![0; 1 << 16]);
    let mut marks = [10, 25, 50, 75, 100].map(|percent| (percent, sessions / 100 * percent)).into_iter().peekable();
    let (mut peak, mut sampled) = (0, begun);
    println!("| sessions | s | VmRSS, MiB |\n|---|---|---|");
    loop {
        let count = said.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        bytes += count;
        lines += u32::try_from(memchr::memchr_iter(b'\n', &buffer[..count]).count()).unwrap_or(u32::MAX);
        let mark = marks.next_if(|(_, mark)| lines >= *mark);
        if mark.is_some() || sampled.elapsed() > Duration::from_secs(1) {
            // Nothing is left to read of one that is about to be gone; its last mark is then the one before.
            let Ok(held) = memory::kib(process, "VmRSS") else { continue };
            peak = peak.max(memory::kib(process, "VmHWM").unwrap_or(held));
            sampled = Instant::now();
            if let Some((percent, _)) = mark {
                println!("| {percent} % | {:.1} | {:.1} |", begun.elapsed().as_secs_f64(), mib(held));
            }
        }
    }
    let cpu = running.ended()?;
    let wall = begun.elapsed().as_secs_f64();
    let each = cpu.as_secs_f64() * 1e6 / f64::from(sessions);
    println!(
        "\n{sessions} sessions in {wall:.1} s ({:.0}/s), {:.1} s of CPU ({each:.0} us each), peak {:.1} MiB, {bytes} bytes of lines",
        f64::from(sessions) / wall,
        cpu.as_secs_f64(),
        mib(peak)
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far fewer KiB than that")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// mxprobe at work; dropping it ends its process.
struct Running(Child);

impl Running {
    /// Waits for its end, which must be that of a run whose every session completed. The CPU time that it used.
    fn ended(&mut self) -> io::Result<Duration> {
        let process = self.0.id();
        // What it used can be read until it is waited for, and is all there once it has ended.
        let cpu = loop {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
            // The name, which may have anything in it, ends with the last bracket; the state follows.
            let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            if let ["Z", _, _, _, _, _, _, _, _, _, _, user, system, ..] = fields[..] {
                let ticks = |word: &str| word.parse::<u64>().map_err(io::Error::other);
                break Duration::from_millis(10 * (ticks(user)? + ticks(system)?));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let status = self.0.wait()?;
        if status.success() { Ok(cpu) } else { Err(io::Error::other(format!("mxprobe: {status}"))) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
