//! `watch`: probe on schedule.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use super::args::{self, History, RunOptions};
use super::run::{ProbingFlags, settle};
use super::target::Target;
use super::usage::Usage;
use crate::address::Host;
use crate::duration;
use crate::history::archive::Retention;
use crate::probe::Schedule;
use crate::probe::layer::ProbeLayer;
use crate::schedule::When;
use crate::sink::Format;
use crate::watch::Watched;
use crate::web::Listen;

/// What is watched, and how; at least one probe.
#[derive(Clone, Debug)]
pub struct WatchArgs {
    pub watched: Vec<Watched>,
    /// The same, to be read anew.
    pub targets: Targets,
    pub options: RunOptions,
    pub listen: Option<Listen>,
    /// What the listener is called beside its address.
    pub names: Vec<Host>,
    /// Each probe ends after so many rounds.
    pub rounds: Option<u32>,
    /// How long the history keeps what.
    pub retention: Retention,
}

/// The targets as they were given, with all that the flags say of them.
#[derive(Clone, Debug)]
pub struct Targets {
    words: Vec<OsString>,
    pub flags: ProbeLayer,
    every: Option<Duration>,
    jitter: Option<Duration>,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  mxprobe watch probes/*.toml --listen 9125
  mxprobe watch probes/aol.toml --format jsonl
  mxprobe watch aol.com gmail.com --source 192.0.2.10 --every 15m --jitter 1m
  mxprobe watch probes/*.toml --dry-run
  mxprobe watch probes/aol.toml --rounds 1

SIGHUP reads the probe files anew (one that is wrong changes nothing, and the error is printed);
SIGTERM and SIGINT end in order, a second one at once. A cron schedule is on this host's clock.
Without [schedule] a probe has a round every 15 minutes, one address per source in turn.";

/// How often a probe is due that does not say.
const EVERY: Duration = Duration::from_mins(15);

/// The flags of `watch`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct WatchFlags {
    /// Domains (aol.com) or probe files (probes/aol.toml)
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<OsString>,
    /// From round to round, in place of the files' schedules [default: 15m where a file has none]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Schedule")]
    every: Option<Duration>,
    /// How much later than due a round may start, by chance
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Schedule")]
    jitter: Option<Duration>,
    /// End each probe after so many rounds
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = args::count::<1_000_000>, help_heading = "Schedule")]
    rounds: Option<u32>,
    /// Answer over HTTP there: the status page, /metrics, /probe, /-/healthy, /-/ready, /-/reload; a bare port is on loopback
    #[arg(long, value_name = "[ADDR:]PORT", help_heading = "Output")]
    listen: Option<Listen>,
    /// A name that others ask the listener by, as behind a proxy (repeatable) [default: addresses, localhost, this host's name]
    #[arg(long = "listen-name", value_name = "NAME", requires = "listen", help_heading = "Output")]
    names: Vec<Host>,
    /// How long the history keeps sessions, a day at least; counts by the hour and incidents stay for ever [default: 90d]
    #[arg(long, value_name = "TIME", value_parser = keep, help_heading = "Output")]
    keep: Option<Duration>,
    #[command(flatten)]
    probing: ProbingFlags,
}

/// How long sessions are kept.
fn keep(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(time) if time < Duration::from_hours(24) => Err(format!("{text:?}: wanted a day (1d) at least")),
        parsed => parsed.map_err(|e| e.to_string()),
    }
}

/// A watch goes on for ever: it has no output that is written when all is over.
pub(super) fn format(arg: clap::Arg) -> clap::Arg {
    arg.value_parser(args::format(&[Format::Text, Format::Jsonl]))
}

impl WatchFlags {
    /// Settles every target.
    ///
    /// # Errors
    ///
    /// A target that is unreadable or given twice, settings that cannot go together, or an output
    /// that a watch does not have.
    pub(super) fn read(self) -> Result<WatchArgs, Usage> {
        let Self { targets, every, jitter, rounds, listen, names, keep, probing } = self;
        let targets = Targets { words: targets, flags: probing.layer()?, every, jitter };
        let watched = targets.read()?;
        let options = probing.options();
        if options.transcript {
            return Err(Usage::error("--transcript: a watch prints no dialogs: wanted run --transcript"));
        }
        let alerting = watched.iter().find(|watched| watched.alert.is_some());
        if let Some(alerting) = alerting.filter(|_| options.history == History::None) {
            let name = &alerting.name;
            return Err(Usage::error(format!(
                "--history none with [alert] in {name}: wanted a history, which keeps what is to be told until it is"
            )));
        }
        let retention = keep.map_or_else(Retention::default, |sessions| Retention { sessions });
        Ok(WatchArgs { watched, targets, options, listen, names, rounds, retention })
    }
}

impl Targets {
    /// Reads the probe files, those of now.
    ///
    /// # Errors
    ///
    /// As the command line's.
    pub fn read(&self) -> Result<Vec<Watched>, Usage> {
        let mut names = BTreeSet::new();
        let mut all = Vec::new();
        for word in &self.words {
            let name: Arc<str> = word.to_string_lossy().into();
            if !names.insert(Arc::clone(&name)) {
                return Err(Usage::error(format!("{name:?} twice: wanted each target once")));
            }
            let target = Target::read(word)?;
            let (schedule, alert) = match &target {
                Target::Domain(_) => (None, None),
                Target::File(file) => (file.schedule.clone(), file.alert.clone()),
            };
            let probe = Arc::new(settle(&self.flags, Some(target))?);
            let schedule = self.schedule(schedule).map_err(|why| Usage::error(format!("{name}: {why}")))?;
            all.push(Watched { name, probe, schedule, alert });
        }
        Ok(all)
    }

    /// The flags over the file's schedule.
    fn schedule(&self, file: Option<Schedule>) -> Result<Schedule, String> {
        let mut schedule = file.unwrap_or(Schedule { when: When::Every(EVERY), full: false, jitter: Duration::ZERO });
        if let Some(every) = self.every {
            // The file's jitter was meant for the file's schedule.
            schedule = Schedule { when: When::Every(every), jitter: schedule.jitter.min(every / 2), ..schedule };
        }
        schedule.jitter = self.jitter.unwrap_or(schedule.jitter);
        if matches!(schedule.when, When::Every(every) if schedule.jitter >= every) {
            return Err("--jitter as long as the schedule: wanted less than --every".to_owned());
        }
        Ok(schedule)
    }
}
