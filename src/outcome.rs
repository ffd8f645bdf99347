//! What came of a session: how it ended, whether that was wanted, and its record.

use std::fmt;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::catalog::{self, Words};
use crate::dane::Dane;
use crate::plan::Attempt;
use crate::probe::Expect;
use crate::record::{self, Kind, ms};
use crate::smtp::ehlo;
use crate::smtp::fault::{Fault, LookupError};
use crate::smtp::reply::{Class, Reply};
use crate::smtp::session::{Answer, Learned, Note, Step, TlsLevel};
use crate::stage::Stage;
use crate::status;

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending<'a> {
    /// Every stage up to this one passed.
    Completed(Stage),
    /// The server said no.
    Rejected(Stage, &'a Reply),
    /// No answer to what was asked.
    Broken(Stage, &'a Fault),
}

impl<'a> Ending<'a> {
    /// Reads the ending off the steps of a session that was to go as far as `until`. The first
    /// step that did not pass decides; what comes after it, `QUIT` above all, changes nothing.
    #[must_use]
    pub fn of(steps: &'a [Step], until: Stage) -> Self {
        match steps.iter().find(|step| !step.passed) {
            None => Self::Completed(until),
            Some(Step { stage, answer: Answer::Reply(reply), .. }) => Self::Rejected(*stage, reply),
            Some(Step { stage, answer: Answer::Fault(fault), .. }) => Self::Broken(*stage, fault),
            Some(Step { stage, answer: Answer::Established, .. }) => Self::Completed(*stage),
        }
    }

    /// Where it ended.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Completed(stage) | Self::Rejected(stage, _) | Self::Broken(stage, _) => *stage,
        }
    }

    /// What the other side, or we, did there.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Completed(_) => Kind::Completed,
            Self::Rejected(..) => Kind::Rejected,
            Self::Broken(stage, fault) => match fault {
                Fault::Cancelled => Kind::Skipped,
                Fault::Closed | Fault::Reset if *stage == Stage::Tls => Kind::TlsFailed,
                Fault::Closed | Fault::Reset => Kind::Dropped,
                Fault::Dns(LookupError::Unreachable)
                | Fault::NoDane(LookupError::Unreachable, _)
                | Fault::Local(_)
                | Fault::NoSmtpUtf8 => Kind::Local,
                Fault::Dns(_) | Fault::NoDane(..) => Kind::DnsFailed,
                Fault::Malformed(_) | Fault::OutOfPlace(_) => Kind::Malformed,
                Fault::PlaintextAfterStartTls
                | Fault::StartTlsNotOffered
                | Fault::Tls(_)
                | Fault::TlsLimit(_)
                | Fault::Unverified(_) => Kind::TlsFailed,
                Fault::Refused => Kind::Refused,
                Fault::TimedOut => Kind::TimedOut,
                Fault::Unreachable(_) => Kind::Unreachable,
            },
        }
    }
}

impl fmt::Display for Ending<'_> {
    /// The `=` line of a dialog: `rejected rcpt 550 5.1.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.stage())?;
        if let Self::Rejected(_, reply) = self {
            write!(f, " {}", reply.code)?;
            if let Some(enhanced) = reply.enhanced {
                write!(f, " {enhanced}")?;
            }
        }
        Ok(())
    }
}

impl Expect {
    /// Whether this ending is what the probe's author counts on. The only place that decides.
    #[must_use]
    pub fn met_by(&self, ending: &Ending<'_>) -> bool {
        let wanted = |reply: &Reply| {
            self.code.is_none_or(|code| code == reply.code)
                && self.enhanced.is_none_or(|enhanced| Some(enhanced) == reply.enhanced)
                && self.tag.as_ref().is_none_or(|tag| Some(tag) == reply.tag().as_ref())
        };
        match ending {
            Ending::Completed(_) => self.is_completion(),
            Ending::Rejected(stage, reply) => {
                !self.is_completion() && self.stage.is_none_or(|s| s == *stage) && wanted(reply)
            }
            Ending::Broken(stage, _) => {
                let names_a_reply = self.code.is_some() || self.enhanced.is_some() || self.tag.is_some();
                ending.kind().is_trial() && self.stage == Some(*stage) && !names_a_reply
            }
        }
    }
}

/// A planned session and what came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub attempt: Arc<Attempt>,
    pub started: Timestamp,
    /// The address that was spoken from, where the kernel picked it.
    pub bound: Option<IpAddr>,
    pub learned: Learned,
    pub tls: Option<record::Tls>,
    pub total: Duration,
    /// Why it never started, where it did not.
    pub skipped: Option<String>,
}

impl Outcome {
    /// A session that never started.
    #[must_use]
    pub fn skipped(attempt: Arc<Attempt>, at: Timestamp, why: String) -> Self {
        let learned = Learned::default();
        Self { attempt, started: at, bound: None, learned, tls: None, total: Duration::ZERO, skipped: Some(why) }
    }

    /// How the session ended; `None` when it never started.
    #[must_use]
    pub fn ending(&self) -> Option<Ending<'_>> {
        match &self.skipped {
            Some(_) => None,
            None => Some(Ending::of(&self.learned.steps, self.attempt.until)),
        }
    }

    /// The session's record.
    #[must_use]
    pub fn record(&self, run: &str) -> record::Session {
        let mut session = self.attempt.record(run, self.started);
        session.source = session.source.or(self.bound);
        session.seen_as = session.seen_as.or(session.source);
        if let Some(ending) = self.ending().filter(|ending| ending.kind() != Kind::Skipped) {
            self.tell(&mut session, &ending);
        } else {
            session.kind = Kind::Skipped;
            session.detail = Some(self.skipped.clone().unwrap_or_else(|| Fault::Cancelled.to_string()));
        }
        session
    }

    fn tell(&self, session: &mut record::Session, ending: &Ending<'_>) {
        let (Learned { steps, also, unfinished, .. }, ehlo) = (&self.learned, self.learned.ehlo());
        let greeting = reply_at(steps, Stage::Banner);
        session.stage = Some(ending.stage());
        session.kind = ending.kind();
        session.expected = self.attempt.probe.expect.met_by(ending);
        session.banner = greeting.map(Reply::lossy_lines);
        session.backend = greeting
            .filter(|reply| !reply.refuses())
            .and_then(ehlo::server_name)
            .or_else(|| ehlo.and_then(ehlo::server_name));
        session.extensions = ehlo.map(ehlo::extensions);
        session.also = also.iter().flat_map(Reply::lossy_lines).collect();
        session.tls.clone_from(&self.tls);
        session.total_ms = Some(ms(self.total));
        session.steps = steps
            .iter()
            .map(|step| record::Step { stage: step.stage, ms: ms(step.took), code: replied(step).map(|r| r.code) })
            .collect();
        match ending {
            Ending::Completed(_) => {
                let last = steps.iter().rev().find(|step| step.stage != Stage::Quit);
                if let Some(reply) = last.and_then(replied) {
                    quote(session, reply);
                }
            }
            Ending::Rejected(_, reply) => quote(session, reply),
            Ending::Broken(_, fault) => {
                let unfinished = unfinished.as_deref().map(String::from_utf8_lossy);
                let unfinished = unfinished.map(|began| format!("; a reply had begun: {began:?}"));
                session.detail = Some(format!("{fault}{}", unfinished.unwrap_or_default()));
                if let Fault::OutOfPlace(reply) = fault {
                    quote(session, reply);
                }
            }
        }
        session.notes = self.notes(session, ending);
        let detours = self.learned.notes.iter().filter_map(|note| match note {
            Note::HeloFallback(reply) => Some(format!("EHLO was refused: {}", reply.lossy_lines().join(" / "))),
            Note::StartTlsRefused(reply) => Some(format!("STARTTLS was refused: {}", reply.lossy_lines().join(" / "))),
            Note::CloseAfterReply | Note::OutOfStep => None,
        });
        let details: Vec<_> = session.detail.take().into_iter().chain(detours).chain(self.less_than_dane()).collect();
        session.detail = Some(details.join("; ")).filter(|detail| !detail.is_empty());
    }

    /// Why a session that goes by DANE asked less of TLS than a certificate that a record vouches for.
    fn less_than_dane(&self) -> Option<String> {
        match self.attempt.dane.as_deref().filter(|_| self.attempt.tls == TlsLevel::Dane)? {
            Dane::Absent(why) | Dane::AnyCertificate(why) => Some(format!("no DANE: {why}")),
            Dane::Wanted(_) | Dane::Unknown(..) => None,
        }
    }

    fn notes(&self, session: &record::Session, ending: &Ending<'_>) -> Vec<String> {
        let mut notes = self.attempt.notes.clone();
        let mut note = |yes: bool, name: &str| {
            if yes {
                notes.push(name.to_owned());
            }
        };
        let Learned { steps, notes: learned, .. } = &self.learned;
        for detour in learned {
            match detour {
                Note::HeloFallback(_) => note(true, "helo-fallback"),
                Note::StartTlsRefused(_) => note(true, "starttls-refused"),
                Note::CloseAfterReply => note(true, "close-after-reply"),
                Note::OutOfStep => note(true, "out-of-step"),
            }
        }
        if let Ending::Rejected(_, reply) = ending {
            let text = reply.text();
            let named = catalog::addresses_named(&text);
            let ours = [session.source, session.seen_as];
            let earlier = steps.iter().filter_map(replied).filter(|r| r.refuses() && *r != *reply).count();
            note(
                catalog::contradicts(Some(reply.code), reply.enhanced, session.text_class, None),
                "inconsistent-reply",
            );
            note(ours.iter().flatten().any(|ip| named.contains(ip)), "names-source");
            let said = iter::once(text).chain(self.learned.also.iter().map(Reply::text));
            let mut complaints = said.filter(|text| text.to_ascii_lowercase().contains("too many errors"));
            note(complaints.next().is_some() && earlier <= 1, "overload");
        }
        if let Ending::Broken(_, fault) = ending {
            note(matches!(fault, Fault::PlaintextAfterStartTls), "plaintext-after-starttls");
            note(matches!(fault, Fault::StartTlsNotOffered), "starttls-not-offered");
            note(matches!(fault, Fault::TlsLimit(_)), "tls-limit");
            note(matches!(fault, Fault::NoSmtpUtf8), "no-smtputf8");
        }
        note(self.less_than_dane().is_some(), "no-dane");
        let expect = &self.attempt.probe.expect;
        note(ending.kind().is_trial() && !expect.is_completion() && !expect.met_by(ending), status::NOT_AS_EXPECTED);
        let slow = |step: &Step| step.stage == Stage::Banner && step.took > Duration::from_secs(10);
        note(steps.iter().any(|step| slow(step) && replied(step).is_some()), "slow-banner");
        note(steps.iter().filter_map(replied).any(|reply| reply.bare_lf), "bare-lf");
        notes
    }
}

/// Puts the reply that ended the session into its record.
fn quote(session: &mut record::Session, reply: &Reply) {
    session.code = Some(reply.code);
    session.enhanced = reply.enhanced;
    session.reply = Some(reply.lossy_lines());
    if reply.lines.iter().any(|line| std::str::from_utf8(line).is_err()) {
        session.reply_base64 = Some(reply.lines.iter().map(|line| STANDARD.encode(line)).collect());
    }
    if reply.refuses() {
        session.tag = reply.tag();
        session.class = Some(reply.class());
        session.text_class = catalog::text_class(&reply.text());
    }
}

fn replied(step: &Step) -> Option<&Reply> {
    match &step.answer {
        Answer::Reply(reply) => Some(reply),
        Answer::Established | Answer::Fault(_) => None,
    }
}

fn reply_at(steps: &[Step], stage: Stage) -> Option<&Reply> {
    steps.iter().find(|step| step.stage == stage).and_then(replied)
}

/// How long a session's reply rests its source at the provider; `None` when it does not.
#[must_use]
pub fn rest(session: &record::Session) -> Option<Duration> {
    let text = session.reply.as_ref().filter(|_| session.class.is_some_and(Class::refuses))?;
    let text: Vec<_> = text.iter().map(|line| line.get(4..).unwrap_or_default()).collect();
    let words =
        Words { code: session.code, enhanced: session.enhanced, tag: session.tag.as_deref(), text: &text.join(" ") };
    catalog::rest(&words)
}
