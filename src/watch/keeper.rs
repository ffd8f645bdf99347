//! Takes in what all rounds find: puts it on record, makes incidents of it, has them told.
//!
//! What is said has been put on record before, or the operator has been told that it could not be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval};

use super::log::{self, Log};
use super::owed::{Entry, Owed};
use super::pulse::Pulse;
use super::{LOOK, Means, Watched, resume};
use crate::alert::{Audience, Firing, Notice};
use crate::history::archive::{Archive, NewNotice, Retention};
use crate::incident::{Round, Rule, Tracker, Update};
use crate::ledger::{Ground, Ledger as _};
use crate::record::Line;
use crate::schedule::budget::Take;
use crate::web::{Board, Budget, Window};

/// What a round, or the office, has to say.
pub(super) enum Message {
    Line {
        probe: Arc<str>,
        line: Line,
    },
    LeftOut {
        probe: Arc<str>,
        what: Vec<String>,
    },
    Missed {
        probe: Arc<str>,
        rounds: u64,
        why: &'static str,
    },
    /// The round is over; `failure` says why there was none.
    Over {
        probe: Arc<str>,
        took: Duration,
        failure: Option<String>,
        cancelled: bool,
    },
    /// The probes from now on, and what a round of each takes.
    Watch(Vec<Arc<Watched>>, Vec<Take>),
}

/// How often what is too old is forgotten.
const RETAIN: Duration = Duration::from_hours(6);

pub(super) struct Keeper {
    owed: Owed,
    retention: Retention,
    log: Log,
    board: Arc<Board>,
    means: Arc<Means>,
    audience: watch::Sender<Audience>,
    probes: BTreeMap<Arc<str>, Kept>,
    takes: Vec<Take>,
    retain: Instant,
}

/// One probe, as the keeper knows it.
struct Kept {
    /// None: it is watched no more, and may have a round that is not over.
    watched: Option<Arc<Watched>>,
    tracker: Tracker,
    run: String,
    /// Of the round that is going on.
    lines: Vec<Line>,
    /// What was said last, and is not said again.
    left_out: Vec<String>,
    failure: Option<String>,
}

/// Something to say when all is on record.
enum Said {
    Line(Line),
    Round(Arc<str>, String),
    Incident(Arc<str>, Box<Update>),
}

impl Keeper {
    pub(super) fn new(
        archive: Option<Box<dyn Archive>>,
        retention: Retention,
        log: Log,
        board: Arc<Board>,
        means: Arc<Means>,
        audience: watch::Sender<Audience>,
    ) -> Self {
        let owed = Owed::new(archive, log.clone());
        let retain = Instant::now() + RETAIN / 6;
        Self { owed, retention, log, board, means, audience, probes: BTreeMap::new(), takes: Vec::new(), retain }
    }

    /// Takes over these probes, each with its past.
    pub(super) fn watch(&mut self, watched: Vec<Arc<Watched>>, takes: Vec<Take>) {
        self.takes = takes;
        self.probes.values_mut().for_each(|kept| kept.watched = None);
        for watched in watched {
            let name = Arc::clone(&watched.name);
            let rule = watched
                .alert
                .as_ref()
                .map_or_else(Rule::default, |alert| Rule { after: alert.after, clear: alert.clear });
            if let Some(kept) = self.probes.get_mut(&name) {
                kept.tracker.set_rule(rule);
                kept.watched = Some(watched);
                continue;
            }
            let mut tracker = Tracker::new(watched.probe.target.names().join(", "), rule);
            if let Some(archive) = self.owed.archive() {
                match resume::resume(archive, &name, &mut tracker, &self.board) {
                    Ok(known) => known.into_iter().for_each(|(key, number)| self.owed.is_known(&name, key, number)),
                    Err(error) => self.log.tell(&format!("{error}; {name} begins without its past")),
                }
            }
            let open = tracker.incidents().map(|(_, incident)| incident.clone()).collect();
            self.board.incidents(&name, open);
            let (run, lines, left_out) = (String::new(), Vec::new(), Vec::new());
            self.probes.insert(name, Kept { watched: Some(watched), tracker, run, lines, left_out, failure: None });
        }
        self.tell_audience();
    }

    /// Keeps until nobody has anything to say any more.
    pub(super) async fn keep(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        pulse: Pulse,
        stop: Arc<watch::Sender<bool>>,
    ) {
        let me = Arc::from("the keeper of the history");
        let (mut batch, mut tick) = (Vec::new(), interval(Duration::from_secs(5)));
        loop {
            pulse.beat(&me, 4 * LOOK);
            tokio::select! {
                biased;
                taken = messages.recv_many(&mut batch, 256) => if taken == 0 { break },
                _ = tick.tick() => {}
            }
            // The history may take its time, and nothing else is to wait for it.
            tokio::task::block_in_place(|| self.work(batch.drain(..)));
            if self.log.is_unread() {
                let _ = stop.send(true);
            }
        }
        pulse.rest(&me);
        tokio::task::block_in_place(|| self.owed.close());
    }

    fn work(&mut self, batch: impl Iterator<Item = Message>) {
        let mut said = Vec::new();
        for message in batch {
            self.take(message, &mut said);
        }
        // An incident that is over burns no more, before its end is on record.
        let ends =
            said.iter().any(|said| matches!(said, Said::Incident(_, update) if update.incident.closed.is_some()));
        if ends {
            self.tell_audience();
        }
        self.owed.settle();
        self.board.history_open(self.owed.archive().is_some() && self.owed.is_written());
        let news = said.iter().any(|said| matches!(said, Said::Incident(..)));
        for said in said {
            self.say(said);
        }
        if news {
            self.tell_audience();
        }
        if Instant::now() >= self.retain && self.owed.is_written() {
            self.forget();
        }
    }

    fn take(&mut self, message: Message, said: &mut Vec<Said>) {
        match message {
            Message::Watch(watched, takes) => self.watch(watched, takes),
            Message::Missed { probe, rounds, why } => {
                let plural = if rounds == 1 { "" } else { "s" };
                self.log.tell(&format!("{probe}: {rounds} round{plural} missed: {why}"));
            }
            Message::LeftOut { probe, what } => {
                let Some(kept) = self.probes.get_mut(&probe) else { return };
                for what in what.iter().filter(|what| !kept.left_out.contains(what)) {
                    self.log.tell(&format!("{probe}: not probed: {what}"));
                }
                kept.left_out = what;
            }
            Message::Line { probe, line } => {
                let Some(kept) = self.probes.get_mut(&probe) else { return };
                if let Line::Run(run) = &line {
                    kept.run.clone_from(&run.run);
                    kept.lines.clear();
                }
                kept.lines.push(line.clone());
                self.owed.push(Entry::Lines { run: kept.run.clone(), probe, lines: vec![line.clone()] });
                said.push(Said::Line(line));
            }
            Message::Over { probe, took, failure, cancelled } => self.over(&probe, took, failure, cancelled, said),
        }
    }

    /// A round is over.
    fn over(
        &mut self,
        probe: &Arc<str>,
        took: Duration,
        failure: Option<String>,
        cancelled: bool,
        said: &mut Vec<Said>,
    ) {
        let Some(kept) = self.probes.get_mut(probe) else { return };
        let lines = std::mem::take(&mut kept.lines);
        if failure != kept.failure {
            match &failure {
                Some(why) => self.log.tell(&format!("{probe}: no round: {why}")),
                None => self.log.tell(&format!("{probe}: rounds again")),
            }
        }
        kept.failure = failure;
        if !lines.iter().any(|line| matches!(line, Line::Summary(_))) {
            return;
        }
        let now = Timestamp::now();
        self.board.round(probe, &lines, now, took);
        said.push(Said::Round(
            Arc::clone(probe),
            log::round(&lines, took) + if cancelled { "; cut short" } else { "" },
        ));
        let alert = kept.watched.as_ref().and_then(|watched| watched.alert.as_ref());
        for update in kept.tracker.hear(Round { at: now, lines: &lines }, self.means.catalog) {
            let notice = Notice::of(&update.incident, update.events(), now);
            let payload = notice.and_then(|notice| serde_json::to_value(notice).ok());
            let receivers = payload.iter().flat_map(|payload| {
                let receivers = alert.iter().flat_map(|alert| &alert.receivers);
                receivers.map(|receiver| NewNotice { receiver: receiver.key(), payload: payload.clone() })
            });
            let (key, incident) = (update.key, Box::new(update.incident.clone()));
            let entry = Entry::Incident { probe: Arc::clone(probe), key, incident, notices: receivers.collect() };
            self.owed.push(entry);
            said.push(Said::Incident(Arc::clone(probe), Box::new(update)));
        }
        self.board.incidents(probe, kept.tracker.incidents().map(|(_, incident)| incident.clone()).collect());
        if kept.watched.is_none() {
            self.probes.remove(probe);
        }
        self.budgets(now);
    }

    fn say(&mut self, said: Said) {
        let now = Timestamp::now();
        match said {
            Said::Line(line) => self.log.line(&line),
            Said::Round(probe, text) => self.log.say(now, &probe, &text),
            Said::Incident(probe, mut update) => {
                update.incident.id = self.owed.number(&probe, update.key);
                if let Some(kept) = self.probes.get_mut(&probe) {
                    kept.tracker.number(update.key, update.incident.id);
                    // The page links to it by its number.
                    let open = kept.tracker.incidents().map(|(_, incident)| incident.clone()).collect();
                    self.board.incidents(&probe, open);
                }
                for event in update.events() {
                    self.log.say(now, &probe, &log::event(&update.incident, event));
                }
                if update.incident.closed.is_some() {
                    self.owed.forget(&probe, update.key);
                }
                if update.news > 0 {
                    self.log.line(&Line::Incident(Box::new(update.incident)));
                }
            }
        }
    }

    /// Tells the delivery who is to be told, and what burns.
    fn tell_audience(&self) {
        let now = Timestamp::now();
        let mut audience = Audience::default();
        for kept in self.probes.values() {
            let Some(alert) = kept.watched.as_ref().and_then(|watched| watched.alert.as_ref()) else { continue };
            audience.receivers.extend(alert.receivers.iter().cloned());
            let firing = kept.tracker.incidents().filter_map(|(_, incident)| {
                let notice = Notice::of(incident, &incident.events, now)?;
                Some(Firing { notice, receivers: alert.receivers.clone() })
            });
            // One that is not on record has no number to be told by.
            audience.firing.extend(firing.filter(|firing| firing.notice.incident.id != 0));
        }
        self.audience.send_replace(audience);
    }

    /// What is left of the budgets on foreign ground.
    fn budgets(&self, now: Timestamp) {
        let mut budgets: BTreeMap<(&str, Window), u32> = BTreeMap::new();
        for take in self.takes.iter().filter(|take| take.ground == Ground::Foreign) {
            for (window, hours, limit) in
                [(Window::Hour, 1, take.limits.per_hour), (Window::Day, 24, take.limits.per_day)]
            {
                let since = now.saturating_sub(SignedDuration::from_hours(hours)).unwrap_or(now);
                let started = u32::try_from(self.means.ledger.starts(&take.account, since)).unwrap_or(u32::MAX);
                let left = limit.saturating_sub(started);
                budgets
                    .entry((&take.account.provider, window))
                    .and_modify(|least| *least = left.min(*least))
                    .or_insert(left);
            }
        }
        let budget =
            |((provider, window), left): ((&str, Window), u32)| Budget { provider: provider.to_owned(), window, left };
        self.board.budgets(budgets.into_iter().map(budget).collect());
    }

    /// Forgets what is older than is to be kept, a piece at a time.
    fn forget(&mut self) {
        let Some(archive) = self.owed.archive() else { return };
        let more = match archive.retain(Timestamp::now(), &self.retention) {
            Ok(forgotten) => forgotten.more,
            Err(error) => {
                self.log.tell(&format!("{error}; what is old is forgotten later"));
                false
            }
        };
        self.retain = Instant::now() + if more { Duration::from_secs(1) } else { RETAIN };
    }
}
