//! The rounds of one probe: waits for the next one, runs it, hands on what it finds.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::keeper::Message;
use super::pulse::Pulse;
use super::{LOOK, Means, Watched};
use crate::drive::turned;
use crate::run::{self, Event};
use crate::schedule::{self, Slot, Timetable};
use crate::stage::Stage;
use crate::web::Board;

pub(super) struct Rounds {
    /// May change between two rounds; when it is gone, so is the probe.
    pub(super) definition: watch::Receiver<Arc<Watched>>,
    pub(super) means: Arc<Means>,
    pub(super) pulse: Pulse,
    pub(super) board: Arc<Board>,
    pub(super) tell: mpsc::Sender<Message>,
    pub(super) cancel: watch::Receiver<bool>,
    /// It ends after so many rounds.
    pub(super) most: Option<u64>,
    /// It begins so much later.
    pub(super) delay: Duration,
}

/// Why a wait is over.
enum Woken {
    Due,
    /// The definition has changed.
    Changed,
    /// The clock was put back.
    Astray,
    /// The probe, or the watch, ends.
    Ended,
}

impl Rounds {
    pub(super) async fn run(mut self) {
        let mut watched = Arc::clone(&self.definition.borrow_and_update());
        let name = Arc::clone(&watched.name);
        let mut table = self.means.timetable(&watched, self.delay);
        let mut slot = table.first();
        // Where the turns begin is the seed's, or a watch that is started often would know the
        // first address alone.
        let (begin, mut done) = (schedule::seed(self.means.seed, &name), 0);
        loop {
            self.board.next_round(&name, slot.map(|slot| slot.start));
            match self.wait(&name, &table, slot).await {
                Woken::Ended => break,
                Woken::Changed => {
                    let before = std::mem::replace(&mut watched, Arc::clone(&self.definition.borrow_and_update()));
                    if before.schedule != watched.schedule {
                        table = self.means.timetable(&watched, Duration::ZERO);
                        slot = table.first();
                    }
                    continue;
                }
                Woken::Astray => {
                    table = self.means.timetable(&watched, Duration::ZERO);
                    slot = table.first();
                    continue;
                }
                Woken::Due => {}
            }
            let Some(this) = slot else { continue };
            // Woken late, when the next one is due already: asleep, or the clock was put forward.
            if let Some(next) = table.next(&this, Timestamp::now()).filter(|next| next.missed > 0) {
                self.missed(&name, next.missed + 1, "this host was asleep or busy").await;
                slot = Some(next.slot);
                continue;
            }
            self.round(&watched, &this, begin.wrapping_add(done)).await;
            done += 1;
            if *self.cancel.borrow() || self.most.is_some_and(|most| done >= most) {
                break;
            }
            slot = self.next(&name, &table, &this).await;
        }
        self.pulse.rest(&name);
        self.board.next_round(&name, None);
    }

    /// The round behind this one; those that were due while it lasted are missed.
    async fn next(&self, name: &Arc<str>, table: &Timetable, this: &Slot) -> Option<Slot> {
        let next = table.next(this, Timestamp::now())?;
        if next.missed > 0 {
            self.missed(name, next.missed, "the round before was still running").await;
        }
        Some(next.slot)
    }

    async fn wait(&mut self, name: &Arc<str>, table: &Timetable, slot: Option<Slot>) -> Woken {
        loop {
            self.pulse.beat(name, 4 * LOOK);
            if slot.is_some_and(|slot| table.is_astray(&slot, Timestamp::now())) {
                return Woken::Astray;
            }
            let left =
                slot.map(|slot| Duration::try_from(slot.start.duration_since(Timestamp::now())).unwrap_or_default());
            if left.is_some_and(|left| left.is_zero()) {
                return Woken::Due;
            }
            tokio::select! {
                biased;
                () = turned(&mut self.cancel) => return Woken::Ended,
                changed = self.definition.changed() => {
                    return if changed.is_ok() { Woken::Changed } else { Woken::Ended };
                }
                () = sleep(left.unwrap_or(LOOK).min(LOOK)) => {}
            }
        }
    }

    async fn missed(&self, name: &Arc<str>, rounds: u64, why: &'static str) {
        self.board.missed(name, rounds);
        let _ = self.tell.send(Message::Missed { probe: Arc::clone(name), rounds, why }).await;
    }

    /// Runs one round to its end.
    async fn round(&self, watched: &Watched, slot: &Slot, turn: u64) {
        let name = &watched.name;
        let seed = schedule::seed(self.means.seed ^ slot.number, name);
        let setup = self.means.setup(Arc::clone(&watched.probe), seed);
        // As long as a session may be silent, and a moment besides.
        let silence = Stage::ALL.iter().map(|stage| watched.probe.timeouts.get(*stage)).sum::<Duration>()
            + watched.probe.limits.pace
            + Duration::from_mins(10);
        let (tell, mut events) = mpsc::channel(64);
        let cancel = self.cancel.clone();
        self.pulse.beat(name, silence);
        let running = if watched.schedule.full {
            tokio::spawn(run::run(setup, tell, cancel))
        } else {
            tokio::spawn(run::turn(setup, turn, tell, cancel))
        };
        let begun = std::time::Instant::now();
        while let Some(event) = events.recv().await {
            self.pulse.beat(name, silence);
            let probe = Arc::clone(name);
            let message = match event {
                Event::Line(line) => Message::Line { probe, line },
                Event::Planned { left_out, .. } => Message::LeftOut { probe, what: left_out },
                Event::Transcript(..) => continue,
            };
            let _ = self.tell.send(message).await;
        }
        let failure = match running.await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(broken) => Some(format!("the round broke off: {broken}")),
        };
        let (probe, took) = (Arc::clone(name), begun.elapsed());
        let cancelled = *self.cancel.borrow();
        let _ = self.tell.send(Message::Over { probe, took, failure, cancelled }).await;
    }
}
