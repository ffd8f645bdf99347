//! The bounce's transcript of the session: `... while talking to H`, `>>> CMD`, `<<< R`.
//!
//! Each command is printed once, before the first bad reply to it, and `>>> DATA` stays printed for the
//! final dot as well; with PIPELINING the replies to RCPT come after it too.

use super::{NAME, deferred};
use crate::record::{Kind, Report};
use crate::report::reply::{Quoted, collapse};
use crate::report::sentence;
use crate::report::squeeze::Squeezed;
use crate::report::wording::{self, by};
use crate::smtp::reply::Class;
use crate::stage::Stage;

/// The human part of a bounce: whom it failed for, why, and the transcript.
pub(crate) fn bounce(text: &str) -> Option<Vec<Report>> {
    let squeezed = Squeezed::new(text);
    let begins = squeezed.find("Transcript of session follows", 0);
    let failed = squeezed.find("fatal errors", 0);
    if begins.is_none() && failed.is_none() {
        return None;
    }
    let mut transcript = Transcript::read(begins.as_ref().map_or("", |begins| &text[begins.end..]));
    let mut reports: Vec<Report> = Vec::new();
    let list =
        failed.map_or("", |failed| &text[failed.end..begins.as_ref().map_or(text.len(), |b| b.start.max(failed.end))]);
    let reasons = list.replace("\n    (reason:", " (reason:").replace("\n    (expanded from:", " (expanded from:");
    for line in reasons.lines() {
        let Some(recipient) = line.split_whitespace().next().and_then(wording::mailbox) else { continue };
        let mut report = Report { recipient: Some(recipient), ..by(NAME) };
        if let Some(at) = line.find("(reason:") {
            let reason = wording::enclosed(&line[at..], '(', ')').unwrap_or_default();
            sentence::quote(&mut report, reason.trim_start_matches("reason:"));
        }
        reports.push(report);
    }
    if reports.is_empty() {
        reports.extend(
            transcript.deferred.iter().map(|(recipient, _)| Report { recipient: Some(recipient.clone()), ..by(NAME) }),
        );
    }
    if reports.is_empty() {
        return Some(transcript.talks).filter(|talks| !talks.is_empty());
    }
    let alone = reports.len() == 1;
    for report in &mut reports {
        transcript.tell(report, alone);
    }
    Some(reports)
}

/// What stands below `Transcript of session follows`.
#[derive(Default)]
pub(super) struct Transcript {
    /// The refusals, in order.
    pub(super) talks: Vec<Report>,
    /// `<addr>... Deferred: text`.
    deferred: Vec<(String, String)>,
    /// An error that names its host but no reply: `451 4.4.1 reply: read error from H.`
    broke: Option<Report>,
}

impl Transcript {
    pub(super) fn read(text: &str) -> Self {
        let mut this = Self::default();
        let (mut host, mut sent): (Option<String>, Option<String>) = (None, None);
        let mut reply = String::new();
        let mut shared_data = Vec::new();
        for line in text.lines() {
            let line = line.trim_start().trim_start_matches("> ");
            let lower = line.to_ascii_lowercase();
            if let Some(at) = lower.find("while talking to ") {
                host = wording::host_and_address(&line[at + 17..]).0;
                sent = None;
            } else if let Some(command) = line.strip_prefix(">>>") {
                sent = Some(command.trim().to_owned());
            } else if let Some(answer) = line.strip_prefix("<<<") {
                let answer = answer.trim();
                if !reply.is_empty() {
                    reply.push('\n');
                }
                reply.push_str(answer);
                if answer.get(3..4) == Some("-") {
                    continue;
                }
                let Some(quoted) = Quoted::read(&std::mem::take(&mut reply)) else { continue };
                if quoted.code.is_some_and(|code| code.get() == 503) && !this.talks.is_empty() {
                    // "Need RCPT" to DATA: every recipient had been refused before.
                    shared_data.push(true);
                    continue;
                }
                let mut report = Report { kind: Some(Kind::Rejected), mx: host.clone(), ..by(NAME) };
                report.evidence = Some(match &sent {
                    Some(sent) => format!(">>> {sent} <<< {}", quoted.reply),
                    None => format!("<<< {}", quoted.reply),
                });
                match &sent {
                    None => report.stage = Some(Stage::Banner),
                    Some(command) => {
                        report.stage = wording::command_stage(command).filter(|stage| *stage != Stage::Quit);
                    }
                }
                if let Some(command) = sent.as_deref().filter(|_| report.stage == Some(Stage::Rcpt)) {
                    report.recipient = command
                        .split_once(':')
                        .and_then(|(_, to)| wording::mailbox(to.split('>').next().unwrap_or(to)));
                }
                if sent.is_some() && report.stage.is_none() {
                    continue;
                }
                sentence::set(&mut report, quoted);
                this.talks.push(report);
            } else if let Some((recipient, told)) = line.split_once("... ") {
                if let Some(recipient) = wording::mailbox(recipient.rsplit(' ').next().unwrap_or(recipient))
                    && let Some(why) = told.strip_prefix("Deferred")
                {
                    this.deferred.push((recipient, why.trim_start_matches([':', ' ']).to_owned()));
                }
                if lower.contains("no valid recipients") {
                    shared_data.push(true);
                }
            } else if lower.contains("read error from ") || lower.contains("timeout waiting for input from ") {
                let named = &line[lower.rfind(" from ").map_or(0, |at| at + 6)..];
                let (mx, address) = wording::host_and_address(named.split(" during ").next().unwrap_or(named));
                this.broke =
                    Some(Report { kind: Some(Kind::Dropped), mx, address, evidence: Some(collapse(line)), ..by(NAME) });
            }
        }
        let lower = text.to_ascii_lowercase();
        let no_recipients = !shared_data.is_empty() || lower.contains("no valid recipients");
        for talk in this.talks.iter_mut().filter(|talk| talk.stage == Some(Stage::Data)) {
            let reply = talk.reply.as_deref().unwrap_or_default();
            let quoted = this.deferred.iter().any(|(_, why)| !why.is_empty() && collapse(why) == reply);
            if no_recipients {
                talk.stage = Some(Stage::Rcpt);
                talk.stage_why = Some("pipelined: the server then says that DATA has no recipient".to_owned());
            } else if lower.contains("554 5.0.0 service unavailable")
                || lower.contains("554 5.5.0 remote protocol error")
                || quoted
            {
                // A server that says no for good to DATA itself is rare; one that says "later" is not.
                let permanent = talk.code.is_some_and(|code| code.class() == Class::Permanent);
                talk.stage = permanent.then_some(Stage::EndOfData);
                talk.candidates = vec![Stage::Data, Stage::EndOfData];
                talk.stage_why = Some("sendmail prints \">>> DATA\" for the final dot too".to_owned());
            } else {
                talk.stage = None;
                talk.candidates = vec![Stage::Rcpt, Stage::Data, Stage::EndOfData];
                talk.stage_why = Some(
                    "sendmail prints \">>> DATA\" before pipelined replies to RCPT and for the final dot too"
                        .to_owned(),
                );
            }
        }
        this
    }

    /// Adds what the transcript says of one recipient: the refusal that names it or quotes the same
    /// reply, else the last one.
    fn tell(&mut self, report: &mut Report, alone: bool) {
        let same = |talk: &Report| {
            report.reply.is_some() && talk.reply == report.reply
                || report.reply.as_deref().zip(talk.reply.as_deref()).is_some_and(|(a, b)| b.starts_with(a))
        };
        let to = |talk: &Report| talk.recipient.is_some() && talk.recipient == report.recipient;
        let names = |talk: &Report| {
            report.recipient.as_deref().is_some_and(|r| talk.reply.as_deref().is_some_and(|reply| reply.contains(r)))
        };
        let talk = self
            .talks
            .iter()
            .find(|t| to(t))
            .or_else(|| self.talks.iter().find(|t| names(t) || same(t)))
            .or_else(|| self.talks.last().filter(|_| alone || report.code.is_none()));
        if let Some(talk) = talk {
            report.stage = talk.stage;
            report.candidates.clone_from(&talk.candidates);
            report.stage_why.clone_from(&talk.stage_why);
            report.kind = report.kind.or(talk.kind);
            report.mx.clone_from(&talk.mx);
            report.evidence.clone_from(&talk.evidence);
            if talk.reply.is_some() {
                (report.code, report.enhanced, report.reply) = (talk.code, talk.enhanced, talk.reply.clone());
            }
            return;
        }
        let why =
            self.deferred.iter().find(|(r, _)| Some(r) == report.recipient.as_ref()).and_then(|(_, why)| deferred(why));
        for told in [self.broke.clone(), why].into_iter().flatten() {
            // sendmail's own 451 is no reply of the server's.
            (report.code, report.enhanced, report.reply) = (None, None, None);
            report.kind = told.kind;
            report.stage = told.stage;
            report.mx = report.mx.take().or(told.mx);
            report.address = report.address.or(told.address);
            report.evidence = report.evidence.take().or(told.evidence);
        }
    }
}
