//! A provider that takes everybody in and answers up to MAIL, to which it never says anything: a process of
//! its own, which is this benchmark started again with other words.
//!
//! It prints `port N`, then how many it keeps waiting whenever that changes. It serves until its standard
//! input ends, which is when it is told to or when the benchmark is gone, and then prints how long each was
//! kept waiting: from its MAIL to the next thing it did.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The word with which the benchmark becomes the tarpit.
pub(crate) const WORD: &str = "tarpit";

/// Where the tarpit listens.
pub(crate) fn addresses(count: u8) -> impl Iterator<Item = Ipv4Addr> {
    (1..=count).map(|n| Ipv4Addr::new(127, 0, 3, n))
}

/// A tarpit that is up; dropping it ends its process.
pub(crate) struct Tarpit {
    process: Child,
    said: BufReader<ChildStdout>,
    pub(crate) port: u16,
    /// How many wait, as it last said.
    pub(crate) waiting: usize,
}

impl Tarpit {
    /// At so many addresses.
    pub(crate) fn start(count: u8, tls: bool) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, &count.to_string(), if tls { "tls" } else { "plain" }]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = process.stdout.take().ok_or_else(|| io::Error::other("the tarpit has no standard output"))?;
        let mut tarpit = Self { process, said: BufReader::new(said), port: 0, waiting: 0 };
        tarpit.port = tarpit.word("port")?.parse().map_err(io::Error::other)?;
        Ok(tarpit)
    }

    /// Hears how many wait, when that changes, and at least ten times a second.
    pub(crate) fn hear(&mut self) -> io::Result<()> {
        self.waiting = self.word("waiting")?.parse().map_err(io::Error::other)?;
        Ok(())
    }

    /// How long each was kept waiting, in ms, once all are gone.
    pub(crate) fn waits(mut self) -> io::Result<Vec<f64>> {
        drop(self.process.stdin.take());
        let mut line = String::new();
        while self.said.read_line(&mut line)? > 0 {
            if let Some(waits) = line.strip_prefix("waited") {
                return waits.split_whitespace().map(|wait| wait.parse().map_err(io::Error::other)).collect();
            }
            line.clear();
        }
        Err(io::Error::other("the tarpit did not say how long it kept them waiting"))
    }

    fn word(&mut self, wanted: &str) -> io::Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        let value = line.strip_prefix(wanted).map(|value| value.trim().to_owned());
        value.ok_or_else(|| io::Error::other(format!("the tarpit says {line:?}, wanted {wanted}")))
    }
}

impl Drop for Tarpit {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Those who wait, and those who have waited.
#[derive(Default)]
struct Waiting {
    now: AtomicUsize,
    over: Mutex<Vec<Duration>>,
}

/// What the process of the tarpit does.
pub(crate) fn serve(count: u8, tls: bool) -> io::Result<()> {
    let waiting = Arc::new(Waiting::default());
    let acceptor = if tls { Some(acceptor()?) } else { None };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut port = 0;
        for address in addresses(count) {
            let socket = TcpSocket::new_v4()?;
            socket.bind((address, port).into())?;
            port = socket.local_addr()?.port();
            tokio::spawn(listen(socket.listen(4096)?, acceptor.clone(), Arc::clone(&waiting)));
        }
        println!("port {port}");
        io::Result::Ok(())
    })?;
    let told = Arc::clone(&waiting);
    std::thread::spawn(move || tell(&told));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let over = waiting.over.lock().unwrap_or_else(PoisonError::into_inner);
    let waits: Vec<_> = over.iter().map(|wait| format!(" {:.3}", wait.as_secs_f64() * 1e3)).collect();
    // In one write, so that what is told cannot come between.
    io::stdout().write_all(format!("waited{}\n", waits.concat()).as_bytes())
}

fn tell(waiting: &Waiting) {
    let mut out = io::stdout();
    while writeln!(out, "waiting {}", waiting.now.load(Ordering::Relaxed)).is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Speaks TLS with a key made for it.
fn acceptor() -> io::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["tarpit.example".to_owned()]).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, waiting: Arc<Waiting>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(session(stream, acceptor.clone(), Arc::clone(&waiting)))),
            // Out of descriptors, most likely: some come back when sessions end.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// How it ended for the client is the client's to say.
async fn session(stream: TcpStream, acceptor: Option<TlsAcceptor>, waiting: Arc<Waiting>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut plain = buffered(stream);
    say(&mut plain, "220 tarpit.example ESMTP\r\n").await?;
    let Some(acceptor) = acceptor else { return converse(plain, "250 tarpit.example\r\n", &waiting).await };
    hear(&mut plain, "EHLO").await?;
    say(&mut plain, "250-tarpit.example\r\n250 STARTTLS\r\n").await?;
    hear(&mut plain, "STARTTLS").await?;
    say(&mut plain, "220 2.0.0 go ahead\r\n").await?;
    let secure = acceptor.accept(plain.into_inner()).await?;
    converse(buffered(secure), "250 tarpit.example\r\n", &waiting).await
}

/// EHLO, MAIL, and nothing more.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufStream<S>,
    hello: &str,
    waiting: &Waiting,
) -> io::Result<()> {
    hear(&mut stream, "EHLO").await?;
    say(&mut stream, hello).await?;
    hear(&mut stream, "MAIL").await?;
    let since = Instant::now();
    waiting.now.fetch_add(1, Ordering::Relaxed);
    // A byte, the end or an error: whatever the client does next.
    let _ = stream.read(&mut [0; 1]).await;
    waiting.over.lock().unwrap_or_else(PoisonError::into_inner).push(since.elapsed());
    waiting.now.fetch_sub(1, Ordering::Relaxed);
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Small buffers: there are many of them.
fn buffered<S: AsyncRead + AsyncWrite>(stream: S) -> BufStream<S> {
    BufStream::with_capacity(512, 512, stream)
}

async fn hear<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>, verb: &str) -> io::Result<()> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if line.starts_with(verb) { Ok(()) } else { Err(io::Error::other(format!("{line:?}, wanted {verb}"))) }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufStream<S>, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}
