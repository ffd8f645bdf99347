//! A long way to a provider: what it answers, by SMTP and by DNS over UDP, arrives a round trip late.
//!
//! All of the delay lies on the way back, so that each answer is late once. A connection comes about
//! without it: only the system could delay that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// The way; dropping it cuts it off.
pub(crate) struct Relay {
    _runtime: Runtime,
    pub(crate) dns: SocketAddr,
    /// The port of the same addresses at which the way begins.
    pub(crate) port: u16,
}

impl Relay {
    /// To a provider that serves SMTP on port `smtp` of these addresses, and DNS at `dns`.
    pub(crate) fn start(
        addresses: impl IntoIterator<Item = Ipv4Addr>,
        smtp: u16,
        dns: SocketAddr,
        round_trip: Duration,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (asked, port) = runtime.block_on(async {
            let asked = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let mut port = 0;
            for address in addresses {
                let listener = TcpListener::bind((address, port)).await?;
                port = listener.local_addr()?.port();
                tokio::spawn(accept(listener, (address, smtp).into(), round_trip));
            }
            io::Result::Ok((asked, port))
        })?;
        let at = asked.local_addr()?;
        runtime.spawn(answer(Arc::new(asked), dns, round_trip));
        Ok(Self { _runtime: runtime, dns: at, port })
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, round_trip: Duration) {
    while let Ok((stream, from)) = listener.accept().await {
        tokio::spawn(pass_on(stream, from.ip(), to, round_trip));
    }
}

/// How it ends is for the two ends to say.
async fn pass_on(near: TcpStream, from: IpAddr, to: SocketAddr, round_trip: Duration) -> io::Result<()> {
    // From the same source, which the provider knows clients by.
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let far = socket.connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut near_in, mut near_out) = near.into_split();
    let (mut far_in, mut far_out) = far.into_split();
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut near_in, &mut far_out).await;
        far_out.shutdown().await
    });
    let (late, mut arrives) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        loop {
            let mut bytes = vec![0; 16384];
            let count = far_in.read(&mut bytes).await.unwrap_or(0);
            bytes.truncate(count);
            // The end takes as long as what came before it.
            if late.send((Instant::now() + round_trip, bytes)).is_err() || count == 0 {
                return;
            }
        }
    });
    while let Some((at, bytes)) = arrives.recv().await {
        sleep_until(at).await;
        near_out.write_all(&bytes).await?;
    }
    near_out.shutdown().await
}

/// Questions are put at once, each from a socket of its own.
async fn answer(asked: Arc<UdpSocket>, dns: SocketAddr, round_trip: Duration) {
    let mut buffer = [0; 4096];
    while let Ok((count, from)) = asked.recv_from(&mut buffer).await {
        let (question, asked) = (buffer[..count].to_vec(), Arc::clone(&asked));
        tokio::spawn(async move {
            let arrives = Instant::now() + round_trip;
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.send_to(&question, dns).await?;
            let mut reply = [0; 4096];
            let count = socket.recv(&mut reply).await?;
            sleep_until(arrives).await;
            asked.send_to(&reply[..count], from).await
        });
    }
}
