//! Those who hold whole transactions with a sink: mxprobe, `smtp-source`, swaks and the floor.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::peer;
use crate::timed::{Took, timed};

pub(crate) const MXPROBE: &str = env!("CARGO_BIN_EXE_mxprobe");
const MAILBOX: &str = "me@own.example";

/// Who can be measured, and with what.
pub(crate) struct Clients {
    /// What the floor was built in, and the list of the mailboxes that are ours.
    directory: PathBuf,
    smtp_source: PathBuf,
    swaks: PathBuf,
    /// From the first byte after DATA's reply to the last one of the dot's line.
    pub(crate) message: usize,
    /// What has the others send as many.
    source_payload: usize,
    swaks_payload: usize,
}

/// Sessions to hold.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) at_once: u32,
    pub(crate) sessions: u32,
    pub(crate) sources: &'a [Ipv4Addr],
    pub(crate) tls: &'a str,
}

impl Clients {
    /// Builds the floor, looks for the others and measures how long mxprobe's message is.
    pub(crate) fn gather() -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("mxprobe-clients-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let (smtp_source, swaks) = (peer("smtp-source", "postfix")?, peer("swaks", "swaks")?);
        let mut clients = Self { directory, smtp_source, swaks, message: 0, source_payload: 0, swaks_payload: 0 };
        std::fs::write(clients.owned(), format!("{MAILBOX}\n"))?;
        let code = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floor.c");
        let built =
            Command::new(peer("cc", "gcc")?).args(["-O2", "-o"]).arg(clients.floor_path()).arg(code).status()?;
        if !built.success() {
            return Err(io::Error::other("cc could not build benches/floor.c"));
        }
        clients.message = message_of(|load| clients.mxprobe(load).map(drop))?;
        clients.source_payload =
            payload(clients.message, "smtp-source", |length, load| clients.smtp_source_with(length, load).map(drop))?;
        clients.swaks_payload =
            payload(clients.message, "swaks", |length, load| clients.swaks_with(length, load).map(drop))?;
        Ok(clients)
    }

    fn owned(&self) -> PathBuf {
        self.directory.join("owned.txt")
    }

    fn floor_path(&self) -> PathBuf {
        self.directory.join("floor")
    }

    pub(crate) fn smtp_source(&self, load: Load<'_>) -> io::Result<Took> {
        self.smtp_source_with(self.source_payload, load)
    }

    fn smtp_source_with(&self, payload: usize, load: Load<'_>) -> io::Result<Took> {
        let (at_once, sessions, to) = (load.at_once.to_string(), load.sessions.to_string(), load.to.to_string());
        let words = ["-s", &at_once, "-m", &sessions, "-l", &payload.to_string(), "-f", MAILBOX, "-t", MAILBOX, &to];
        run(&self.smtp_source, &words.map(str::to_owned))
    }

    pub(crate) fn floor(&self, load: Load<'_>) -> io::Result<Took> {
        let mut words = vec![load.to.ip().to_string(), load.to.port().to_string()];
        words.extend([load.at_once.to_string(), load.sessions.to_string(), self.message.to_string()]);
        words.extend(load.sources.iter().map(ToString::to_string));
        run(&self.floor_path(), &words)
    }

    /// One process a session, one after another.
    pub(crate) fn swaks(&self, load: Load<'_>) -> io::Result<Took> {
        self.swaks_with(self.swaks_payload, load)
    }

    fn swaks_with(&self, payload: usize, load: Load<'_>) -> io::Result<Took> {
        let (program, to) = (self.swaks.display(), load.to);
        let one = format!(
            "{program} --server {} --port {} --helo probe.example --from {MAILBOX} --to {MAILBOX} --body {} --silent 2",
            to.ip(),
            to.port(),
            "x".repeat(payload)
        );
        let all = format!("i=0; while [ $i -lt {} ]; do {one} || exit 1; i=$((i + 1)); done", load.sessions);
        run(Path::new("sh"), &["-c".to_owned(), all])
    }

    /// Status 0: every session completed.
    pub(crate) fn mxprobe(&self, load: Load<'_>) -> io::Result<Took> {
        run(Path::new(MXPROBE), &self.words(load))
    }

    /// The command line that makes mxprobe do so.
    pub(crate) fn words(&self, load: Load<'_>) -> Vec<String> {
        let (at_once, owned) = (load.at_once.to_string(), self.owned().display().to_string());
        let (host, port) = (load.to.ip().to_string(), load.to.port().to_string());
        let attempts = (load.sessions as usize / load.sources.len()).to_string();
        let mut words: Vec<_> = [
            ["run", "--host", &host, "--port", &port, "--own-mx"].as_slice(),
            &["--ehlo", "probe.example", "--from", MAILBOX, "--to", MAILBOX, "--owned", &owned],
            &["--until", "end-of-data", "--send", "--tls", load.tls, "--attempts", &attempts, "--pace", "0s"],
            &["--per-address", &at_once, "--per-provider", &at_once, "--rate", "1000000/s"],
            &["--history", "none", "--format", "jsonl"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        for source in load.sources {
            words.extend(["--source".to_owned(), source.to_string()]);
        }
        words
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(program: &Path, words: &[String]) -> io::Result<Took> {
    let (took, output) = timed(&program.to_string_lossy(), words, true)?;
    if !output.status.success() {
        let name = program.file_name().unwrap_or(OsStr::new("it")).to_string_lossy();
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{name}: {}: {said}", output.status)));
    }
    Ok(took)
}

/// The payload with which `client` sends a message of so many bytes.
fn payload(message: usize, name: &str, client: impl Fn(usize, Load<'_>) -> io::Result<()>) -> io::Result<usize> {
    let sends = |payload| message_of(|load| client(payload, load));
    let payload = (100 + message).saturating_sub(sends(100)?);
    match sends(payload)? {
        found if found == message => Ok(payload),
        found => Err(io::Error::other(format!("{name} sends a message of {found} bytes, wanted {message}"))),
    }
}

/// How many bytes of message a client sends, as a server of one session counts them.
fn message_of(client: impl FnOnce(Load<'_>) -> io::Result<()>) -> io::Result<usize> {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 4, 255), 0))?;
    let to = listener.local_addr()?;
    let server = std::thread::spawn(move || count(&listener));
    client(Load { to, at_once: 1, sessions: 1, sources: &[Ipv4Addr::new(127, 0, 2, 1)], tls: "off" })?;
    server.join().map_err(|_| io::Error::other("the server that counts fell over"))?
}

/// Serves one session to its end and counts the bytes of its message.
fn count(listener: &TcpListener) -> io::Result<usize> {
    let (stream, _) = listener.accept()?;
    let (mut out, mut lines) = (&stream, BufReader::new(&stream));
    out.write_all(b"220 mx.own.example ESMTP\r\n")?;
    let (mut message, mut inside, mut line) = (0, false, Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        if inside {
            message += line.len();
        }
        let reply: &[u8] = match &*line {
            b".\r\n" if inside => b"250 2.0.0 taken\r\n",
            _ if inside => b"",
            b"DATA\r\n" => b"354 go on\r\n",
            b"QUIT\r\n" => b"221 2.0.0 bye\r\n",
            _ => b"250 mx.own.example\r\n",
        };
        inside = reply.starts_with(b"354") || inside && reply.is_empty();
        out.write_all(reply)?;
        if reply.starts_with(b"221") {
            break;
        }
        line.clear();
    }
    Ok(message)
}
