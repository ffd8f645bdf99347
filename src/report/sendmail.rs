//! sendmail: its sentences, the delivery lines of its log, and, below, the transcript in its bounces.
//!
//! The wording is that of `usersmtp.c`, `savemail.c` and `deliver.c`.

use std::net::IpAddr;

use super::log::{Entry, Recent, Taken};
use super::reply::collapse;
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by, field};
use crate::record::{Kind, Report};
use crate::stage::Stage;

mod transcript;

use transcript::Transcript;
pub(crate) use transcript::bounce;

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

/// What the log needs remembered, by queue id: a stage told before the delivery line, and the source.
#[derive(Default)]
pub(crate) struct Log {
    stages: Recent<Stage>,
    /// The address of the last connection, and whether a delivery line came since; none where it used
    /// several.
    sources: Recent<(Option<IpAddr>, bool)>,
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
            let source = wording::ip(source);
            let several = self.sources.get(id).is_some_and(|(other, used)| !used && *other != source);
            self.sources.put(id, (source.filter(|_| !several), false));
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
        let source = self.sources.get_mut(id).and_then(|(source, used)| {
            *used = true;
            *source
        });
        let Some(mut report) = told.report() else {
            self.stages.take(id);
            let (mx, address) = wording::host_and_address(told.relay);
            if address.is_none() || !told.stat.starts_with("Sent") {
                return Taken::Other;
            }
            let recipient = wording::mailbox(told.to);
            let report = Report { recipient, mx, address, source, ..wording::passed(NAME) };
            return Taken::Passed(Vec::new(), Box::new(entry.stamp(report)));
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
