//! Runs a session over a real stream: the only loop that touches the bytes of SMTP.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

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
    turns: &Turns,
    mut cancel: watch::Receiver<bool>,
    mut trace: Option<&mut Trace>,
) -> Learned {
    let stop = pin!(turned(&mut cancel));
    // One that were due at once would wake the whole runtime, only to be set again.
    let alarm = pin!(sleep_until(session.poll().until().map_or_else(Instant::now, Instant::from)));
    let mut outside = Outside { stop: Some(stop), alarm };
    // How much is written of what the session is writing.
    let mut written = 0;
    let mut timed_out = false;
    loop {
        let happened = match session.poll() {
            Action::Close => break,
            Action::Read(until) => {
                poll_fn(|cx| match read(wire, cx) {
                    Poll::Pending => outside.poll(cx, until),
                    done @ Poll::Ready(_) => done,
                })
                .await
            }
            Action::Upgrade(until) => {
                let mut upgrade = pin!(wire.upgrade());
                poll_fn(|cx| match upgrade.as_mut().poll(cx) {
                    Poll::Pending => outside.poll(cx, until),
                    done @ Poll::Ready(_) => {
                        done.map(|done| done.map_or_else(Happened::Failed, |()| Happened::Upgraded))
                    }
                })
                .await
            }
            Action::Write(bytes, until) => {
                if let Some(trace) = trace.as_deref_mut().filter(|_| written == 0) {
                    trace.sent(bytes);
                }
                poll_fn(|cx| match write(wire, cx, bytes, &mut written) {
                    Poll::Pending => outside.poll(cx, until),
                    done @ Poll::Ready(_) => done,
                })
                .await
            }
        };
        let event = match &happened {
            Happened::Received(bytes) => Event::Received(bytes),
            Happened::Wrote => Event::Wrote,
            Happened::Upgraded => Event::Upgraded,
            Happened::Failed(fault) => Event::Failed(fault.clone()),
            Happened::Stopped => {
                written = 0;
                session.cancel(Instant::now().into());
                continue;
            }
        };
        if let Some(trace) = trace.as_deref_mut() {
            trace.happened(&event);
        }
        // A session that hears something while it writes writes on, or writes no more.
        if !matches!(event, Event::Received(_)) {
            written = 0;
        }
        let late = matches!(event, Event::Failed(Fault::TimedOut));
        session.handle(event, Instant::now().into());
        if late {
            // Of many that time out at once, all are told before the first takes its leave.
            yield_now().await;
        }
        timed_out |= late;
    }
    // A leave that finds no room is not taken: a server that reads no more would hold us for ever.
    poll_fn(|cx| {
        let _ = Pin::new(&mut *wire).poll_shutdown(cx);
        Poll::Ready(())
    })
    .await;
    let _turn = if timed_out { Some(turns.next().await) } else { None };
    session.finish()
}

/// Of many sessions that time out at once all have taken their leave before the first is dealt with
/// further: each waits for its turn, or the last would give up late.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Waits for the next turn; what is returned holds it.
    pub async fn next(&self) -> impl Send + use<> {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        // Whatever timer is due by now comes first.
        yield_now().await;
        turn
    }
}

/// What became of an action.
enum Happened {
    Received(Vec<u8>),
    Wrote,
    Upgraded,
    Failed(Fault),
    /// The operator stops the run.
    Stopped,
}

/// The most that is taken at a time.
const ROOM: usize = 4096;

/// Takes what has come. The room for it is none that a session holds while it waits.
fn read(wire: &mut impl Wire, cx: &mut Context<'_>) -> Poll<Happened> {
    let mut room = [const { MaybeUninit::uninit() }; ROOM];
    let mut buffer = ReadBuf::uninit(&mut room);
    let read = ready!(Pin::new(wire).poll_read(cx, &mut buffer));
    Poll::Ready(match read {
        Ok(()) => Happened::Received(buffer.filled().to_vec()),
        Err(e) => Happened::Failed(io_fault(&e)),
    })
}

/// Writes on from `written`. Where the server takes no more for now and has something to say, that
/// comes first: it may be why.
fn write(wire: &mut impl Wire, cx: &mut Context<'_>, bytes: &[u8], written: &mut usize) -> Poll<Happened> {
    loop {
        let rest = bytes.get(*written..).unwrap_or_default();
        let poll = match rest {
            [] => Pin::new(&mut *wire).poll_flush(cx).map_ok(|()| 0),
            rest => Pin::new(&mut *wire).poll_write(cx, rest),
        };
        return Poll::Ready(match poll {
            Poll::Ready(Ok(_)) if rest.is_empty() => Happened::Wrote,
            Poll::Ready(Ok(0)) => Happened::Failed(Fault::Closed),
            Poll::Ready(Ok(n)) => {
                *written += n;
                continue;
            }
            Poll::Ready(Err(e)) => Happened::Failed(io_fault(&e)),
            Poll::Pending => return read(wire, cx),
        });
    }
}

/// What ends a wait from outside: the time, and the operator.
struct Outside<'a, F> {
    /// None once the operator has stopped the run.
    stop: Option<Pin<&'a mut F>>,
    /// Set for the end of some wait, this one or an earlier one: to set it for each would cost more
    /// than most waits last.
    alarm: Pin<&'a mut Sleep>,
}

impl<F: Future<Output = ()>> Outside<'_, F> {
    fn poll(&mut self, cx: &mut Context<'_>, until: impl Into<Instant>) -> Poll<Happened> {
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            self.stop = None;
            return Poll::Ready(Happened::Stopped);
        }
        let until = until.into();
        loop {
            if self.alarm.deadline() > until {
                self.alarm.as_mut().reset(until);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if self.alarm.deadline() == until {
                return Poll::Ready(Happened::Failed(Fault::TimedOut));
            }
            self.alarm.as_mut().reset(until);
        }
    }
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
