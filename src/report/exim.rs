//! Exim: the sentences of its SMTP transport and the delivery lines of its main log.
//!
//! The wording is that of src/transports/smtp.c (`check_response`) and src/deliver.c. Exim names the
//! literal command line it had sent, parameters included.

use super::log::{Entry, Recent, Taken};
use super::reply::{Quoted, collapse};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "exim";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    let first = hits.len();
    for (words, kind) in [
        ("SMTP error from remote mail server after", Kind::Rejected),
        ("SMTP error from remote mailer after", Kind::Rejected),
        ("LMTP error from remote mail server after", Kind::Rejected),
        ("LMTP error after", Kind::Rejected),
        ("PRDR error after", Kind::Rejected),
        ("SMTP timeout after", Kind::TimedOut),
        ("SMTP timeout while connected to", Kind::TimedOut),
        ("Remote host closed connection in response to", Kind::Dropped),
        ("Remote host closed connection after", Kind::Dropped),
        ("Malformed SMTP reply in response to", Kind::Malformed),
        ("Malformed SMTP reply from", Kind::Malformed),
    ] {
        for phrase in s.all(words) {
            let (start, mx, address) = host_before(s.text, phrase.start);
            let report = Report { kind: Some(kind), mx, address, ..by(NAME) };
            hits.push(Hit::new(start..phrase.end, report, after_command));
        }
    }
    for (words, report) in [
        ("retry time not reached for any host", repeated()),
        ("retry timeout exceeded", repeated()),
        ("all hosts have been failing for a long time", repeated()),
        ("all hosts for", repeated()),
        ("failed to write a data block", Report { kind: Some(Kind::Dropped), ..at(NAME, Stage::EndOfData) }),
        ("a TLS session is required, but the server did not offer TLS support", at(NAME, Stage::StartTls)),
        (
            "a TLS session is required, but an attempt to start TLS failed",
            Report { kind: Some(Kind::TlsFailed), ..at(NAME, Stage::Tls) },
        ),
        (
            "all relevant MX records point to non-existent hosts",
            Report { kind: Some(Kind::DnsFailed), ..at(NAME, Stage::Resolve) },
        ),
        ("host lookup did not complete", Report { kind: Some(Kind::DnsFailed), ..at(NAME, Stage::Resolve) }),
        ("Unrouteable address", Report { origin: Some("local".into()), ..by(NAME) }),
    ] {
        if words == "all hosts for" && !s.has("have been failing for a long time") {
            continue;
        }
        for phrase in s.all(words) {
            // Behind an error that Exim does tell, it only says that this one was the last.
            let told = |hit: &Hit| hit.span.end <= phrase.start && !s.text[hit.span.end..phrase.start].contains("\n\n");
            if !report.attempt && hits[first..].iter().any(told) {
                continue;
            }
            let (start, mx, address) = host_before(s.text, phrase.start);
            hits.push(Hit::new(start..phrase.end, Report { mx, address, ..report.clone() }, sentence::nothing_follows));
        }
    }
}

/// Exim's words for a host whose last error it does not repeat: no attempt was made.
fn repeated() -> Report {
    Report {
        attempt: false,
        stage_why: Some("Exim repeats that earlier attempts failed; how is in an earlier log line".to_owned()),
        ..by(NAME)
    }
}

/// What the main log needs remembered: the last error at a host, by message.
#[derive(Default)]
pub(crate) struct Log {
    hosts: Recent<Report>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        let Some((id, mark)) = message(entry.text) else { return Taken::No };
        let (mark, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        match mark {
            "**" | "==" => {
                let mut report = entry.stamp(delivery(rest));
                let mut pending = self.hosts.take(id);
                // The line of a connection that failed names no host; the line before it does.
                if let Some(host) = pending.as_ref().filter(|host| report.address.is_none() && host.kind == report.kind)
                {
                    (report.mx, report.address) = (host.mx.clone(), host.address);
                }
                pending = pending.filter(|host| host.address != report.address || host.code != report.code);
                Taken::errors(pending.into_iter().chain([report]).collect())
            }
            "=>" | "->" | ">>" => {
                let errors: Vec<Report> = self.hosts.take(id).into_iter().collect();
                let mut report = wording::passed(NAME);
                host_field(rest, &mut report);
                report.recipient = recipient(rest);
                if report.address.is_none() {
                    Taken::errors(errors)
                } else {
                    Taken::Passed(errors, Box::new(entry.stamp(report)))
                }
            }
            "Completed" | "<=" | "*>" | "(=" => Taken::Other,
            _ if mark.starts_with("H=") || mark.starts_with('[') => {
                let Some(report) = sentence::read_as(&entry.text[id.len()..], sentences).or_else(|| connect(rest))
                else {
                    return Taken::Other;
                };
                let mut report = entry.stamp(report);
                host_field(entry.text, &mut report);
                Taken::errors(self.hosts.put(id, report).into_iter().collect())
            }
            // `H [IP] Connection refused`
            _ => {
                let Some(mut report) = connect(rest).filter(|_| rest.starts_with('[') && mark.contains('.')) else {
                    return Taken::Other;
                };
                (report.mx, report.address) = wording::host_and_address(&format!("{mark} {rest}"));
                Taken::errors(self.hosts.put(id, entry.stamp(report)).into_iter().collect())
            }
        }
    }

    pub(crate) fn end(&mut self) -> Vec<Report> {
        self.hosts.drain()
    }
}

/// Splits a line into its message id and the rest: `1xVlNH-0007pB-3B == ..`.
pub(crate) fn message(text: &str) -> Option<(&str, &str)> {
    let (id, rest) = text.split_once(' ')?;
    let mut parts = id.split('-');
    let sized = |part: Option<&str>, sizes: &[usize]| {
        part.is_some_and(|p| sizes.contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    (sized(parts.next(), &[6])
        && sized(parts.next(), &[6, 11])
        && sized(parts.next(), &[2, 4])
        && parts.next().is_none())
    .then_some((id, rest))
}

/// A `**` or `==` line behind its mark: `a@b R=dns T=smtp defer (-46) H=h [ip]: text`.
fn delivery(rest: &str) -> Report {
    let text = rest.replace("\\n", "\n");
    let mut report = sentence::read_as(&text, sentences)
        .or_else(|| connect(&text))
        .unwrap_or_else(|| Report { kind: wording::fault(&text), ..by(NAME) });
    // The reply ends where the fields go on.
    if let Some(reply) = report.reply.as_mut()
        && let Some(at) = reply.rfind(" DT=").or_else(|| reply.rfind(" QT="))
        && reply.len() - at < 40
    {
        reply.truncate(at);
        if let Some(quoted) = Quoted::read(&reply.clone()) {
            sentence::set(&mut report, quoted);
        }
    }
    host_field(&text, &mut report);
    report.recipient = recipient(&text);
    report.evidence = Some(collapse(&text));
    report
}

/// `address <original>`: where the first is a local user, only the second is an address.
fn recipient(text: &str) -> Option<String> {
    let mut words = text.split([' ', ':']);
    let to =
        words.next().filter(|word| word.contains('@')).or_else(|| words.next().filter(|word| word.starts_with('<')));
    to.and_then(wording::mailbox)
}

/// `H=h [ip]:25` names the host, whatever else the line says.
fn host_field(text: &str, report: &mut Report) {
    let Some(at) = text.find(" H=").map(|at| at + 3).or_else(|| text.starts_with("H=").then_some(2)) else { return };
    let named = &text[at..];
    let end = named.find(']').map_or_else(|| named.find(' ').unwrap_or(named.len()), |at| at + 1);
    let (mx, address) = wording::host_and_address(&named[..end]);
    report.mx = report.mx.take().or(mx);
    report.address = report.address.or(address);
}

/// `H [IP]:25 Connection refused` and `.. defer (111): Connection refused`.
fn connect(text: &str) -> Option<Report> {
    let kind = wording::fault(text)?;
    let stage = match kind {
        Kind::DnsFailed => Stage::Resolve,
        Kind::Refused | Kind::Unreachable | Kind::TimedOut => Stage::Connect,
        _ => return None,
    };
    Some(Report { kind: Some(kind), ..at(NAME, stage) })
}

/// A section of a bounce that names no phrase of `sentences`: a host line and a system error.
pub(crate) fn section(text: &str) -> Option<Report> {
    let host = text.trim_start().strip_prefix("host ")?;
    let (line, rest) = host.split_once('\n').unwrap_or((host, ""));
    let mut report = connect(rest.trim_start().trim_start_matches("Delay reason:")).unwrap_or_else(|| by(NAME));
    (report.mx, report.address) = wording::host_and_address(line);
    Some(report)
}

/// `CMD: R`, from behind `after` or `in response to`. CMD ends at the last colon before the reply.
fn after_command(report: &mut Report, rest: &str) {
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("pipelined").map_or(rest, str::trim_start);
    report.stage = wording::command_stage(rest);
    if let Some((host, command)) = rest.split_once(" after ").filter(|_| report.stage.is_none()) {
        // `SMTP timeout while connected to H [IP] after CMD`
        (report.mx, report.address) = wording::host_and_address(host);
        report.stage = wording::command_stage(command);
        return;
    }
    // HELO got no answer: what EHLO got is the ending.
    if let Some((_, reply)) = rest.split_once("(EHLO response was:") {
        report.kind = Some(Kind::Rejected);
        report.stage = Some(Stage::Ehlo);
        sentence::quote(report, reply.rsplit_once(')').map_or(reply, |(reply, _)| reply));
        return;
    }
    let command = command_end(rest);
    let (_, told) = rest.split_at(command);
    if report.kind == Some(Kind::Rejected) {
        sentence::reply_follows(report, told.trim_start_matches(':'));
        for end in [": retry timeout exceeded", ": retry time not reached for any host"] {
            if let Some(reply) = report.reply.as_mut().filter(|reply| reply.ends_with(end)) {
                reply.truncate(reply.len() - end.len());
            }
        }
    } else if report.kind == Some(Kind::TimedOut) && report.address.is_none() {
        let (mx, address) =
            wording::host_and_address(told.trim_start_matches(':').trim_start().trim_start_matches("host"));
        report.address = address;
        report.mx = report.mx.take().or(mx.filter(|_| address.is_some()));
    }
}

/// Where the command ends: behind its address, at the next colon.
fn command_end(rest: &str) -> usize {
    let lower = rest.get(..5).unwrap_or_default().to_ascii_uppercase();
    let mut from = 0;
    if lower.starts_with("MAIL") || lower.starts_with("RCPT") {
        from = rest.find(':').map_or(0, |at| at + 1);
        if let Some(close) = rest[from..].find('>').filter(|&at| at < 320) {
            from += close;
        }
    }
    rest[from..].find(':').map_or(rest.len(), |at| from + at)
}

/// The host before the phrase: `host H [IP]` on the line above, or `H=H [IP]:25:` in the log.
fn host_before(text: &str, end: usize) -> (usize, Option<String>, Option<std::net::IpAddr>) {
    let from = sentence::floor(text, end.saturating_sub(200));
    let before = text[from..end].trim_end();
    let before = before.strip_suffix("Delay reason:").map_or(before, str::trim_end);
    let before = before.strip_suffix(':').unwrap_or(before);
    let found =
        before.rfind("host ").map(|at| (at, at + 5)).filter(|(_, from)| !before[*from..].trim_end().contains('\n'));
    let Some((at, host)) = found.or_else(|| before.rfind("H=").map(|at| (at, at + 2))) else {
        return (end, None, None);
    };
    if before[host..].split_whitespace().count() > 4 {
        return (end, None, None);
    }
    let (mx, address) = wording::host_and_address(&before[host..]);
    (from + at, mx, address)
}
