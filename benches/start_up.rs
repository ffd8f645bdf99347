//! How long a process takes to its first word: to its exit with `--version`, to its first connection and
//! to its first question, beside swaks and `/bin/true`, turn by turn (Debian: package `swaks`).
//!
//! The times begin before the process is made. The size is that of the program's file.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use peers::peer;

#[path = "support/peers.rs"]
mod peers;

const MXPROBE: &str = env!("CARGO_BIN_EXE_mxprobe");
const TURNS: usize = 41;
/// What is wanted of `--version` and of the first packet, ms, and of the file, MB.
const VERSION: f64 = 5.0;
const FIRST_PACKET: f64 = 15.0;
const SIZE: f64 = 15.0;

fn main() -> io::Result<ExitCode> {
    // `cargo test --benches` wants to know that it runs, not how fast.
    let full = std::env::args().any(|arg| arg == "--bench");
    let swaks = peer("swaks", "swaks")?;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 4, 253), 0))?;
    let resolver = UdpSocket::bind((Ipv4Addr::new(127, 0, 4, 253), 0))?;
    resolver.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (to, dns) = (listener.local_addr()?, resolver.local_addr()?.to_string());
    let arrivals = arrivals(listener);
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..if full { TURNS } else { 3 } {
        times[0].push(to_exit(Command::new("/bin/true"))?);
        times[1].push(to_exit(mxprobe(&["--version"]))?);
        times[2].push(to_connection(connecting(to), &arrivals)?);
        let mut words = mxprobe(&["run", "own.example", "--dns", &dns, "--history", "none"]);
        times[3].push(to_question(words.args(["--source", "127.0.2.1"]), &resolver)?);
        let mut command = Command::new(&swaks);
        command.args(["--server", &to.ip().to_string(), "--port", &to.port().to_string(), "--quit-after", "CONNECT"]);
        times[4].push(to_connection(command, &arrivals)?);
    }
    let mut within = true;
    println!("| | ms | least | wanted |\n|---|---|---|---|");
    let names = [
        ("`/bin/true`", None),
        ("`mxprobe --version`", Some(VERSION)),
        ("`mxprobe run --host …` until the listener has the connection", Some(FIRST_PACKET)),
        ("`mxprobe run DOMAIN …` until the resolver has the question", Some(FIRST_PACKET)),
        ("`swaks --server …` until the listener has the connection", None),
    ];
    for (mut times, (name, wanted)) in times.into_iter().zip(names) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        let over = wanted.is_some_and(|wanted| median > wanted);
        within &= !over;
        let wanted = wanted.map_or(String::new(), |wanted| format!("{wanted:.0}"));
        println!("| {name} | {median:.2}{} | {:.2} | {wanted} |", if over { " (over)" } else { "" }, times[0]);
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer bytes than that")]
    let size = std::fs::metadata(MXPROBE)?.len() as f64 / 1e6;
    within &= size <= SIZE;
    println!("\nThe program's file: {size:.1} MB (wanted {SIZE:.0})");
    Ok(if within || !full { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn mxprobe(words: &[&str]) -> Command {
    let mut command = Command::new(MXPROBE);
    command.args(words);
    command
}

/// As far as the banner, with nothing to look up.
fn connecting(to: SocketAddr) -> Command {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    let mut command = mxprobe(&["run", "--host", &host, "--port", &port, "--ehlo", "probe.example"]);
    command.args(["--until", "banner", "--history", "none", "--source", "127.0.2.1"]);
    command
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// A process that is ended with what started it.
struct Started(Child);

impl Started {
    fn silent(command: &mut Command) -> io::Result<Self> {
        let name = Path::new(command.get_program()).display().to_string();
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        started.map(Self).map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn to_exit(mut command: Command) -> io::Result<f64> {
    let begun = Instant::now();
    let status = Started::silent(&mut command)?.0.wait()?;
    let took = ms(begun.elapsed());
    if status.success() { Ok(took) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}

/// Connections, and when they came.
type Arrivals = Receiver<io::Result<(TcpStream, Instant)>>;

/// Accepts them in a thread of its own, because the next one may never come.
fn arrivals(listener: TcpListener) -> Arrivals {
    let (tell, arrivals) = mpsc::channel();
    std::thread::spawn(
        move || {
            while tell.send(listener.accept().map(|(stream, _)| (stream, Instant::now()))).is_ok() {}
        },
    );
    arrivals
}

/// The session is then held to its end, so that it is none that is cut off.
fn to_connection(mut command: Command, arrivals: &Arrivals) -> io::Result<f64> {
    let begun = Instant::now();
    let mut started = Started::silent(&mut command)?;
    let arrived = arrivals.recv_timeout(Duration::from_secs(10));
    let (stream, at) = arrived.map_err(|_| io::Error::other(format!("{command:?} did not connect")))??;
    say_goodbye(&stream)?;
    started.0.wait()?;
    Ok(ms(at - begun))
}

fn say_goodbye(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"220 mx.own.example ESMTP\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    stream.write_all(b"221 2.0.0 bye\r\n")
}

fn to_question(command: &mut Command, resolver: &UdpSocket) -> io::Result<f64> {
    let begun = Instant::now();
    let started = Started::silent(command)?;
    resolver.recv(&mut [0; 512]).map_err(|e| io::Error::new(e.kind(), format!("{command:?} did not ask: {e}")))?;
    let took = ms(begun.elapsed());
    drop(started);
    // What else it had asked by then is not the next one's.
    resolver.set_nonblocking(true)?;
    while resolver.recv(&mut [0; 512]).is_ok() {}
    resolver.set_nonblocking(false)?;
    Ok(took)
}
