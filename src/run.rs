//! One run: look up, plan, open the sessions, judge. Everything it finds streams out as events; it
//! knows no sink and no command line.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::auth;
use crate::catalog::Catalog;
use crate::dns::Dns;
use crate::drive::Turns;
use crate::gate;
use crate::judge::{Evidence, judge};
use crate::ledger::{Ledger, later};
use crate::plan::{Plan, Sample};
use crate::probe::Probe;
use crate::record::{self, Line, Lookup, Session, ms};
use crate::reproduce::Inquiry;
use crate::smtp::dialog::Dialog;
use crate::stage::Stage;
use crate::status;
use crate::wire::{self, Trust};

mod dispatch;
mod foresee;
mod layout;
mod open;
mod resolve;
mod smoke;
mod terms;

pub use foresee::{Foreseen, foresee};
use layout::Extent;

pub(crate) use open::Line as Connection;

/// What a run needs beside its probes.
pub struct Setup {
    pub probes: Vec<Arc<Probe>>,
    pub dns: Dns,
    pub trust: Trust,
    pub ledger: Box<dyn Ledger>,
    pub catalog: &'static Catalog,
    /// What order and jitter come from.
    pub seed: u64,
    /// Hold every certificate against its TLSA records, whatever the TLS level makes of it.
    pub dane: bool,
    /// Open nothing; say what would be opened.
    pub dry_run: bool,
    /// Write every dialog down.
    pub transcript: bool,
    /// The provider is simulated, and the records say so.
    pub simulated: bool,
}

/// What makes a run a sample: instead of the whole matrix so many sessions of each probe, one probe
/// after the other, and of each only until enough is known.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// One per probe.
    pub samples: Vec<Sample>,
    /// One question per probe. It may be looked at while the run lasts.
    pub inquiry: Arc<Mutex<Inquiry>>,
}

impl Sampling {
    /// The inquiry as it stands.
    pub fn inquiry(&self) -> MutexGuard<'_, Inquiry> {
        // It holds counts alone, so it is sound whoever panicked.
        self.inquiry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a run has to say, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    Line(Line),
    /// The sessions to come and how long they will take at least, before the first one starts.
    Planned {
        sessions: u64,
        lasts: Duration,
        left_out: Vec<String>,
        /// What the plan takes from each provider's budgets, in words.
        budgets: Vec<String>,
    },
    /// The dialog of the session with this number.
    Transcript(u64, Dialog),
}

/// Why a run did not begin: nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// A limit passes a ceiling that holds for this target.
    #[error("{0}; --own-mx lifts it for a target of your own")]
    OverCeiling(String),
    /// Something in the probe cannot be, seen only now.
    #[error("{0}")]
    Config(String),
    /// This host could not do its part.
    #[error("{0}")]
    Ours(String),
}

/// The time as the records have it: taken once from the clock, then counted by the monotonic one,
/// so that a clock that jumps reorders nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Timestamp,
    begun: Instant,
}

impl Clock {
    /// Starts counting.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: Timestamp::now(), begun: Instant::now() }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        later(self.wall, self.begun.elapsed())
    }

    /// When the counting started.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The monotonic moment of a time on record.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.begun + Duration::try_from(at.duration_since(self.wall)).unwrap_or_default()
    }
}

/// Runs the probes and returns the summary, which is also the last event.
///
/// When `cancel` turns true, open sessions say `QUIT`, nothing more is started, and what finished
/// is judged and summed up.
///
/// # Errors
///
/// Only before anything was sent.
pub async fn run(
    setup: Setup,
    events: mpsc::Sender<Event>,
    cancel: watch::Receiver<bool>,
) -> Result<record::Summary, RunError> {
    go(setup, Extent::Whole, events, cancel).await
}

/// Runs a smoke test of the probes: checks of ourselves and of them beside the sessions, and behind
/// the diagnoses a verdict for each source and target, which are also the exit status.
///
/// # Errors
///
/// As [`run`].
pub async fn smoke(
    setup: Setup,
    events: mpsc::Sender<Event>,
    cancel: watch::Receiver<bool>,
) -> Result<record::Summary, RunError> {
    go(setup, Extent::Smoke, events, cancel).await
}

/// Runs one session of the one probe that there is, the one that a mailer would try first.
///
/// # Errors
///
/// As [`run`].
pub async fn one(
    setup: Setup,
    events: mpsc::Sender<Event>,
    cancel: watch::Receiver<bool>,
) -> Result<record::Summary, RunError> {
    go(setup, Extent::One, events, cancel).await
}

/// Runs a round of a watch of one probe: one address per source, this turn's ([`crate::plan::turn`]).
///
/// # Errors
///
/// As [`run`].
pub async fn turn(
    setup: Setup,
    number: u64,
    events: mpsc::Sender<Event>,
    cancel: watch::Receiver<bool>,
) -> Result<record::Summary, RunError> {
    go(setup, Extent::Turn(number), events, cancel).await
}

/// Runs a sample of the probes; the reproductions come behind the summary.
///
/// # Errors
///
/// As [`run`].
pub async fn sample(
    setup: Setup,
    sampling: Sampling,
    events: mpsc::Sender<Event>,
    cancel: watch::Receiver<bool>,
) -> Result<record::Summary, RunError> {
    go(setup, Extent::Sample(sampling), events, cancel).await
}

async fn go(
    setup: Setup,
    extent: Extent,
    events: mpsc::Sender<Event>,
    cancel: watch::Receiver<bool>,
) -> Result<record::Summary, RunError> {
    let clock = Clock::start();
    let id = uuid::Uuid::now_v7().to_string();
    let voice = Voice { events };

    let sampling = extent.sampling();
    let signers = auth::signers(setup.probes.iter().map(Arc::as_ref)).map_err(|e| RunError::Config(e.to_string()))?;
    let resolved = resolve::resolve(&setup.probes, &setup.dns, setup.dane, &cancel).await?;
    let parts = layout::lay_out(&setup.probes, &resolved, setup.seed, &extent);
    if let Some(sampling) = sampling {
        parts.iter().enumerate().for_each(|(index, part)| sampling.inquiry().plan(index, part));
    }
    let (plan, mut terms) = (layout::whole(&parts), terms::Terms::default());
    terms.see(&plan);
    terms.check(&plan, setup.ledger.unkept().filter(|_| !setup.dry_run))?;

    voice.line(Line::Run(head(&setup, &resolved, &id, clock.wall))).await;
    let mut evidence = Evidence::new();
    for mut lookup in setup.dns.take_lookups() {
        lookup.run.clone_from(&id);
        let line = Line::Lookup(lookup);
        evidence.add(&line);
        voice.line(line).await;
    }
    // The parts of a sample follow one another, those of a matrix mix.
    let lasts = if sampling.is_some() { parts.iter().map(Plan::lasts).sum() } else { plan.lasts() };
    let planned = Event::Planned {
        sessions: plan.sessions(),
        lasts,
        left_out: plan.left_out.clone(),
        budgets: terms.budgets(&plan),
    };
    voice.say(planned).await;

    if setup.dry_run {
        let whole = [plan];
        let mut begun = Duration::ZERO;
        for part in if sampling.is_some() { &parts[..] } else { &whole[..] } {
            let mut starts = part.starts();
            for attempt in part.attempts() {
                let start = begun + starts.start(&attempt);
                voice.line(attempt.record(&id, later(clock.now(), start)).planned()).await;
            }
            begun += part.lasts();
        }
        return Ok(record::Summary { run: id, ..record::Summary::default() });
    }

    let mut preflight =
        matches!(extent, Extent::Smoke).then(|| smoke::Preflight::start(&setup, &resolved, &signers, cancel.clone()));
    let mut held = Vec::new();
    let (run, transcript, turns) = (id.clone(), setup.transcript, Turns::default());
    let opener = open::Opener { trust: setup.trust, run, clock, transcript, signers, turns };
    let mut tally = status::Tally::default();
    let room = room(wire::descriptors(), setup.simulated);
    let rules = dispatch::Rules { run: id.clone(), clock, terms, ledger: setup.ledger, seed: setup.seed, room };
    let mut sessions = match sampling.cloned() {
        None => dispatch::start(plan, rules, opener, cancel),
        Some(sampling) => {
            let enough = move |part, session: &Session| sampling.inquiry().take(part, session);
            dispatch::start_parts(parts, Box::new(enough), rules, opener, cancel)
        }
    };
    while let Some((session, dialog)) = sessions.recv().await {
        tally.add(&session);
        if let Some(dialog) = dialog {
            voice.say(Event::Transcript(session.seq, dialog)).await;
        }
        if preflight.is_some() {
            held.push((*session).clone());
        }
        let line = Line::Session(session);
        evidence.add(&line);
        voice.line(line).await;
    }

    let mut checks = Vec::new();
    if let Some(preflight) = &mut preflight {
        checks = preflight.finish(&id, &held).await;
        let asked =
            setup.dns.take_lookups().into_iter().map(|lookup| Line::Lookup(Lookup { run: id.clone(), ..lookup }));
        for line in asked.chain(checks.iter().cloned().map(Line::Check)) {
            evidence.add(&line);
            voice.line(line).await;
        }
    }
    let diagnoses = judge(&evidence, setup.catalog);
    let gates = preflight.map(|preflight| preflight.gates(&id, &checks, &held, &diagnoses, clock.now()));
    let exit = match (sampling, &gates) {
        (Some(sampling), _) => sampling.inquiry().exit(),
        (None, Some(gates)) => gate::exit(gates),
        (None, None) => status::exit(tally, &diagnoses),
    };
    let summary = tally.summary(&id, Some(ms(clock.begun.elapsed())), exit);
    for mut diagnosis in diagnoses {
        diagnosis.run.clone_from(&id);
        voice.line(Line::Diagnosis(Box::new(diagnosis))).await;
    }
    for gate in gates.into_iter().flatten() {
        voice.line(Line::Gate(Box::new(gate))).await;
    }
    voice.line(Line::Summary(summary.clone())).await;
    let results = sampling.map(|sampling| sampling.inquiry().results());
    for result in results.into_iter().flatten() {
        voice.line(Line::Reproduction(Box::new(result))).await;
    }
    Ok(summary)
}

/// Descriptors that are left for what is neither a session nor open yet: the history's files, a look
/// at the routes.
const SPARE: usize = 8;

/// How many sessions may be open at once; one may always try. A simulated provider needs one
/// descriptor for each of ours.
fn room(descriptors: Option<usize>, simulated: bool) -> usize {
    let room = descriptors.map_or(usize::MAX, |left| left.saturating_sub(SPARE));
    (if simulated { room / 2 } else { room }).max(1)
}

fn head(setup: &Setup, resolved: &[resolve::Resolved], id: &str, at: Timestamp) -> record::Run {
    let targets = setup.probes.iter().flat_map(|probe| probe.target.names());
    let mut sources: Vec<IpAddr> = resolved.iter().flat_map(|r| r.sources.iter().map(|s| s.address)).collect();
    sources.sort_unstable();
    sources.dedup();
    record::Run {
        schema: 1,
        run: id.to_owned(),
        at: record::stamp(at),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        targets: targets.collect(),
        sources,
        until: setup.probes.iter().map(|probe| probe.until).max().unwrap_or(Stage::Mail),
        seed: setup.seed,
        simulated: setup.simulated,
    }
}

/// Where events go. Nobody listening is no reason to stop: the sessions end in order all the same.
struct Voice {
    events: mpsc::Sender<Event>,
}

impl Voice {
    async fn say(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    async fn line(&self, line: Line) {
        self.say(Event::Line(line)).await;
    }
}
