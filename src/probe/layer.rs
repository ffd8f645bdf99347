//! What was said and what was not: one layer from the probe file, one from the flags.
//!
//! The layers are laid over each other, the flags on top, and then settled: every default comes to
//! its place, what cannot go together is refused, and a [`Probe`] is left that has no option open.
//! Apart from [`Probe`] so that nothing behind it ever meets a setting that "was not given".

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::conflict::{Conflict, Setting};
use super::spelling::stop;
use super::{Dkim, Envelope, Expect, Family, Gate, HostSpec, Message, Probe, Sources, Target};
use crate::address::{EhloName, Host, Mailbox, Sender};
use crate::limits::{Limits, Rate};
use crate::record::CheckName;
use crate::smtp::session::TlsLevel;
use crate::source::SourceSpec;
use crate::stage::Stage;
use crate::timeouts::Timeouts;

/// Everything that a probe file or a command line can say about a probe. `None`, and a list that is
/// empty: nothing was said.
#[derive(Clone, Debug, Default)]
pub struct ProbeLayer {
    pub description: Option<String>,
    pub domain: Option<Host>,
    pub hosts: Vec<HostSpec>,
    pub control: Vec<Host>,
    pub port: Option<u16>,
    pub family: Option<Family>,
    pub own_mx: Option<bool>,
    pub sources: Vec<SourceSpec>,
    pub neutral: Vec<IpAddr>,
    /// For every source; said in an upper layer, it takes `ehlo_of` of the lower ones with it.
    pub ehlo: Option<EhloName>,
    pub ehlo_of: BTreeMap<IpAddr, EhloName>,
    pub public: BTreeMap<IpAddr, IpAddr>,
    pub from: Option<Sender>,
    /// The sender beside the campaign's.
    pub neutral_from: Option<Sender>,
    pub to: Vec<Mailbox>,
    /// The mailboxes that the operator says are their own.
    pub owned: Vec<Mailbox>,
    pub until: Option<Stage>,
    pub tls: Option<TlsLevel>,
    /// For every stage; said in an upper layer, it takes `timeouts` of the lower ones with it.
    pub timeout: Option<Duration>,
    pub timeouts: BTreeMap<Stage, Duration>,
    /// The permission to send one real message per session.
    pub send: Option<bool>,
    pub body: Option<PathBuf>,
    pub dkim: Option<Dkim>,
    pub limits: LimitsLayer,
    pub expect: Option<Expect>,
    pub gate: GateLayer,
    pub dnsbl: Vec<Host>,
    pub pair_plaintext: Option<bool>,
    pub ignore_rest: Option<bool>,
}

/// What can be said about [`Gate`].
#[derive(Clone, Debug, Default)]
pub struct GateLayer {
    pub min_go: Option<u32>,
    pub max_transient: Option<f64>,
    pub warn: Vec<CheckName>,
}

/// What can be said about [`Limits`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitsLayer {
    pub attempts: Option<u32>,
    pub pace: Option<Duration>,
    pub per_address: Option<usize>,
    pub per_provider: Option<usize>,
    pub rate: Option<Rate>,
    pub per_hour: Option<u32>,
    pub per_day: Option<u32>,
    pub max_time: Option<Duration>,
}

impl ProbeLayer {
    /// This layer on top of `below`: what it says holds, what it leaves open is `below`'s.
    ///
    /// Lists replace lists; the maps by address and by stage replace entry by entry. An `until`
    /// above that stops before the message leaves the message of the layer below where it is: the
    /// permission to send is not a demand.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        let shallow = self.send.is_none() && self.body.is_none() && self.until.is_some_and(|s| s < Stage::EndOfData);
        let mut ehlo_of = if self.ehlo.is_some() { BTreeMap::new() } else { below.ehlo_of };
        ehlo_of.extend(self.ehlo_of);
        let mut timeouts = if self.timeout.is_some() { BTreeMap::new() } else { below.timeouts };
        timeouts.extend(self.timeouts);
        let mut public = below.public;
        public.extend(self.public);
        // Where hosts are named above, the domain below only gives them a name to be told by.
        let hosts =
            if self.hosts.is_empty() && self.domain.is_some() { Vec::new() } else { list(self.hosts, below.hosts) };
        Self {
            description: self.description.or(below.description),
            domain: self.domain.or(below.domain),
            hosts,
            control: list(self.control, below.control),
            port: self.port.or(below.port),
            family: self.family.or(below.family),
            own_mx: self.own_mx.or(below.own_mx),
            sources: list(self.sources, below.sources),
            neutral: list(self.neutral, below.neutral),
            ehlo: self.ehlo.or(below.ehlo),
            ehlo_of,
            public,
            from: self.from.or(below.from),
            neutral_from: self.neutral_from.or(below.neutral_from),
            to: list(self.to, below.to),
            owned: list(self.owned, below.owned),
            until: self.until.or(below.until),
            tls: self.tls.or(below.tls),
            timeout: self.timeout.or(below.timeout),
            timeouts,
            send: self.send.or(if shallow { below.send.map(|_| false) } else { below.send }),
            body: self.body.or(below.body),
            dkim: self.dkim.or(below.dkim),
            limits: self.limits.over(below.limits),
            expect: self.expect.or(below.expect),
            gate: GateLayer {
                min_go: self.gate.min_go.or(below.gate.min_go),
                max_transient: self.gate.max_transient.or(below.gate.max_transient),
                warn: list(self.gate.warn, below.gate.warn),
            },
            dnsbl: list(self.dnsbl, below.dnsbl),
            pair_plaintext: self.pair_plaintext.or(below.pair_plaintext),
            ignore_rest: self.ignore_rest.or(below.ignore_rest),
        }
    }

    /// Puts every default in its place. `read` gives the bytes of the message to send, and is asked
    /// only when one is going to be sent.
    ///
    /// Ceilings are not looked at: whether they hold depends on where the target resolves to
    /// ([`Limits::over_ceiling`]).
    ///
    /// # Errors
    ///
    /// The first two settings that cannot go together, no target, a recipient that is not owned, or
    /// a message that cannot be read.
    pub fn settle(self, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> Result<Probe, Conflict> {
        let until = self.depth()?;
        self.settle_at(until, until == Stage::EndOfData, read)
    }

    /// The same for a smoke test, which goes as deep as it has leave to, and looks at the message
    /// whether or not one is sent.
    ///
    /// # Errors
    ///
    /// As [`ProbeLayer::settle`].
    pub fn settle_smoke(self, read: impl FnOnce(&Path) -> io::Result<Vec<u8>>) -> Result<Probe, Conflict> {
        let until = self.leave()?;
        self.settle_at(until, true, read)
    }

    fn settle_at(
        self,
        until: Stage,
        wants_message: bool,
        read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Probe, Conflict> {
        let target = self.target()?;
        let tls = self.tls.unwrap_or_default();
        if self.pair_plaintext == Some(true) && tls == TlsLevel::Off {
            return Err(Conflict::new(
                Setting::PairPlaintext,
                "--pair-plaintext with --tls off: wanted a handshake that can fail",
            ));
        }
        let expect = self.expect.unwrap_or_default();
        if let Some(stage) = expect.stage.filter(|&stage| stage > until) {
            let message = format!("an ending expected at {stage} with --until {until}: wanted a stage that is entered");
            return Err(Conflict::new(Setting::Expect, message));
        }
        let message = if wants_message {
            let body =
                self.body.as_deref().map(|path| read(path).map_err(|error| unreadable(path, &error))).transpose()?;
            Message { body: body.map(Arc::from), dkim: self.dkim }
        } else {
            Message::default()
        };
        let mut timeouts = self.timeout.map_or_else(Timeouts::default, Timeouts::all);
        for (stage, duration) in self.timeouts {
            timeouts.set(stage, duration);
        }
        Ok(Probe {
            description: self.description,
            target,
            source: Sources {
                addresses: once(self.sources),
                neutral: once(self.neutral),
                ehlo: self.ehlo,
                ehlo_of: self.ehlo_of,
                public: self.public,
            },
            // A session that stops before RCPT names no recipient, so several would be the same session.
            envelope: Envelope {
                from: self.from,
                neutral: self.neutral_from,
                to: if until < Stage::Rcpt { Vec::new() } else { once(self.to) },
            },
            until,
            tls,
            timeouts: Arc::new(timeouts),
            message,
            limits: self.limits.settle(),
            expect,
            gate: self.gate.settle(tls),
            dnsbl: once(self.dnsbl),
            pair_plaintext: self.pair_plaintext.unwrap_or(false),
            ignore_rest: self.ignore_rest.unwrap_or(false),
        })
    }

    fn target(&self) -> Result<Target, Conflict> {
        if self.domain.is_none() && self.hosts.is_empty() {
            return Err(Conflict::new(Setting::Domain, "no target: wanted a domain, a probe file or --host NAME|IP"));
        }
        let family = self.family.unwrap_or_default();
        let outside = |host: &HostSpec| matches!(host, HostSpec::Address(ip) if !family.allows(*ip));
        if let Some(host) = self.hosts.iter().find(|host| outside(host)) {
            let flag = if family == Family::V4 { "-4" } else { "-6" };
            return Err(Conflict::new(
                Setting::Hosts,
                format!("--host {host} with {flag}: wanted an address of that family"),
            ));
        }
        Ok(Target {
            domain: self.domain.clone(),
            hosts: once(self.hosts.clone()),
            control: once(self.control.clone()),
            port: self.port.unwrap_or(25),
            family,
            own_mx: self.own_mx.unwrap_or(false),
        })
    }

    /// How deep a session goes: only as deep as there is a recipient of the operator's own, and as
    /// deep as the message only by permission.
    fn depth(&self) -> Result<Stage, Conflict> {
        let send = self.send == Some(true);
        let default = if self.to.is_empty() { Stage::Mail } else { Stage::Rcpt };
        let until = self.until.unwrap_or(default);
        if let Err(error) = stop(until.as_str()) {
            return Err(Conflict::new(Setting::Until, format!("--until: {error}")));
        }
        self.owns_recipients()?;
        if until >= Stage::Rcpt && self.to.is_empty() {
            let message = format!("--until {until} without a recipient: wanted --to ADDR, or --until mail");
            return Err(Conflict::new(Setting::Until, message));
        }
        if until == Stage::EndOfData && !send {
            return Err(Conflict::new(
                Setting::Until,
                "--until end-of-data without leave to send a message: wanted --send, or --until data",
            ));
        }
        if send && until != Stage::EndOfData {
            let message = format!("--send with --until {until}: wanted --until end-of-data");
            return Err(Conflict::new(Setting::Send, message));
        }
        // A message beside an explicit "no" waits for its day; beside nothing it was forgotten.
        if self.send.is_none() && self.body.is_some() {
            return Err(Conflict::new(Setting::Body, "--body without --send: wanted both, and --until end-of-data"));
        }
        Ok(until)
    }

    /// How deep a smoke test goes: as deep as there is leave, and no deeper than `until`.
    fn leave(&self) -> Result<Stage, Conflict> {
        self.owns_recipients()?;
        if let Some(Err(error)) = self.until.map(|until| stop(until.as_str())) {
            return Err(Conflict::new(Setting::Until, format!("--until: {error}")));
        }
        let deepest = match (self.send == Some(true), self.to.is_empty()) {
            (true, true) => {
                return Err(Conflict::new(Setting::Send, "--send without a recipient: wanted --to ADDR"));
            }
            (true, false) => Stage::EndOfData,
            (false, false) => Stage::Rcpt,
            (false, true) => Stage::Mail,
        };
        Ok(self.until.map_or(deepest, |until| until.min(deepest)))
    }

    fn owns_recipients(&self) -> Result<(), Conflict> {
        match self.to.iter().find(|to| !self.owned.contains(to)) {
            None => Ok(()),
            Some(stranger) => {
                let message = format!(
                    "--to {:?} is not on the list of owned mailboxes: wanted a mailbox of your own, listed in --owned",
                    stranger.to_string()
                );
                Err(Conflict::new(Setting::To, message))
            }
        }
    }
}

impl GateLayer {
    /// What only an enforcing sender stumbles over hinders no other.
    fn settle(self, tls: TlsLevel) -> Gate {
        let default = Gate::default();
        let mut warn = self.warn;
        if tls < TlsLevel::Require {
            warn.extend([CheckName::MtaSts, CheckName::Dane, CheckName::TlsRpt, CheckName::StartTls]);
        }
        Gate {
            min_go: self.min_go.or(default.min_go),
            max_transient: self.max_transient.unwrap_or(default.max_transient),
            warn: once(warn),
        }
    }
}

impl LimitsLayer {
    fn over(self, below: Self) -> Self {
        Self {
            attempts: self.attempts.or(below.attempts),
            pace: self.pace.or(below.pace),
            per_address: self.per_address.or(below.per_address),
            per_provider: self.per_provider.or(below.per_provider),
            rate: self.rate.or(below.rate),
            per_hour: self.per_hour.or(below.per_hour),
            per_day: self.per_day.or(below.per_day),
            max_time: self.max_time.or(below.max_time),
        }
    }

    fn settle(self) -> Limits {
        let default = Limits::default();
        Limits {
            attempts: self.attempts.unwrap_or(default.attempts),
            pace: self.pace.unwrap_or(default.pace),
            per_address: self.per_address.unwrap_or(default.per_address),
            per_provider: self.per_provider.unwrap_or(default.per_provider),
            rate: self.rate.unwrap_or(default.rate),
            per_hour: self.per_hour.unwrap_or(default.per_hour),
            per_day: self.per_day.unwrap_or(default.per_day),
            max_time: self.max_time.or(default.max_time),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Conflict {
    Conflict::new(Setting::Body, format!("--body {:?} cannot be read: {error}", path.display().to_string()))
}

fn list<T>(above: Vec<T>, below: Vec<T>) -> Vec<T> {
    if above.is_empty() { below } else { above }
}

/// The same in the same order, each once.
fn once<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(list.len());
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
