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
use crate::wire::{self, Stream, Trust};

/// What a receiver may take in all, from the lookup of its name to its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who hands notices over, and by what means.
#[derive(Clone, Debug)]
pub struct Courier {
    pub trust: Trust,
    /// This host's name: whose alert it is, and where a mail comes from.
    pub name: Host,
    /// Where people can look at the incidents, as a URL.
    pub page: Option<String>,
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
                Receiver::Command(words) => command::run(words, notice).await,
                Receiver::Mail(to) => mail::send(to, notice, self).await,
            }
        };
        timeout(PATIENCE, told).await.unwrap_or_else(|_| Err(Self::late()))
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
        timeout(PATIENCE, told).await.unwrap_or_else(|_| Err(Self::late()))
    }

    fn late() -> Undelivered {
        Undelivered::Later(format!("no answer within {} s", PATIENCE.as_secs()))
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
            let handshake = stream.upgrade(name, &self.trust, true).await;
            handshake.outcome.map_err(|fault| Undelivered::Later(format!("TLS with {host}: {fault}")))?;
        }
        Ok(stream)
    }

    /// A connection in the clear.
    pub(super) async fn reach(&self, host: &HostSpec, port: u16) -> Result<Stream, Undelivered> {
        let mut why = format!("{host} has no address");
        for address in addresses(host, port).await.map_err(|e| Undelivered::Later(format!("{host}: {e}")))? {
            match timeout(PATIENCE / 3, wire::connect(None, address)).await {
                Ok(Ok(tcp)) => return Ok(Stream::plain(tcp)),
                Ok(Err(fault)) => why = format!("{address}: {fault}"),
                Err(_) => why = format!("{address}: no connection within {} s", (PATIENCE / 3).as_secs()),
            }
        }
        Err(Undelivered::Later(why))
    }

    #[cfg(test)]
    pub(super) fn for_tests(name: &str) -> Self {
        Self { trust: Trust::system(), name: name.parse().unwrap(), page: None }
    }
}

/// A receiver is part of the operator's own house: the system's resolver and its hosts file know it.
async fn addresses(host: &HostSpec, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host {
        HostSpec::Address(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
        HostSpec::Name(name) => Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect()),
    }
}
