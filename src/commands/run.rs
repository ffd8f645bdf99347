//! `run`: probe now, print the matrix and the diagnosis.

use std::io::{self, Write as _};
use std::sync::Arc;

use jiff::Timestamp;
use rand::Rng as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::show::Show;
use super::{Done, Failure, catalog, runtime};
use crate::catalog::Catalog;
use crate::cli::args::{History, RunOptions};
use crate::cli::run::RunArgs;
use crate::dns::{Anchors, Dns};
use crate::history::keeper::Keeper;
use crate::history::ledger::{StoreLedger, Tell};
use crate::history::unkept::Unkept;
use crate::ledger::{Ledger, RunLedger};
use crate::probe::Probe;
use crate::record::{Diagnosis, Gate, Summary};
use crate::run::{self, Event, RunError, Sampling, Setup};
use crate::stage::Stage;
use crate::visible::visible;
use crate::wire::Trust;

pub(super) fn run(args: RunArgs) -> Done {
    let RunArgs { probes, options } = args;
    let mut show = Show::open(&options.output, options.record.as_deref())?;
    let ledger = ledger(&options);
    show.keep(keeper(&options, &*ledger));
    let probes = probes.into_iter().map(Arc::<Probe>::new).collect();
    let setup = setup(&options, probes, catalog(&options.catalogue)?, ledger)?;
    runtime()?.block_on(async { Ok(shown(setup, show).await?.status) })
}

/// What the options make of a run of these probes.
pub(super) fn setup(
    options: &RunOptions,
    probes: Vec<Arc<Probe>>,
    catalog: &'static Catalog,
    ledger: Box<dyn Ledger>,
) -> Result<Setup, Failure> {
    let patience = probes.iter().map(|probe| probe.timeouts.get(Stage::Resolve)).max().unwrap_or_default();
    let dns = Dns::new(&options.dns, patience);
    let dns = match &options.trust_anchor {
        Some(file) => {
            dns.anchored(Anchors::from_file(file).map_err(|e| Failure::config(format!("--trust-anchor: {e}")))?)
        }
        None => dns,
    };
    Ok(Setup {
        dns,
        trust: Trust::system(),
        ledger,
        catalog,
        seed: options.seed.unwrap_or_else(|| rand::rng().random_range(0..1 << 48)),
        dane: false,
        dry_run: options.dry_run,
        transcript: options.transcript,
        simulated: false,
        probes,
    })
}

/// Puts the run on record, where that is wanted. Of a history that cannot be opened the ledger tells.
pub(super) fn keeper(options: &RunOptions, ledger: &dyn Ledger) -> Option<Keeper> {
    let file = options.history.file(|name| std::env::var_os(name)).ok().flatten()?;
    (!options.dry_run && ledger.unkept().is_none()).then(|| Keeper::start(file, None, tell()))
}

/// What the history knows of budgets and rests. Whether the run can do without one that cannot be
/// used depends on whom it probes, which only DNS can tell.
pub(super) fn ledger(options: &RunOptions) -> Box<dyn Ledger> {
    // A dry run enters nothing, and can be had where nothing can be written.
    let history = if options.dry_run { &History::None } else { &options.history };
    match history.file(|name| std::env::var_os(name)) {
        Ok(None) => Box::new(RunLedger::default()),
        Err(nowhere) => Box::new(Unkept::new(&nowhere, tell())),
        Ok(Some(path)) => match StoreLedger::open(&path, Timestamp::now(), tell()) {
            Ok(ledger) => Box::new(ledger),
            Err(error) => Box::new(Unkept::new(&error, tell())),
        },
    }
}

fn tell() -> Tell {
    Box::new(|what| {
        let _ = writeln!(io::stderr(), "mxprobe: {}", visible(what));
    })
}

/// Runs and shows at once, and stops in order when the operator says so.
pub(super) async fn shown(setup: Setup, show: Show) -> Result<End, Failure> {
    shown_as(setup, None, show).await
}

/// The same of a smoke test.
pub(super) async fn shown_smoke(setup: Setup, show: Show) -> Result<End, Failure> {
    shown_by(setup, show, |setup, tell, cancel| tokio::spawn(run::smoke(setup, tell, cancel))).await
}

/// The same of a run that may be a sample.
pub(super) async fn shown_as(setup: Setup, sampling: Option<Sampling>, show: Show) -> Result<End, Failure> {
    shown_by(setup, show, |setup, tell, cancel| match sampling {
        None => tokio::spawn(run::run(setup, tell, cancel)),
        Some(sampling) => tokio::spawn(run::sample(setup, sampling, tell, cancel)),
    })
    .await
}

async fn shown_by(
    setup: Setup,
    show: Show,
    run: impl FnOnce(Setup, mpsc::Sender<Event>, watch::Receiver<bool>) -> JoinHandle<Result<Summary, RunError>>,
) -> Result<End, Failure> {
    let dry_run = setup.dry_run;
    let (stop, cancel) = watch::channel(false);
    let (tell, events) = mpsc::channel(1024);
    let stop = Arc::new(stop);
    stop_on_signals(Arc::clone(&stop), "open sessions say QUIT")?;
    let running = run(setup, tell, cancel);
    let shown = tokio::task::spawn_blocking(move || show.all(events, &stop)).await;
    let shown = shown.map_err(|e| Failure::ours(format!("the output broke off: {e}")))?;
    let summary = running.await.map_err(|e| Failure::ours(format!("the run broke off: {e}")))?;
    if dry_run {
        for budget in &shown.budgets {
            let _ = writeln!(io::stderr(), "mxprobe: budget: {}", visible(budget));
        }
    }
    let nagios = shown.nagios;
    let status = match (summary, shown.failure) {
        (Err(error), _) => {
            let ours = matches!(error, RunError::Ours(_)) || nagios.is_some();
            return Err(Failure { status: if ours { 3 } else { 2 }, ..Failure::config(error) });
        }
        (Ok(_), Some(failure)) => failure.status,
        (Ok(_), None) if dry_run || shown.unread => 0,
        (Ok(summary), None) => nagios.unwrap_or(summary.exit),
    };
    Ok(End { status, diagnoses: shown.diagnoses, gates: shown.gates, unread: shown.unread })
}

/// What a run that was shown came to.
pub(super) struct End {
    pub(super) status: u8,
    pub(super) diagnoses: Vec<Diagnosis>,
    /// Of a smoke test.
    pub(super) gates: Vec<Gate>,
    /// Nobody read standard output to its end, and the run may have stopped for that.
    pub(super) unread: bool,
}

/// The first SIGINT or SIGTERM ends the run in order, the second at once.
pub(super) fn stop_on_signals(stop: Arc<watch::Sender<bool>>, how: &'static str) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|e| Failure::ours(format!("signals: {e}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        };
        next().await;
        let _ = writeln!(io::stderr(), "mxprobe: stopping: {how}");
        let _ = stop.send(true);
        let status = next().await;
        std::process::exit(status);
    });
    Ok(())
}
