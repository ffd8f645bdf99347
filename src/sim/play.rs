//! Plays a dialog against a client that may not keep to it.
//!
//! The dialog says only what is special. What it does not speak of is answered by default:
//! - One that begins with a `C:` line is preceded by the default greeting.
//! - A client's line is looked for among the `C:` lines that are left, the next one first; those
//!   before it are skipped, so that a client without STARTTLS finds its place behind it. A line
//!   that is not found gets the default answer, and so does one with nothing of the server's
//!   behind it.
//! - In a `C:` line `*` stands for anything, and case does not matter. A dialog with a `=` line is
//!   the transcript of another session: there the verb alone decides.
//! - A message, up to its lone dot, is the line `.`. A `C:` line of a dot, a blank and more is a
//!   message that has a line like the rest: `C: . Subject: *sale*`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::line::Wire;
use super::replies::{Answer, Manners, Standing, Verb};
use super::seen::{Ended, Entry};
use crate::smtp::dialog::{Act, Dialog, Line};

/// What a connection is to meet.
pub(super) struct Part {
    pub(super) dialog: Arc<Dialog>,
    pub(super) manners: Manners,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) source: IpAddr,
    pub(super) address: IpAddr,
    pub(super) host: String,
}

/// Plays the part to its end.
pub(super) async fn play(part: Part, stream: TcpStream, entry: Entry) {
    let mut player = Player {
        wire: Some(Wire::new(stream)),
        part,
        entry,
        at: 0,
        standing: Standing::default(),
        message: Vec::new(),
    };
    let ended = match player.perform().await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    player.entry.end(ended);
    if let Some(wire) = player.wire.take() {
        match ended {
            Ended::Reset => wire.reset(),
            Ended::ClientGone => {}
            _ => wire.close().await,
        }
    }
}

/// There is no value of it: a player performs until something ends the connection.
enum Never {}

struct Player {
    /// None: a handshake took it and failed.
    wire: Option<Wire>,
    part: Part,
    entry: Entry,
    /// The next line of the dialog.
    at: usize,
    standing: Standing,
    /// The beginning of the last message.
    message: Vec<u8>,
}

impl Player {
    async fn perform(&mut self) -> Result<Never, Ended> {
        if !self.is_servers(self.at) {
            self.answer().await?;
        }
        loop {
            while self.is_servers(self.at) {
                self.act().await?;
            }
            let line = self.listen().await?;
            // Where the dialog has nothing of the server's to say to it, the default speaks.
            let found = self.find(&line);
            self.at = found.map_or(self.at, |at| at + 1);
            if found.is_none() || !self.is_servers(self.at) {
                self.answer().await?;
            }
        }
    }

    fn is_servers(&self, at: usize) -> bool {
        self.part.dialog.lines.get(at).is_some_and(|line| !matches!(line.act, Act::Client(_)))
    }

    /// The next thing that the client says; of a message, its dot.
    async fn listen(&mut self) -> Result<Vec<u8>, Ended> {
        let line = if self.standing.takes_message() {
            let (entry, message) = (&self.entry, &mut self.message);
            message.clear();
            let took = |bytes: &[u8]| {
                entry.took(bytes);
                message.extend_from_slice(&bytes[..bytes.len().min(MESSAGE - message.len())]);
            };
            wire(&mut self.wire)?.message(took).await?;
            b".".to_vec()
        } else {
            match wire(&mut self.wire)?.line().await {
                Err(Ended::TooLong) => return self.part_with("500 5.5.2 line too long\r\n", Ended::TooLong).await,
                line => line?,
            }
        };
        self.entry.heard(&line);
        self.standing.heard(Verb::of(&line));
        Ok(line)
    }

    /// Where the dialog has the line.
    fn find(&self, said: &[u8]) -> Option<usize> {
        let transcript = self.part.dialog.ending.is_some();
        let mut left = self.part.dialog.lines.iter().enumerate().skip(self.at);
        let found = left.find(|(_, line)| {
            let Act::Client(pattern) = &line.act else { return false };
            let pattern = spoken(pattern);
            match pattern.strip_prefix(b". ") {
                _ if transcript => Verb::of(pattern) == Verb::of(said),
                Some(line) if said == b"." => {
                    let mut lines = self.message.split(|&byte| byte == b'\n');
                    lines.any(|said| matches(line, said.strip_suffix(b"\r").unwrap_or(said)))
                }
                _ => matches(&self.fill_in(pattern), said),
            }
        });
        found.map(|(at, _)| at)
    }

    /// Answers by default.
    async fn answer(&mut self) -> Result<(), Ended> {
        match self.standing.answer(&self.part.manners) {
            Answer::Say(text) => self.say(text.as_bytes()).await,
            Answer::Upgrade(text) => {
                self.say(text.as_bytes()).await?;
                self.upgrade().await
            }
            Answer::Bye(text) => self.part_with(&text, Ended::Quit).await,
        }
    }

    /// Does what the dialog's next line says.
    async fn act(&mut self) -> Result<(), Ended> {
        let dialog = Arc::clone(&self.part.dialog);
        let Some(Line { after, act }) = dialog.lines.get(self.at) else { return Ok(()) };
        self.at += 1;
        if let Act::Server { bytes, times, .. } = act {
            let line = self.fill_in(bytes);
            let mut left = *times;
            while left > 1 {
                wire(&mut self.wire)?.pause(*after).await?;
                self.say(&line).await?;
                left -= u32::from(left != u32::MAX);
            }
            wire(&mut self.wire)?.pause(*after).await?;
            let (packet, joined) = join(line, &dialog.lines[self.at..], |bytes| self.fill_in(bytes));
            self.at += joined;
            match dialog.lines.get(self.at) {
                Some(Line { after: Duration::ZERO, act: Act::Close }) => self.entry.end(Ended::Closed),
                Some(Line { after: Duration::ZERO, act: Act::Reset }) => self.entry.end(Ended::Reset),
                _ => {}
            }
            return self.say(&packet).await;
        }
        wire(&mut self.wire)?.pause(*after).await?;
        match act {
            Act::Tls => self.upgrade().await,
            Act::TlsFails => {
                wire(&mut self.wire)?.fail_upgrade().await?;
                Err(Ended::TlsFailed)
            }
            Act::Reset => Err(Ended::Reset),
            Act::Silence => Err(wire(&mut self.wire)?.silence().await),
            Act::Close | Act::Client(_) | Act::Server { .. } => Err(Ended::Closed),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.standing.said(bytes);
        wire(&mut self.wire)?.write(bytes).await
    }

    /// The last words: the connection counts as over before they go out.
    async fn part_with<T>(&mut self, text: &str, ended: Ended) -> Result<T, Ended> {
        self.entry.end(ended);
        self.say(text.as_bytes()).await?;
        Err(ended)
    }

    async fn upgrade(&mut self) -> Result<(), Ended> {
        let (Some(acceptor), Some(plain)) = (&self.part.acceptor, self.wire.take()) else {
            return Err(Ended::TlsFailed);
        };
        self.wire = Some(plain.upgrade(acceptor).await?);
        self.standing.upgraded();
        self.entry.upgraded();
        Ok(())
    }

    /// Replaces `{source}`, `{address}`, `{host}` and `{backend}`.
    fn fill_in(&self, text: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(open) = memchr::memchr(b'{', rest) {
            out.extend_from_slice(&rest[..open]);
            rest = &rest[open..];
            let length = memchr::memchr(b'}', rest).map_or(0, |close| close + 1);
            let value = match &rest[..length] {
                b"{source}" => self.part.source.to_string(),
                b"{address}" => self.part.address.to_string(),
                b"{host}" => self.part.host.clone(),
                b"{backend}" => self.part.manners.name.clone(),
                _ => {
                    out.push(b'{');
                    rest = &rest[1..];
                    continue;
                }
            };
            out.extend_from_slice(value.as_bytes());
            rest = &rest[length..];
        }
        out.extend_from_slice(rest);
        out
    }
}

/// So much of a message is looked at.
const MESSAGE: usize = 65_536;

/// The most that goes out as one packet.
const PACKET: usize = 65_536;

/// A line together with those that go out in its packet, and how many these are.
fn join(mut packet: Vec<u8>, behind: &[Line], fill_in: impl Fn(&[u8]) -> Vec<u8>) -> (Vec<u8>, usize) {
    let mut joined = 0;
    for Line { act, .. } in behind {
        let Act::Server { bytes, joined: true, times } = act else { break };
        let line = fill_in(bytes);
        let times = usize::try_from(*times).unwrap_or(usize::MAX);
        if line.len().saturating_mul(times).saturating_add(packet.len()) > PACKET {
            break;
        }
        packet.extend(line.repeat(times));
        joined += 1;
    }
    (packet, joined)
}

/// The wire, as long as no handshake took it.
fn wire(wire: &mut Option<Wire>) -> Result<&mut Wire, Ended> {
    wire.as_mut().ok_or(Ended::TlsFailed)
}

/// A `C:` line without its end. A whole message is its dot.
fn spoken(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    if line.ends_with(b"\r\n.") { b"." } else { line }
}

/// Whether the pattern, in which `*` stands for anything, is the line.
fn matches(pattern: &[u8], line: &[u8]) -> bool {
    let mut pieces = pattern.split(|&byte| byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = strip(line, first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let found = (0..=rest.len()).find_map(|at| strip(&rest[at..], piece));
        let Some(behind) = found else { return false };
        rest = behind;
    }
    rest.len().checked_sub(last.len()).is_some_and(|at| rest[at..].eq_ignore_ascii_case(last))
}

fn strip<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::{join, matches, spoken};
    use crate::smtp::dialog::Dialog;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, line, is) in [
            ("EHLO *", "ehlo a.example", true),
            ("EHLO *", "EHLO", false),
            ("MAIL FROM:*", "MAIL FROM:<a@b> SIZE=1", true),
            ("MAIL FROM:<*@b.example>*", "MAIL FROM:<a@b.example> SIZE=1", true),
            ("MAIL FROM:<*@b.example>*", "MAIL FROM:<a@c.example>", false),
            ("DATA", "data", true),
            ("DATA", "DATA ", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "axbxb", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), line.as_bytes()), is, "{pattern:?} {line:?}");
        }
    }

    #[test]
    fn a_message_is_its_dot() {
        assert_eq!(spoken(b".\r\n"), b".");
        assert_eq!(spoken(b"Subject: a\r\n\r\nb\r\n.\r\n"), b".");
        assert_eq!(spoken(b"QUIT\r\n"), b"QUIT");
    }

    #[test]
    fn a_packet_holds_the_lines_that_are_joined_to_it() {
        for (behind, packet, joined) in [
            ("S&: b\nS&*2: c\nS: d", "a\r\nb\r\nc\r\nc\r\n", 2),
            ("S&: b\nTLS\nS&: c", "a\r\nb\r\n", 1),
            ("S&*: b", "a\r\n", 0),
            ("C: b", "a\r\n", 0),
            ("", "a\r\n", 0),
        ] {
            let dialog: Dialog = behind.parse().unwrap();
            let found = join(b"a\r\n".to_vec(), &dialog.lines, <[u8]>::to_vec);
            assert_eq!(found, (packet.as_bytes().to_vec(), joined), "{behind}");
        }
    }
}
