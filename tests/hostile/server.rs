//! A server that keeps to the protocol up to one stage, and there does as it is told. It shares
//! nothing with the prober but the spelling of stages and of bytes.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mxprobe::smtp::dialog::unescape;
use mxprobe::stage::Stage;
use rustls::ServerConfig;
use serde::Deserialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// One thing that a server does. In texts `{reply}` stands for the reply that belongs here, `{long}`
/// for 60,000 letters, `{lines}` for a refusal of 10,001 lines, and `\r`, `\n` and `\xHH` for bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    /// Says this.
    Say(String),
    /// Says the first bytes of this, as many as [`Orders::cut`].
    Cut(String),
    /// Says this, every byte by itself.
    Spell(String),
    /// Says this again and again, a byte every few milliseconds, for ever.
    Drip(String),
    /// Says this for ever, as fast as it is taken.
    Flood(String),
    /// Says this in the clear, whatever the connection is under.
    Raw(String),
    /// The same, a byte every few milliseconds, and NULs for ever.
    RawDrip(String),
    /// Closes without a word, and without a `close_notify`.
    Close,
    /// Closes as TLS has it.
    CloseNotify,
    Reset,
    /// Closes its own side, and reads on.
    HalfClose,
    /// Reads on, and says nothing more.
    Silence,
    /// Reads nothing more, and says nothing more.
    Deaf,
}

/// What a server is told.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) stage: Stage,
    pub(crate) does: Vec<Act>,
    pub(crate) cut: usize,
    /// At `end-of-data`: at once, with the message unread.
    pub(crate) early: bool,
    pub(crate) tls: Option<Tls>,
}

/// Who shakes hands.
#[derive(Clone)]
pub(crate) enum Tls {
    Config(Arc<ServerConfig>),
    /// Another process, at this address.
    At(SocketAddr),
}

/// The reply of a server that means well. Under TLS it no longer offers it.
pub(crate) fn reply(stage: Stage, tls: bool) -> &'static str {
    match stage {
        Stage::Banner => "220 mx.example ESMTP\r\n",
        Stage::Ehlo if tls => "250-mx.example\r\n250 STARTTLS\r\n",
        Stage::Ehlo | Stage::EhloTls => "250-mx.example\r\n250 SIZE 99\r\n",
        Stage::StartTls => "220 2.0.0 go\r\n",
        Stage::Mail => "250 2.1.0 ok\r\n",
        Stage::Rcpt => "250 2.1.5 ok\r\n",
        Stage::Data => "354 go\r\n",
        Stage::EndOfData => "250 2.0.0 queued\r\n",
        Stage::Quit => "221 2.0.0 bye\r\n",
        _ => "",
    }
}

/// The bytes that a text stands for.
pub(crate) fn bytes(text: &str, stage: Stage, tls: bool) -> Vec<u8> {
    let reply = reply(stage, tls).replace("\r\n", "\\r\\n");
    let lines = "554-\\r\\n".repeat(10_000) + "554\\r\\n";
    unescape(&text.replace("{reply}", &reply).replace("{long}", &"x".repeat(60_000)).replace("{lines}", &lines))
}

/// Serves one connection. That it breaks is the client's doing, or was told.
pub(crate) async fn serve(listener: TcpListener, orders: Orders) {
    let Ok((tcp, _)) = listener.accept().await else { return };
    _ = tcp.set_nodelay(true);
    let mut server = Server { wire: Wire::Plain(tcp), unread: Vec::new(), said: Vec::new(), orders };
    _ = server.run().await;
}

struct Server {
    wire: Wire,
    /// What the client has said and nobody has looked at yet.
    unread: Vec<u8>,
    /// What was said at this stage.
    said: Vec<u8>,
    orders: Orders,
}

impl Server {
    async fn run(&mut self) -> io::Result<()> {
        self.perform(Stage::Banner).await?;
        loop {
            let line = self.until(b"\r\n").await?;
            let under_tls = matches!(self.wire, Wire::Tls(_));
            let stage = match line.get(..4).unwrap_or_default() {
                b"EHLO" | b"HELO" if under_tls => Stage::EhloTls,
                b"EHLO" | b"HELO" => Stage::Ehlo,
                b"STAR" => Stage::StartTls,
                b"MAIL" => Stage::Mail,
                b"RCPT" => Stage::Rcpt,
                b"DATA" => Stage::Data,
                b"QUIT" => Stage::Quit,
                _ => panic!("a client that says {:?}", String::from_utf8_lossy(&line)),
            };
            self.perform(stage).await?;
            match stage {
                Stage::StartTls if self.said.starts_with(b"220") => self.upgrade().await?,
                Stage::Data if self.said.starts_with(b"354") => {
                    if !self.orders.early {
                        self.until(b"\r\n.\r\n").await?;
                    }
                    self.perform(Stage::EndOfData).await?;
                    if self.orders.early {
                        self.until(b"\r\n.\r\n").await?;
                    }
                }
                Stage::Quit => return Ok(()),
                _ => {}
            }
        }
    }

    /// Answers, or does as told.
    async fn perform(&mut self, stage: Stage) -> io::Result<()> {
        self.said.clear();
        if stage != self.orders.stage {
            return self.say(reply(stage, self.orders.tls.is_some()).as_bytes()).await;
        }
        for act in self.orders.does.clone() {
            self.act(&act).await?;
        }
        Ok(())
    }

    async fn act(&mut self, act: &Act) -> io::Result<()> {
        let bytes = |text: &str| bytes(text, self.orders.stage, self.orders.tls.is_some());
        match act {
            Act::Say(text) => self.say(&bytes(text)).await,
            Act::Cut(text) => {
                let bytes = bytes(text);
                self.say(&bytes[..self.orders.cut]).await
            }
            Act::Spell(text) => {
                for byte in bytes(text) {
                    self.say(&[byte]).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Act::Drip(text) => {
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                for &byte in bytes(text).iter().cycle() {
                    tick.tick().await;
                    self.say(&[byte]).await?;
                }
                Ok(())
            }
            Act::Flood(text) => {
                let once = bytes(text);
                let many = once.repeat(16_384 / once.len() + 1);
                loop {
                    self.wire.write(&many).await?;
                }
            }
            Act::Raw(text) => {
                let bytes = bytes(text);
                self.wire.tcp_mut().write_all(&bytes).await
            }
            Act::RawDrip(text) => {
                let mut tick = tokio::time::interval(Duration::from_millis(5));
                for byte in bytes(text).into_iter().chain(std::iter::repeat(0)) {
                    tick.tick().await;
                    self.wire.tcp_mut().write_all(&[byte]).await?;
                }
                Ok(())
            }
            Act::Close => gone(),
            Act::CloseNotify => {
                self.wire.shutdown().await?;
                self.read_on().await
            }
            Act::Reset => {
                SockRef::from(&*self.wire.tcp_mut()).set_linger(Some(Duration::ZERO))?;
                gone()
            }
            Act::HalfClose => {
                SockRef::from(&*self.wire.tcp_mut()).shutdown(Shutdown::Write)?;
                self.read_on().await
            }
            Act::Silence => self.read_on().await,
            Act::Deaf => std::future::pending().await,
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.said.extend(bytes);
        self.wire.write(bytes).await
    }

    async fn read_on(&mut self) -> io::Result<()> {
        let mut nowhere = [0; 4096];
        while self.wire.read(&mut nowhere).await? > 0 {}
        gone()
    }

    /// What the client says up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let found = self.unread[searched..].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return Ok(self.unread.drain(..searched + at + end.len()).collect());
            }
            searched = self.unread.len().saturating_sub(end.len());
            let mut buffer = vec![0; 16_384];
            match self.wire.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.unread.extend(&buffer[..n]),
            }
        }
    }

    async fn upgrade(&mut self) -> io::Result<()> {
        let Wire::Plain(mut tcp) = std::mem::replace(&mut self.wire, Wire::Gone) else { return gone() };
        if self.orders.stage == Stage::Tls && !self.orders.does.is_empty() {
            // The hello, whole: what is unread at a close makes it a reset.
            _ = tcp.read(&mut vec![0; 16_384]).await?;
            self.wire = Wire::Plain(tcp);
            self.perform(Stage::Tls).await?;
            return self.read_on().await;
        }
        match &self.orders.tls {
            Some(Tls::Config(config)) => {
                self.wire = Wire::Tls(Box::new(TlsAcceptor::from(Arc::clone(config)).accept(tcp).await?));
                Ok(())
            }
            Some(Tls::At(address)) => {
                let mut other = TcpStream::connect(address).await?;
                copy_bidirectional(&mut tcp, &mut other).await?;
                gone()
            }
            None => gone(),
        }
    }
}

/// An error, so that nothing more is done and the connection is dropped.
fn gone() -> io::Result<()> {
    Err(io::ErrorKind::ConnectionAborted.into())
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

impl Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer).await,
            Self::Tls(tls) => tls.read(buffer).await,
            Self::Gone => Ok(0),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes).await,
            Self::Tls(tls) => {
                tls.write_all(bytes).await?;
                tls.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
            Self::Gone => Ok(()),
        }
    }

    /// The connection beneath.
    fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
            Self::Gone => panic!("a connection that is gone"),
        }
    }
}
