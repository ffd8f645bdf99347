//! `sim`: serves a scripted provider, DNS and SMTP, on loopback until it is told to stop.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use super::run::stop_on_signals;
use super::{Done, Failure, print, threads};
use crate::cli::sim::SimArgs;
use crate::drive::turned;
use crate::sim::{Ended, Ports, Provider, Scenario, Seen};

pub(super) fn sim(args: &SimArgs) -> Done {
    let name = args.scenario.display().to_string();
    let text = std::fs::read_to_string(&args.scenario).map_err(|e| Failure::config(format!("{name}: {e}")))?;
    let scenario = Scenario::parse(&name, &text).map_err(Failure::config)?;
    let create = |path: &std::path::PathBuf| {
        File::create(path).map_err(|e| Failure::config(format!("--log {}: {e}", path.display())))
    };
    let log = args.log.as_ref().map(create).transpose()?;
    let ports = Ports { dns: args.dns_port.unwrap_or(0), smtp: args.port.unwrap_or(0) };
    threads()?.block_on(async {
        let provider = Provider::start(scenario, ports).await;
        let provider = provider.map_err(|e| Failure::config(format!("{name}: the ports cannot be served: {e}")))?;
        print(invitation(&provider).as_bytes())?;
        let (stop, cancel) = watch::channel(false);
        stop_on_signals(Arc::new(stop), "the provider goes down")?;
        let mut book = Book { ended: provider.ended(), log };
        book.keep(cancel).await?;
        provider.stop().await;
        book.close()?;
        Ok(0)
    })
}

/// Where the provider is, and how to look at it.
fn invitation(provider: &Provider) -> String {
    let scenario = provider.scenario();
    let (dns, port) = (provider.dns(), provider.port());
    let targets: Vec<_> = scenario.probe.targets.iter().map(ToString::to_string).collect();
    let sources: Vec<_> = scenario.probe.sources.iter().map(|ip| format!(" --source {ip}")).collect();
    let mut text = format!("{} (a simulated provider)\ndns   {dns}\n", scenario.description);
    for (address, host) in provider.addresses() {
        let _ = writeln!(text, "smtp  {address}:{port} {host}");
    }
    let _ = writeln!(
        text,
        "try   mxprobe run {} --dns {dns} --port {port} --rate 100/s{}",
        targets.join(" "),
        sources.concat()
    );
    text
}

/// Writes connections down as they end.
struct Book {
    ended: broadcast::Receiver<Seen>,
    log: Option<File>,
}

impl Book {
    /// Until the operator stops it.
    async fn keep(&mut self, mut cancel: watch::Receiver<bool>) -> Result<(), Failure> {
        loop {
            tokio::select! {
                () = turned(&mut cancel) => return Ok(()),
                seen = self.ended.recv() => match seen {
                    Ok(seen) => self.enter(&seen)?,
                    Err(RecvError::Lagged(missed)) => self.missed(missed),
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    /// What ended together with the provider, or just before it.
    fn close(mut self) -> Result<(), Failure> {
        loop {
            match self.ended.try_recv() {
                Ok(seen) => self.enter(&seen)?,
                Err(TryRecvError::Lagged(missed)) => self.missed(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
        }
    }

    fn enter(&mut self, seen: &Seen) -> Result<(), Failure> {
        let Some(log) = &mut self.log else { return Ok(()) };
        writeln!(log, "{}", line(seen)).map_err(|e| Failure::ours(format!("--log: {e}")))
    }

    fn missed(&self, missed: u64) {
        if self.log.is_some() {
            let _ = writeln!(io::stderr(), "mxprobe: --log: {missed} connections were too many to write down");
        }
    }
}

/// One connection as a JSON line: when, from where to where, what was said, how it ended.
fn line(seen: &Seen) -> serde_json::Value {
    serde_json::json!({
        "type": "seen",
        "at-ms": crate::record::ms(seen.at),
        "until-ms": seen.until.map(crate::record::ms),
        "source": seen.source,
        "address": seen.address,
        "mx": seen.host.as_str(),
        "backend": seen.backend,
        "attempt": seen.attempt,
        "behaviour": seen.behaviour,
        "tls": seen.tls,
        "commands": seen.commands,
        "message-bytes": seen.message_bytes,
        "ended": seen.ended.map(Ended::as_str),
    })
}
