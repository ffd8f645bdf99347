//! `watch`: probe on schedule until told to stop.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::Rng as _;
use tokio::sync::watch;

use super::run::{ledger, stop_on_signals};
use super::{Done, Failure, catalog, threads};
use crate::address::Host;
use crate::alert::{Courier, Pace};
use crate::cli::args::History;
use crate::cli::watch::WatchArgs;
use crate::dns::Anchors;
use crate::history::archive::{Archive, StoreArchive};
use crate::ledger::Shared;
use crate::sink::Format;
use crate::visible::visible;
use crate::watch::{Config, Door, Forecast, Log, Means, Watched};
use crate::web::Listener;
use crate::wire::Trust;

pub(super) fn watch(args: WatchArgs) -> Done {
    let WatchArgs { watched, targets, options, listen, names, rounds, retention } = args;
    let anchors = options.trust_anchor.as_deref().map(Anchors::from_file).transpose();
    let means = Means {
        dns: options.dns.clone(),
        anchors: anchors.map_err(|e| Failure::config(format!("--trust-anchor: {e}")))?,
        trust: Trust::system(),
        catalog: catalog(&options.catalogue)?,
        ledger: Shared::new(ledger(&options)),
        seed: options.seed.unwrap_or_else(|| rand::rng().random_range(0..1 << 48)),
        zone: TimeZone::system(),
    };
    if options.dry_run {
        return threads()?.block_on(foresee(&watched, means));
    }
    let archives = archives(&options.history)?;
    let record = options.record.as_deref().map(record).transpose()?;
    let log = Log::new(Box::new(io::stdout()), Box::new(io::stderr()), options.output.format == Format::Jsonl, record);
    let mut courier = Courier { trust: means.trust.clone(), name: host_name(), page: None, pace: Pace::default() };
    let flags = targets.flags.clone();
    threads()?.block_on(async {
        let web = match listen {
            Some(listen) => {
                let listener = Listener::open(listen).await.map_err(Failure::config)?;
                if let Ok(address) = listener.address() {
                    log.tell(&format!("listening on http://{address}"));
                    courier.page = Some(page(address));
                }
                if !listen.is_loopback() {
                    log.tell("others can ask there, and nobody has to say who they are: /-/reload too");
                }
                // Where alerts say that the page is.
                let names = names.into_iter().chain([host_name()]).collect();
                Some(Door { listener, flags, any_target: listen.is_loopback(), names })
            }
            None => None,
        };
        let reread = Box::new(move || targets.read().map_err(|usage| usage.message));
        let (stop, cancel) = watch::channel(false);
        let stop = Arc::new(stop);
        stop_on_signals(Arc::clone(&stop), "open sessions say QUIT")?;
        let rounds = rounds.map(u64::from);
        let config = Config { watched, reread, means, archives, courier, log, web, rounds, retention };
        crate::watch::watch(config, stop, cancel).await.map_err(Failure::config)?;
        Ok(0)
    })
}

/// Says what the schedules will take, and opens no session.
async fn foresee(watched: &[Watched], means: Means) -> Done {
    let means = Arc::new(means);
    let forecast = Forecast::of(watched, &means).await.map_err(Failure::config)?;
    let notes: Vec<_> = forecast.notes.iter().map(|note| format!("note: {}\n", visible(note))).collect();
    let told = watched.iter().flat_map(|one| {
        let receivers = one.alert.iter().flat_map(|alert| &alert.receivers);
        receivers.map(|told| format!("{}: tells {}\n", visible(&one.name), visible(&told.to_string())))
    });
    let told: Vec<String> = told.collect();
    let text = forecast.in_words(watched, &means, Timestamp::now()) + &told.concat() + &notes.concat();
    super::print(text.as_bytes())
}

/// Three ways to the history: for what is found, for what is to be told, for what is asked.
fn archives(history: &History) -> Result<Option<[Box<dyn Archive>; 3]>, Failure> {
    let Some(path) = history.file(|name| std::env::var_os(name)).map_err(Failure::config)? else { return Ok(None) };
    let open = || StoreArchive::open(&path)?.frugal().map(|archive| Box::new(archive) as Box<dyn Archive>);
    let all = open().and_then(|first| Ok([first, open()?, open()?]));
    all.map(Some).map_err(Failure::config)
}

/// A recording goes on where it was: a watch that is started again is the same watch.
fn record(path: &Path) -> Result<(String, Box<dyn io::Write + Send>), Failure> {
    let name = path.display().to_string();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file = file.and_then(|mut file| file.flush().map(|()| file));
    file.map_err(|e| Failure::config(format!("--record {name}: {e}"))).map(|file| (name, Box::new(file) as _))
}

/// Where the status page is to be found.
fn page(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://{}:{}/", host_name(), address.port())
    } else {
        format!("http://{address}/")
    }
}

/// Whose alerts they are.
fn host_name() -> Host {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fallback = || "localhost".parse().unwrap_or_else(|_| unreachable!("localhost is a host name"));
    name.trim().parse().unwrap_or_else(|_| fallback())
}
