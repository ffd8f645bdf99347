//! sendmail: the transcript in its bounces and the delivery lines of its log.
//!
//! The wording is that of src/usersmtp.c, src/savemail.c and src/deliver.c. Each command is printed
//! once, before the first bad reply to it, and `>>> DATA` stays printed for the final dot as well; with
//! PIPELINING the replies to RCPT come after it too.

use super::log::{Entry, Recent, Taken};
use super::reply::{Quoted, collapse};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by, field};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "sendmail";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for phrase in s.all("addresses had permanent fatal errors").chain(s.all("addresses had transient non-fatal errors"))
    {
        let Some(reason) = s.find("reason", phrase.end).filter(|r| r.start - phrase.end < 300) else { continue };
        hits.push(Hit::new(
            phrase.start..reason.end,
            Report { kind: Some(Kind::Rejected), ..by(NAME) },
            |report, rest| {
                let rest = rest.trim_start_matches([':', ' ']);
                // The parenthesis of `(reason: R)` closes behind a balanced R.
                let whole = format!("({rest}");
                sentence::quote(
                    report,
                    wording::enclosed(&whole, '(', ')').unwrap_or(rest.lines().next().unwrap_or(rest)),
                );
            },
        ));
    }
    for phrase in s.all("while talking to") {
        hits.push(Hit::new(phrase, by(NAME), |report, rest| {
            if let Some(first) = Transcript::read(&format!("... while talking to{rest}")).talks.into_iter().next() {
                *report = Report { attempt: true, ..first };
            }
        }));
    }
    for (words, stage) in [
        ("during client greeting", Stage::Banner),
        ("during client EHLO", Stage::Ehlo),
        ("during client MAIL", Stage::Mail),
        ("during client RCPT", Stage::Rcpt),
        ("during client DATA 354", Stage::Data),
        ("during client DATA status", Stage::EndOfData),
    ] {
        for phrase in s.all(words) {
            let from = sentence::floor(s.text, phrase.start.saturating_sub(200));
            let start = s.find("timeout waiting for input from", from).filter(|f| f.end <= phrase.start);
            let mut report = Report { kind: Some(Kind::TimedOut), ..at(NAME, stage) };
            if let Some(start) = &start {
                (report.mx, report.address) = wording::host_and_address(&s.text[start.end..phrase.start]);
            }
            hits.push(Hit::new(start.map_or(phrase.start, |f| f.start)..phrase.end, report, sentence::nothing_follows));
        }
    }
    for phrase in s.all("Deferred:").chain(s.all("Deferred by")) {
        let rest = &s.text[phrase.end..];
        let line = rest.trim_start_matches([':', ' ']).lines().next().unwrap_or_default();
        let Some(report) = deferred(line) else { continue };
        hits.push(Hit::new(phrase, report, sentence::nothing_follows));
    }
}

/// `Connection refused by H.`, `Connection timed out with H.`, `Name server: H: host name lookup failure`.
fn deferred(text: &str) -> Option<Report> {
    if ![
        "Connection refused by",
        "Connection timed out with",
        "Connection reset by",
        "No route to host",
        "Network is unreachable",
        "Name server:",
        "Host Name Lookup Failure",
        "Operation timed out with",
    ]
    .iter()
    .any(|w| text.starts_with(w))
    {
        return None;
    }
    let kind = wording::fault(text).or(Some(Kind::DnsFailed));
    let host = text.rsplit(" by ").next().and_then(|h| h.rsplit(" with ").next()).unwrap_or_default();
    let stage = match kind {
        Some(Kind::Refused | Kind::Unreachable) => Some(Stage::Connect),
        Some(Kind::DnsFailed) => Some(Stage::Resolve),
        _ => None,
    };
    Some(Report {
        stage,
        kind,
        mx: wording::host_name(host.trim()).filter(|_| stage != Some(Stage::Resolve)),
        ..by(NAME)
    })
}

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
struct Transcript {
    /// The refusals, in order.
    talks: Vec<Report>,
    /// `<addr>... Deferred: text`.
    deferred: Vec<(String, String)>,
    /// An error that names its host but no reply: `451 4.4.1 reply: read error from H.`
    broke: Option<Report>,
}

impl Transcript {
    fn read(text: &str) -> Self {
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
                talk.stage = Some(Stage::EndOfData);
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

/// What the log needs remembered, by queue id: a stage told before the delivery line, and the source.
#[derive(Default)]
pub(crate) struct Log {
    stages: Recent<Stage>,
    sources: Recent<String>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        let program = entry.program;
        if !(program.starts_with("sendmail")
            || program.starts_with("sm-mta")
            || program.starts_with("sm-msp")
            || program.starts_with("sm-que"))
        {
            return Taken::No;
        }
        let Some((id, text)) = entry.text.split_once(": ") else { return Taken::Other };
        if let Some(source) = text.strip_prefix("SMTP outgoing connect on ") {
            self.sources.put(id, source.to_owned());
            return Taken::Other;
        }
        let squeezed = [
            ("client greeting", Stage::Banner),
            ("client EHLO", Stage::Ehlo),
            ("client MAIL", Stage::Mail),
            ("client RCPT", Stage::Rcpt),
            ("client DATA 354", Stage::Data),
            ("client DATA status", Stage::EndOfData),
        ];
        if let Some((_, stage)) =
            squeezed.iter().find(|(words, _)| text.contains("timeout waiting for input") && text.contains(words))
        {
            self.stages.put(id, *stage);
            return Taken::Other;
        }
        if text.contains("SMTP DATA-1 protocol error") {
            self.stages.put(id, Stage::Data);
            return Taken::Other;
        }
        if text.contains("SMTP DATA-2 protocol error") {
            self.stages.put(id, Stage::EndOfData);
            return Taken::Other;
        }
        let Some(told) = stat(text) else { return Taken::Other };
        let source = self.sources.get(id).and_then(|source| wording::ip(source));
        let Some(mut report) = told.report() else {
            self.stages.take(id);
            return Taken::Other;
        };
        report.stage = report.stage.or(self.stages.take(id));
        report.source = source;
        Taken::errors(vec![entry.stamp(report)])
    }
}

/// One delivery line: `to=.., relay=H. [IP], dsn=x.y.z, reply=R, stat=..`.
pub(crate) struct Delivery<'a> {
    pub(crate) to: &'a str,
    pub(crate) relay: &'a str,
    pub(crate) dsn: &'a str,
    pub(crate) reply: Option<&'a str>,
    pub(crate) stat: &'a str,
}

pub(crate) fn stat(text: &str) -> Option<Delivery<'_>> {
    let (fields, stat) = text.split_once(", stat=")?;
    let to = fields.strip_prefix("to=")?;
    Some(Delivery {
        to: field(to, "", &[' ', ',']).unwrap_or_default(),
        relay: field(fields, " relay=", &[',']).unwrap_or_default(),
        dsn: field(fields, " dsn=", &[',']).unwrap_or_default(),
        reply: fields.split_once(", reply=").map(|(_, reply)| reply),
        stat,
    })
}

impl Delivery<'_> {
    /// The failure; none where the mail was sent or queued.
    pub(crate) fn report(&self) -> Option<Report> {
        if ["Sent", "queued", "Ok"].iter().any(|w| self.stat.starts_with(w)) {
            return None;
        }
        let mut report = self
            .stat
            .strip_prefix("Deferred")
            .and_then(|why| deferred(why.trim_start_matches([':', ' '])))
            .unwrap_or_else(|| by(NAME));
        let why = self.stat.trim_start_matches("Deferred").trim_start_matches([':', ' ']);
        let told = self.reply.or(Some(why).filter(|why| why.starts_with(['4', '5'])));
        if let Some(told) = told {
            report.stage = None;
            report.kind = Some(Kind::Rejected);
            sentence::quote(&mut report, told);
        } else if report.kind.is_none() {
            report.kind = wording::fault(self.stat);
            if report.kind == Some(Kind::DnsFailed) {
                report.stage = Some(Stage::Resolve);
            }
        }
        let (mx, address) = wording::host_and_address(self.relay);
        (report.mx, report.address) = (mx.or(report.mx), address);
        report.recipient = wording::mailbox(self.to);
        report.status = Some(self.dsn.to_owned()).filter(|dsn| !dsn.is_empty());
        report.evidence = Some(collapse(&format!(
            "{}stat={}",
            self.reply.map(|r| format!("reply={r}, ")).unwrap_or_default(),
            self.stat
        )));
        Some(report)
    }
}
