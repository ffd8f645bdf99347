//! Hands a notice to one receiver, once.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::notice::Notice;
use super::{command, mail, webhook};
use crate::address::Host;
use crate::probe::HostSpec;
use crate::probe::alert::{Receiver, Webhook};
use crate::wire::{self, Expected, Must, Stream, Trust};

/// Who hands notices over, and by what means.
#[derive(Clone, Debug)]
pub struct Courier {
    pub trust: Trust,
    /// This host's name: whose alert it is, and where a mail comes from.
    pub name: Host,
    /// Where people can look at the incidents, as a URL.
    pub page: Option<String>,
    pub pace: Pace,
}

/// How long everything may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// What a receiver may take in all, from the lookup of its name to its answer.
    pub patience: Duration,
    /// The pause after a first failure; it doubles with each further one.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// After how long a firing alert is sent again.
    pub again: Duration,
}

impl Pace {
    /// How long an alert burns when nobody lights it again: four times as long as it takes until it
    /// is sent again, as Prometheus does.
    #[must_use]
    pub fn burns(&self) -> Duration {
        self.again.saturating_mul(4)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            first: Duration::from_secs(5),
            longest: Duration::from_mins(15),
            again: Duration::from_mins(1),
        }
    }
}

/// Why a notice has not arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Undelivered {
    /// It is worth another try.
    Later(String),
    /// The receiver has read it and will not have it.
    Never(String),
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(why) | Self::Never(why) => f.write_str(why),
        }
    }
}

impl Courier {
    /// Hands a notice over.
    ///
    /// # Errors
    ///
    /// What the receiver, or the way to it, has against it.
    pub async fn hand_over(&self, receiver: &Receiver, notice: &Notice, now: Timestamp) -> Result<(), Undelivered> {
        let told = async {
            match receiver {
                Receiver::Webhook(webhook) => {
                    let body = webhook::body(notice, webhook, self, now);
                    webhook::post(webhook, &notice.id, body, self).await
                }
                Receiver::Command(words) => command::run(words, notice, self.pace.patience).await,
                Receiver::Mail(to) => mail::send(to, notice, self).await,
            }
        };
        timeout(self.pace.patience, told).await.unwrap_or_else(|_| Err(self.late()))
    }

    /// Sends an Alertmanager all alerts that burn once more.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn light(&self, webhook: &Webhook, burning: &[Notice], now: Timestamp) -> Result<(), Undelivered> {
        let body = webhook::alerts(burning, self, now);
        // A key of its own: none of these is the notice that it was first.
        let id = uuid::Uuid::now_v7().to_string();
        let told = webhook::post(webhook, &id, body, self);
        timeout(self.pace.patience, told).await.unwrap_or_else(|_| Err(self.late()))
    }

    fn late(&self) -> Undelivered {
        Undelivered::Later(format!("no answer within {:?}", self.pace.patience))
    }

    /// A connection to one of the receiver's addresses, as this host's own resolver knows them, in
    /// the clear or under TLS with a certificate that holds.
    pub(super) async fn connect(&self, host: &HostSpec, port: u16, secure: bool) -> Result<Stream, Undelivered> {
        let mut stream = self.reach(host, port).await?;
        if secure {
            let name = match host {
                HostSpec::Name(name) => Some(name),
                HostSpec::Address(_) => None,
            };
            let expected = Expected { host: name, dane: None, must: Must::Hold };
            let handshake = stream.upgrade(&expected, &self.trust).await;
            handshake.outcome.map_err(|fault| Undelivered::Later(format!("TLS with {host}: {fault}")))?;
        }
        Ok(stream)
    }

    /// A connection in the clear.
    pub(super) async fn reach(&self, host: &HostSpec, port: u16) -> Result<Stream, Undelivered> {
        let mut why = format!("{host} has no address");
        for address in addresses(host, port).await.map_err(|e| Undelivered::Later(format!("{host}: {e}")))? {
            let patience = self.pace.patience / 3;
            match timeout(patience, wire::connect(None, address)).await {
                Ok(Ok(tcp)) => return Ok(Stream::plain(tcp)),
                Ok(Err(fault)) => why = format!("{address}: {fault}"),
                Err(_) => why = format!("{address}: no connection within {patience:?}"),
            }
        }
        Err(Undelivered::Later(why))
    }

    #[cfg(test)]
    pub(super) fn for_tests(name: &str) -> Self {
        Self { trust: Trust::system(), name: name.parse().unwrap(), page: None, pace: Pace::default() }
    }
}

/// A receiver is part of the operator's own house: the system's resolver and its hosts file know it.
async fn addresses(host: &HostSpec, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host {
        HostSpec::Address(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
        HostSpec::Name(name) => Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect()),
    }
}
