//! Replies that stand by themselves in a text, without a sentence that introduces them.

use super::reply::{self, Quoted};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::{sendmail, wording};
use crate::record::{Kind, Report};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;

/// Postfix's smtpd says so in its greeting only, when a milter rejects the connection.
const GREETING: &str = "ESMTP not accepting connections";

/// Adds a hit for every reply that none of `hits`, which are in order, has a claim on.
pub(crate) fn replies(text: &str, hits: &mut Vec<Hit>) {
    let mut bare: Vec<(usize, Option<Code>)> = Vec::new();
    let mut from = 0;
    for paragraph in text.split("\n\n") {
        let (start, end) = (from, from + paragraph.len());
        from = end + 2;
        // A sentence that ended the paragraph before waits for its reply here.
        let blank = |text: &str| text.trim_matches(|c: char| c.is_whitespace() || c == ':').is_empty();
        if hits.iter().any(|hit| hit.span.end <= start && blank(&text[hit.span.end..start])) {
            continue;
        }
        let mut at = start;
        while let Some((found, quoted)) = Quoted::find(&text[at..end]) {
            let place = at + found;
            at = place + 3;
            let claimed = hits.iter().rfind(|hit| hit.span.start <= place && hit.span.start >= start);
            if introduces(text, place, &quoted)
                && claimed.is_none_or(|hit| follows(text, hit, place, quoted.code))
                && bare.last().is_none_or(|last| !goes_on(text, *last, place, quoted.code))
            {
                bare.push((place, quoted.code));
            }
        }
        let untold = !hits.iter().any(|hit| hit.span.start < end && hit.span.end > start)
            && bare.last().is_none_or(|last| last.0 < start);
        if let Some(found) = Squeezed::new(paragraph).find(GREETING, 0).filter(|_| untold) {
            let report = told(GREETING, wording::by(""));
            hits.push(Hit::new(start + found.start..start + found.end, report, sentence::nothing_follows));
        }
    }
    hits.extend(bare.into_iter().map(|(at, _)| Hit::new(at..at, wording::by(""), reads)));
}

/// Whether a reply can begin at `place`: at the start of a line or a quotation, or, anywhere, with an
/// enhanced code of its class.
fn introduces(text: &str, place: usize, quoted: &Quoted) -> bool {
    let Some(code) = quoted.code.filter(|code| is_refusal(code.get())) else { return false };
    let before = text[..place].trim_end_matches([' ', '\t']);
    let begins = before.is_empty() || before.ends_with(['\n', '(', ':']) || before.ends_with(reply::is_quote);
    let behind = text[place + 3..].trim_start_matches([' ', '-', ':']).split(' ').next().unwrap_or_default();
    let enhanced = Enhanced::leading(behind.as_bytes()).is_some_and(|e| u16::from(e.class) == code.get() / 100);
    enhanced || begins && text[place + 3..].starts_with([' ', '-', ':'])
}

/// Whether the reply at `place` is one more than that of the sentence before it: on a line of its own,
/// with another code.
fn follows(text: &str, hit: &Hit, place: usize, code: Option<Code>) -> bool {
    let own_line = text[..place].trim_end_matches([' ', '\t']).ends_with('\n');
    let between = text.get(hit.span.end..place).unwrap_or_default();
    let first = Quoted::find(between).and_then(|(_, quoted)| quoted.code).or(hit.report.code);
    own_line && first.is_some() && first != code && hit.report.mta.as_deref() != Some(sendmail::NAME)
}

/// Whether the reply at `place` is a later line of the one before.
fn goes_on(text: &str, (last, code): (usize, Option<Code>), place: usize, this: Option<Code>) -> bool {
    code == this && text[last + 3..].starts_with('-') && !text[last..place].contains("\n\n")
}

fn reads(report: &mut Report, rest: &str) {
    let rest = rest.split("\n\n").next().unwrap_or(rest);
    // The quotation or parenthesis that the reply stands in ends with it.
    let mut depth = 0_u32;
    let end = rest.char_indices().find_map(|(at, c)| match c {
        '(' => {
            depth += 1;
            None
        }
        ')' if depth == 0 => Some(at),
        ')' => {
            depth -= 1;
            None
        }
        _ => None,
    });
    let mut quoted = &rest[..end.unwrap_or(rest.len())];
    let line = quoted.lines().next().unwrap_or_default();
    if line.matches('"').count() % 2 == 1
        && let Some(close) = line.rfind('"')
    {
        quoted = &quoted[..close];
    }
    sentence::quote(report, quoted);
    let reply = report.reply.clone().unwrap_or_default();
    *report = told(&reply, std::mem::take(report));
}

/// What the words of a reply say by themselves of the stage, and of the server that wrote it.
fn told(reply: &str, mut report: Report) -> Report {
    if Squeezed::new(reply).has(GREETING) {
        report.stage = Some(Stage::Banner);
        report.kind = Some(Kind::Rejected);
        report.stage_why =
            Some("Postfix's smtpd says so in its greeting only, when a milter rejects the connection".to_owned());
    }
    // A server begins its greeting, and some of its replies, with its own name.
    let mut words = reply.split_whitespace().skip(1);
    let first = words.next().filter(|word| word.parse::<Enhanced>().is_err()).or_else(|| words.next());
    report.mx = first.filter(|word| word.matches('.').count() > 1).and_then(wording::host_name);
    report
}

/// The codes that servers refuse with; any other number is rather a number.
fn is_refusal(code: u16) -> bool {
    const SEEN: [u16; 40] = [
        421, 422, 431, 432, 441, 442, 446, 447, 449, 450, 451, 452, 453, 454, 458, 459, 471, 500, 501, 502, 503, 504,
        510, 511, 512, 513, 521, 523, 530, 534, 535, 538, 541, 550, 551, 552, 553, 554, 556, 571,
    ];
    SEEN.contains(&code)
}
