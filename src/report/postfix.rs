//! Postfix: the sentences of its SMTP client and the delivery lines of its log.
//!
//! The wording is that of `src/smtp/smtp_proto.c`, `smtp_connect.c`, `smtp_trouble.c` and
//! `src/qmgr/qmgr_deliver.c`. Others that are built on Postfix sign with their own `mail_name`.

use super::log::{Entry, Recent, Taken};
use super::reply::collapse;
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by, enclosed, field};
use crate::record::{Kind, Report};
use crate::smtp::reply::Class;
use crate::stage::Stage;

pub(crate) const NAME: &str = "postfix";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    let first = hits.len();
    for phrase in s.all("refused to talk to me") {
        let (start, host) = lead(s, phrase.start, &["host", "connect to"]);
        let report = named(Report { kind: Some(Kind::Rejected), ..by(NAME) }, host);
        hits.push(Hit::new(start..phrase.end, report, |report, rest| {
            sentence::quote(report, rest);
            settle(report);
        }));
    }
    for phrase in s.all("said") {
        let (start, host) = lead(s, phrase.start, &["host", "server"]);
        let remote = s.text[..start].trim_end_matches(|c: char| !c.is_alphanumeric()).ends_with("emote");
        if remote || start == phrase.start || host.split_whitespace().count() > 3 || host.len() > 200 {
            continue;
        }
        let auth = s.text[..start].trim_end().to_ascii_lowercase().ends_with("authentication failed;");
        let report = named(if auth { at(NAME, Stage::Auth) } else { by("") }, host);
        hits.push(Hit::new(start..phrase.end, report, said));
    }
    for (words, kind) in [("lost connection with", Kind::Dropped), ("conversation with", Kind::TimedOut)] {
        for phrase in s.all(words) {
            if s.find("while", phrase.end).is_some_and(|w| w.start - phrase.end < 300) {
                hits.push(Hit::new(phrase, Report { kind: Some(kind), ..by(NAME) }, during));
            }
        }
    }
    for phrase in s.all("connect to") {
        let rest = &s.text[phrase.end..sentence::floor(s.text, phrase.end + 250)];
        let colon =
            rest.match_indices(':').map(|(at, _)| at).find(|at| rest[at + 1..].starts_with(char::is_whitespace));
        let Some((host, what)) =
            colon.map(|at| rest.split_at(at)).filter(|(host, _)| host.split_whitespace().count() <= 3)
        else {
            continue;
        };
        let (mx, address) = wording::host_and_address(host);
        let kind = wording::fault(&collapse(&what[..sentence::floor(what, 80)]));
        if (mx.is_some() || address.is_some()) && kind.is_some() {
            let mta = if host.contains("]:") { NAME } else { "" };
            let report = Report { kind, mx, address, ..at(mta, Stage::Connect) };
            hits.push(Hit::new(phrase, report, sentence::nothing_follows));
        }
    }
    for (words, report) in [
        ("TLS is required, but was not offered by host", at(NAME, Stage::StartTls)),
        ("refused to start TLS", Report { kind: Some(Kind::Rejected), ..at(NAME, Stage::StartTls) }),
        ("Cannot start TLS: handshake failure", Report { kind: Some(Kind::TlsFailed), ..at(NAME, Stage::Tls) }),
        ("Server certificate not verified", Report { kind: Some(Kind::TlsFailed), ..at(NAME, Stage::Tls) }),
        ("Server certificate not trusted", Report { kind: Some(Kind::TlsFailed), ..at(NAME, Stage::Tls) }),
        ("Host or domain name not found. Name service error", dns()),
        ("Name service error for name", dns()),
        (
            "local data error while talking to",
            Report { kind: Some(Kind::Local), origin: Some("local".into()), ..by(NAME) },
        ),
    ] {
        for phrase in s.all(words) {
            let rest = if words.contains("refused to start") { sentence::reply_follows } else { host_follows };
            let (start, host) =
                if words.contains("refused to start") { lead(s, phrase.start, &["host"]) } else { (phrase.start, "") };
            hits.push(Hit::new(start..phrase.end, named(report.clone(), host), rest));
        }
    }
    for hit in &mut hits[first..] {
        let before = sentence::floor(s.text, hit.span.start.saturating_sub(60));
        if let Some(found) = s.find("delivery temporarily suspended", before).filter(|f| f.end <= hit.span.start) {
            hit.span.start = found.start;
            hit.report.attempt = false;
            hit.report.mta = Some(NAME.to_owned());
        }
    }
}

/// `refused to talk to me` is said of the greeting, of HELO and of a 421 to EHLO. With
/// `smtp_skip_5xx_greeting`, which is the default, a 5xx greeting gets a 4.x.x status.
pub(crate) fn settle(report: &mut Report) {
    let refused = report.stage.is_none() && report.candidates.is_empty();
    if !refused && report.candidates != [Stage::Banner, Stage::Ehlo] {
        return;
    }
    let permanent = report.code.is_some_and(|code| code.class() == Class::Permanent);
    let status = report.status.as_deref().and_then(|status| status.chars().next());
    let (stage, candidates, why) = match status {
        Some('4') if permanent => {
            (Stage::Banner, vec![], "Postfix turns a 5xx greeting into 4.x.x (smtp_skip_5xx_greeting)")
        }
        Some('5') if permanent => (
            Stage::Ehlo,
            vec![Stage::Banner, Stage::Ehlo],
            "a refused HELO: Postfix turns a 5xx greeting into 4.x.x (smtp_skip_5xx_greeting), and this status is 5.x.x",
        ),
        _ => (
            Stage::Banner,
            vec![Stage::Banner, Stage::Ehlo],
            "\"refused to talk to me\" is the greeting, or EHLO answered 421, or HELO refused",
        ),
    };
    report.stage = Some(stage);
    report.candidates = candidates;
    report.stage_why = Some(why.to_owned());
}

/// What the log of Postfix needs remembered.
#[derive(Default)]
pub(crate) struct Log {
    /// The last error of each process that names a host but no recipient.
    hosts: Recent<Report>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        let Some((instance, daemon)) = entry.program.rsplit_once('/') else { return Taken::No };
        if !instance.to_ascii_lowercase().contains("postfix") {
            return Taken::No;
        }
        if matches!(
            daemon,
            "smtpd" | "cleanup" | "pickup" | "postscreen" | "bounce" | "anvil" | "master" | "scache" | "tlsmgr"
        ) {
            return Taken::Other;
        }
        match delivery(entry.text) {
            Some(delivery) => {
                let mut errors = Vec::new();
                let text = collapse(delivery.text);
                if let Some(host) = self.hosts.take(entry.pid)
                    && !host.evidence.as_deref().is_some_and(|evidence| text.contains(evidence))
                {
                    errors.push(host);
                }
                if delivery.failed() {
                    errors.push(entry.stamp(delivery.report()));
                }
                if delivery.status == "sent" && delivery.relay.contains('[') {
                    let (mx, address) = wording::host_and_address(delivery.relay);
                    let recipient = wording::mailbox(delivery.to);
                    return Taken::Passed(
                        errors,
                        Box::new(entry.stamp(Report { recipient, mx, address, ..wording::passed(NAME) })),
                    );
                }
                Taken::errors(errors)
            }
            None => match at_a_host(entry) {
                Some(report) => Taken::errors(self.hosts.put(entry.pid, report).into_iter().collect()),
                None => Taken::Other,
            },
        }
    }

    pub(crate) fn end(&mut self) -> Vec<Report> {
        self.hosts.drain()
    }
}

/// A line that tells of an error at a host and names no recipient: another host is tried next.
pub(crate) fn at_a_host(entry: &Entry<'_>) -> Option<Report> {
    let (instance, daemon) = entry.program.rsplit_once('/')?;
    if !instance.contains("postfix") || !matches!(daemon, "smtp" | "lmtp") {
        return None;
    }
    let queued = entry.text.split_once(": ").filter(|(id, _)| id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let text = queued.map_or(entry.text, |(_, text)| text);
    let report = sentence::read_as(text, sentences).filter(|r| r.mx.is_some() || r.address.is_some())?;
    Some(entry.stamp(Report { mta: Some(NAME.to_owned()), evidence: Some(collapse(text)), ..report }))
}

/// One delivery line: `to=<..>, relay=.., dsn=.., status=deferred (..)`.
pub(crate) struct Delivery<'a> {
    pub(crate) to: &'a str,
    pub(crate) relay: &'a str,
    pub(crate) dsn: &'a str,
    pub(crate) status: &'a str,
    pub(crate) text: &'a str,
}

/// Reads a line behind its syslog head.
pub(crate) fn delivery(line: &str) -> Option<Delivery<'_>> {
    // The angle brackets may have been lost on the way.
    let head = &line[line.find("to=<").or_else(|| line.find(": to=").map(|at| at + 2))? + 3..];
    let (to, fields) = head.split_once(',')?;
    let (fields, status) = fields.split_once(", status=")?;
    let (status, text) = status.split_once(' ').unwrap_or((status, ""));
    let text = enclosed(text, '(', ')').or_else(|| text.strip_prefix('(')).unwrap_or(text);
    Some(Delivery {
        to,
        relay: field(fields, "relay=", &[',']).unwrap_or_default(),
        dsn: field(fields, "dsn=", &[',', ' ']).unwrap_or_default(),
        status,
        text,
    })
}

impl Delivery<'_> {
    pub(crate) fn failed(&self) -> bool {
        matches!(self.status, "deferred" | "bounced" | "expired" | "undeliverable" | "SOFTBOUNCE" | "softbounce")
    }

    pub(crate) fn report(&self) -> Report {
        let mut report = sentence::read_as(self.text, sentences).unwrap_or_else(|| {
            let kind = wording::fault(self.text);
            let local = kind.is_none().then(|| "local".to_owned());
            Report { kind, origin: local, ..by(NAME) }
        });
        report.mta = Some(NAME.to_owned());
        let (mx, address) = wording::host_and_address(self.relay);
        report.mx = report.mx.or(mx);
        report.address = report.address.or(address);
        report.recipient = wording::mailbox(self.to);
        report.status = Some(self.dsn.to_owned()).filter(|dsn| !dsn.is_empty());
        report.evidence = Some(collapse(self.text));
        settle_if_refused(&mut report, self.text);
        report
    }
}

fn settle_if_refused(report: &mut Report, text: &str) {
    if text.contains("refused to talk to me") {
        settle(report);
    }
}

/// `host H[IP] said: R (in reply to CMD command)`, from behind `said`.
fn said(report: &mut Report, rest: &str) {
    let squeezed = Squeezed::new(rest);
    let told = squeezed.find("in reply to", 0);
    let reply = told.as_ref().map_or(rest, |told| &rest[..told.start]);
    sentence::quote(report, reply.trim_end().trim_end_matches('('));
    let Some(told) = told else { return };
    report.mta = Some(NAME.to_owned());
    report.stage = wording::command_stage(&rest[told.end..]).filter(|stage| *stage != Stage::Quit);
}

/// `H[IP] while W`, from behind `with`.
fn during(report: &mut Report, rest: &str) {
    let squeezed = Squeezed::new(rest);
    let Some(while_) = squeezed.find("while", 0) else { return };
    let host = &rest[..while_.start];
    *report = named(std::mem::take(report), host.split("timed").next().unwrap_or(host));
    let has = |words: &str| squeezed.find(words, while_.end).is_some();
    report.stage = match () {
        () if has("initial server greeting") => Some(Stage::Banner),
        () if has("LO handshake") => Some(Stage::Ehlo),
        () if has("STARTTLS response") => Some(Stage::StartTls),
        () if has("sending MAIL FROM") => Some(Stage::Mail),
        () if has("sending RCPT TO") => Some(Stage::Rcpt),
        () if has("sending DATA command") => Some(Stage::Data),
        () if has("sending message body") || has("sending end of data") => Some(Stage::EndOfData),
        () => None,
    };
}

fn host_follows(report: &mut Report, rest: &str) {
    let (host, rest) = rest.split_once(": ").unwrap_or((rest, ""));
    if report.stage != Some(Stage::Resolve) && host.split_whitespace().count() <= 2 {
        *report = named(std::mem::take(report), host);
        sentence::quote(report, rest);
    }
}

fn dns() -> Report {
    Report { kind: Some(Kind::DnsFailed), ..at(NAME, Stage::Resolve) }
}

fn named(mut report: Report, host: &str) -> Report {
    (report.mx, report.address) = wording::host_and_address(host);
    report
}

/// The last of `words` before byte `end`: where it begins, and what lies in between.
fn lead<'a>(s: &Squeezed<'a>, end: usize, words: &[&str]) -> (usize, &'a str) {
    let from = sentence::floor(s.text, end.saturating_sub(300));
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '-');
    words
        .iter()
        .flat_map(|words| std::iter::successors(s.find(words, from), |last| s.find(words, last.end)))
        .take_while(|found| found.end <= end)
        .filter(|found| apart(s.text[..found.start].chars().next_back()) && apart(s.text[found.end..].chars().next()))
        .filter(|found| !s.text[found.end..].starts_with('.') && !s.text[..found.start].ends_with('.'))
        .max_by_key(|found| found.start)
        .map_or((end, ""), |found| (found.start, &s.text[found.end..end]))
}
