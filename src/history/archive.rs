//! What happened: runs with all their lines, hourly counts, incidents, and the notices that tell of
//! them. Behind one trait, so that another database can take the file's place.
//!
//! What a call acknowledges by `Ok` is on disk: neither the end of the process, however it comes,
//! nor that of the machine takes it back, as far as the disk keeps its word. (Starts and rests of
//! [`super::ledger`] are written without waiting for the disk: a power cut may take the last ones.)
//! What ends in an error has changed nothing and can be said again, whatever the error was: a
//! session on record already is passed over.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::HistoryError;
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Incident, Kind, Line, Role, Session};
use crate::smtp::reply::Code;
use crate::stage::Stage;
use crate::status::Tally;

mod filter;
mod hours;
mod incidents;
mod keep;
mod parts;
mod read;
mod reply;
mod retain;
mod sqlite;
#[cfg(test)]
mod tests;
mod text;

pub use sqlite::StoreArchive;

/// What is on record of all runs and watches. Every call is one transaction, unless it says otherwise.
pub trait Archive: Send {
    /// Enters lines of a run, in their order and behind what is there of it. `probe` is what the run
    /// belongs to: a probe file's name, or nothing. Lines that no run keeps (`planned`, `incident`)
    /// are passed over.
    ///
    /// # Errors
    ///
    /// None of the lines is on record.
    fn keep(&mut self, run: &str, probe: Option<&str>, lines: &[Line]) -> Result<(), HistoryError>;

    /// Runs, the newest first. Where the filter names something of a session, those runs that have
    /// such a session.
    ///
    /// # Errors
    ///
    /// The file cannot be read; so everywhere below.
    fn runs(&mut self, filter: &Filter) -> Result<Vec<RunOnRecord>, HistoryError>;

    /// The ids of the runs that begin so, in order; no more than a few.
    ///
    /// # Errors
    ///
    /// As above.
    fn runs_named(&mut self, beginning: &str) -> Result<Vec<String>, HistoryError>;

    /// All lines of one run, as they were recorded and in that order.
    ///
    /// # Errors
    ///
    /// As above.
    fn run(&mut self, run: &str) -> Result<Option<Vec<Line>>, HistoryError>;

    /// The lines of the runs that [`Archive::runs`] gives, the oldest run first, each run's in their
    /// order; of the sessions only those that the filter wants. Each run is a transaction of its own.
    /// Ends where `each` returns false.
    ///
    /// # Errors
    ///
    /// As above.
    fn lines(&mut self, filter: &Filter, each: &mut dyn FnMut(Line) -> bool) -> Result<(), HistoryError>;

    /// Sessions in the order of time. Ends where `each` returns false.
    ///
    /// # Errors
    ///
    /// As above.
    fn sessions(&mut self, filter: &Filter, each: &mut dyn FnMut(Session) -> bool) -> Result<(), HistoryError>;

    /// One session.
    ///
    /// # Errors
    ///
    /// As above.
    fn session(&mut self, run: &str, seq: u64) -> Result<Option<Session>, HistoryError>;

    /// The diagnoses of the runs that [`Archive::runs`] gives, in that order and in that of rank.
    ///
    /// # Errors
    ///
    /// As above.
    fn diagnoses(&mut self, filter: &Filter) -> Result<Vec<Diagnosis>, HistoryError>;

    /// Enters an incident, or what has become of it, together with what is to be told of it. One
    /// whose id is 0 is given one. A notice is entered once for each incident, number of its events
    /// and receiver: what was entered before is passed over.
    ///
    /// # Errors
    ///
    /// Neither the incident nor a notice is on record, and the id is as it was.
    fn put_incident(
        &mut self,
        probe: Option<&str>,
        incident: &mut Incident,
        notices: &[NewNotice],
    ) -> Result<(), HistoryError>;

    /// Incidents that lasted into the filter's time, the newest first. Of a session's properties the
    /// filter's domain, source, address, stage and code count: an incident about no source in
    /// particular is about every one. All of them, or only those that last.
    ///
    /// # Errors
    ///
    /// As above.
    fn incidents(&mut self, filter: &Filter, open_only: bool) -> Result<Vec<Incident>, HistoryError>;

    /// One incident.
    ///
    /// # Errors
    ///
    /// As above.
    fn incident(&mut self, id: u64) -> Result<Option<Incident>, HistoryError>;

    /// Takes notices that are due, the oldest first, for [`CLAIM`]: until then nobody else is given
    /// them. One that is neither delivered nor failed by then is due again.
    ///
    /// # Errors
    ///
    /// None was taken.
    fn due_notices(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Notice>, HistoryError>;

    /// This notice has arrived; it is never due again.
    ///
    /// # Errors
    ///
    /// It is as it was.
    fn notice_delivered(&mut self, id: u64, at: Timestamp) -> Result<(), HistoryError>;

    /// This notice has not arrived and is due at `next`.
    ///
    /// # Errors
    ///
    /// It is as it was.
    fn notice_failed(&mut self, id: u64, next: Timestamp, why: &str) -> Result<(), HistoryError>;

    /// This notice will never arrive, as its receiver has read it and will not have it; it is never
    /// due again, and holds up none behind it.
    ///
    /// # Errors
    ///
    /// It is as it was.
    fn notice_refused(&mut self, id: u64, why: &str) -> Result<(), HistoryError>;

    /// Counts by the hour, in the order of time. They last when their sessions are gone; runs and
    /// probes are not told apart.
    ///
    /// # Errors
    ///
    /// As above.
    fn hours(&mut self, filter: &Filter) -> Result<Vec<Hour>, HistoryError>;

    /// Trials by stretches of so many hours, which begin at multiples of it since 1970; by place, and
    /// of each place in the order of time. All trials of a place count as tried, and what the filter
    /// says of stage, code and tag says which failures count as failed. As with [`Archive::hours`]
    /// these last, and the filter's runs and probes are not looked at.
    ///
    /// # Errors
    ///
    /// As above.
    fn stretches(&mut self, filter: &Filter, hours: u32) -> Result<Vec<Stretch>, HistoryError>;

    /// Forgets some of what is older than is to be kept: no more than takes a moment, for others may
    /// be waiting to write. Where there is more, it is to be called again a moment later.
    ///
    /// # Errors
    ///
    /// Nothing was forgotten.
    fn retain(&mut self, now: Timestamp, retention: &Retention) -> Result<Forgotten, HistoryError>;
}

/// For how long a notice is its taker's. Longer than any delivery may take.
pub const CLAIM: Duration = Duration::from_mins(2);

/// What is asked for; everything where nothing is said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// The domain of the sessions; upper and lower case are one. Those of hosts that were given one by
    /// one have an empty one.
    pub domain: Option<String>,
    pub probe: Option<String>,
    pub source: Option<IpAddr>,
    pub address: Option<IpAddr>,
    /// Where sessions ended.
    pub stage: Option<Stage>,
    pub code: Option<Code>,
    pub tag: Option<String>,
    /// The whole id.
    pub run: Option<String>,
    /// How many of what is asked for; of runs, the newest ones.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether it names something of a session.
    #[must_use]
    pub fn is_of_sessions(&self) -> bool {
        self.is_of_places() || self.stage.is_some() || self.code.is_some() || self.tag.is_some()
    }

    fn is_of_places(&self) -> bool {
        self.domain.is_some() || self.source.is_some() || self.address.is_some()
    }
}

/// One run in short.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOnRecord {
    pub run: String,
    /// When it began.
    pub at: Timestamp,
    /// When its last session began; the same where it has none.
    pub last: Timestamp,
    pub probe: Option<String>,
    /// The domains or hosts probed.
    pub targets: Vec<String>,
    /// The addresses probed from.
    pub sources: Vec<IpAddr>,
    /// Its sessions on record.
    pub tally: Tally,
    /// The exit status; none where it broke off, or is still going on.
    pub exit: Option<u8>,
    /// The first of its diagnoses.
    pub diagnosis: Option<(DiagnosisKind, Confidence)>,
}

/// What is to be told to a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct NewNotice {
    /// Its key: what tells one receiver from another.
    pub receiver: String,
    pub payload: Value,
}

/// What is to be told, taken from the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub id: u64,
    pub incident: u64,
    /// How many events the incident had.
    pub change: u64,
    pub receiver: String,
    pub payload: Value,
    /// How often it has failed.
    pub tries: u32,
    /// Why it failed last.
    pub why: Option<String>,
}

/// The sessions of one hour that ended alike at the same place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hour {
    /// When the hour began.
    pub at: Timestamp,
    pub role: Role,
    pub domain: Option<String>,
    pub source: Option<IpAddr>,
    pub address: Option<IpAddr>,
    pub stage: Option<Stage>,
    pub kind: Kind,
    pub code: Option<Code>,
    pub tag: Option<String>,
    /// Whether these sessions count as failed ([`crate::status::failed`]).
    pub failed: bool,
    pub sessions: u64,
}

/// The trials between one source and one address in a stretch of time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stretch {
    /// When the stretch began.
    pub at: Timestamp,
    pub role: Role,
    pub domain: Option<String>,
    pub source: Option<IpAddr>,
    pub address: Option<IpAddr>,
    pub tried: u64,
    pub failed: u64,
}

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Retention {
    /// Runs, with their sessions and all; a day at least. Hourly counts and incidents are kept for
    /// ever.
    pub sessions: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { sessions: Duration::from_hours(90 * 24) }
    }
}

/// How much was forgotten.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Forgotten {
    pub runs: u64,
    pub sessions: u64,
    /// There is more to forget.
    pub more: bool,
}
