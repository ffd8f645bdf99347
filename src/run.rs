//! One run: look up, plan, open the sessions, judge. Everything it finds streams out as events; it
//! knows no sink and no command line.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::catalog::Catalog;
use crate::dns::Dns;
use crate::judge::{Evidence, judge};
use crate::ledger::{Ledger, later};
use crate::plan::{self, Plan};
use crate::probe::Probe;
use crate::record::{self, Line, ms};
use crate::smtp::dialog::Dialog;
use crate::stage::Stage;
use crate::status;
use crate::wire::Trust;

mod dispatch;
mod open;
mod resolve;

/// What a run needs beside its probes.
pub struct Setup {
    pub probes: Vec<Arc<Probe>>,
    pub dns: Dns,
    pub trust: Trust,
    pub ledger: Box<dyn Ledger>,
    pub catalog: &'static Catalog,
    /// What order and jitter come from.
    pub seed: u64,
    /// Open nothing; say what would be opened.
    pub dry_run: bool,
    /// Write every dialog down.
    pub transcript: bool,
    /// The provider is simulated, and the records say so.
    pub simulated: bool,
}

/// What a run has to say, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    Line(Line),
    /// The sessions to come and how long they will take at least, before the first one starts.
    Planned {
        sessions: usize,
        lasts: Duration,
        left_out: Vec<String>,
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
    let clock = Clock::start();
    let id = uuid::Uuid::now_v7().to_string();
    let voice = Voice { events };

    let resolved = resolve::resolve(&setup.probes, &setup.dns).await?;
    let (plan, mut terms) = (lay_out(&setup.probes, &resolved, setup.seed), dispatch::Terms::default());
    for attempt in &plan.attempts {
        terms.see(attempt);
    }
    terms.check(&plan)?;

    voice.line(Line::Run(head(&setup, &resolved, &id, clock.now()))).await;
    let mut evidence = Evidence::new();
    for mut lookup in setup.dns.take_lookups() {
        lookup.run.clone_from(&id);
        evidence.add(Line::Lookup(lookup.clone()));
        voice.line(Line::Lookup(lookup)).await;
    }
    let starts = plan.starts();
    let lasts = starts.iter().max().copied().unwrap_or_default();
    let planned = Event::Planned { sessions: plan.sessions(), lasts, left_out: plan.left_out.clone() };
    voice.say(planned).await;

    if setup.dry_run {
        for (attempt, start) in plan.attempts.iter().zip(starts) {
            voice.line(attempt.record(&id, later(clock.now(), start)).planned()).await;
        }
        return Ok(record::Summary { run: id, ..record::Summary::default() });
    }

    let opener = open::Opener { trust: setup.trust, run: id.clone(), clock, transcript: setup.transcript };
    let mut tally = status::Tally::default();
    let rules = dispatch::Rules { run: id.clone(), clock, terms, ledger: setup.ledger, seed: setup.seed };
    let mut sessions = dispatch::start(plan, rules, opener, cancel);
    while let Some((session, dialog)) = sessions.recv().await {
        tally.add(&session);
        if let Some(dialog) = dialog {
            voice.say(Event::Transcript(session.seq, dialog)).await;
        }
        let line = Line::Session(Box::new(session));
        evidence.add(line.clone());
        voice.line(line).await;
    }

    let diagnoses = judge(&evidence, setup.catalog);
    let exit = status::exit(tally, &diagnoses);
    let summary = tally.summary(&id, ms(clock.begun.elapsed()), exit);
    for mut diagnosis in diagnoses {
        diagnosis.run.clone_from(&id);
        voice.line(Line::Diagnosis(Box::new(diagnosis))).await;
    }
    voice.line(Line::Summary(summary.clone())).await;
    Ok(summary)
}

/// One plan for all probes: their sessions are numbered through.
fn lay_out(probes: &[Arc<Probe>], resolved: &[resolve::Resolved], seed: u64) -> Plan {
    let mut whole = Plan::default();
    for (probe, resolved) in probes.iter().zip(resolved) {
        let first = whole.attempts.len() as u64 + 1;
        let part = plan::plan(probe, &resolved.routes, &resolved.sources, seed, first);
        whole.attempts.extend(part.attempts);
        whole.left_out.extend(part.left_out);
    }
    whole
}

fn head(setup: &Setup, resolved: &[resolve::Resolved], id: &str, at: Timestamp) -> record::Run {
    let targets = setup.probes.iter().flat_map(|probe| probe.target.names());
    let mut sources: Vec<IpAddr> = resolved.iter().flat_map(|r| r.sources.iter().map(|s| s.address)).collect();
    sources.sort_unstable();
    sources.dedup();
    record::Run {
        schema: 1,
        run: id.to_owned(),
        at,
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
