//! The part of a bounce that is written for people: who wrote it, and what it says of whom.

use super::mail::Mail;
use super::sentence;
use super::squeeze::Squeezed;
use super::wording;
use super::{
    amazonses, courier, dma, exchange, exim, gmail, gmx, haraka, nullmailer, opensmtpd, oracle, postfix, powermta,
    qmail, sendmail, yahoo,
};
use crate::record::{Kind, Report};
use crate::stage::Stage;

/// Which mailer wrote the report, where its headers or its set phrases tell.
pub(crate) fn writer(mail: &Mail) -> Option<&'static str> {
    let squeezed = Squeezed::new(&mail.text);
    let has = |words: &str| squeezed.has(words);
    let from = mail.header("from").unwrap_or_default().to_ascii_lowercase();
    let header = |name: &str, words: &str| mail.header(name).is_some_and(|v| v.to_ascii_lowercase().contains(words));
    let field = |name: &str| mail.status.iter().flatten().any(|(n, _)| n.starts_with(name));
    let reporter = mail
        .status
        .iter()
        .flatten()
        .find(|(n, _)| n == "reporting-mta")
        .map_or("", |(_, v)| v.as_str())
        .to_ascii_lowercase();
    let queue = mail.status.iter().flatten().any(|(n, _)| n.starts_with("x-") && n.ends_with("-queue-id"));
    Some(match () {
        () if from.contains("@amazonses.com") || reporter.contains("amazonses.com") => amazonses::NAME,
        () if field("x-powermta") => powermta::NAME,
        () if queue || has("This is the mail system at host") || has("This is the Postfix program at host") => {
            postfix::NAME
        }
        () if has("This is the qmail-send program at") || has("This is the notqmail-send program") => qmail::NAME,
        () if has("running the Courier mail server") => courier::NAME,
        () if has("This is the DragonFly Mail Agent") => dma::NAME,
        () if has("SMTP error from remote server") => gmx::NAME,
        () if has("This message was created automatically by mail delivery software")
            && mail.header("x-failed-recipients").is_some() =>
        {
            exim::NAME
        }
        () if header("message-id", "exim") || has("mail delivery software (Exim") => exim::NAME,
        () if from.contains("@googlemail.com") || from.contains("mailer-daemon@google.com") => gmail::NAME,
        () if from.contains("@yahoo.") && has("unable to deliver your message") => yahoo::NAME,
        () if has("This is the MAILER-DAEMON, please DO NOT REPLY") => opensmtpd::NAME,
        () if has("This is the nullmailer") || header("from", "nullmailer") => nullmailer::NAME,
        () if has("Transcript of session follows") => sendmail::NAME,
        () if has("addresses had permanent fatal errors") => sendmail::NAME,
        () if has("This report relates to a message you sent with the following header fields") => oracle::NAME,
        () if has("Hello, this is the mail server on") => powermta::NAME,
        () if mail.headers.iter().any(|(n, _)| n.starts_with("x-ms-exchange") || n == "x-dsncontext") => exchange::NAME,
        () if has("Diagnostic information for administrators")
            || has("Generating server:")
            || has("Your message did not reach some or all of the intended recipients") =>
        {
            exchange::NAME
        }
        () if has("mail delivery software") && has("A message that you sent") => exim::NAME,
        () if header("x-mailer", "haraka") || has("Haraka") => haraka::NAME,
        () if has("Sorry, we were unable to deliver your message to the following address") => yahoo::NAME,
        () => return None,
    })
}

/// What the text says, a report per recipient that it names.
pub(crate) fn read(mail: &Mail, writer: Option<&'static str>) -> Vec<Report> {
    if let Some(reports) = sendmail::bounce(&mail.text) {
        return reports;
    }
    let mut reports = Vec::new();
    let failed: Vec<&str> =
        mail.header("x-failed-recipients").map(|v| v.split(',').map(str::trim).collect()).unwrap_or_default();
    let whole = generating(&mail.text);
    let flush =
        matches!(writer, Some(postfix::NAME | qmail::NAME | yahoo::NAME | opensmtpd::NAME | courier::NAME | gmx::NAME));
    let listed = flush || matches!(writer, Some(exim::NAME | dma::NAME));
    for section in sections(&mail.text, flush) {
        let unknown = || section.recipient.as_ref().filter(|_| listed).and_then(|_| unknown(writer, section.text));
        let bare = || bare(section.text).filter(|report| report.enhanced.is_some() || mail.is_mailers());
        let Some(mut report) = self::section(writer, section.text).or_else(bare).or_else(unknown) else { continue };
        report.recipient = report.recipient.take().or(section.recipient);
        report.local_host = report.local_host.take().or_else(|| whole.clone());
        reports.push(report);
    }
    if let [failed] = failed.as_slice()
        && let [report] = reports.as_mut_slice()
    {
        report.recipient = report.recipient.take().or_else(|| wording::mailbox(failed));
    }
    if reports.is_empty() {
        reports.extend(
            failed.iter().filter_map(|to| Some(Report { recipient: Some(wording::mailbox(to)?), ..wording::by("") })),
        );
    }
    if reports.len() > 1 && reports.iter().any(|r| r.recipient.is_some()) {
        reports.retain(|r| r.recipient.is_some());
    }
    reports
}

/// What a section says: its dialect's own layout, or any sentence in it.
fn section(writer: Option<&str>, text: &str) -> Option<Report> {
    let own = match writer {
        Some(courier::NAME) => courier::section(text),
        Some(opensmtpd::NAME) => opensmtpd::section(text),
        _ => None,
    };
    let mut report = own.or_else(|| sentence::read(text).into_iter().next()).or_else(|| match writer {
        Some(exim::NAME) => exim::section(text),
        Some(exchange::NAME) => exchange::section(text),
        Some(oracle::NAME) => reasoned(text),
        Some(nullmailer::NAME) => {
            Some(nullmailer::failed(text.trim())).filter(|report| report.code.is_some() || report.kind.is_some())
        }
        _ => None,
    })?;
    if report.mta.is_none() {
        report.mta = writer.map(str::to_owned);
    }
    Some(report)
}

/// A recipient whom the report lists with words that no dialect here knows.
fn unknown(writer: Option<&str>, text: &str) -> Option<Report> {
    let words = text.trim().trim_start_matches(':').split("\n\n").next().unwrap_or_default();
    if writer == Some(qmail::NAME) {
        let evidence = Some(super::reply::collapse(words)).filter(|words| !words.is_empty())?;
        return Some(Report { evidence: Some(evidence), ..qmail::own(words) });
    }
    let kind = wording::fault(words);
    let stage = (kind == Some(Kind::DnsFailed)).then_some(Stage::Resolve);
    let evidence = Some(super::reply::collapse(words)).filter(|words| !words.is_empty())?;
    Some(Report { stage, kind, evidence: Some(evidence), ..wording::by(writer.unwrap_or_default()) })
}

/// A reply that stands at the beginning of a line, alone.
fn bare(text: &str) -> Option<Report> {
    let mut report = wording::by("");
    let at = text.lines().find(|line| {
        super::reply::Quoted::read(line).is_some_and(|q| q.code.is_some_and(|c| c.get() >= 400))
            && line.trim_start().starts_with(['4', '5'])
    })?;
    let from = at.as_ptr() as usize - text.as_ptr() as usize;
    sentence::quote(&mut report, &text[from..]);
    report.evidence = report.reply.clone();
    Some(report)
}

/// Oracle's `Reason:` and `Diagnostic code:` lines.
fn reasoned(text: &str) -> Option<Report> {
    let mut report = wording::by(oracle::NAME);
    for line in text.lines().map(str::trim) {
        if let Some(reason) = line.strip_prefix("Reason:") {
            oracle::reason(&mut report, reason);
        } else if let Some(code) = line.strip_prefix("Diagnostic code:") {
            sentence::quote(&mut report, code.split_once(';').map_or(code, |(_, told)| told));
        }
    }
    (report.stage.is_some() || report.code.is_some() || !report.candidates.is_empty()).then_some(report)
}

/// `Generating server: L`.
fn generating(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Generating server:")?;
    wording::host_name(rest.split_whitespace().next()?)
}

/// What belongs to one recipient.
struct Section<'a> {
    recipient: Option<String>,
    text: &'a str,
}

/// Cuts a text where a line begins with, or consists of, a recipient; `flush` where such a line is
/// never indented, so that an indented one goes on with what the server said.
fn sections(text: &str, flush: bool) -> Vec<Section<'_>> {
    let mut sections = vec![Section { recipient: None, text: "" }];
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if let Some((recipient, skip)) = begins(line, flush).filter(|_| sections.len() < 10_000) {
            if let Some(last) = sections.last_mut() {
                last.text = &text[start..at];
            }
            start = at + skip;
            sections.push(Section { recipient: Some(recipient), text: "" });
        }
        at += line.len();
    }
    if let Some(last) = sections.last_mut() {
        last.text = &text[start..];
    }
    sections
}

/// `<a@b>: text`, `a@b: text`, `  a@b`, `Recipient address: a@b`, `.. your mail to <a@b>.`
fn begins(line: &str, flush: bool) -> Option<(String, usize)> {
    let indented = line.starts_with([' ', '\t']);
    let bare = line.trim();
    if !bare.contains('@') || bare.starts_with([':', '#']) || bare.len() > 2000 {
        return None;
    }
    let before = line.len() - line.trim_start().len();
    for lead in ["Recipient address:", "Failed recipient:", "Recipient:", "There was an error delivering your mail to"]
    {
        if let Some(rest) = bare.strip_prefix(lead) {
            return Some((wording::mailbox(rest.trim().trim_end_matches('.'))?, line.len()));
        }
    }
    let end = bare.find(|c: char| c.is_whitespace()).unwrap_or(bare.len());
    let word = &bare[..end];
    let rest = bare[end..].trim_start();
    let closed = !indented && word.ends_with(':');
    let recipient = wording::mailbox(word)?;
    let alone = rest.is_empty()
        || rest.starts_with("(expanded")
        || rest.starts_with("(reason")
        || rest.starts_with("(generated")
        || rest.starts_with("(ultimately")
        || rest.starts_with("(orig")
        || rest.strip_prefix("on ").is_some_and(|on| on.starts_with(|c: char| c.is_ascii_digit()))
        || rest.starts_with("delivery failed")
        || rest.starts_with("<mailto:");
    if indented && flush || !(alone || closed) {
        return None;
    }
    Some((recipient, before + end))
}
