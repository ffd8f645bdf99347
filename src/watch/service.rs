//! The watch as a service: what systemd hears of it, and what its listener can ask of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};

use super::pulse::Pulse;
use super::{Answer, Means};
use crate::probe::Probe;
use crate::run::Setup;
use crate::web;

/// Everything is loaded and the rounds go on.
pub(super) fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub(super) fn reloading() {
    // Since version 253 a reload is told with the time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(_) => say(&[NotifyState::Reloading]),
    }
}

pub(super) fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("open sessions say QUIT")]);
}

/// How often the watchdog is to be told something: twice in its time.
pub(super) fn beat() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_mins(1), |time| (time / 2).max(Duration::from_millis(100)))
}

/// Tells the watchdog that all is well, if it is: it restarts what is silent.
pub(super) fn alive(pulse: &Pulse) {
    match pulse.stuck() {
        None => say(&[NotifyState::Watchdog]),
        Some(who) => say(&[NotifyState::Status(&format!("{who} does not move"))]),
    }
}

/// Without a service manager there is nobody to tell, and that is no fault.
fn say(what: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(what);
}

/// What the listener asks.
pub(super) struct Daemon {
    pub(super) means: Arc<Means>,
    pub(super) reload: mpsc::Sender<Answer>,
}

#[async_trait]
impl web::Daemon for Daemon {
    fn setup(&self, probe: Arc<Probe>) -> Result<Setup, String> {
        Ok(self.means.setup(probe, self.means.seed))
    }

    async fn reload(&self) -> Result<String, String> {
        let (answer, heard) = oneshot::channel();
        let ends = || "the watch is ending".to_owned();
        self.reload.send(answer).await.map_err(|_| ends())?;
        heard.await.map_err(|_| ends())?
    }
}
