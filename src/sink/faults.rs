//! What went wrong, each distinct thing once.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::catalog::normalise;
use crate::record::{DiagnosisKind, Kind, Session};
use crate::smtp::reply::Code;
use crate::stage::Stage;
use crate::status::failed;

/// Sessions that ended in the same way: at one stage, by one kind, with one reply, but for the
/// addresses, names, times and ids in it.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    /// In the order of the plan, never empty.
    pub(crate) sessions: Vec<&'a Session>,
}

#[derive(Debug, Eq, Hash, PartialEq)]
struct Likeness<'a> {
    stage: Option<Stage>,
    kind: Kind,
    code: Option<Code>,
    tag: Option<&'a str>,
    expected: bool,
    words: String,
}

/// The distinct failures of sessions, and what ended sessions as expected other than in
/// completion; the most frequent first. `local` and `skipped` sessions are among them: what hinders
/// us is told too.
pub(crate) fn faults<'a>(sessions: impl Iterator<Item = &'a Session>) -> Vec<Fault<'a>> {
    let mut faults: Vec<Fault<'a>> = Vec::new();
    let mut places = HashMap::new();
    for session in sessions.filter(|s| s.kind != Kind::Completed) {
        let place = *places.entry(Likeness::of(session)).or_insert(faults.len());
        match faults.get_mut(place) {
            Some(fault) => fault.sessions.push(session),
            None => faults.push(Fault { sessions: vec![session] }),
        }
    }
    faults.sort_by_key(|fault| (!failed(fault.first()), std::cmp::Reverse(fault.sessions.len())));
    faults
}

impl<'a> Fault<'a> {
    /// The session that stands for all of them.
    pub(crate) fn first(&self) -> &'a Session {
        self.sessions[0]
    }

    pub(crate) fn sources(&self) -> BTreeSet<IpAddr> {
        self.sessions.iter().filter_map(|s| s.source).collect()
    }

    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.sessions.iter().filter_map(|s| s.address).collect()
    }

    /// What any of the sessions notes.
    pub(crate) fn notes(&self) -> BTreeSet<&'a str> {
        self.sessions.iter().flat_map(|s| s.notes.iter().map(String::as_str)).collect()
    }

    /// The distinct replies that nobody asked for.
    pub(crate) fn also(&self) -> BTreeSet<&'a [String]> {
        self.sessions.iter().filter(|s| !s.also.is_empty()).map(|s| &s.also[..]).collect()
    }

    /// What happened, in words.
    pub(crate) fn what(&self) -> String {
        what(self.first())
    }
}

impl<'a> Likeness<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            stage: session.stage,
            kind: session.kind,
            code: session.code,
            tag: session.tag.as_deref(),
            expected: session.expected,
            words: match &session.reply {
                Some(lines) => normalise(&lines.join(" ")),
                None => session.detail.as_deref().map_or_else(String::new, normalise),
            },
        }
    }
}

/// How a session ended: `421 4.7.0 at mail`, `timed out at connect`, `connection refused`.
pub(crate) fn what(session: &Session) -> String {
    let at = session.stage.map_or_else(String::new, |stage| format!(" at {stage}"));
    let verb = verb(session.kind);
    match (session.kind, session.code, session.enhanced) {
        (Kind::Rejected, Some(code), Some(enhanced)) => format!("{code} {enhanced}{at}"),
        (Kind::Rejected, Some(code), None) => format!("{code}{at}"),
        // These happen at one stage only.
        (Kind::Refused | Kind::Unreachable | Kind::DnsFailed | Kind::TlsFailed, ..) => verb.to_owned(),
        _ => format!("{verb}{at}"),
    }
}

/// The ending kind as one says it.
pub(crate) const fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Completed => "completed",
        Kind::Rejected => "rejected",
        Kind::Dropped => "connection dropped without a reply",
        Kind::TimedOut => "timed out",
        Kind::Refused => "connection refused",
        Kind::Unreachable => "unreachable",
        Kind::TlsFailed => "TLS handshake failed",
        Kind::Malformed => "no SMTP",
        Kind::DnsFailed => "name did not resolve",
        Kind::Local => "our own fault",
        Kind::Skipped => "skipped",
    }
}

/// A kind as it is called out: `SENDER IP BLOCK`.
pub(crate) fn called(kind: DiagnosisKind) -> String {
    kind.as_str().replace('-', " ").to_uppercase()
}

/// `1 session`, `2 sessions`.
pub(crate) fn sessions(count: u64) -> String {
    if count == 1 { "1 session".to_owned() } else { format!("{count} sessions") }
}
