//! The listener: how many connections, how long, how much.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::drive::turned;

/// Connections at once; who comes besides waits in the kernel's queue.
const CONNECTIONS: usize = 64;

/// What a request's head may take, from the connection on.
const HEAD: Duration = Duration::from_secs(5);

/// What a request's head may hold, in bytes.
const LARGEST: usize = 16 * 1024;

/// What a connection may take in all: the longest probe, and a moment to read the answer.
const CONNECTION: Duration = super::asked::LONGEST.saturating_add(Duration::from_secs(10));

/// How long requests have when the watch ends.
const LEAVE: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listen(SocketAddr);

impl Listen {
    /// Whether only this host can ask.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl FromStr for Listen {
    type Err = String;

    /// `ADDR:PORT`, or a port on loopback: `9125`, `:9125`.
    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let loopback =
            port.parse().ok().filter(|_| digits).map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        loopback.or_else(|| text.parse().ok()).map(Self).ok_or_else(|| {
            let found: String = text.chars().take(80).collect();
            format!(
                "{found:?} is no place to listen: wanted PORT or ADDR:PORT, as in 9125, 192.0.2.1:9125 or [::1]:9125"
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Listens already, and has not answered anybody yet.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Starts listening, so that nothing else begins where that fails.
    ///
    /// # Errors
    ///
    /// The system's, with the address.
    pub async fn open(listen: Listen) -> Result<Self, String> {
        let bound = TcpListener::bind(listen.0).await;
        bound.map(Self).map_err(|e| format!("--listen {listen}: {e}"))
    }

    /// Where it listens; a port of 0 is a real one now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers until `cancel` turns true.
    pub async fn serve(self, router: Router, mut cancel: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                biased;
                () = turned(&mut cancel) => break,
                accepted = async {
                    let place = Arc::clone(&room).acquire_owned().await;
                    (place, self.0.accept().await)
                } => accepted,
            };
            let (Ok(place), Ok((tcp, _))) = accepted else {
                // Out of descriptors, most likely: that passes, and is no reason to spin.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(LARGEST)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(tcp), service);
                // Who hangs up, dawdles or speaks no HTTP is no concern of ours.
                let _ = timeout(CONNECTION, connection).await;
                drop(place);
            });
        }
        // Everyone who is being answered holds a place.
        let _ = timeout(LEAVE, room.acquire_many(u32::try_from(CONNECTIONS).unwrap_or(u32::MAX))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_on_loopback() {
        for (text, want) in [
            ("9125", Some(("127.0.0.1:9125", true))),
            (":9125", Some(("127.0.0.1:9125", true))),
            ("0", Some(("127.0.0.1:0", true))),
            ("127.0.0.3:80", Some(("127.0.0.3:80", true))),
            ("[::1]:80", Some(("[::1]:80", true))),
            ("0.0.0.0:80", Some(("0.0.0.0:80", false))),
            ("[::ffff:127.0.0.1]:80", Some(("[::ffff:127.0.0.1]:80", true))),
            ("192.0.2.1:80", Some(("192.0.2.1:80", false))),
            ("192.0.2.1", None),
            ("65536", None),
            ("+80", None),
            ("localhost:80", None),
            ("", None),
            (":", None),
        ] {
            let found = text.parse::<Listen>().ok().map(|listen| (listen.to_string(), listen.is_loopback()));
            assert_eq!(found, want.map(|(shown, loopback)| (shown.to_owned(), loopback)), "{text}");
        }
    }
}
