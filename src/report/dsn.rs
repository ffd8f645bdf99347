//! Delivery status notifications (RFC 3464) and bounces without one.
//!
//! The machine-readable part says for whom, whether for good, and what the server replied; the part
//! for people says where in the session, and at which address. Each recipient's are put together.

use super::mail::{Group, Mail};
use super::reply::{Quoted, collapse};
use super::sentence;
use super::wording;
use super::{amazonses, bounce, exchange, oracle, postfix};
use crate::record::{Kind, Report};
use crate::smtp::reply::Class;

/// Every failure that a mail reports; none where it is no report of one.
pub(crate) fn read(mail: &Mail) -> Vec<Report> {
    let writer = bounce::writer(mail);
    let message = mail.status.first().filter(|group| !is_recipient(group));
    let local_host = message.and_then(reporter);
    let mut reports: Vec<Report> =
        mail.status.iter().filter(|group| is_recipient(group)).filter_map(|group| recipient(group, message)).collect();
    let relayed = reports.is_empty() && mail.status.iter().any(is_recipient);
    if relayed {
        return reports;
    }
    for report in &mut reports {
        report.local_host.clone_from(&local_host);
    }
    let told = bounce::read(mail, writer);
    let known = reports.len().max(1);
    let unplaced = |reports: Vec<Report>| reports.into_iter().map(|report| ((), report)).collect();
    let whole = reports.is_empty();
    reports = join(unplaced(reports), unplaced(told)).into_iter().map(|((), report)| report).collect();
    if !whole {
        // The fields name every recipient; what else the text mentions is no report of its own.
        reports.truncate(known);
    }
    for report in &mut reports {
        "dsn".clone_into(&mut report.format);
        // Who signs the whole knows better than a turn of phrase in it.
        report.mta = writer.map(str::to_owned).or(report.mta.take());
        report.local_host = report.local_host.take().or_else(|| local_host.clone());
        if report.mta.as_deref() == Some(amazonses::NAME) || report.mta.is_none() {
            amazonses::expired(report);
        }
    }
    reports
}

/// Whether a block of fields is about a recipient.
pub(crate) fn is_recipient(group: &Group) -> bool {
    ["final-recipient", "original-recipient", "action", "diagnostic-code"]
        .iter()
        .any(|name| value(group, name).is_some())
}

/// Reads one recipient's fields; none where the delivery did not fail.
pub(crate) fn recipient(group: &Group, message: Option<&Group>) -> Option<Report> {
    let action =
        value(group, "action").map(|action| action.split([' ', '(']).next().unwrap_or(action).to_ascii_lowercase());
    if action.as_deref().is_some_and(|action| matches!(action, "delivered" | "relayed" | "expanded")) {
        return None;
    }
    let mut report = wording::by("");
    report.action = action;
    let final_recipient = value(group, "final-recipient").or_else(|| value(group, "original-recipient"));
    report.recipient = final_recipient
        .map(bare)
        .and_then(|to| wording::mailbox(to).or_else(|| Some(to.to_owned()).filter(|to| to.contains('@'))));
    report.at = value(group, "last-attempt-date").and_then(date);
    if let Some(status) = value(group, "status") {
        report.status = status.split_whitespace().next().map(str::to_owned);
        oracle::reason(&mut report, status);
    }
    if let Some(remote) = value(group, "remote-mta")
        && !oracle::remote(&mut report, remote)
    {
        (report.mx, report.address) =
            wording::host_and_address(bare(remote).split(", the server").next().unwrap_or(remote));
    }
    let postfix = message
        .is_some_and(|group| group.iter().any(|(name, _)| name.starts_with("x-") && name.ends_with("-queue-id")));
    if postfix {
        report.mta = Some(postfix::NAME.to_owned());
    }
    if [Some(group), message]
        .into_iter()
        .flatten()
        .any(|group| group.iter().any(|(name, _)| name.starts_with("x-powermta")))
    {
        report.mta = Some(super::powermta::NAME.to_owned());
    }
    if let Some(diagnostic) = value(group, "diagnostic-code") {
        self::diagnostic(&mut report, diagnostic);
    }
    let refused = report.code.is_some_and(|code| code.class() == Class::Permanent)
        && report.status.as_deref().is_some_and(|s| s.starts_with('4'));
    if report.stage.is_none() && refused && postfix {
        postfix::settle(&mut report);
    }
    Some(report)
}

/// `smtp; R`, or the reporting mailer's own words behind a type of its own.
fn diagnostic(report: &mut Report, value: &str) {
    let (kind, told) = value.split_once(';').unwrap_or(("", value));
    let kind = kind.trim().to_ascii_lowercase();
    let told = told.trim();
    report.evidence = Some(collapse(told)).filter(|told| !told.is_empty());
    if kind != "smtp" || !told.starts_with(|c: char| c.is_ascii_digit()) {
        if let Some(said) = sentence::read(told).into_iter().next() {
            let (status, mx) = (report.status.take(), report.mx.take());
            *report = Report {
                mta: report.mta.take().or(said.mta.clone()),
                recipient: report.recipient.take(),
                action: report.action.take(),
                at: report.at,
                mx: said.mx.clone().or(mx),
                address: said.address.or(report.address),
                status,
                evidence: report.evidence.take(),
                ..said
            };
            postfix_settle(report, told);
            return;
        }
        if told.contains("Remote Server returned")
            || told.contains(".Prod.")
            || told.starts_with('<')
            || told.starts_with('#')
        {
            exchange::take(report, told);
            return;
        }
    }
    if kind == "smtp" || kind.is_empty() || Quoted::read(told).is_some_and(|quoted| quoted.code.is_some()) {
        let told = told.rsplit_once("(state ").filter(|(_, state)| state.len() < 6).map_or(told, |(reply, _)| reply);
        sentence::quote(report, &told.replace("\n\n", "\n"));
        if report.code.is_some() {
            let text = report.reply.clone().unwrap_or_default();
            if text.contains("RESOLVER.")
                || text.contains("QUEUE.")
                || text.contains("SMTPSEND.")
                || text.contains("STOREDRV.")
            {
                exchange::take(report, &text);
            }
            return;
        }
    }
    if let Some(inner) = wrapped(told) {
        (report.enhanced, report.reply) = (None, None);
        sentence::quote(report, &inner);
        return;
    }
    report.kind = report.kind.or_else(|| wording::fault(told));
    if kind.starts_with("x-postfix") {
        report.origin = Some("local".to_owned());
    }
}

/// A server's reply inside a reporter's own words: Cisco's `5.1.0 - Unknown address error 550-'no such
/// user' (delivery attempts: 0)`, or one behind a colon.
fn wrapped(told: &str) -> Option<String> {
    let told = collapse(told);
    if let Some((before, inner)) = told.split_once("-'")
        && let Some(code) =
            before.get(before.len().checked_sub(3)?..).filter(|code| code.bytes().all(|b| b.is_ascii_digit()))
    {
        let inner = inner.rsplit_once('\'').map_or(inner, |(inner, _)| inner);
        return Some(format!("{code} {inner}"));
    }
    let (at, quoted) = Quoted::find(&told)?;
    let introduced = told[..at].trim_end().ends_with([':', '"', '\'']) || quoted.enhanced.is_some();
    (introduced && quoted.code.is_some_and(|code| code.get() >= 400)).then_some(quoted.reply)
}

fn postfix_settle(report: &mut Report, told: &str) {
    if told.contains("refused to talk to me") {
        postfix::settle(report);
    }
}

/// Puts what the text tells beside what the fields say, recipient by recipient; what finds no place
/// is kept at the end.
pub(crate) fn join<T>(fields: Vec<(T, Report)>, told: Vec<(T, Report)>) -> Vec<(T, Report)> {
    let same = |a: &Option<String>, b: &Option<String>| {
        a.as_deref().zip(b.as_deref()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    let alone = fields.len() == 1 && told.len() == 1;
    let mut told: Vec<Option<(T, Report)>> = told.into_iter().map(Some).collect();
    let mut joined = Vec::with_capacity(fields.len());
    for (at, mut report) in fields {
        let found = told
            .iter_mut()
            .find(|t| t.as_ref().is_some_and(|(_, t)| alone || same(&t.recipient, &report.recipient)))
            .and_then(Option::take);
        if let Some((_, text)) = found {
            add(&mut report, text);
        }
        joined.push((at, report));
    }
    joined.extend(told.into_iter().flatten());
    joined
}

/// The host in `Reporting-MTA`.
pub(crate) fn reporter(message: &Group) -> Option<String> {
    value(message, "reporting-mta").map(|v| bare(v).to_owned()).filter(|host| !host.is_empty())
}

fn add(report: &mut Report, text: Report) {
    let courier = text.mta.as_deref() == Some(super::courier::NAME);
    report.mta = report.mta.take().or(text.mta);
    let contradicts = report.code.is_some() && text.code.is_some() && report.code != text.code;
    if !contradicts && (report.stage.is_none() || text.stage.is_some()) {
        if text.stage.is_some() || report.candidates.is_empty() {
            report.stage = text.stage.or(report.stage);
            report.candidates = text.candidates;
        }
        report.stage_why = text.stage_why.or(report.stage_why.take());
    }
    if report.code.is_none() && (text.code.is_some() || report.reply.is_none()) {
        (report.code, report.enhanced, report.reply) = (text.code, text.enhanced, text.reply);
        report.kind = text.kind.or(report.kind);
    }
    report.kind = report.kind.or(text.kind);
    if courier {
        report.address = text.address.or(report.address);
    }
    // An address belongs to the host that the text names with it.
    if report.mx.is_none() || text.mx.is_none() || report.mx == text.mx {
        report.address = report.address.or(text.address);
    }
    report.mx = report.mx.take().or(text.mx);
    report.source = report.source.or(text.source);
    report.origin = report.origin.take().or(text.origin);
    report.inner_reply = report.inner_reply.take().or(text.inner_reply);
    report.local_status = report.local_status.take().or(text.local_status);
    report.local_host = report.local_host.take().or(text.local_host);
    report.evidence = text.evidence.or(report.evidence.take());
    report.attempt &= text.attempt;
    if report.origin.as_deref() == Some("local") && report.mta.as_deref() == Some(exchange::NAME) {
        (report.mx, report.address) = (None, None);
    }
    if report.kind == Some(Kind::Rejected)
        && report.mta.as_deref() == Some(postfix::NAME)
        && report.evidence.as_deref().is_some_and(|e| e.contains("refused to talk to me"))
    {
        postfix::settle(report);
    }
}

fn value<'g>(group: &'g Group, name: &str) -> Option<&'g str> {
    group.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// A typed field without its type and comment: `dns; host (tcp-daemon)`.
fn bare(value: &str) -> &str {
    let value = value.split_once(';').map_or(value, |(_, v)| v).trim();
    value
        .strip_suffix(')')
        .and_then(|v| v.rsplit_once(" ("))
        .filter(|(_, comment)| wording::ip(comment.split([',', ' ']).next().unwrap_or(comment)).is_none())
        .map_or(value, |(v, _)| v.trim())
}

fn date(value: &str) -> Option<jiff::Timestamp> {
    let value = value.split_once('(').map_or(value, |(value, _)| value).trim();
    jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok()
}
