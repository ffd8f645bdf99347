//! Probes that were asked for and are under way: one at a time per target, whoever asks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::record::{Kind, Line, Session};
use crate::run::{self, Event, Setup};
use crate::smtp::fault::Fault;

/// The longest time that a probe by HTTP may take.
pub(super) const LONGEST: Duration = Duration::from_mins(2);

/// Targets that are probed at once.
const MOST: usize = 16;

/// The probes under way.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<BTreeMap<String, UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    module: String,
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

/// What came of a probe.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// None: it was cut short before it came to an end.
    pub(super) session: Option<Box<Session>>,
    /// How long the lookup of the target's exchangers took, in milliseconds.
    pub(super) lookup: Option<f64>,
    /// Why no session was opened.
    pub(super) refused: Option<String>,
    pub(super) took: Duration,
}

/// When a probe is to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The session takes its leave.
    pub(super) leave: Instant,
    /// The answer is given, with what is known.
    pub(super) answer: Instant,
}

impl Deadline {
    /// The deadline of an answer that must be there in so much time: a little earlier, so that it
    /// is, and the leave before it.
    pub(super) fn within(time: Duration, now: Instant) -> Self {
        let time = time.min(LONGEST);
        let spare = (time / 4).min(Duration::from_millis(500));
        let answer = now + time.saturating_sub(spare);
        Self { leave: answer - spare, answer }
    }
}

/// Why a probe is not even begun.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Busy {
    /// The target is probed by another module at this moment.
    Target(String),
    TooMany,
    /// There can be no run now.
    Setup(String),
}

impl Asked {
    /// The answer to come of a probe of this target by this module: of the one that is under way, or
    /// of one that begins now.
    pub(super) fn join(
        self: &Arc<Self>,
        target: &str,
        module: &str,
        deadline: Deadline,
        setup: impl FnOnce() -> Result<Setup, String>,
    ) -> Result<watch::Receiver<Option<Arc<Answer>>>, Busy> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = under_way.len();
        match under_way.entry(target.to_owned()) {
            Entry::Occupied(known) if known.get().module == module => Ok(known.get().answer.clone()),
            Entry::Occupied(known) => Err(Busy::Target(known.get().module.clone())),
            Entry::Vacant(_) if others >= MOST => Err(Busy::TooMany),
            Entry::Vacant(free) => {
                let setup = setup().map_err(Busy::Setup)?;
                let (say, answer) = watch::channel(None);
                free.insert(UnderWay { module: module.to_owned(), answer: answer.clone() });
                let (asked, target) = (Arc::clone(self), target.to_owned());
                tokio::spawn(async move {
                    probe(setup, deadline, &say).await;
                    asked.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&target);
                });
                Ok(answer)
            }
        }
    }
}

/// Runs a probe to its end, and says what came of it by its deadline at the latest. A session that
/// does not come to its end by then goes on taking its leave, and holds its target's place.
async fn probe(setup: Setup, deadline: Deadline, say: &watch::Sender<Option<Arc<Answer>>>) {
    let begun = Instant::now();
    let setup = Setup { transcript: true, ..setup };
    let (stop, cancel) = watch::channel(false);
    let (tell, mut events) = mpsc::channel(64);
    let mut running = tokio::spawn(run::one(setup, tell, cancel));
    let mut answer = Answer::default();
    let (mut leaving, mut answered, mut opened) = (false, false, false);
    loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(Event::Line(line)) => answer.take(&line, opened),
                // Only a connection has a dialog: this session was cut short, not kept back.
                Some(Event::Transcript(..)) => opened = true,
                Some(Event::Planned { .. }) => {}
                None => break,
            },
            () = sleep_until(deadline.leave), if !leaving => {
                leaving = true;
                stop.send_replace(true);
            }
            () = sleep_until(deadline.answer), if !answered => {
                answered = true;
                answer.took = begun.elapsed();
                say.send_replace(Some(Arc::new(answer.clone())));
            }
        }
    }
    match (&mut running).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => answer.refused = Some(error.to_string()),
        Err(broken) => answer.refused = Some(format!("the probe broke off: {broken}")),
    }
    if !answered {
        answer.took = begun.elapsed();
        say.send_replace(Some(Arc::new(answer)));
    }
}

impl Answer {
    fn take(&mut self, line: &Line, opened: bool) {
        match line {
            Line::Lookup(lookup) if lookup.rtype == "MX" => self.lookup = Some(lookup.ms),
            Line::Session(session) if session.kind == Kind::Skipped => {
                // A budget or a rest says so itself; what waits for its turn is only ever cancelled.
                let why = session.detail.clone().filter(|why| *why != Fault::Cancelled.to_string());
                let turn = "no session could start in time: the rate, or the sessions at once, left no room";
                self.refused = Some(why.unwrap_or_else(|| turn.to_owned())).filter(|_| !opened);
            }
            Line::Session(session) => self.session = Some(session.clone()),
            _ => {}
        }
    }
}
