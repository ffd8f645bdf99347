//! Text as people paste it: undoing what mail programs, web pages and terminals did to it, and
//! reading every error that it tells.

use std::borrow::Cow;

use super::mail::{self, Group};
use super::reply::{self, Quoted};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::{dsn, msmtp, nullmailer, qmail, sendmail, swaks, wording};
use crate::record::{Kind, Report};
use crate::smtp::reply::Class;
use crate::stage::Stage;

/// Reads every error in `text`, each with the number of the line on which it begins, from zero.
pub(crate) fn read(text: &str) -> Vec<(u64, Report)> {
    let mut found = whole(text);
    if found.is_empty() {
        let joined = rejoin(text);
        let (fields, text) = status_fields(&joined);
        found = fields;
        found.extend(sentences(&text));
    }
    found
        .into_iter()
        .map(|(at, mut report)| {
            "text".clone_into(&mut report.format);
            let line = text.get(..sentence::floor(text, at)).unwrap_or_default().matches('\n').count();
            (line as u64, report)
        })
        .collect()
}

/// Texts that are one thing from end to end.
fn whole(text: &str) -> Vec<(usize, Report)> {
    if text.lines().any(swaks::begins) {
        let mut found = Vec::new();
        let mut starts: Vec<usize> = text
            .match_indices("=== Trying ")
            .map(|(at, _)| at)
            .filter(|&at| at == 0 || text[..at].ends_with('\n'))
            .collect();
        if starts.is_empty() {
            starts.push(0);
        }
        let ends = starts.iter().copied().skip(1).chain([text.len()]).collect::<Vec<_>>();
        for (start, end) in starts.into_iter().zip(ends) {
            found.extend(swaks::session(&text[start..end]).map(|report| (start, report)));
        }
        return found;
    }
    if text.lines().any(|line| line.starts_with("<-- ") || line.starts_with("--> ")) {
        let message = sentence::read_as(text, msmtp::sentences);
        let dialog = msmtp::dialog(text);
        return dialog.or(message).map(|report| (0, report)).into_iter().collect();
    }
    if let Some((at, told)) = text.split_once("smtp: Failed: ").map(|(before, told)| (before.len(), told))
        && !text[..at].ends_with(|c: char| c != '\n')
    {
        return nullmailer::failed(told.trim()).map(|report| (at, report)).into_iter().collect();
    }
    if let Some(report) = qmail::remote(text.trim()) {
        return vec![(0, report)];
    }
    if Squeezed::new(text).has("Transcript of session follows")
        && let Some(reports) = sendmail::bounce(text)
    {
        return reports.into_iter().map(|report| (0, report)).collect();
    }
    Vec::new()
}

/// Every error told in sentences, and every reply that stands by itself.
fn sentences(text: &str) -> Vec<(usize, Report)> {
    let squeezed = Squeezed::new(text);
    let mut hits = Vec::new();
    for dialect in super::SENTENCES {
        dialect(&squeezed, &mut hits);
    }
    hits.sort_by_key(|hit| (hit.span.start, usize::MAX - hit.span.end));
    replies(text, &mut hits);
    let lead = |at: usize| text[..at].rfind("\n\n").map_or(0, |at| at + 2);
    sentence::told(text, hits)
        .into_iter()
        .filter(|(_, report)| {
            report.kind.is_some() || report.stage.is_some() || report.code.is_some() || !report.attempt
        })
        .map(|(span, mut report)| {
            report.recipient =
                report.recipient.take().or_else(|| recipient_before(&text[lead(span.start)..span.start]));
            (span.start, report)
        })
        .collect()
}

/// `<a@b>: ` or `a@b` on the line before.
fn recipient_before(text: &str) -> Option<String> {
    let from = sentence::floor(text, text.len().saturating_sub(400));
    let near: Vec<&str> = text[from..].lines().rev().take(3).collect();
    near.iter().find_map(|line| {
        let line = line.trim();
        let word = line.split_whitespace().next()?;
        (line.len() == word.len() || word.ends_with(':') || word.ends_with(">:"))
            .then(|| wording::mailbox(word))
            .flatten()
    })
}

/// Replies that no sentence introduces: at the beginning of a line or of a quotation, or with an
/// enhanced code behind the code.
fn replies(text: &str, hits: &mut Vec<Hit>) {
    let mut bare = Vec::new();
    let mut from = 0;
    for paragraph in text.split("\n\n") {
        let range = from..from + paragraph.len();
        from = range.end + 2;
        // A sentence that ended the paragraph before waits for its reply here.
        let expecting = hits.iter().any(|hit| {
            hit.span.end <= range.start
                && text[hit.span.end..range.start].trim_matches(|c: char| c.is_whitespace() || c == ':').is_empty()
        });
        if expecting {
            continue;
        }
        let taken = hits
            .iter()
            .filter(|hit| hit.span.start < range.end && hit.span.end > range.start)
            .map(|hit| hit.span.start)
            .min();
        let free = &text[range.start..taken.unwrap_or(range.end)];
        let mut at = 0;
        while let Some((found, quoted)) = Quoted::find(&free[at..]) {
            let place = range.start + at + found;
            at += found + 3;
            let before = text[..place].trim_end_matches([' ', '\t']);
            let begins = before.is_empty() || before.ends_with(['\n', '(', ':']) || before.ends_with(reply::is_quote);
            let known = quoted.code.is_some_and(|code| is_smtp(code.get()));
            let same_class = quoted.enhanced.zip(quoted.code).is_some_and(|(e, c)| u16::from(e.class) == c.get() / 100);
            if !(known && (same_class || begins && text[place + 3..].starts_with([' ', '-', ':']))) {
                continue;
            }
            // The rest of a reply that goes on for several lines.
            let _multi = text[place + 3..].starts_with('-');
            let first = bare.last().is_none_or(|(last, code): &(usize, _)| {
                *code != quoted.code || text[*last..place].contains("\n\n") || !text[last + 3..].starts_with('-')
            });
            if !first {
                continue;
            }
            bare.push((place, quoted.code));
        }
        if taken.is_none()
            && !bare.iter().any(|(place, _)| range.contains(place))
            && let Some(found) = Squeezed::new(paragraph).find("ESMTP not accepting connections", 0)
        {
            let span = range.start + found.start..range.start + found.end;
            hits.push(Hit::new(
                span,
                receiver("ESMTP not accepting connections", wording::by("")),
                sentence::nothing_follows,
            ));
        }
    }
    for (at, _) in bare {
        hits.push(Hit::new(at..at + 3, wording::by(""), |_, _| {}));
        if let Some(hit) = hits.last_mut() {
            let rest = &text[at..];
            let end = rest.find("\n\n").unwrap_or(rest.len());
            let line = rest[..end].lines().scan(true, |more, line| {
                let this = *more;
                *more = line.get(3..4) == Some("-");
                this.then_some(line)
            });
            let mut quoted: String = line.collect::<Vec<_>>().join("\n");
            if let Some(open) = text[..at].chars().next_back().filter(|c| reply::is_quote(*c) || *c == '(') {
                let close = if open == '(' { ')' } else { open };
                let inner = quoted.matches(close).count();
                if let Some(end) = quoted.rfind(close).filter(|_| inner % 2 == 1) {
                    quoted.truncate(end);
                }
            }
            sentence::quote(&mut hit.report, &quoted);
            let told = hit.report.reply.clone().unwrap_or_default();
            hit.report = receiver(&told, std::mem::take(&mut hit.report));
        }
    }
    hits.sort_by_key(|hit| (hit.span.start, usize::MAX - hit.span.end));
}

/// What the words of a reply say by themselves of the stage and of the server that wrote it.
fn receiver(told: &str, mut report: Report) -> Report {
    let squeezed = Squeezed::new(told);
    if squeezed.has("ESMTP not accepting connections") {
        report.stage = Some(Stage::Banner);
        report.kind = Some(Kind::Rejected);
        report.stage_why =
            Some("Postfix's smtpd says so in its greeting only, when a milter rejects the connection".to_owned());
    }
    // A server begins its greeting, and some of its replies, with its own name.
    let mut words = told.split_whitespace().skip(1);
    let first = words.next().filter(|w| w.parse::<crate::smtp::reply::Enhanced>().is_err()).or_else(|| words.next());
    report.mx = first.filter(|w| w.matches('.').count() > 1).and_then(wording::host_name);
    report
}

fn is_smtp(code: u16) -> bool {
    matches!(code, 421 | 422 | 431 | 432 | 441 | 442 | 446 | 447 | 449 | 450..=454 | 458 | 459 | 471 | 500..=504 | 510..=513 | 515 | 517 | 519 | 521 | 523 | 530 | 531 | 533..=535 | 538 | 541 | 542 | 550..=558 | 560 | 571 | 573 | 577)
}

/// Takes blocks of RFC 3464 fields out of a text and reads them.
fn status_fields(text: &str) -> (Vec<(usize, Report)>, String) {
    const NAMES: [&str; 12] = [
        "action",
        "status",
        "remote-mta",
        "diagnostic-code",
        "final-recipient",
        "original-recipient",
        "reporting-mta",
        "last-attempt-date",
        "will-retry-until",
        "arrival-date",
        "received-from-mta",
        "x-actual-recipient",
    ];
    let (mut found, mut rest) = (Vec::new(), String::with_capacity(text.len()));
    let mut block: Vec<&str> = Vec::new();
    let (mut at, mut start) = (0, 0);
    let mut message: Option<Group> = None;
    let mut finish = |block: &mut Vec<&str>, start: usize, rest: &mut String| {
        let lines = std::mem::take(block);
        for group in mail::groups(&lines.join("\n")) {
            let named = |name: &str| group.iter().any(|(n, _)| n == name);
            if named("diagnostic-code") || named("action") && named("status") || named("final-recipient") {
                if let Some(mut report) = dsn::recipient(&group, message.as_ref()) {
                    report.local_host = message
                        .as_ref()
                        .and_then(|m| m.iter().find(|(n, _)| n == "reporting-mta"))
                        .map(|(_, v)| v.rsplit(';').next().unwrap_or(v).trim().to_owned());
                    delayed(&mut report);
                    found.push((start, report));
                }
            } else if named("reporting-mta") {
                message = Some(group);
            } else {
                for line in &lines {
                    rest.push_str(line);
                    rest.push('\n');
                }
            }
        }
    };
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        let name = bare.trim_start().split_once(':').map(|(name, _)| name.trim().to_ascii_lowercase());
        let known = name.as_deref().is_some_and(|name| {
            NAMES.contains(&name)
                || name.starts_with("x-postfix")
                || name.ends_with("-queue-id")
                || name.starts_with("x-powermta")
        });
        if known {
            if block.is_empty() {
                start = at;
            }
            block.push(bare.trim_start());
        } else if !block.is_empty() && !bare.trim().is_empty() && bare.starts_with([' ', '\t']) {
            block.push(bare);
        } else {
            if !block.is_empty() {
                finish(&mut block, start, &mut rest);
            }
            rest.push_str(line);
        }
        at += line.len();
    }
    if !block.is_empty() {
        finish(&mut block, start, &mut rest);
    }
    (found, rest)
}

/// `Action: delayed`, a 4.x.x status and a 5xx reply: only Postfix, and only of a greeting.
pub(crate) fn delayed(report: &mut Report) {
    let kept =
        report.action.as_deref() == Some("delayed") && report.status.as_deref().is_some_and(|s| s.starts_with('4'));
    if kept && report.stage.is_none() && report.code.is_some_and(|code| code.class() == Class::Permanent) {
        report.candidates.clear();
        super::postfix::settle(report);
    }
}

/// Undoes, within one line, what copying does to text: HTML entities, curly quotes, dashes for
/// hyphens, marks of quoting at the beginning, invisible characters.
pub(crate) fn plain(line: &str) -> Cow<'_, str> {
    let marked = line.bytes().any(|b| b == b'&' || b >= 0x80 || b == b'\t') || line.starts_with(['>', ' ', '|', '<']);
    if !marked {
        return Cow::Borrowed(line);
    }
    let mut line = Cow::Borrowed(line);
    if line.contains('&') {
        line = Cow::Owned(entities(&line));
    }
    if line.contains("<br") || line.contains("<BR") {
        line =
            Cow::Owned(line.replace("<br>", "\n").replace("<br/>", "\n").replace("<br />", "\n").replace("<BR>", "\n"));
    }
    if !line.is_ascii() {
        line = Cow::Owned(
            line.chars()
                .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}' | '\u{2060}' | '\u{202a}'..='\u{202e}'))
                .map(|c| match c {
                    '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{2033}' => '"',
                    '\u{2018}'..='\u{201b}' | '\u{2032}' => '\'',
                    '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
                    '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => ' ',
                    c => c,
                })
                .collect(),
        );
    }
    let mut bare: &str = &line;
    loop {
        let inner = bare.trim_start();
        match inner.strip_prefix('>') {
            // `>>> RCPT TO` is sendmail's.
            Some(rest) if !inner.starts_with(">>>") && rest.starts_with([' ', '>']) || inner == ">" => {
                bare = inner[1..].strip_prefix(' ').unwrap_or(&inner[1..]);
            }
            _ => break,
        }
    }
    if bare.len() == line.len() { line } else { Cow::Owned(bare.to_owned()) }
}

fn entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|&end| end <= 8);
        let named = end.map(|end| &rest[1..end]);
        let c = match named {
            Some("lt") => Some('<'),
            Some("gt") => Some('>'),
            Some("amp") => Some('&'),
            Some("quot" | "ldquo" | "rdquo") => Some('"'),
            Some("apos" | "lsquo" | "rsquo") => Some('\''),
            Some("nbsp") => Some(' '),
            Some("ndash" | "mdash" | "minus") => Some('-'),
            Some(name) => name
                .strip_prefix('#')
                .and_then(|n| {
                    n.strip_prefix(['x', 'X']).map_or_else(|| n.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
                })
                .and_then(char::from_u32),
            None => None,
        };
        if let (Some(c), Some(end)) = (c, end) {
            out.push(c);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// Joins lines that a fixed width cut, words and all: every line but the last of a paragraph is as
/// long as the others. Elsewhere a line end stays what it is.
fn rejoin(text: &str) -> Cow<'_, str> {
    let cut = |paragraph: &str| {
        let lines: Vec<usize> = paragraph.lines().map(|line| line.chars().count()).collect();
        lines.len() > 2
            && lines[0] >= 20
            && lines[..lines.len() - 1].iter().all(|n| *n == lines[0])
            && lines[lines.len() - 1] <= lines[0]
    };
    if !text.split("\n\n").any(cut) {
        return Cow::Borrowed(text);
    }
    let paragraphs: Vec<String> =
        text.split("\n\n").map(|p| if cut(p) { p.replace('\n', "") } else { p.to_owned() }).collect();
    Cow::Owned(paragraphs.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copying_is_undone() {
        for (mangled, want) in [
            ("> > host &lt;a&gt; said", "host <a> said"),
            (">>> RCPT To:<a@b>", ">>> RCPT To:<a@b>"),
            ("> >>> RCPT To:<a@b>", ">>> RCPT To:<a@b>"),
            ("“421” – ‘x’\u{a0}y\u{200b}", "\"421\" - 'x' y"),
            ("&#8220;x&#x201d; &bogus; &", "\"x\" &bogus; &"),
            ("plain", "plain"),
        ] {
            // Entities come first, so that what they stand for is undone too.
            assert_eq!(plain(&plain(mangled)), want, "{mangled}");
        }
        assert_eq!(
            rejoin("aaaaaaaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbbbbbb\nccc\n\nx\ny"),
            "aaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbccc\n\nx\ny"
        );
    }
}
