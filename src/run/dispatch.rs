//! Who starts when: the plan's order under concurrency, rate, pace, budgets, rests and the
//! operator's patience. It starts as soon as all of them allow and never before.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Clock, RunError};
use crate::drive::turned;
use crate::ledger::{Admission, Ledger, Rest, later};
use crate::limits::Limits;
use crate::outcome::{Outcome, rest};
use crate::plan::{Attempt, Plan};
use crate::record::{Kind, Role, Session, Variant};
use crate::smtp::dialog::Dialog;
use crate::stage::Stage;

/// On whose terms each provider is probed: ceilings and budgets hold where it is not our own.
#[derive(Debug, Default)]
pub(super) struct Terms(BTreeMap<Arc<str>, bool>);

impl Terms {
    /// Takes in one planned session. A provider is our own when all its addresses are loopback, or
    /// when the operator says so of the target.
    pub(super) fn see(&mut self, attempt: &Attempt) {
        let Some(address) = attempt.address else { return };
        let own = address.ip().is_loopback() || (attempt.probe.target.own_mx && attempt.role != Role::Control);
        self.0.entry(Arc::clone(&attempt.provider)).and_modify(|all| *all &= own).or_insert(own);
    }

    fn own(&self, provider: &str) -> bool {
        self.0.get(provider).copied().unwrap_or(false)
    }

    /// Refuses limits over a ceiling, and rests ignored, where the target is not our own.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), RunError> {
        let foreign = plan.attempts.iter().filter(|a| a.address.is_some() && !self.own(&a.provider));
        for attempt in foreign {
            if let Some(over) = attempt.probe.limits.over_ceiling() {
                return Err(RunError::OverCeiling(over));
            }
            if attempt.probe.ignore_rest {
                let provider = &attempt.provider;
                return Err(RunError::Config(format!(
                    "--ignore-rest: {provider} is not yours, and its rests are kept"
                )));
            }
        }
        Ok(())
    }
}

/// The one seam between a planned session and the network.
pub(super) trait Execute: Clone + Send + Sync + 'static {
    /// Opens the session and says what came of it, with its dialog where one was written down.
    /// When `cancel` turns true it takes its leave.
    fn open(
        &self,
        attempt: Arc<Attempt>,
        cancel: watch::Receiver<bool>,
    ) -> impl Future<Output = (Session, Option<Dialog>)> + Send;
}

/// What the dispatcher goes by.
pub(super) struct Rules {
    pub(super) run: String,
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) seed: u64,
}

/// Starts the plan in the background; each session comes out as it ends, with its dialog where one
/// was written down. What could not be started comes out as `skipped`: nothing is lost.
pub(super) fn start(
    plan: Plan,
    rules: Rules,
    execute: impl Execute,
    cancel: watch::Receiver<bool>,
) -> mpsc::Receiver<(Session, Option<Dialog>)> {
    let (out, sessions) = mpsc::channel(64);
    let next_seq = plan.attempts.len() as u64 + 1;
    let mut queues: BTreeMap<Option<SocketAddr>, VecDeque<(usize, Arc<Attempt>)>> = BTreeMap::new();
    for (order, attempt) in plan.attempts.into_iter().enumerate() {
        queues.entry(attempt.address).or_default().push_back((order, attempt));
    }
    let dispatcher = Dispatcher {
        queues,
        rng: ChaCha8Rng::seed_from_u64(rules.seed ^ 0x006a_6974_7465_7221),
        rules,
        execute,
        next_seq,
        open: JoinSet::new(),
        at_address: HashMap::new(),
        at_provider: HashMap::new(),
        due: HashMap::new(),
        held: HashMap::new(),
        out,
    };
    tokio::spawn(dispatcher.run(cancel));
    sessions
}

struct Dispatcher<E> {
    /// What is still to be started, per address, in the plan's order.
    queues: BTreeMap<Option<SocketAddr>, VecDeque<(usize, Arc<Attempt>)>>,
    rules: Rules,
    execute: E,
    rng: ChaCha8Rng,
    /// The number of the next session that the plan does not hold.
    next_seq: u64,
    open: JoinSet<(Arc<Attempt>, Session, Option<Dialog>)>,
    at_address: HashMap<SocketAddr, usize>,
    at_provider: HashMap<Arc<str>, usize>,
    /// When a cell's next attempt may start, once the one before has.
    due: HashMap<CellKey, (u32, Instant)>,
    /// Providers whose rate is used up, and until when.
    held: HashMap<Arc<str>, Instant>,
    out: mpsc::Sender<(Session, Option<Dialog>)>,
}

/// What makes two attempts attempts at the same cell.
type CellKey = (Option<SocketAddr>, Option<IpAddr>, Option<String>, Role);

fn cell(attempt: &Attempt) -> CellKey {
    let to = attempt.to.as_ref().map(ToString::to_string);
    (attempt.address, attempt.source.as_ref().map(|source| source.address), to, attempt.role)
}

/// What the search for a session to start came to.
enum Next {
    Start(Arc<Attempt>),
    Skip(Arc<Attempt>, String),
    /// Nothing before then, unless a session ends.
    Wait(Option<Instant>),
}

/// A place in the queues.
type Place = (Option<SocketAddr>, usize);

impl<E: Execute> Dispatcher<E> {
    async fn run(mut self, mut cancel: watch::Receiver<bool>) {
        let mut cancelled = false;
        loop {
            if cancelled {
                self.skip_all("cancelled").await;
            }
            let wake = loop {
                match self.next() {
                    Next::Start(attempt) => self.begin(attempt, &cancel),
                    Next::Skip(attempt, why) => self.skip(attempt, why).await,
                    Next::Wait(until) => break until,
                }
            };
            if self.open.is_empty() && self.queues.is_empty() {
                return;
            }
            let woken = async {
                match wake {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Sessions end by the same word: hearing of them first would start others.
                biased;
                () = turned(&mut cancel), if !cancelled => cancelled = true,
                Some(ended) = self.open.join_next() => {
                    if let Ok((attempt, session, dialog)) = ended {
                        self.ended(&attempt, session, dialog).await;
                    }
                }
                () = woken => {}
            }
        }
    }

    /// Finds the first session in the plan's order that may start now, and takes it off the queue.
    fn next(&mut self) -> Next {
        let now = Instant::now();
        loop {
            let ((address, at), attempt) = match self.candidate(now) {
                Ok(found) => found,
                Err(wake) => return Next::Wait(wake),
            };
            let Some(next) = self.admit(attempt, now) else { continue };
            if let Some(queue) = self.queues.get_mut(&address) {
                queue.remove(at);
                if queue.is_empty() {
                    self.queues.remove(&address);
                }
            }
            return next;
        }
    }

    /// The first session that concurrency, pace and held rates leave; else when to look again.
    fn candidate(&self, now: Instant) -> Result<(Place, Arc<Attempt>), Option<Instant>> {
        let mut first: Option<(usize, Place, &Arc<Attempt>)> = None;
        let mut wake: Option<Instant> = None;
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for (address, queue) in &self.queues {
            let busy = address.and_then(|address| self.at_address.get(&address)).copied().unwrap_or(0);
            for (at, (order, attempt)) in queue.iter().enumerate() {
                if first.is_some_and(|(before, ..)| before < *order) {
                    break;
                }
                if attempt.fault.is_none() {
                    let limits = &attempt.probe.limits;
                    let here = self.at_provider.get(&attempt.provider).copied().unwrap_or(0);
                    if busy >= limits.per_address || here >= limits.per_provider {
                        break;
                    }
                    let held = self.held.get(&attempt.provider).copied();
                    match (self.due(attempt), held) {
                        (None, _) => continue,
                        (Some(due), held) if due.max(held.unwrap_or(due)) > now => {
                            sooner(due.max(held.unwrap_or(due)));
                            continue;
                        }
                        _ => {}
                    }
                }
                first = Some((*order, (*address, at), attempt));
                break;
            }
        }
        first.map(|(_, place, attempt)| (place, Arc::clone(attempt))).ok_or(wake)
    }

    /// When the pace allows this attempt; `None` while the one before has not started.
    fn due(&self, attempt: &Attempt) -> Option<Instant> {
        if attempt.number == 1 || attempt.variant != Variant::Plain {
            return Some(self.rules.clock.begun());
        }
        let (started, due) = self.due.get(&cell(attempt))?;
        (started + 1 == attempt.number).then_some(*due)
    }

    /// Asks patience, rests and the ledger. `None`: the provider is held from now on.
    fn admit(&mut self, attempt: Arc<Attempt>, now: Instant) -> Option<Next> {
        let Limits { max_time, rate, .. } = attempt.probe.limits;
        if max_time.is_some_and(|patience| now >= self.rules.clock.begun() + patience) {
            return Some(Next::Skip(attempt, "max-time: no session starts this late".to_owned()));
        }
        if attempt.fault.is_some() {
            return Some(Next::Start(attempt));
        }
        let (at, provider) = (self.rules.clock.now(), Arc::clone(&attempt.provider));
        let source = attempt.source.as_ref().map(|source| source.seen_as);
        if let Some(source) = source.filter(|_| attempt.number > 1 && !attempt.probe.ignore_rest)
            && let Some(Rest { until, why }) = self.rules.ledger.resting(source, &provider, at)
        {
            return Some(Next::Skip(attempt, format!("{source} rests at {provider} until {until:.0}: {why}")));
        }
        let budgets = !self.rules.terms.own(&provider);
        match self.rules.ledger.admit(&provider, &attempt.probe.limits, budgets, at) {
            Admission::Go => Some(Next::Start(attempt)),
            Admission::Spent(why) => Some(Next::Skip(attempt, why)),
            Admission::Wait(until) => {
                let spacing = rate.per.div_f64(f64::from(rate.starts.max(1)));
                let until = self.rules.clock.instant(until) + spacing.mul_f64(self.jitter(budgets));
                self.held.insert(provider, until.max(now + Duration::from_millis(1)));
                None
            }
        }
    }

    /// Up to 30 % more where the provider is not our own: rates and paces are floors.
    fn jitter(&mut self, foreign: bool) -> f64 {
        if foreign { self.rng.random_range(0.0..0.3) } else { 0.0 }
    }

    fn begin(&mut self, attempt: Arc<Attempt>, cancel: &watch::Receiver<bool>) {
        if let Some(address) = attempt.address.filter(|_| attempt.fault.is_none()) {
            *self.at_address.entry(address).or_default() += 1;
            *self.at_provider.entry(Arc::clone(&attempt.provider)).or_default() += 1;
            if attempt.variant == Variant::Plain {
                self.set_due(&attempt);
            }
        }
        let (execute, cancel) = (self.execute.clone(), cancel.clone());
        self.open.spawn(async move {
            let (session, dialog) = execute.open(Arc::clone(&attempt), cancel).await;
            (attempt, session, dialog)
        });
    }

    fn set_due(&mut self, attempt: &Attempt) {
        let jitter = self.jitter(!self.rules.terms.own(&attempt.provider));
        let due = Instant::now() + attempt.probe.limits.pace.mul_f64(1.0 + jitter);
        self.due.insert(cell(attempt), (attempt.number, due));
    }

    async fn ended(&mut self, attempt: &Arc<Attempt>, session: Session, dialog: Option<Dialog>) {
        if let Some(address) = attempt.address.filter(|_| attempt.fault.is_none()) {
            self.at_address.entry(address).and_modify(|n| *n -= 1);
            self.at_provider.entry(Arc::clone(&attempt.provider)).and_modify(|n| *n -= 1);
        }
        if let (Some(long), Some(source)) = (rest(&session), session.seen_as) {
            let why = session.reply.iter().flatten().take(1).cloned().collect();
            let until = later(self.rules.clock.now(), long);
            self.rules.ledger.rest(source, &attempt.provider, Rest { until, why });
        }
        let handshake_failed = session.kind == Kind::TlsFailed && session.stage == Some(Stage::Tls);
        if handshake_failed && attempt.probe.pair_plaintext && attempt.variant == Variant::Plain {
            let pair = Arc::new(attempt.plaintext_pair(self.next_seq));
            self.next_seq += 1;
            self.queues.entry(pair.address).or_default().push_front((0, pair));
        }
        let _ = self.out.send((session, dialog)).await;
    }

    async fn skip(&mut self, attempt: Arc<Attempt>, why: String) {
        if let Some((number, _)) = self.due.get_mut(&cell(&attempt)) {
            *number = attempt.number;
        }
        let skipped = Outcome::skipped(attempt, self.rules.clock.now(), why);
        let _ = self.out.send((skipped.record(&self.rules.run), None)).await;
    }

    async fn skip_all(&mut self, why: &str) {
        for (_, attempt) in std::mem::take(&mut self.queues).into_values().flatten() {
            self.skip(attempt, why.to_owned()).await;
        }
    }
}

#[cfg(test)]
mod tests;
