//! Who starts when: the plan's order under concurrency, rate, pace, budgets, rests and the
//! operator's patience. It starts as soon as all of them allow and never before.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Clock;
use super::terms::Terms;
use crate::drive::turned;
use crate::ledger::{Ledger, RENEWAL, Rest, later};
use crate::outcome::{Outcome, rest};
use crate::plan::{Attempt, Plan};
use crate::record::{Kind, Session, Variant};
use crate::smtp::dialog::Dialog;
use crate::stage::Stage;

mod choice;
mod lane;
mod queue;

use queue::{Queue, SoFar};

/// The one seam between a planned session and the network.
pub(super) trait Execute: Clone + Send + Sync + 'static {
    /// Opens the session and says what came of it, with its dialog where one was written down.
    /// When `cancel` turns true it takes its leave.
    fn open(&self, attempt: Arc<Attempt>, cancel: watch::Receiver<bool>) -> impl Future<Output = Ended> + Send;
}

/// A session that is over, with its dialog where one was written down.
pub(super) type Ended = (Box<Session>, Option<Dialog>);

/// What the dispatcher goes by.
pub(super) struct Rules {
    pub(super) run: String,
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) seed: u64,
    /// The most sessions at once that this host has descriptors for.
    pub(super) room: usize,
}

/// Starts the plan in the background; each session comes out as it ends, with its dialog where one
/// was written down. What could not be started comes out as `skipped`: nothing is lost.
pub(super) fn start(
    plan: Plan,
    rules: Rules,
    execute: impl Execute,
    cancel: watch::Receiver<bool>,
) -> mpsc::Receiver<Ended> {
    let next_seq = plan.len() + 1;
    begin(vec![plan], None, next_seq, rules, execute, cancel)
}

/// Says, of each session of a part as it ends, whether enough is known about that part.
pub(super) type Enough = Box<dyn FnMut(usize, &Session) -> bool + Send>;

/// Starts several plans, one when the one before is over. Each has an even share of the time that
/// is left until its `max_time`. When `enough` is known about a part, what of it was not started is
/// taken out of the plan, controls aside: it is not `skipped`, and so no record of it comes out. The
/// sessions are numbered as they start, so that the numbers have no gaps.
pub(super) fn start_parts(
    parts: Vec<Plan>,
    enough: Enough,
    rules: Rules,
    execute: impl Execute,
    cancel: watch::Receiver<bool>,
) -> mpsc::Receiver<Ended> {
    begin(parts, Some(enough), 1, rules, execute, cancel)
}

fn begin(
    parts: Vec<Plan>,
    enough: Option<Enough>,
    next_seq: u64,
    rules: Rules,
    execute: impl Execute,
    cancel: watch::Receiver<bool>,
) -> mpsc::Receiver<Ended> {
    let (out, sessions) = mpsc::channel(64);
    let begun = rules.clock.begun();
    let dispatcher = Dispatcher {
        queue: Queue::new(Plan::default(), &SoFar::new(), begun, begun),
        so_far: SoFar::new(),
        parts: parts.into_iter().enumerate().collect(),
        part: Part { index: 0, deadline: None },
        enough,
        rng: ChaCha8Rng::seed_from_u64(rules.seed ^ 0x006a_6974_7465_7221),
        rules,
        execute,
        next_seq,
        open: JoinSet::new(),
        opened: HashMap::new(),
        renewed: begun,
        out,
    };
    tokio::spawn(dispatcher.run(cancel));
    sessions
}

struct Dispatcher<E> {
    queue: Queue,
    /// What the plans before this one have done.
    so_far: SoFar,
    /// The plans that are not begun yet.
    parts: VecDeque<(usize, Plan)>,
    part: Part,
    enough: Option<Enough>,
    rules: Rules,
    execute: E,
    rng: ChaCha8Rng,
    /// The number of the next session that has none by plan.
    next_seq: u64,
    open: JoinSet<Ended>,
    /// The attempts behind the open sessions, and their lanes where they are connections.
    opened: HashMap<Id, (Arc<Attempt>, Option<usize>)>,
    /// When the ledger last heard that we are still there.
    renewed: Instant,
    out: mpsc::Sender<Ended>,
}

/// The plan that is being worked on.
struct Part {
    index: usize,
    /// Nothing of it starts later.
    deadline: Option<Instant>,
}

/// What the search for a session to start came to.
enum Next {
    /// The lane is that of a session which takes a connection.
    Start(Option<usize>, Arc<Attempt>),
    Skip(usize, Arc<Attempt>, String),
    /// Nothing before then, unless a session ends.
    Wait(Option<Instant>),
}

impl<E: Execute> Dispatcher<E> {
    async fn run(mut self, mut cancel: watch::Receiver<bool>) {
        let mut cancelled = false;
        loop {
            // Sessions that end because they were stopped make room, and must not be replaced.
            cancelled |= *cancel.borrow();
            // A matrix that was stopped before it began is on record all the same, as skipped.
            if self.open.is_empty() && self.queue.is_empty() && (!cancelled || self.enough.is_none()) {
                self.next_part();
            }
            if cancelled {
                self.parts.clear();
                self.skip_all("cancelled").await;
            }
            let wake = loop {
                match self.next() {
                    Next::Start(lane, attempt) => self.begin(lane, attempt, &cancel),
                    Next::Skip(lane, attempt, why) => {
                        self.queue.skipped(lane, Instant::now());
                        self.skip(attempt, why).await;
                    }
                    Next::Wait(until) => break until,
                }
            };
            if self.open.is_empty() && self.queue.is_empty() {
                if self.parts.is_empty() {
                    return;
                }
                continue;
            }
            let renewal = self.renewal();
            let woken = async {
                match wake.into_iter().chain(renewal).min() {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What the operator says comes first: nothing starts in its shadow.
                biased;
                () = turned(&mut cancel), if !cancelled => cancelled = true,
                Some(joined) = self.open.join_next_with_id() => self.joined(joined).await,
                () = woken => {}
            }
        }
    }

    /// Tells the ledger that we are still there, if it is time to, and says when it will be again.
    fn renewal(&mut self) -> Option<Instant> {
        if self.renewed.elapsed() >= RENEWAL {
            self.rules.ledger.renew(self.rules.clock.now());
            self.renewed = Instant::now();
        }
        Some(self.renewed + RENEWAL).filter(|_| !self.open.is_empty())
    }

    /// Queues the next plan. Its attempts go on counting where those of earlier ones at the same
    /// cells stopped, so that pace and rests hold across plans.
    fn next_part(&mut self) {
        let Some((index, plan)) = self.parts.pop_front() else { return };
        let now = Instant::now().max(self.rules.clock.begun());
        let most = plan.firsts().filter_map(|attempt| attempt.probe.limits.max_time).max();
        let shares = u32::try_from(self.parts.len() + 1).unwrap_or(u32::MAX);
        let end = most.filter(|_| self.enough.is_some()).map(|most| self.rules.clock.begun() + most);
        let deadline = end.map(|end| now + end.saturating_duration_since(now) / shares);
        self.part = Part { index, deadline };
        let run = self.rules.clock.begun();
        self.queue.so_far(&mut self.so_far);
        self.queue = Queue::new(plan, &self.so_far, run, if index == 0 { run } else { now });
    }

    /// Numbers a session that is numbered as it starts.
    fn numbered(&mut self, attempt: Arc<Attempt>) -> Arc<Attempt> {
        if self.enough.is_none() {
            return attempt;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        Arc::new(Attempt { seq, ..Arc::unwrap_or_clone(attempt) })
    }

    fn begin(&mut self, lane: Option<usize>, attempt: Arc<Attempt>, cancel: &watch::Receiver<bool>) {
        if let Some(lane) = lane {
            let due = (attempt.variant != Variant::Plaintext).then(|| self.due(&attempt));
            self.queue.started(lane, due);
        }
        let attempt = self.numbered(attempt);
        let (execute, cancel) = (self.execute.clone(), cancel.clone());
        let opening = Arc::clone(&attempt);
        let task = self.open.spawn(async move { execute.open(opening, cancel).await });
        self.opened.insert(task.id(), (attempt, lane));
    }

    /// When the pace allows the next attempt at this one's cell.
    fn due(&mut self, attempt: &Attempt) -> Instant {
        let jitter = self.jitter(self.rules.terms.ground(&attempt.provider));
        Instant::now() + attempt.probe.limits.pace.mul_f64(1.0 + jitter)
    }

    /// A session's task is over. One that broke off is our own fault, and still on record.
    async fn joined(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some((attempt, lane)) = self.opened.remove(&id) else { return };
        if let Some(lane) = lane {
            self.queue.ended(lane);
        }
        let (session, dialog) = match joined {
            Ok((_, ended)) => ended,
            Err(broken) => {
                let mut session = Box::new(attempt.record(&self.rules.run, self.rules.clock.now()));
                session.kind = Kind::Local;
                session.detail = Some(format!("the session broke off: {broken}"));
                (session, None)
            }
        };
        self.ended(&attempt, session, dialog).await;
    }

    async fn ended(&mut self, attempt: &Arc<Attempt>, session: Box<Session>, dialog: Option<Dialog>) {
        let (account, now) = (self.rules.terms.account(attempt), self.rules.clock.now());
        if let Some(address) = attempt.address.filter(|_| attempt.fault.is_none()) {
            self.rules.ledger.ended(&account, address.ip(), now);
        }
        if let (Some(long), Some(source)) = (rest(&session), session.seen_as) {
            let why = session.reply.iter().flatten().take(1).cloned().collect();
            let rest = Rest { until: later(now, long), why };
            self.rules.ledger.rest(&self.rules.run, &account, source, rest, now);
        }
        let handshake_failed = session.kind == Kind::TlsFailed && session.stage == Some(Stage::Tls);
        if handshake_failed && attempt.probe.pair_plaintext && attempt.variant == Variant::Plain {
            let pair = Arc::new(attempt.plaintext_pair(self.next_seq));
            self.next_seq += u64::from(self.enough.is_none());
            self.queue.push_front(pair);
        }
        self.tell(session, dialog).await;
    }

    /// Hands a session on, and ends its part when enough is known.
    async fn tell(&mut self, session: Box<Session>, dialog: Option<Dialog>) {
        if self.enough.as_mut().is_some_and(|enough| enough(self.part.index, &session)) {
            self.queue.keep_controls();
        }
        let _ = self.out.send((session, dialog)).await;
    }

    async fn skip(&mut self, attempt: Arc<Attempt>, why: String) {
        let attempt = self.numbered(attempt);
        let skipped = Outcome::skipped(attempt, self.rules.clock.now(), why);
        self.tell(Box::new(skipped.record(&self.rules.run)), None).await;
    }

    async fn skip_all(&mut self, why: &str) {
        while let Some(attempt) = self.queue.pop_any() {
            self.skip(attempt, why.to_owned()).await;
        }
    }
}

#[cfg(test)]
mod tests;
