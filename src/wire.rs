//! TCP and TLS: the sockets of a session, and what went wrong with them, as values.
//!
//! [`connect`] opens a connection from a chosen source address, [`Stream`] is that connection and
//! its upgrade to TLS, [`interfaces`] are the addresses there are to choose from. Time limits are
//! the caller's: every future here may be dropped.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

mod certificate;
mod connect;
mod dane;
mod fault;
mod tls;

pub use connect::{ConnectFault, LocalFault, bound, connect, lost};
pub use fault::TlsFault;
pub use tls::{Expected, Handshake, Must, Trust, TrustError};

/// A session's connection: in the clear, under TLS, or gone after a failed handshake.
#[derive(Debug)]
pub struct Stream(State);

#[derive(Debug)]
enum State {
    Plain(TcpStream),
    Tls(Box<TlsStream<tls::Heard>>),
    Gone,
}

impl Stream {
    /// A connection in the clear.
    #[must_use]
    pub const fn plain(tcp: TcpStream) -> Self {
        Self(State::Plain(tcp))
    }

    /// Whether a handshake completed.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.0, State::Tls(_))
    }

    /// Our end, as the kernel chose it.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    /// The handshake that follows a 220 to `STARTTLS` (RFC 3207, section 4).
    ///
    /// No certificate ends the handshake: what is wrong with it is in the record. One that is not
    /// what it must be is also the fault, though the stream is then under TLS, so that the session
    /// can end in order; after any other fault it is gone.
    ///
    /// The caller has made sure that nothing in the clear is left unread (RFC 3207, section 6).
    pub async fn upgrade(&mut self, expected: &Expected<'_>, trust: &Trust) -> Handshake {
        let State::Plain(tcp) = std::mem::replace(&mut self.0, State::Gone) else {
            return Handshake { seen: None, outcome: Err(TlsFault::Other("no connection in the clear".to_owned())) };
        };
        let (stream, handshake) = tls::handshake(tcp, expected, trust).await;
        if let Some(stream) = stream {
            self.0 = State::Tls(Box::new(stream));
        }
        handshake
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match &self.0 {
            State::Plain(tcp) => Some(tcp),
            State::Tls(stream) => Some(stream.get_ref().0.tcp()),
            State::Gone => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            State::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            State::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                // A close without close_notify: for SMTP, whose replies end themselves, a close.
                Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => other,
            },
            State::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            State::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            State::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            State::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            State::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            State::Tls(stream) => Pin::new(stream).poll_flush(cx),
            State::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            // The close that comes next says as much.
            State::Plain(_) | State::Gone => Poll::Ready(Ok(())),
            State::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The addresses of this host's interfaces, one pair per address; link-local IPv6 addresses, which
/// need a scope that a source does not have, are left out.
///
/// # Errors
///
/// The system call's.
pub fn interfaces() -> io::Result<Vec<(String, IpAddr)>> {
    let all = if_addrs::get_if_addrs()?.into_iter().map(|interface| (interface.name.clone(), interface.ip()));
    Ok(all.filter(|(_, ip)| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())).collect())
}

/// How many descriptors this process may still open; null where the system does not tell.
#[must_use]
pub fn descriptors() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?;
    let most = if soft == "unlimited" { usize::MAX } else { soft.parse().ok()? };
    // The directory that is being read is one of them.
    Some(most.saturating_sub(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_more_is_a_descriptor_less() {
        // Other tests open and close theirs meanwhile: none of them opens so many.
        let before = descriptors().unwrap();
        let sockets: Vec<_> = (0..500).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let taken = before - descriptors().unwrap();
        assert!(taken.abs_diff(sockets.len()) < 200, "{taken} of {before}");
    }

    #[test]
    fn this_host_has_a_loopback_address_and_no_link_local_ones() {
        let all = interfaces().unwrap();
        assert!(all.iter().any(|(_, ip)| ip.is_loopback()), "{all:?}");
        assert!(!all.iter().any(|(_, ip)| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())), "{all:?}");
    }
}
