//! What the sessions showed of each address's TLS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::theirs::listed_by;
use crate::record::{Check, CheckName, CheckResult, Kind, Session, Tls, Variant};
use crate::stage::Stage;

/// What one session showed of an address's TLS.
#[derive(Clone, Debug)]
pub(super) enum Shown<'a> {
    NotOffered,
    Refused,
    /// Why there was no handshake.
    Failed(&'a str),
    /// Offered, and not tried.
    Offered,
    Done(&'a Tls),
}

impl Shown<'_> {
    /// Why there was no TLS, where there was none.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::NotOffered => Some("STARTTLS is not offered".to_owned()),
            Self::Refused => Some("STARTTLS is refused".to_owned()),
            Self::Failed(why) => Some(format!("the handshake fails: {why}")),
            Self::Offered | Self::Done(_) => None,
        }
    }
}

/// What each session showed that came so far, with its exchanger and address.
pub(super) fn shown(sessions: &[Session]) -> impl Iterator<Item = (&Session, IpAddr, Shown<'_>)> {
    let sessions = sessions.iter().filter(|session| session.variant != Variant::Plaintext);
    sessions.filter_map(|session| Some((session, session.address?, of(session)?)))
}

fn of(session: &Session) -> Option<Shown<'_>> {
    let noted = |note: &str| session.notes.iter().any(|noted| noted == note);
    let ended = |kind, stage| session.kind == kind && session.stage == Some(stage);
    // A handshake that broke off may have shown a certificate, and never a version.
    if let Some(tls) = session.tls.as_ref().filter(|tls| tls.version.is_some()) {
        return Some(Shown::Done(tls));
    }
    if noted("starttls-refused") || ended(Kind::Rejected, Stage::StartTls) {
        return Some(Shown::Refused);
    }
    if noted("starttls-not-offered") {
        return Some(Shown::NotOffered);
    }
    if matches!(session.stage, Some(Stage::StartTls | Stage::Tls)) {
        let reached = session.kind != Kind::Completed && session.kind.is_trial();
        return reached.then(|| Shown::Failed(session.detail.as_deref().unwrap_or(session.kind.as_str())));
    }
    let offers = |keyword: &String| keyword.eq_ignore_ascii_case("STARTTLS");
    let extensions = session.extensions.as_ref()?;
    Some(if extensions.iter().any(offers) { Shown::Offered } else { Shown::NotOffered })
}

/// Addresses at which something is wrong, each once with its exchanger and the first reason.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) bad: BTreeMap<IpAddr, String>,
    /// Addresses at which nothing was seen to be wrong.
    pub(super) good: usize,
}

impl Tally {
    /// `wrong` says what is wrong with a session, `Ok(())` that nothing is; `None`: it does not count.
    pub(super) fn of(sessions: &[Session], wrong: impl Fn(&Session, &Shown<'_>) -> Option<Result<(), String>>) -> Self {
        let mut all: BTreeMap<IpAddr, Option<String>> = BTreeMap::new();
        for (session, address, shown) in shown(sessions) {
            let Some(outcome) = wrong(session, &shown) else { continue };
            let why = all.entry(address).or_default();
            if let (None, Err(wrong)) = (&why, outcome) {
                let mx = session.mx.as_deref().map(|mx| format!("{mx} ")).unwrap_or_default();
                *why = Some(format!("{mx}at {address}: {wrong}"));
            }
        }
        let seen = all.len();
        let bad: BTreeMap<IpAddr, String> =
            all.into_iter().filter_map(|(address, why)| Some((address, why?))).collect();
        Self { good: seen - bad.len(), bad }
    }

    /// The first few, in words.
    pub(super) fn listed(&self) -> String {
        listed_by(&self.bad.values().cloned().collect::<Vec<_>>(), "; ")
    }
}

/// Whether every address that was reached offers STARTTLS and keeps its word.
pub(super) fn check(sessions: &[Session]) -> Check {
    let tally = Tally::of(sessions, |_, shown| Some(shown.missing().map_or(Ok(()), Err)));
    let check = |result, detail: String| Check::new(CheckName::StartTls, result, detail);
    match (tally.bad.len(), tally.good) {
        (0, 0) => check(CheckResult::Unknown, "no session came as far as EHLO".to_owned()),
        (0, good) => check(CheckResult::Pass, format!("offered at {}", addresses(good))),
        (bad, good) => {
            let detail = format!("missing at {} of {}: {}", bad, addresses(bad + good), tally.listed());
            check(CheckResult::Warn, detail).fix("mail there goes in the clear or not at all: tell their postmaster")
        }
    }
}

pub(super) fn addresses(n: usize) -> String {
    if n == 1 { "1 address".to_owned() } else { format!("{n} addresses") }
}
