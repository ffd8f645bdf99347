//! The server's end of a connection: lines in, packets out, with and without TLS, in bounded
//! memory.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::seen::Ended;

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    /// What was read and not yet used.
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// The longest line, and the most that is read ahead. RFC 5321, section 4.5.3.1 asks for 512.
    const LINE: usize = 8192;
    /// How long a client may say nothing (RFC 5321, section 4.5.3.2.7).
    const IDLE: Duration = Duration::from_mins(5);
    /// How long to wait for the client's close behind ours.
    const DRAIN: Duration = Duration::from_secs(2);

    pub(super) fn new(stream: TcpStream) -> Self {
        // Without it the packets of a dialog would be glued together; where it cannot be had, they are.
        let _ = stream.set_nodelay(true);
        Self { stream: Stream::Plain(stream), buffer: Vec::new() }
    }

    /// The next line, without its end.
    pub(super) async fn line(&mut self) -> Result<Vec<u8>, Ended> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.pop();
                line.pop_if(|byte| *byte == b'\r');
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched >= Self::LINE {
                return Err(Ended::TooLong);
            }
            self.fill().await?;
        }
    }

    /// Reads a message up to its lone dot, and hands over what comes as it comes.
    pub(super) async fn message(&mut self, mut took: impl FnMut(&[u8])) -> Result<(), Ended> {
        let mut end = EndOfMessage::default();
        loop {
            if let Some(length) = end.find(&self.buffer) {
                took(&self.buffer[..length]);
                self.buffer.drain(..length);
                return Ok(());
            }
            took(&self.buffer);
            self.buffer.clear();
            self.fill().await?;
        }
    }

    /// Writes the bytes, in one packet if they fit in one.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let written = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                Err(e) => Err(e),
            },
        };
        written.map_err(|_| Ended::ClientGone)
    }

    /// Says nothing for a while, and notices when the client goes.
    pub(super) async fn pause(&mut self, length: Duration) -> Result<(), Ended> {
        if length.is_zero() {
            return Ok(());
        }
        let sleep = sleep(length);
        tokio::pin!(sleep);
        loop {
            let full = self.buffer.len() >= Self::LINE;
            tokio::select! {
                () = &mut sleep => return Ok(()),
                read = self.read(), if !full => read?,
            }
        }
    }

    /// Says nothing until the client goes.
    pub(super) async fn silence(&mut self) -> Ended {
        loop {
            self.buffer.clear();
            if let Err(ended) = self.read().await {
                return ended;
            }
        }
    }

    /// The handshake. What the client sent in the clear before it is forgotten (RFC 3207,
    /// section 4.2).
    pub(super) async fn upgrade(self, acceptor: &TlsAcceptor) -> Result<Self, Ended> {
        let Stream::Plain(stream) = self.stream else { return Err(Ended::TlsFailed) };
        match timeout(Self::IDLE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(Self { stream: Stream::Tls(Box::new(stream)), buffer: Vec::new() }),
            _ => Err(Ended::TlsFailed),
        }
    }

    /// A handshake that fails: a fatal `handshake_failure` (RFC 8446, section 6) for an answer to
    /// whatever the client opens with.
    pub(super) async fn fail_upgrade(&mut self) -> Result<(), Ended> {
        self.buffer.clear();
        self.fill().await?;
        self.write(&[21, 3, 3, 0, 2, 2, 40]).await
    }

    /// Closes the connection in order. Waiting for the client's close keeps what was said last
    /// from being lost to a reset.
    pub(super) async fn close(mut self) {
        let shut = match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        };
        if shut.is_ok() {
            let _ = timeout(Self::DRAIN, self.silence()).await;
        }
    }

    /// Resets the connection.
    pub(super) fn reset(self) {
        let stream = match self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.into_inner().0,
        };
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }

    async fn fill(&mut self) -> Result<(), Ended> {
        timeout(Self::IDLE, self.read()).await.unwrap_or(Err(Ended::Idle))
    }

    /// Reads what there is. Nothing is lost when it is cancelled.
    async fn read(&mut self) -> Result<(), Ended> {
        self.buffer.reserve(4096);
        let read: io::Result<usize> = match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await,
        };
        match read {
            Ok(0) | Err(_) => Err(Ended::ClientGone),
            Ok(_) => Ok(()),
        }
    }
}

/// Finds `CRLF . CRLF` in pieces, where the message's start counts as the start of a line
/// (RFC 5321, section 4.1.1.4). A bare LF ends nothing.
struct EndOfMessage {
    /// How much of it was just read.
    matched: usize,
}

impl Default for EndOfMessage {
    fn default() -> Self {
        Self { matched: 2 }
    }
}

impl EndOfMessage {
    const END: &'static [u8] = b"\r\n.\r\n";

    /// How many of the bytes belong to the message, its end included, if it ends in them.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes
            .iter()
            .position(|&byte| {
                self.matched = match (Self::END.get(self.matched) == Some(&byte), byte) {
                    (true, _) => self.matched + 1,
                    (false, b'\r') => 1,
                    (false, _) => 0,
                };
                self.matched == Self::END.len()
            })
            .map(|at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::EndOfMessage;

    #[test]
    fn a_message_ends_at_its_lone_dot_however_it_is_cut() {
        for (message, rest) in [
            (".\r\n", "QUIT\r\n"),
            ("a\r\n.\r\n", "QUIT\r\n"),
            ("a\n.\nb\r\n..\r\n.\r\n", ""),
            ("a\r\r\n.\r\r\n.\r\n", "x"),
            ("\r\n.\r\n", ".\r\n"),
        ] {
            let wire = [message, rest].concat();
            for size in 1..=wire.len() {
                let mut end = EndOfMessage::default();
                let mut before = 0;
                let found = wire.as_bytes().chunks(size).find_map(|chunk| {
                    let found = end.find(chunk).map(|length| before + length);
                    before += chunk.len();
                    found
                });
                assert_eq!(found, Some(message.len()), "{wire:?} in pieces of {size}");
            }
        }
    }
}
