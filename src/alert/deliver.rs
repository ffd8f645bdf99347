//! Keeps at every notice until it is told.
//!
//! Each receiver has a line of its own, one notice at a time and in order, so that one that is slow
//! or dead holds up none of the others. What is to be told stands in the archive, and what was told
//! is marked there; nothing is lost with this process.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::courier::{Courier, Pace, Undelivered};
use super::firing::Audience;
use super::notice::Notice;
use crate::drive::turned;
use crate::history::HistoryError;
use crate::history::archive::{self, Archive, CLAIM};
use crate::ledger::later;
use crate::probe::alert::{Receiver, Webhook};

/// How often the archive is looked at without a reason to: another process may have failed.
const LOOK: Duration = Duration::from_secs(30);

/// As many notices are taken at a time.
const TAKEN: usize = 64;

/// How long open deliveries have when the watch ends.
const LEAVE: Duration = Duration::from_secs(5);

/// What the delivery of notices needs.
pub struct Delivery {
    pub archive: Box<dyn Archive>,
    pub courier: Courier,
    /// Every change of it is a reason to look for notices: it is to be sent again behind each one
    /// that was put on record.
    pub audience: watch::Receiver<Audience>,
    /// Tells the operator which receiver fails, and that it is back.
    pub tell: Box<dyn Fn(&str) + Send + Sync>,
    /// Hears how many receivers fail, whenever that is another number.
    pub failing: Box<dyn Fn(usize) + Send + Sync>,
}

/// Delivers until `cancel` turns true, or until nobody can send an audience any more.
pub async fn deliver(delivery: Delivery, mut cancel: watch::Receiver<bool>) {
    let Delivery { archive, courier, mut audience, tell, failing } = delivery;
    failing(0);
    let mut office = Office {
        archive: Arc::new(Mutex::new(archive)),
        tell,
        failing,
        lines: BTreeMap::new(),
        working: HashMap::new(),
        ailing: BTreeSet::new(),
        tasks: JoinSet::new(),
        look: Instant::now(),
        due: BTreeSet::new(),
        again: Instant::now() + courier.pace.again,
        courier: Arc::new(courier),
    };
    loop {
        let now = Instant::now();
        let known = audience.borrow_and_update().clone();
        if office.look <= now {
            office.take(&known).await;
        }
        if office.again <= now {
            office.light_again(&known);
        }
        office.send(&known);
        tokio::select! {
            biased;
            () = turned(&mut cancel) => break,
            Some(done) = office.tasks.join_next_with_id() => match done {
                Ok((id, done)) => {
                    office.working.remove(&id);
                    office.settle(done).await;
                }
                Err(e) => {
                    // The notice's claim runs out, and it is due again.
                    office.working.remove(&e.id());
                    (office.tell)(&format!("a delivery broke off: {e}"));
                }
            },
            changed = audience.changed() => match changed {
                Ok(()) => office.look = now,
                Err(_) => break,
            },
            () = sleep_until(office.look.min(office.again)) => {}
        }
    }
    office.close().await;
}

struct Office {
    archive: Arc<Mutex<Box<dyn Archive>>>,
    courier: Arc<Courier>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
    failing: Box<dyn Fn(usize) + Send + Sync>,
    /// What each receiver, by its key, is to be told, and since when it is ours to tell.
    lines: BTreeMap<String, VecDeque<Job>>,
    /// Receivers that are being told something at this moment, by who tells them.
    working: HashMap<Id, String>,
    /// Receivers that failed last.
    ailing: BTreeSet<String>,
    tasks: JoinSet<Done>,
    /// When to look for notices next.
    look: Instant,
    /// When those that failed are due again.
    due: BTreeSet<Instant>,
    /// When firing alerts are sent again.
    again: Instant,
}

enum Job {
    Tell(archive::Notice, Instant),
    /// All that burns, at once.
    Light,
}

struct Done {
    key: String,
    receiver: Receiver,
    /// None: alerts that were sent again; whether that arrived is on no record.
    notice: Option<archive::Notice>,
    result: Result<(), Undelivered>,
}

impl Office {
    /// Takes what is due into the lines.
    async fn take(&mut self, known: &Audience) {
        let now = Instant::now();
        self.due = self.due.split_off(&now);
        self.look = self.due.first().map_or(now + LOOK, |due| (*due).min(now + LOOK));
        let due = match self.ask(|archive, now| archive.due_notices(now, TAKEN)).await {
            Ok(due) => due,
            Err(error) => return (self.tell)(&format!("{error}; what is to be told waits")),
        };
        if due.len() == TAKEN {
            self.look = Instant::now();
        }
        for notice in due {
            if known.receiver(&notice.receiver).is_none() {
                self.put_off(&notice, self.courier.pace.longest, "no probe file names this receiver any more").await;
            } else {
                self.lines.entry(notice.receiver.clone()).or_default().push_back(Job::Tell(notice, Instant::now()));
            }
        }
    }

    fn light_again(&mut self, known: &Audience) {
        self.again = Instant::now() + self.courier.pace.again;
        for (key, _) in known.forgetful().filter(|(key, _)| !known.burning(key).is_empty()) {
            let line = self.lines.entry(key).or_default();
            if line.is_empty() {
                line.push_back(Job::Light);
            }
        }
    }

    /// Sets everyone to work who has something to be told and is not being told something.
    fn send(&mut self, known: &Audience) {
        let stale = |job: &Job| matches!(job, Job::Tell(_, taken) if taken.elapsed() > CLAIM / 2);
        for (key, line) in &mut self.lines {
            // What waited too long is due anew before it could be told: it is left to its next turn.
            while line.front().is_some_and(stale) {
                line.pop_front();
            }
            let Some(receiver) = known.receiver(key).filter(|_| !self.working.values().any(|at| at == key)).cloned()
            else {
                continue;
            };
            let Some(job) = line.pop_front() else { continue };
            let (courier, key) = (Arc::clone(&self.courier), key.clone());
            let line = key.clone();
            let task = match job {
                Job::Tell(notice, _) => self.tasks.spawn(async move {
                    let result = tell(&courier, &receiver, &notice).await;
                    Done { key, receiver, notice: Some(notice), result }
                }),
                Job::Light => {
                    let burning = known.burning(&key);
                    self.tasks.spawn(async move {
                        let result = match &receiver {
                            Receiver::Webhook(webhook) => light(&courier, webhook, &burning).await,
                            Receiver::Command(_) | Receiver::Mail(_) => Ok(()),
                        };
                        Done { key, receiver, notice: None, result }
                    })
                }
            };
            self.working.insert(task.id(), line);
        }
        self.lines.retain(|_, line| !line.is_empty());
    }

    /// Marks what came of a delivery. What a receiver that failed was to be told besides waits with
    /// what failed.
    async fn settle(&mut self, Done { key, receiver, notice, result }: Done) {
        let before = self.ailing.len();
        match &result {
            Ok(()) if self.ailing.remove(&key) => (self.tell)(&format!("{receiver}: takes notices again")),
            Err(Undelivered::Never(why)) => (self.tell)(&format!("{receiver}: refused for good: {why}")),
            Err(Undelivered::Later(why)) if self.ailing.insert(key.clone()) => {
                (self.tell)(&format!("{receiver}: {why}; it is tried again until it is told"));
            }
            Ok(()) | Err(Undelivered::Later(_)) => {}
        }
        if self.ailing.len() != before {
            (self.failing)(self.ailing.len());
        }
        let Some(notice) = notice else { return };
        if !matches!(result, Err(Undelivered::Later(_))) {
            // What is behind it is due now, and was not before.
            self.look = Instant::now();
        }
        match result {
            Ok(()) => {
                let id = notice.id;
                if let Err(error) = self.ask(move |archive, now| archive.notice_delivered(id, now)).await {
                    (self.tell)(&format!("{error}; {receiver} may be told notice {id} twice"));
                }
            }
            Err(Undelivered::Never(why)) => {
                let id = notice.id;
                if let Err(error) = self.ask(move |archive, _| archive.notice_refused(id, &why)).await {
                    (self.tell)(&error);
                }
            }
            Err(Undelivered::Later(why)) => {
                let pause = pause(&self.courier.pace, notice.tries, rand::rng().random());
                self.put_off(&notice, pause, &why).await;
                for job in self.lines.remove(&key).unwrap_or_default() {
                    if let Job::Tell(behind, _) = job {
                        self.put_off(&behind, pause, &why).await;
                    }
                }
            }
        }
    }

    async fn put_off(&mut self, notice: &archive::Notice, pause: Duration, why: &str) {
        let (id, why) = (notice.id, why.to_owned());
        let failed = self.ask(move |archive, now| archive.notice_failed(id, later(now, pause), &why)).await;
        if let Err(error) = failed {
            // Its claim runs out, and it is due again.
            (self.tell)(&error);
        }
        let due = Instant::now() + pause;
        self.due.insert(due);
        self.look = self.look.min(due);
    }

    /// Ends in order: who is being told something has a moment to take it.
    async fn close(mut self) {
        let end = async {
            while let Some(done) = self.tasks.join_next().await {
                if let Ok(done) = done {
                    self.settle(done).await;
                }
            }
        };
        // What is cut off here is told again by the next one to look.
        let _ = timeout(LEAVE, end).await;
    }

    /// Asks the archive, off the threads that everything else runs on.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Archive, Timestamp) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, String> {
        let archive = Arc::clone(&self.archive);
        let asked = tokio::task::spawn_blocking(move || {
            let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
            question(&mut **archive, Timestamp::now())
        });
        match asked.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(broken) => Err(format!("the history: {broken}")),
        }
    }
}

async fn tell(courier: &Courier, receiver: &Receiver, notice: &archive::Notice) -> Result<(), Undelivered> {
    let mut read: Notice = serde_json::from_value(notice.payload.clone())
        .map_err(|e| Undelivered::Never(format!("notice {} on record is none: {e}", notice.id)))?;
    // An incident has its number from the archive, which had it not when the notice was written.
    read.incident.id = notice.incident;
    courier.hand_over(receiver, &read, Timestamp::now()).await
}

async fn light(courier: &Courier, webhook: &Webhook, burning: &[Notice]) -> Result<(), Undelivered> {
    courier.light(webhook, burning, Timestamp::now()).await
}

/// How long to wait after so many failures before: between half of a doubled pause and the whole, so
/// that many who failed at once do not come back at once. `chance` is below 1.
fn pause(pace: &Pace, tries: u32, chance: f64) -> Duration {
    let doubled = pace.first.saturating_mul(1 << tries.min(16)).min(pace.longest);
    doubled.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (tries, chance, seconds) in [
            (0, 0.0, 2.5),
            (0, 0.999_999, 5.0),
            (1, 0.5, 7.5),
            (3, 0.0, 20.0),
            (8, 0.0, 450.0),
            (9, 0.999_999, 900.0),
            (u32::MAX, 0.0, 450.0),
        ] {
            let found = pause(&Pace::default(), tries, chance).as_secs_f64();
            assert!((found - seconds).abs() < 0.01, "{tries} {chance}: {found}");
        }
    }
}
