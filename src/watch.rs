//! `watch`: every probe on its schedule, what comes of it on record, trouble told when it begins,
//! changes and ends.
//!
//! Each probe has a loop of its own (`rounds`); all of them hand what they find to one keeper
//! (`keeper`), which puts it on record, makes incidents of it and says so. So nothing is written
//! by two, and a history that is slow holds up no session. The loops share one ledger: rates and
//! budgets hold for all probes together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::address::Host;
use crate::alert::{Audience, Courier, Delivery, deliver};
use crate::catalog::Catalog;
use crate::dns::{Anchors, Dns};
use crate::drive::turned;
use crate::history::archive::{Archive, Retention};
use crate::ledger::{Shared, later};
use crate::probe::alert::Alert;
use crate::probe::layer::ProbeLayer;
use crate::probe::{Probe, Schedule};
use crate::run::Setup;
use crate::schedule::Timetable;
use crate::stage::Stage;
use crate::web::{self, Board, Listener, Web};
use crate::wire::Trust;

mod forecast;
mod keeper;
mod log;
mod owed;
mod pulse;
mod resume;
mod rounds;
mod service;

pub use forecast::Forecast;
pub use log::Log;

use keeper::{Keeper, Message};
use pulse::Pulse;

/// One probe that is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The probe file or the domain, as given: the same name is the same probe, after a restart too.
    pub name: Arc<str>,
    pub probe: Arc<Probe>,
    pub schedule: Schedule,
    pub alert: Option<Alert>,
}

/// Reads the probe files anew; what is wrong with one of them is the error, in whole lines.
pub type Reread = Box<dyn Fn() -> Result<Vec<Watched>, String> + Send + Sync>;

/// Everything that a watch needs.
pub struct Config {
    pub watched: Vec<Watched>,
    pub reread: Reread,
    pub means: Means,
    /// What is on record, for the keeper, for the delivery of notices and for whoever asks; none:
    /// nothing is kept.
    pub archives: Option<[Box<dyn Archive>; 3]>,
    pub courier: Courier,
    pub log: Log,
    pub web: Option<Door>,
    /// Each probe ends after so many rounds, and the watch with the last of them.
    pub rounds: Option<u64>,
    pub retention: Retention,
}

/// Where a watch can be asked.
pub struct Door {
    pub listener: Listener,
    /// What the flags say of every probe.
    pub flags: ProbeLayer,
    /// Whether any target may be probed: only this host can ask.
    pub any_target: bool,
    /// What it is called beside its address.
    pub names: Vec<Host>,
}

/// What every round is run with.
pub struct Means {
    /// The resolvers to ask; empty: the system's.
    pub dns: Vec<SocketAddr>,
    /// What signatures are traced back to; none: the root zone's keys.
    pub anchors: Option<Anchors>,
    pub trust: Trust,
    pub catalog: &'static Catalog,
    pub ledger: Shared,
    pub seed: u64,
    /// Where the clock of a cron schedule hangs.
    pub zone: TimeZone,
}

impl Means {
    /// What a run of this probe needs.
    pub(crate) fn setup(&self, probe: Arc<Probe>, seed: u64) -> Setup {
        let dns = Dns::new(&self.dns, probe.timeouts.get(Stage::Resolve));
        Setup {
            dns: match &self.anchors {
                Some(anchors) => dns.anchored(anchors.clone()),
                None => dns,
            },
            dane: false,
            trust: self.trust.clone(),
            ledger: Box::new(self.ledger.another()),
            catalog: self.catalog,
            seed,
            dry_run: false,
            transcript: false,
            simulated: false,
            probes: vec![probe],
        }
    }

    /// When the rounds of a probe are due, from so much later than now on.
    pub(crate) fn timetable(&self, watched: &Watched, delay: Duration) -> Timetable {
        let Schedule { when, jitter, .. } = watched.schedule.clone();
        let seed = crate::schedule::seed(self.seed, &watched.name);
        Timetable::new(when, jitter, seed, self.zone.clone(), later(Timestamp::now(), delay))
    }
}

/// Watches until `cancel` turns true or every probe has had its rounds. `stop` turns true where
/// nobody is left to be told.
///
/// # Errors
///
/// What keeps it from starting, in words: nothing was sent.
pub async fn watch(
    config: Config,
    stop: Arc<watch::Sender<bool>>,
    cancel: watch::Receiver<bool>,
) -> Result<(), String> {
    let Config { watched, reread, means, archives, courier, log, web, rounds, retention } = config;
    let means = Arc::new(means);
    let forecast = Forecast::of(&watched, &means).await?;
    forecast.notes.iter().for_each(|note| log.tell(note));
    let (archive, outbox, read) = match archives {
        Some([archive, outbox, read]) => (Some(archive), Some(outbox), Some(read)),
        None => (None, None, None),
    };
    let board = Arc::new(Board::default());
    board.history_open(archive.is_some());
    board.watch(watched.iter().map(|w| (w.name.to_string(), Arc::clone(&w.probe))));
    let (tell_audience, audience) = watch::channel(Audience::default());
    let pulse = Pulse::default();
    let (tell, messages) = mpsc::channel(1024);
    let mut office = Office {
        means: Arc::clone(&means),
        pulse: pulse.clone(),
        board: Arc::clone(&board),
        tell,
        cancel: cancel.clone(),
        rounds,
        loops: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let mut keeper =
        Keeper::new(archive, retention, log.clone(), Arc::clone(&board), Arc::clone(&means), tell_audience);
    keeper.watch(watched.iter().cloned().map(Arc::new).collect(), forecast.takes);
    let keeping = tokio::spawn(keeper.keep(messages, pulse.clone(), stop));
    let (over, ended) = watch::channel(false);
    let delivering = outbox.map(|archive| {
        let log = log.clone();
        let tell = Box::new(move |what: &str| log.tell(what));
        let board = Arc::clone(&board);
        let failing = Box::new(move |receivers| board.receivers_failing(receivers));
        tokio::spawn(deliver(Delivery { archive, courier, audience, tell, failing }, ended.clone()))
    });
    let (reload, mut wanted) = mpsc::channel::<Answer>(4);
    let serving = web.map(|Door { listener, flags, any_target, names }| {
        let daemon = Arc::new(service::Daemon { means: Arc::clone(&means), reload: reload.clone() });
        let web = Web::new(Arc::clone(&board), daemon, flags, any_target).with_history(read).called(names);
        tokio::spawn(listener.serve(web::router(web), ended))
    });
    office.set(watched);
    service::ready(&office.status());
    office.attend(&reread, &log, &mut wanted, cancel).await;

    service::stopping();
    while office.tasks.join_next().await.is_some() {}
    // The keeper ends with the last loop, behind everything they had to say.
    drop(office);
    let _ = keeping.await;
    let _ = over.send(true);
    for task in delivering.into_iter().chain(serving) {
        let _ = task.await;
    }
    Ok(())
}

/// Somebody who wants the probe files read anew, and hears what came of it.
type Answer = oneshot::Sender<Result<String, String>>;

/// Who runs which loop.
struct Office {
    means: Arc<Means>,
    pulse: Pulse,
    board: Arc<Board>,
    tell: mpsc::Sender<Message>,
    cancel: watch::Receiver<bool>,
    rounds: Option<u64>,
    /// What each loop goes by; a loop ends when its definition is gone.
    loops: BTreeMap<Arc<str>, watch::Sender<Arc<Watched>>>,
    tasks: JoinSet<()>,
}

impl Office {
    /// Waits for whatever concerns all probes.
    async fn attend(
        &mut self,
        reread: &Reread,
        log: &Log,
        wanted: &mut mpsc::Receiver<Answer>,
        mut cancel: watch::Receiver<bool>,
    ) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                log.tell(&format!("SIGHUP cannot be heard: {error}"));
                None
            }
        };
        let mut beat = tokio::time::interval(service::beat());
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = turned(&mut cancel) => return,
                _ = hung_up => {
                    let _ = self.reload(reread, log).await;
                }
                Some(answer) = wanted.recv() => {
                    // Whoever asked may be gone meanwhile.
                    let _ = answer.send(self.reload(reread, log).await);
                }
                ended = self.tasks.join_next() => {
                    if let Some(Err(error)) = ended {
                        log.tell(&format!("a probe's rounds broke off: {error}"));
                    }
                    if self.tasks.is_empty() {
                        return;
                    }
                }
                _ = beat.tick() => service::alive(&self.pulse),
            }
        }
    }

    /// Reads the probe files anew. What is wrong with one of them, or with all of them together,
    /// leaves everything as it is.
    async fn reload(&mut self, reread: &Reread, log: &Log) -> Result<String, String> {
        service::reloading();
        let read = match reread() {
            Ok(watched) => Forecast::of(&watched, &self.means).await.map(|forecast| (watched, forecast)),
            Err(error) => Err(error),
        };
        let result = match read {
            Ok((watched, forecast)) => {
                forecast.notes.iter().for_each(|note| log.tell(note));
                let all = watched.iter().cloned().map(Arc::new).collect();
                self.board.watch(watched.iter().map(|w| (w.name.to_string(), Arc::clone(&w.probe))));
                let _ = self.tell.send(Message::Watch(all, forecast.takes)).await;
                self.set(watched);
                Ok(format!("the probe files are read anew: {}", self.status()))
            }
            Err(error) => Err(format!("the probe files stay as they were: {}", error.trim_end())),
        };
        match &result {
            Ok(done) => log.tell(done),
            Err(why) => log.tell_lines(why),
        }
        service::ready(&self.status());
        result
    }

    /// Starts a loop for each new probe, gives the others their definition, lets those end that are
    /// named no more.
    fn set(&mut self, watched: Vec<Watched>) {
        self.loops.retain(|name, sender| !sender.is_closed() && watched.iter().any(|w| w.name == *name));
        let mut delay = Duration::ZERO;
        for watched in watched {
            let name = Arc::clone(&watched.name);
            if let Some(sender) = self.loops.get(&name) {
                sender.send_replace(Arc::new(watched));
                continue;
            }
            let (sender, definition) = watch::channel(Arc::new(watched));
            let rounds = rounds::Rounds {
                definition,
                means: Arc::clone(&self.means),
                pulse: self.pulse.clone(),
                board: Arc::clone(&self.board),
                tell: self.tell.clone(),
                cancel: self.cancel.clone(),
                most: self.rounds,
                delay,
            };
            delay += APART;
            self.tasks.spawn(rounds.run());
            self.loops.insert(name, sender);
        }
    }

    fn status(&self) -> String {
        let probes = self.loops.len();
        format!("{probes} probe{} watched", if probes == 1 { "" } else { "s" })
    }
}

/// So far apart the first rounds of many probes begin: all at once would ask the resolver, and hold
/// in memory, what is never needed at once again.
const APART: Duration = Duration::from_millis(100);

/// How long a wait lasts at most before the clock is looked at again: a host that was asleep does
/// not notice otherwise.
const LOOK: Duration = Duration::from_secs(30);
