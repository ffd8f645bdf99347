//! From a probe and what DNS says to every session that will be opened, in order: the plan is all
//! the work, it can be printed, and the same seed makes the same plan.

use std::iter;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::address::{Host, Mailbox, Sender};
use crate::dane::Dane;
use crate::probe::Probe;
use crate::record::{self, Kind, Role, Variant};
use crate::smtp::fault::Fault;
use crate::smtp::session::{Script, TlsLevel};
use crate::stage::Stage;

mod matrix;
mod message;
mod one;
mod rounds;
mod route;
mod sample;
mod smoke;
mod starts;
mod turn;

pub use matrix::{plan, provider, sender};
pub use one::one;
pub use rounds::Rounds;
pub use route::{Exchanger, Route, Source};
pub use sample::{Sample, sample};
pub use smoke::smoke;
pub use turn::{turn, turns};

/// One session to open: a cell of the matrix, and the how-manieth attempt at it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it has in common with the other attempts there.
    pub cell: Arc<Cell>,
    /// Counts a run's sessions from 1.
    pub seq: u64,
    /// Counts a cell's attempts from 1.
    pub number: u32,
    /// Not before that much of the run has passed.
    pub not_before: Duration,
}

impl Deref for Attempt {
    type Target = Cell;

    fn deref(&self) -> &Cell {
        &self.cell
    }
}

/// A cell of the matrix, or a session beside it: from where to where, and what is said there.
#[derive(Clone, Debug)]
pub struct Cell {
    pub probe: Arc<Probe>,
    pub role: Role,
    pub variant: Variant,
    pub domain: Option<Host>,
    pub mx: Option<String>,
    pub preference: Option<u16>,
    /// None when the exchanger did not resolve.
    pub address: Option<SocketAddr>,
    /// Whose rates and budgets it takes from: the registrable domain of the exchanger.
    pub provider: Arc<str>,
    /// None when the exchanger did not resolve.
    pub source: Option<Source>,
    pub from: Sender,
    pub to: Option<Mailbox>,
    pub until: Stage,
    pub tls: TlsLevel,
    /// What DANE asks of it; None where it was not looked up.
    pub dane: Option<Arc<Dane>>,
    /// Why it cannot be opened at all.
    pub fault: Option<Fault>,
    pub notes: Vec<String>,
    /// Where a control session goes when the address before cannot be reached.
    pub alternatives: Vec<Arc<Cell>>,
}

impl Attempt {
    /// The first attempt at a cell, without a number of its own yet.
    #[must_use]
    fn first(cell: Arc<Cell>) -> Self {
        Self { cell, seq: 0, number: 1, not_before: Duration::ZERO }
    }

    /// What the session is to say; `None` when there is nowhere to say it.
    ///
    /// The run and the session's number make the message's id, `at` its date.
    #[must_use]
    pub fn script(&self, run: &str, at: Timestamp) -> Option<Script> {
        let source = self.source.as_ref()?;
        Some(Script {
            ehlo: source.ehlo.clone(),
            tls: self.level(),
            from: self.from.clone(),
            to: self.to.clone(),
            message: self.message(source, run, at),
            until: self.until,
            timeouts: Arc::clone(&self.probe.timeouts),
        })
    }

    /// How the session uses TLS: DANE's word is the host's (RFC 7672, section 2.2).
    fn level(&self) -> TlsLevel {
        match (self.tls, self.dane.as_deref()) {
            (TlsLevel::Dane, None | Some(Dane::Absent(_))) => TlsLevel::Opportunistic,
            (TlsLevel::Dane, Some(Dane::AnyCertificate(_))) => TlsLevel::Require,
            (level, _) => level,
        }
    }

    /// The same cell once more, without STARTTLS: the pair of a session whose handshake failed.
    #[must_use]
    pub fn plaintext_pair(&self, seq: u64) -> Self {
        let cell = Cell { variant: Variant::Plaintext, tls: TlsLevel::Off, ..Cell::clone(self) };
        Self { cell: Arc::new(cell), seq, ..self.clone() }
    }

    /// The same session with another number.
    #[must_use]
    fn renumbered(self: &Arc<Self>, seq: u64) -> Arc<Self> {
        if self.seq == seq { Arc::clone(self) } else { Arc::new(Self { seq, ..Self::clone(self) }) }
    }

    /// The record's fields up to `until`; the rest as of a session that was never started.
    #[must_use]
    pub fn record(&self, run: &str, at: Timestamp) -> record::Session {
        record::Session {
            run: run.to_owned(),
            seq: self.seq,
            attempt: self.number,
            at: record::stamp(at),
            role: self.role,
            domain: self.domain.as_ref().map(|domain| domain.as_str().to_owned()),
            mx: self.mx.clone(),
            preference: self.preference,
            address: self.address.map(|address| address.ip()),
            port: self.address.map_or(self.probe.target.port, |address| address.port()),
            backend: None,
            banner: None,
            variant: self.variant,
            source: self.source.as_ref().map(|source| source.address),
            seen_as: self.source.as_ref().map(|source| source.seen_as),
            ehlo: self.source.as_ref().map(|source| source.ehlo.to_string()),
            from: self.source.as_ref().map(|_| self.from.to_string()),
            to: self.to.as_ref().map(Mailbox::to_string),
            until: self.until,
            stage: None,
            kind: Kind::Skipped,
            code: None,
            enhanced: None,
            tag: None,
            class: None,
            text_class: None,
            reply: None,
            reply_base64: None,
            also: Vec::new(),
            notes: self.notes.clone(),
            detail: None,
            expected: false,
            tls: None,
            extensions: None,
            steps: Vec::new(),
            total_ms: None,
        }
    }
}

/// All the work of a run, in the order of its starts.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub stretches: Vec<Stretch>,
    /// What was asked for and will not be probed, in words.
    pub left_out: Vec<String>,
}

/// A stretch of a plan: what it holds starts behind what the one before holds.
#[derive(Clone, Debug)]
pub enum Stretch {
    /// One session after the other.
    Listed(Vec<Arc<Attempt>>),
    /// Cells of a stretch before, again.
    Again(Box<Rounds>),
}

impl Stretch {
    fn len(&self) -> u64 {
        match self {
            Self::Listed(attempts) => attempts.len() as u64,
            Self::Again(rounds) => rounds.len(),
        }
    }

    fn listed(self) -> Option<Vec<Arc<Attempt>>> {
        match self {
            Self::Listed(attempts) => Some(attempts),
            Self::Again(_) => None,
        }
    }
}

impl Plan {
    /// These sessions, in this order.
    #[must_use]
    pub fn listed(attempts: Vec<Arc<Attempt>>, left_out: Vec<String>) -> Self {
        Self { stretches: vec![Stretch::Listed(attempts)], left_out }
    }

    /// All sessions, in their order, made as they are asked for.
    pub fn attempts(&self) -> impl Iterator<Item = Arc<Attempt>> + Send + '_ {
        self.stretches.iter().flat_map(|stretch| -> Box<dyn Iterator<Item = Arc<Attempt>> + Send + '_> {
            match stretch {
                Stretch::Listed(attempts) => Box::new(attempts.iter().cloned()),
                Stretch::Again(rounds) => Box::new(rounds.attempts()),
            }
        })
    }

    /// The sessions that are listed: every cell is among them.
    pub fn firsts(&self) -> impl Iterator<Item = &Arc<Attempt>> {
        self.stretches.iter().flat_map(|stretch| match stretch {
            Stretch::Listed(attempts) => attempts.as_slice(),
            Stretch::Again(_) => &[],
        })
    }

    /// Each session that is listed, and each cell that is tried again with how often.
    pub fn counted(&self) -> impl Iterator<Item = (&Arc<Attempt>, u64)> {
        self.stretches.iter().flat_map(|stretch| {
            let (attempts, count) = match stretch {
                Stretch::Listed(attempts) => (attempts.as_slice(), 1),
                Stretch::Again(rounds) => (rounds.cells(), rounds.count()),
            };
            attempts.iter().zip(iter::repeat(count))
        })
    }

    /// How many sessions there are, those that cannot be opened among them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.stretches.iter().map(Stretch::len).sum()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many sessions will be opened, those that cannot be left aside.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.counted().filter(|(attempt, _)| attempt.fault.is_none()).map(|(_, count)| count).sum()
    }

    /// What of it `keep` wants, numbered from `first`.
    fn kept(self, mut keep: impl FnMut(&Arc<Attempt>) -> bool, mut first: u64) -> Self {
        let mut kept = Self { stretches: Vec::new(), left_out: self.left_out };
        for stretch in self.stretches {
            kept.stretches.push(match stretch {
                Stretch::Listed(attempts) => {
                    let attempts = attempts.into_iter().filter(&mut keep).zip(first..);
                    Stretch::Listed(attempts.map(|(attempt, seq)| attempt.renumbered(seq)).collect())
                }
                Stretch::Again(rounds) => Stretch::Again(Box::new(rounds.kept(&mut keep, first))),
            });
            first += kept.stretches.last().map_or(0, Stretch::len);
        }
        kept
    }
}
