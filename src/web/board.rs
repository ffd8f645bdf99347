//! What the watch last saw, for whoever asks: written after every round, read at every scrape.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::probe::Probe;
use crate::record::{Diagnosis, Incident, Kind, Line, Session};
use crate::sink::metrics::{self, Exposition, PROBE};
use crate::sink::prometheus::{self, Round};
use crate::words::words;

mod latest;

use latest::Latest;

/// At most so many cells are exposed, of all probes together: what a Prometheus stores is a series
/// for each of their samples.
const MOST_CELLS: usize = 1000;

/// The state of a watch.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Every probe by its file's name.
    probes: BTreeMap<String, Watched>,
    loaded: bool,
    history_open: bool,
    budgets: Vec<Budget>,
    /// None: nobody is to be told anything.
    receivers_failing: Option<usize>,
}

#[derive(Debug)]
struct Watched {
    probe: Arc<Probe>,
    round: Round,
    ended: Option<Timestamp>,
    took: Option<Duration>,
    next: Option<Timestamp>,
    rounds: u64,
    missed: u64,
    endings: BTreeMap<(String, Kind), u64>,
    incidents: Vec<Incident>,
    latest: Latest,
    /// Of the last round.
    diagnoses: Vec<Diagnosis>,
}

/// What the page shows of a probe.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The domain; the hosts in its place.
    pub(super) target: String,
    /// The domain of its sessions.
    pub(super) domain: Option<String>,
    /// When the last round was over.
    pub(super) ended: Option<Timestamp>,
    pub(super) next: Option<Timestamp>,
    /// The incidents that last.
    pub(super) incidents: Vec<Incident>,
    /// Those of the last round.
    pub(super) diagnoses: Vec<Diagnosis>,
    /// How every cell went when it was last tried.
    pub(super) sessions: Vec<Arc<Session>>,
}

/// How many sessions may still start at a provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Budget {
    pub provider: String,
    pub window: Window,
    pub left: u32,
}

words! {
    /// What a budget is for.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Window ("window") {
        Hour = "hour",
        Day = "day",
    }
}

impl Board {
    /// The probes that are watched from now on, by the name under which `/probe` knows them. What is
    /// known of one that was watched before stays; what its sessions came to goes on counting.
    pub fn watch(&self, probes: impl IntoIterator<Item = (String, Arc<Probe>)>) {
        let mut state = self.state();
        let mut known = std::mem::take(&mut state.probes);
        for (name, probe) in probes {
            let watched = match known.remove(&name) {
                Some(before) => Watched { probe, ..before },
                None => Watched::new(probe),
            };
            state.probes.insert(name, watched);
        }
        state.loaded = true;
    }

    /// Whether the history can be written.
    pub fn history_open(&self, open: bool) {
        self.state().history_open = open;
    }

    /// When a probe's next round is due.
    pub fn next_round(&self, probe: &str, next: Option<Timestamp>) {
        self.with(probe, |watched| watched.next = next);
    }

    /// A round of a probe: all its lines, when it ended and how long it took.
    pub fn round(&self, probe: &str, lines: &[Line], ended: Timestamp, took: Duration) {
        let round = prometheus::round(probe, lines, MOST_CELLS);
        self.remember(probe, lines);
        self.with(probe, |watched| {
            watched.round = round;
            (watched.ended, watched.took) = (Some(ended), Some(took));
            watched.rounds += 1;
            for line in lines {
                if let Line::Session(session) = line {
                    let target = session.domain.clone().unwrap_or_default();
                    *watched.endings.entry((target, session.kind)).or_default() += 1;
                }
            }
        });
    }

    /// A round of a probe from before this watch.
    pub fn remember(&self, probe: &str, lines: &[Line]) {
        let diagnoses = lines.iter().filter_map(|line| match line {
            Line::Diagnosis(diagnosis) => Some(Diagnosis::clone(diagnosis)),
            _ => None,
        });
        let mut diagnoses: Vec<_> = diagnoses.collect();
        diagnoses.sort_by_key(|diagnosis| diagnosis.rank);
        self.with(probe, |watched| {
            watched.latest.hear(lines);
            watched.diagnoses = diagnoses;
        });
    }

    /// So many rounds of a probe could not start in their time.
    pub fn missed(&self, probe: &str, rounds: u64) {
        self.with(probe, |watched| watched.missed += rounds);
    }

    /// The incidents of a probe that last.
    pub fn incidents(&self, probe: &str, open: Vec<Incident>) {
        self.with(probe, |watched| watched.incidents = open);
    }

    /// What is left of the budgets at every provider that was probed.
    pub fn budgets(&self, budgets: Vec<Budget>) {
        self.state().budgets = budgets;
    }

    /// How many of those who are told of incidents could not be told last.
    pub fn receivers_failing(&self, receivers: usize) {
        self.state().receivers_failing = Some(receivers);
    }

    /// Why it is not ready, where it is not.
    #[must_use]
    pub fn unready(&self) -> Option<&'static str> {
        let state = self.state();
        match (state.loaded, state.history_open) {
            (false, _) => Some("the probe files are not loaded"),
            (true, false) => Some("the history is not open"),
            (true, true) => None,
        }
    }

    /// The probe of this name, or of the one file that is called so: `aol` for `probes/aol.toml`.
    #[must_use]
    pub fn probe(&self, name: &str) -> Option<Arc<Probe>> {
        let state = self.state();
        let called = |path: &String| Path::new(path).file_stem().is_some_and(|stem| stem == name);
        let mut called = state.probes.iter().filter(|(path, _)| called(path)).map(|(_, watched)| watched);
        let found = state.probes.get(name).or_else(|| called.next().filter(|_| called.next().is_none()));
        found.map(|watched| Arc::clone(&watched.probe))
    }

    /// The names of all probes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state().probes.keys().cloned().collect()
    }

    /// Whether a probe file names this target.
    #[must_use]
    pub fn is_watched(&self, target: &str) -> bool {
        self.state().probes.values().any(|watched| watched.probe.target.names().iter().any(|name| name == target))
    }

    /// Every probe as the page shows it.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let state = self.state();
        let seen = |watched: &Watched| Seen {
            target: watched.probe.target.names().join(", "),
            domain: watched.probe.target.domain.as_ref().map(ToString::to_string),
            ended: watched.ended,
            next: watched.next,
            incidents: watched.incidents.clone(),
            diagnoses: watched.diagnoses.clone(),
            sessions: watched.latest.sessions(),
        };
        state.probes.values().map(seen).collect()
    }

    /// A session that is among the latest of a cell.
    pub(super) fn session(&self, run: &str, seq: u64) -> Option<Arc<Session>> {
        self.state().probes.values().find_map(|watched| watched.latest.session(run, seq))
    }

    /// Everything as metrics.
    #[must_use]
    pub fn expose(&self, now: Timestamp) -> Exposition {
        let state = self.state();
        let mut out = Exposition::default();
        out.set(&metrics::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let (mut cells, mut left_out) = (0, 0);
        for (name, watched) in &state.probes {
            watched.expose(name, now, &mut out);
            left_out += watched.round.left_out;
            if cells + watched.round.cells > MOST_CELLS {
                left_out += watched.round.cells;
                continue;
            }
            cells += watched.round.cells;
            out.add(&watched.round.exposition);
        }
        if let Some(failing) = state.receivers_failing {
            out.set(&metrics::RECEIVERS_FAILING, &[], count(failing as u64));
        }
        out.set(&metrics::CELLS_LEFT_OUT, &[], count(left_out as u64));
        for Budget { provider, window, left } in &state.budgets {
            let labels = [("provider", &**provider), ("window", window.as_str())];
            out.set(&metrics::BUDGET_LEFT, &labels, f64::from(*left));
        }
        out
    }

    fn with(&self, probe: &str, change: impl FnOnce(&mut Watched)) {
        // One that is watched no more has nothing to be known of it.
        if let Some(watched) = self.state().probes.get_mut(probe) {
            change(watched);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole between any two statements, so it is sound whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn new(probe: Arc<Probe>) -> Self {
        Self {
            probe,
            round: Round::default(),
            ended: None,
            took: None,
            next: None,
            rounds: 0,
            missed: 0,
            endings: BTreeMap::new(),
            incidents: Vec::new(),
            latest: Latest::default(),
            diagnoses: Vec::new(),
        }
    }

    /// What is known besides its cells. What was not seen yet is absent, a count begins at zero.
    fn expose(&self, name: &str, now: Timestamp, out: &mut Exposition) {
        let probe = [(PROBE, name)];
        out.set(&metrics::ROUNDS, &probe, count(self.rounds));
        out.set(&metrics::MISSED, &probe, count(self.missed));
        if let Some(ended) = self.ended {
            out.set(&metrics::ROUND_AGE, &probe, now.duration_since(ended).as_secs_f64().max(0.0));
        }
        if let Some(took) = self.took {
            out.set(&metrics::ROUND_DURATION, &probe, took.as_secs_f64());
        }
        if let Some(next) = self.next {
            out.set(&metrics::NEXT_ROUND, &probe, next.as_duration().as_secs_f64());
        }
        for ((target, kind), sessions) in &self.endings {
            let labels = [(PROBE, name), ("target", target), ("kind", kind.as_str())];
            out.set(&metrics::ENDINGS, &labels, count(*sessions));
        }
        // A target without an incident has a zero, or a rule on it would see nothing.
        let mut open: BTreeMap<(String, &str), u64> = BTreeMap::new();
        for incident in &self.incidents {
            *open.entry((incident.domain.clone(), incident.kind.as_str())).or_default() += 1;
        }
        if open.is_empty() {
            open.insert((self.probe.target.names().join(", "), ""), 0);
        }
        for ((target, kind), incidents) in open {
            let labels = [(PROBE, name), ("target", &target), ("kind", kind)];
            out.set(&metrics::INCIDENTS_OPEN, &labels, count(incidents));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 here")]
fn count(number: u64) -> f64 {
    number as f64
}
