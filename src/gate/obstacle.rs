//! What stands in the way of one source.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::Ground;
use crate::ledger::{held_until, later};
use crate::outcome::rest;
use crate::record::{Check, CheckResult, Confidence, Diagnosis, DiagnosisKind, Kind, Role, Session, Variant, Verdict};
use crate::smtp::reply::Class;
use crate::stage::Stage;
use crate::status::failed;

/// A second look earlier than this is the same look: two windows of the judge's are that far apart.
const AGAIN: Duration = Duration::from_mins(15);

/// One thing that stands in the way.
#[derive(Clone, Debug)]
pub(super) struct Obstacle {
    pub(super) verdict: Verdict,
    /// It could not be found out whether there is anything.
    pub(super) unknown: bool,
    /// It is of the campaign, and so in the way of every source.
    pub(super) common: bool,
    pub(super) until: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) fix: Option<String>,
}

impl Obstacle {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, unknown: false, common: false, until: None, reason: reason.into(), fix: None }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self { unknown: true, ..Self::new(Verdict::Hold, reason) }
    }

    fn until(self, until: Timestamp) -> Self {
        Self { until: Some(until), ..self }
    }

    fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()).filter(|fix: &String| !fix.is_empty()), ..self }
    }

    fn common(self, common: bool) -> Self {
        Self { common, ..self }
    }

    /// What it is, in a word or two.
    pub(super) fn name(&self) -> &str {
        self.reason.split(':').next().unwrap_or_default()
    }

    /// What is known weighs more than what is not, what must be mended more than what passes.
    pub(super) fn gravity(&self) -> (Verdict, bool) {
        (self.verdict, !self.unknown)
    }
}

/// Everything that stands in the way of a source.
pub(super) fn of(ground: &Ground<'_>, source: IpAddr) -> Vec<Obstacle> {
    let mut all: Vec<Obstacle> = ground.checks.iter().filter_map(|check| by_check(ground, check, source)).collect();
    all.extend(ground.diagnoses.iter().filter_map(|d| by_diagnosis(ground, d, source)));
    all.extend(by_sessions(ground, source));
    let tried = |s: &&Session| s.source == Some(source) && s.kind.is_trial() && s.domain.as_deref() == ground.domain;
    if all.is_empty() && !ground.sessions.iter().any(|s| tried(&s)) {
        let skipped = ground.sessions.iter().find(|s| s.source == Some(source));
        let why = skipped.and_then(|s| s.detail.clone()).map_or_else(String::new, |why| format!(": {why}"));
        all.push(Obstacle::unknown(format!("no session was tried{why}")));
    }
    all.sort_by_key(|obstacle| std::cmp::Reverse(obstacle.gravity()));
    all
}

fn by_check(ground: &Ground<'_>, check: &Check, source: IpAddr) -> Option<Obstacle> {
    let about = check.source.is_none_or(|of| of == source)
        && (check.domain.is_none() || check.domain.as_deref() == ground.domain);
    if !about || ground.settings.warn.contains(&check.check) {
        return None;
    }
    let detail = check.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
    let obstacle = match check.result {
        CheckResult::Pass | CheckResult::Warn => return None,
        CheckResult::Fail => Obstacle::new(Verdict::NoGo, format!("{}{detail}", check.check)),
        CheckResult::Unknown => Obstacle::unknown(format!("{} could not be checked{detail}", check.check)),
    };
    Some(obstacle.fix(check.fix.clone().unwrap_or_default()).common(check.source.is_none()))
}

/// What is said of the target, the message or the envelope is said of every source.
fn by_diagnosis(ground: &Ground<'_>, d: &Diagnosis, source: IpAddr) -> Option<Obstacle> {
    use DiagnosisKind as K;
    let first = d.because.first().map_or_else(|| d.kind.to_string(), |because| format!("{}: {because}", d.kind));
    let obstacle = match d.kind {
        K::ContentPolicy | K::EnvelopeDomain | K::BadTarget | K::Port25Interception => {
            Obstacle::new(Verdict::NoGo, first)
        }
        K::EgressMismatch if d.sources.contains(&source) => {
            return Some(Obstacle::new(Verdict::NoGo, first).fix(d.advice.clone()));
        }
        K::ReceiverOutage | K::ReceiverDnsFault => Obstacle::new(Verdict::Hold, first).until(later(ground.now, AGAIN)),
        K::LocalDns => Obstacle::unknown(first),
        _ => return None,
    };
    Some(obstacle.fix(d.advice.clone()).common(true))
}

fn by_sessions(ground: &Ground<'_>, source: IpAddr) -> Vec<Obstacle> {
    let mine = || {
        ground
            .sessions
            .iter()
            .filter(|s| s.role == Role::Target && s.source == Some(source) && s.domain.as_deref() == ground.domain)
            // Beside what the campaign does these only show what does not matter.
            .filter(|s| !matches!(s.variant, Variant::NeutralFrom | Variant::Plaintext))
            .filter(|s| !elsewhere(ground, s))
    };
    let trials = mine().filter(|s| s.kind.is_trial()).count();
    let mut found: Vec<Obstacle> = Vec::new();
    for obstacle in mine().filter_map(|session| standing(ground, source, session)) {
        if found.iter().all(|other| other.reason != obstacle.reason) {
            found.push(obstacle);
        }
    }
    // What is held back because of a reply of this run is said with that reply.
    if found.iter().all(|obstacle| obstacle.until.is_none()) {
        found.extend(mine().find_map(held));
    }
    let passing: Vec<&Session> = mine().filter(|s| failed(s) && !is_permanent(s) && rest(s).is_none()).collect();
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer than 2^52 sessions")]
    let share = passing.len() as f64 / trials.max(1) as f64;
    if let Some(last) = passing.last().filter(|_| share > ground.settings.max_transient) {
        let reason = format!("{} of {trials} sessions failed for now: {}", passing.len(), said(last));
        let again = later(passing.iter().map(|s| s.at).max().unwrap_or(ground.now), AGAIN);
        found.push(
            Obstacle::new(Verdict::Hold, reason)
                .until(again)
                .fix("wait and test again; nothing of ours is known to be wrong"),
        );
    }
    found
}

/// A session that was not tried because the source rests, or a budget is spent.
fn held(session: &Session) -> Option<Obstacle> {
    if session.kind != Kind::Skipped {
        return None;
    }
    let why = session.detail.as_deref().unwrap_or_default();
    held_until(why).map(|until| {
        Obstacle::new(Verdict::Hold, format!("not tried: {why}")).until(until).fix("test again then, and not before")
    })
}

/// A session that stands in the way alone, whatever became of the others.
fn standing(ground: &Ground<'_>, source: IpAddr, session: &Session) -> Option<Obstacle> {
    match session.kind {
        Kind::Local => {
            let why = session.detail.as_deref().unwrap_or("no reason given");
            return Some(Obstacle::unknown(format!("a session could not be held for a reason of ours: {why}")));
        }
        _ if !failed(session) => return None,
        _ => {}
    }
    let advice = || ground.diagnoses.iter().find(|d| names(d, source, session)).map(|d| d.advice.clone());
    let rests = rest(session).map(|long| later(session.at, long));
    match (is_permanent(session), rests) {
        (true, rests) => {
            let fix = advice().unwrap_or_else(|| match (session.stage, &session.to) {
                (Some(Stage::Rcpt), Some(to)) => format!("see whether {to}, which is yours, is still there"),
                _ => "ask the provider's postmaster, with this reply in hand".to_owned(),
            });
            let obstacle = Obstacle::new(Verdict::NoGo, said(session)).fix(fix);
            Some(Obstacle { until: rests, ..obstacle })
        }
        (false, Some(until)) => {
            let fix = advice().unwrap_or_else(|| "leave this source out until then".to_owned());
            Some(Obstacle::new(Verdict::Hold, said(session)).until(until).fix(fix))
        }
        (false, None) => None,
    }
}

/// Whether a diagnosis that is sure of itself is about this session.
fn names(d: &Diagnosis, source: IpAddr, session: &Session) -> bool {
    d.confidence >= Confidence::Medium
        && d.kind != DiagnosisKind::Undecided
        && (d.sources.is_empty() || d.sources.contains(&source))
        && d.stage.is_none_or(|stage| Some(stage) == session.stage)
}

/// Refused for good, by the code and not against the words.
fn is_permanent(session: &Session) -> bool {
    session.kind == Kind::Rejected
        && session.class == Some(Class::Permanent)
        && session.text_class != Some(Class::Transient)
}

/// Whether the session failed at an address that fails everyone: mail goes to the others.
fn elsewhere(ground: &Ground<'_>, session: &Session) -> bool {
    let Some(address) = session.address else { return false };
    failed(session)
        && ground.diagnoses.iter().any(|d| {
            d.kind == DiagnosisKind::ReceiverPartialOutage
                && d.confidence >= Confidence::Medium
                && d.backends.is_empty()
                && d.addresses.contains(&address)
        })
}

/// `421 4.7.0 at mail: 421 4.7.0 [TSS04] …`.
fn said(session: &Session) -> String {
    let at = session.stage.map_or_else(String::new, |stage| format!(" at {stage}"));
    let of = match session.variant {
        Variant::Campaign => " of the campaign's message",
        Variant::ControlMessage => " of the control message",
        _ => "",
    };
    let words = session.reply.as_ref().map(|lines| lines.join(" ")).or_else(|| session.detail.clone());
    let words = words.map_or_else(String::new, |words| format!(": {words}"));
    format!("{}{at}{of}{words}", session.kind)
}
