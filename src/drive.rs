//! Runs a session over a real stream: the only loop that touches the bytes of SMTP.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::smtp::dialog::{Act, Dialog, Line};
use crate::smtp::fault::Fault;
use crate::smtp::session::{Action, Event, Learned, Session};
use crate::wire::TlsFault;

/// A stream that can turn itself into TLS.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Performs the handshake.
    fn upgrade(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Runs `session` over `wire` and returns what it learned. Never fails: failures are steps.
///
/// When `cancel` turns true the session takes its leave. With `trace`, everything said is written
/// down in it.
pub async fn drive(
    mut session: Session,
    wire: &mut impl Wire,
    mut cancel: watch::Receiver<bool>,
    mut trace: Option<&mut Trace>,
) -> Learned {
    // Not in the future itself, which is moved before it is run.
    let mut buffer = vec![0; 4096];
    let mut cancelled = false;
    // How much is written of what the session is writing.
    let mut written = 0;
    loop {
        let done = async {
            match session.poll() {
                Action::Close => Ok(Ok(None)),
                Action::Read(until) => timeout_at(until.into(), wire.read(&mut buffer))
                    .await
                    .map(|read| read.map(|n| Some(Event::Received(&buffer[..n]))).map_err(|e| io_fault(&e))),
                Action::Upgrade(until) => {
                    timeout_at(until.into(), wire.upgrade()).await.map(|done| done.map(|()| Some(Event::Upgraded)))
                }
                Action::Write(bytes, until) => {
                    if let Some(trace) = trace.as_deref_mut().filter(|_| written == 0) {
                        trace.sent(bytes);
                    }
                    let wrote = timeout_at(until.into(), write(wire, bytes, &mut written, &mut buffer)).await;
                    wrote.map(|done| match done {
                        Ok(None) => Ok(Some(Event::Wrote)),
                        Ok(Some(n)) => Ok(Some(Event::Received(&buffer[..n]))),
                        Err(e) => Err(io_fault(&e)),
                    })
                }
            }
        };
        let event = tokio::select! {
            biased;
            () = turned(&mut cancel), if !cancelled => {
                cancelled = true;
                written = 0;
                session.cancel(Instant::now().into());
                continue;
            }
            done = done => match done {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => break,
                Ok(Err(fault)) => Event::Failed(fault),
                Err(_) => Event::Failed(Fault::TimedOut),
            },
        };
        if let Some(trace) = trace.as_deref_mut() {
            trace.happened(&event);
        }
        // A session that hears something while it writes writes on, or writes no more.
        if !matches!(event, Event::Received(_)) {
            written = 0;
        }
        session.handle(event, Instant::now().into());
    }
    // A leave that finds no room is not taken: a server that reads no more would hold us for ever.
    let _ = timeout_at(Instant::now(), wire.shutdown()).await;
    session.finish()
}

/// Writes on from `written`; `None` = all is written. Where the server takes no more for now and has
/// something to say, that comes first: it may be why.
async fn write(
    wire: &mut impl Wire,
    bytes: &[u8],
    written: &mut usize,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    poll_fn(|cx| {
        loop {
            let rest = bytes.get(*written..).unwrap_or_default();
            let poll = match rest {
                [] => Pin::new(&mut *wire).poll_flush(cx).map_ok(|()| 0),
                rest => Pin::new(&mut *wire).poll_write(cx, rest),
            };
            match poll {
                Poll::Ready(Ok(_)) if rest.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Ready(Ok(n)) => *written += n,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => break,
            }
        }
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *wire).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(Some(read.filled().len())))
    })
    .await
}

/// Waits until the operator stops the run; for ever when nobody can any more.
pub async fn turned(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|&stop| stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What an error of an open connection says about the other side.
#[must_use]
pub fn io_fault(error: &io::Error) -> Fault {
    if let Some(fault) = TlsFault::of(error) {
        return Fault::Tls(fault.to_string());
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset => Fault::Reset,
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Fault::Closed,
        io::ErrorKind::TimedOut => Fault::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Fault::Unreachable(error.to_string()),
        _ => Fault::Local(error.to_string()),
    }
}

/// A session as it is being said, to be shown in the dialog notation.
#[derive(Debug)]
pub struct Trace {
    dialog: Dialog,
    last: Instant,
    /// Bytes of a line that has not ended yet.
    partial: Vec<u8>,
    size: usize,
}

impl Trace {
    /// The most bytes that a transcript keeps, those it takes to keep a line counted in.
    const LIMIT: usize = 256 * 1024;

    /// Starts a transcript at the moment the connection is open.
    #[must_use]
    pub fn new(about: Vec<String>, settings: Vec<(String, String)>) -> Self {
        let dialog = Dialog { about, settings, ..Dialog::default() };
        Self { dialog, last: Instant::now(), partial: Vec::new(), size: 0 }
    }

    /// The transcript.
    #[must_use]
    pub fn finish(mut self, ending: String) -> Dialog {
        self.end_line();
        self.dialog.ending = Some(ending);
        self.dialog
    }

    fn sent(&mut self, bytes: &[u8]) {
        self.end_line();
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            self.push(Act::Client(line.to_vec()), line.len());
        }
    }

    fn happened(&mut self, event: &Event<'_>) {
        match event {
            Event::Received([]) | Event::Failed(Fault::Closed) => self.end_with(Act::Close),
            Event::Failed(Fault::Reset) => self.end_with(Act::Reset),
            Event::Failed(Fault::TimedOut) => self.end_with(Act::Silence),
            Event::Failed(Fault::Tls(_) | Fault::TlsLimit(_)) => self.end_with(Act::TlsFails),
            Event::Upgraded | Event::Failed(Fault::Unverified(_)) => self.end_with(Act::Tls),
            Event::Received(bytes) => {
                for line in bytes.split_inclusive(|&b| b == b'\n') {
                    self.partial.extend_from_slice(line);
                    if line.ends_with(b"\n") || self.partial.len() > Self::LIMIT {
                        self.end_line();
                    }
                }
            }
            Event::Failed(_) | Event::Wrote => {}
        }
    }

    fn end_with(&mut self, act: Act) {
        self.end_line();
        self.push(act, 0);
    }

    fn end_line(&mut self) {
        if !self.partial.is_empty() {
            let bytes = std::mem::take(&mut self.partial);
            let size = bytes.len();
            self.push(Act::Server { bytes, joined: false, times: 1 }, size);
        }
    }

    fn push(&mut self, act: Act, size: usize) {
        self.size += size + size_of::<Line>();
        if self.size > Self::LIMIT {
            return;
        }
        let now = Instant::now();
        let after = Duration::from_millis(u64::try_from((now - self.last).as_millis()).unwrap_or(u64::MAX));
        self.last = now;
        self.dialog.lines.push(Line { after, act });
    }
}
