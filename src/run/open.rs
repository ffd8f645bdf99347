//! Opens one session for real: connect, drive, and what came of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, iter};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Clock;
use super::dispatch::{Ended, Execute};
use crate::address::Host;
use crate::auth::Signer;
use crate::dane::Dane;
use crate::drive::{Trace, Turns, Wire, drive, turned};
use crate::outcome::{Ending, Outcome};
use crate::plan::Attempt;
use crate::probe::Dkim;
use crate::record;
use crate::smtp::dialog::Dialog;
use crate::smtp::fault::Fault;
use crate::smtp::session::{Answer, Learned, Session, Step, TlsLevel};
use crate::stage::Stage;
use crate::wire::{self, ConnectFault, Expected, Must, Stream, TlsFault, Trust};

/// Opens sessions, and writes their dialogs down where wanted.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) trust: Trust,
    pub(super) run: String,
    pub(super) clock: Clock,
    pub(super) transcript: bool,
    /// Who signs the messages, by the settings that name the key.
    pub(super) signers: HashMap<Dkim, Arc<Signer>>,
    pub(super) turns: Turns,
}

impl Execute for Opener {
    /// A control session whose address cannot be reached goes to the next one.
    async fn open(&self, attempt: Arc<Attempt>, cancel: watch::Receiver<bool>) -> Ended {
        let planned = attempt;
        let mut attempt = Arc::clone(&planned);
        for next in planned.alternatives.iter().map(Some).chain(iter::once(None)) {
            let (outcome, dialog) = self.one(Arc::clone(&attempt), cancel.clone()).await;
            let unreached = outcome.ending().is_some_and(|ending| {
                matches!(ending, Ending::Broken(Stage::Connect, fault) if !matches!(fault, Fault::Local(_) | Fault::Cancelled))
            });
            match next {
                Some(next) if unreached => {
                    attempt = Arc::new(Attempt { cell: Arc::clone(next), ..Attempt::clone(&planned) });
                }
                _ => return (Box::new(outcome.record(&self.run)), dialog),
            }
        }
        let skipped = Outcome::skipped(attempt, self.clock.now(), "no address".to_owned());
        (Box::new(skipped.record(&self.run)), None)
    }
}

impl Opener {
    async fn one(&self, attempt: Arc<Attempt>, mut cancel: watch::Receiver<bool>) -> (Outcome, Option<Dialog>) {
        let (started, begun) = (self.clock.now(), Instant::now());
        let finish = |learned: Learned, tls, bound| Outcome {
            attempt: Arc::clone(&attempt),
            started,
            bound,
            learned,
            tls,
            total: begun.elapsed(),
            skipped: None,
        };
        let failed = |stage, fault| finish(broken(stage, fault, begun.elapsed()), None, None);

        if let Some(fault) = &attempt.fault {
            return (failed(Stage::Resolve, fault.clone()), None);
        }
        let Some((mut script, to)) = attempt.script(&self.run, started).zip(attempt.address) else {
            return (failed(Stage::Connect, Fault::Local("no source and no address".to_owned())), None);
        };
        if script.until == Stage::EndOfData
            && let Some(signer) = attempt.probe.message.dkim.as_ref().and_then(|dkim| self.signers.get(dkim))
        {
            script.message = signer.sign(&script.message).into();
        }
        let source = attempt.source.as_ref().map(|source| source.address).filter(|ip| !ip.is_unspecified());
        let connecting = timeout(script.timeouts.get(Stage::Connect), wire::connect(source, to));
        let tcp = tokio::select! {
            biased;
            () = turned(&mut cancel) => return (failed(Stage::Connect, Fault::Cancelled), None),
            tcp = connecting => match tcp {
                Ok(Ok(tcp)) => tcp,
                Ok(Err(fault)) => {
                    let fault = whose(connect_fault(fault), source, to);
                    return (failed(Stage::Connect, fault), None);
                }
                Err(_) => {
                    let mut outcome = failed(Stage::Connect, Fault::TimedOut);
                    let _turn = self.turns.next().await;
                    blame(&mut outcome.learned, source, to);
                    return (outcome, None);
                }
            },
        };
        let connected =
            Step { stage: Stage::Connect, answer: Answer::Established, passed: true, took: begun.elapsed() };
        let stream = Stream::plain(tcp);
        let bound = source.or_else(|| stream.local_addr().map(|local| local.ip()));
        let must = match script.tls {
            TlsLevel::Off | TlsLevel::Opportunistic | TlsLevel::Require => Must::Nothing,
            TlsLevel::Verify => Must::Hold,
            TlsLevel::Dane => Must::BeVouchedFor,
        };
        let name = attempt.mx.as_deref().and_then(|mx| mx.parse().ok());
        let mut line = Line { stream, name, dane: attempt.dane.clone(), trust: self.trust.clone(), must, tls: None };
        let mut trace = self.transcript.then(|| Trace::new(vec![title(&attempt, bound)], settings(&attempt)));

        let session = Session::new(script, Instant::now().into());
        let mut learned = drive(session, &mut line, &self.turns, cancel, trace.as_mut()).await;
        learned.steps.insert(0, connected);
        let mut outcome = finish(learned, line.tls, bound);
        blame(&mut outcome.learned, bound, to);
        let dialog = trace.map(|trace| trace.finish(ending(&outcome)));
        (outcome, dialog)
    }
}

/// A connection with all that its upgrade needs.
pub(crate) struct Line {
    stream: Stream,
    /// The name that the certificate should have.
    name: Option<Host>,
    dane: Option<Arc<Dane>>,
    trust: Trust,
    must: Must,
    /// What the handshake showed.
    tls: Option<record::Tls>,
}

impl Line {
    /// One whose certificate may be any.
    pub(crate) fn new(stream: Stream, name: Option<Host>, trust: Trust) -> Self {
        Self { stream, name, dane: None, trust, must: Must::Nothing, tls: None }
    }
}

impl Wire for Line {
    async fn upgrade(&mut self) -> Result<(), Fault> {
        let dane = match self.dane.as_deref() {
            Some(Dane::Wanted(records)) => Some(records),
            _ => None,
        };
        let expected = Expected { host: self.name.as_ref(), dane, must: self.must };
        let shaken = self.stream.upgrade(&expected, &self.trust).await;
        self.tls = shaken.seen;
        shaken.outcome.map_err(|fault| match fault {
            TlsFault::Closed => Fault::Closed,
            TlsFault::Reset => Fault::Reset,
            TlsFault::OurLimit(_) => Fault::TlsLimit(fault.to_string()),
            TlsFault::Unverified(_) => Fault::Unverified(fault.to_string()),
            TlsFault::Alert(_) | TlsFault::Garbage(_) | TlsFault::Other(_) => Fault::Tls(fault.to_string()),
        })
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn broken(stage: Stage, fault: Fault, took: Duration) -> Learned {
    let step = Step { stage, answer: Answer::Fault(fault), passed: false, took };
    Learned { steps: vec![step], ..Learned::default() }
}

/// Puts the fault that ended a session down to whose it is.
fn blame(learned: &mut Learned, source: Option<IpAddr>, to: SocketAddr) {
    if let Some(Step { answer: Answer::Fault(fault), .. }) = learned.steps.iter_mut().find(|step| !step.passed) {
        *fault = whose(fault.clone(), source, to);
    }
}

/// Whose fault a silence or a break is: nobody is heard from an address that has left this host, or
/// over a way that is gone, and it would pass for theirs.
fn whose(fault: Fault, source: Option<IpAddr>, to: SocketAddr) -> Fault {
    let may_be_ours = matches!(fault, Fault::TimedOut | Fault::Closed | Fault::Reset | Fault::Unreachable(_));
    let lost = source.filter(|_| may_be_ours).and_then(|source| wire::lost(source, to));
    match lost {
        Some(lost) => Fault::Local(format!("{lost}; until that showed: {fault}")),
        None => fault,
    }
}

fn connect_fault(fault: ConnectFault) -> Fault {
    match fault {
        ConnectFault::Refused => Fault::Refused,
        ConnectFault::TimedOut => Fault::TimedOut,
        ConnectFault::Unreachable(detail) => Fault::Unreachable(detail),
        ConnectFault::Local(_, detail) => Fault::Local(detail),
    }
}

fn title(attempt: &Attempt, bound: Option<IpAddr>) -> String {
    let from = attempt.source.as_ref().map(|source| source.address).or(bound);
    let show = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
    let host = attempt.mx.as_deref().unwrap_or("no name");
    let to = show(attempt.address.map(|to| to.to_string()));
    format!("session {}: {} to {host} at {to}", attempt.seq, show(from.map(|ip| ip.to_string())))
}

fn settings(attempt: &Attempt) -> Vec<(String, String)> {
    let mut settings = vec![
        ("until".to_owned(), attempt.until.to_string()),
        ("tls".to_owned(), attempt.tls.to_string()),
        ("from".to_owned(), attempt.from.to_string()),
    ];
    settings.extend(attempt.to.as_ref().map(|to| ("to".to_owned(), to.to_string())));
    settings.retain(|(_, value)| !value.contains(char::is_whitespace));
    settings
}

/// The `=` line of a dialog.
fn ending(outcome: &Outcome) -> String {
    outcome.ending().map_or_else(|| "skipped".to_owned(), |ending| ending.to_string())
}
