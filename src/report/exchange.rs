//! Microsoft Exchange, Exchange Online and Outlook.com: the administrators' part of their notices.
//!
//! They nest: an outer status of their own around what the server said. No stage is ever named.

use super::reply::{Quoted, collapse};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "exchange";

/// Words that Exchange only says of itself.
const OWN: [&str; 9] = [
    "RESOLVER.",
    "QUEUE.",
    "ROUTING.",
    "STOREDRV.",
    "AGENT.",
    "SMTPSEND.",
    "Hop count exceeded",
    "APPROVAL.",
    "Message expired",
];

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    let first = hits.len();
    for phrase in s.all("gave this error").chain(s.all("gave this non-delivery error")) {
        let line = s.text[..phrase.start].rfind('\n').map_or(0, |at| at + 1);
        let (mx, address) = wording::host_and_address(
            s.text[line..phrase.start]
                .rsplit_once(' ')
                .map_or(&s.text[line..phrase.start], |_| s.text[line..phrase.start].trim()),
        );
        let report = Report { mx, address, kind: Some(Kind::Rejected), ..by(NAME) };
        hits.push(Hit::new(line..phrase.end, report, quoted));
    }
    for words in [
        "Remote Server returned",
        "remote server returned an error",
        "Reported error:",
        "Remote server returned an error",
    ] {
        for phrase in s.all(words) {
            hits.push(Hit::new(phrase, by(NAME), quoted));
        }
    }
    for phrase in s.all("Remote Server at") {
        let rest = &s.text[phrase.end..sentence::floor(s.text, phrase.end + 300)];
        let Some(returned) = Squeezed::new(rest).find("returned", 0) else { continue };
        let (mx, address) = wording::host_and_address(&rest[..returned.start]);
        hits.push(Hit::new(phrase.start..phrase.end + returned.end, Report { mx, address, ..by(NAME) }, quoted));
    }
    for phrase in s
        .all("LED=")
        .filter(|p| s.text[p.end..].starts_with('=') && s.text[..p.start].ends_with(['{', ' ', ';', '\n', '[']))
    {
        hits.push(Hit::new(phrase, by(NAME), last_error));
    }
    for phrase in s.all("Primary target IP address responded with") {
        // Inside what a remote server returned it is part of that.
        if !hits[first..].iter().any(|hit| hit.span.end <= phrase.start && phrase.start - hit.span.end < 60) {
            hits.push(Hit::new(phrase, by(NAME), quoted));
        }
    }
}

/// `'550 5.1.1 R'`, from behind `returned`; the outer reply, and the one inside `< H #5.7.1 smtp;R>`.
fn quoted(report: &mut Report, rest: &str) {
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ':');
    let part = rest.split("\n\n").next().unwrap_or(rest);
    let part = match part.chars().next().filter(|c| super::reply::is_quote(*c)) {
        Some(quote) => part[quote.len_utf8()..]
            .rsplit_once(['\'', '\u{2019}', '"', '\u{201d}'])
            .map_or(&part[quote.len_utf8()..], |(inner, _)| inner),
        None => part,
    };
    take(report, part);
}

/// Reads an outer reply and what it nests.
pub(crate) fn take(report: &mut Report, told: &str) {
    let told = collapse(told);
    let told = told.trim_matches(['#', ' ']);
    if OWN.iter().any(|own| told.contains(own)) {
        sentence::quote(report, told);
        report.origin = Some("local".to_owned());
        // No server said it, so none is named.
        (report.mx, report.address) = (None, None);
        return;
    }
    let nested = wording::enclosed(told, '<', '>').and_then(|inner| {
        let (host, reply) = inner.trim().split_once(" #").or_else(|| inner.trim().split_once('#'))?;
        let (status, reply) = reply.split_once(' ').unwrap_or((reply, ""));
        let reply = reply.trim().strip_prefix("smtp;").or_else(|| reply.trim().strip_prefix("SMTP;")).unwrap_or(reply);
        Some((wording::host_name(host.trim()), status.to_owned(), reply.trim().to_owned()))
    });
    if let Some((host, status, reply)) = nested {
        report.mx = host.or(report.mx.take());
        report.status = report.status.take().or(Some(status));
        let outer = told.split('<').next().unwrap_or(told).trim().to_owned();
        sentence::quote(report, &reply);
        if report.code.is_none() && report.reply.is_none() {
            sentence::quote(report, &outer);
        }
        report.inner_reply.clone_from(&report.reply);
        report.kind = Some(Kind::Rejected);
        return;
    }
    sentence::quote(report, told);
    unreached(report, told);
}

/// `{LED=451 4.4.397 Error communicating with target host. -> 421 4.2.1 Unable to connect -> SocketError: ..};{FQDN=H};{IP=A}`
fn last_error(report: &mut Report, rest: &str) {
    let rest = rest.trim_start_matches('=');
    let told = rest.split(['}', '\n']).next().unwrap_or(rest);
    let innermost =
        told.split("-> ").filter(|part| Quoted::read(part).is_some_and(|q| q.code.is_some())).last().unwrap_or(told);
    sentence::quote(report, told.split(" -> ").next().unwrap_or(told));
    if innermost != told && told.contains("-> ") {
        report.inner_reply = Quoted::read(innermost).map(|q| q.reply);
    }
    report.mx = wording::field(rest, "FQDN=", &['}', ';', ']']).and_then(wording::host_name);
    report.address = wording::field(rest, "IP=", &['}', ';', ']']).and_then(wording::ip);
    unreached(report, told);
}

/// Exchange makes a reply of its own of a connection that never came about.
fn unreached(report: &mut Report, told: &str) {
    let lower = told.to_ascii_lowercase();
    if ["unable to connect", "failed to connect", "winsock error"].iter().any(|w| lower.contains(w)) {
        report.stage = Some(Stage::Connect);
        report.origin = Some("local".to_owned());
        report.kind = if lower.contains("10061") || lower.contains("refused") {
            Some(Kind::Refused)
        } else if lower.contains("10060") || lower.contains("timed out") {
            Some(Kind::TimedOut)
        } else if lower.contains("10051") || lower.contains("10065") {
            Some(Kind::Unreachable)
        } else {
            None
        };
    }
}

/// `#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##` below `Generating server: L`.
pub(crate) fn section(text: &str) -> Option<Report> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with('#') || line.contains(" #5") || line.contains(" #4") || line.contains("<#"))?;
    let mut report = by(NAME);
    match line
        .split_once(" #")
        .filter(|(host, _)| !line.starts_with('#') && wording::host_name(host.trim_start_matches('<')).is_some())
    {
        // `H #<H #5.1.1 smtp; 550 R> #SMTP#`
        Some((_, told)) if told.starts_with('<') => take(&mut report, told),
        Some((host, told)) => {
            let (status, told) = told.split_once(' ')?;
            report.mx = wording::host_name(host.trim_start_matches('<'));
            report.status = Some(status.to_owned()).filter(|s| s.contains('.'));
            take(
                &mut report,
                told.trim_start_matches("smtp;").trim_start_matches("SMTP;").trim_end_matches(['#', '>', ' ']),
            );
        }
        None => take(&mut report, line.trim_matches(['#', ' ', '<'])),
    }
    report.reply.is_some().then_some(report)
}
