//! Postfix: the sentences of its SMTP client and the delivery lines of its log.
//!
//! The wording is that of `src/smtp/smtp_proto.c`, `smtp_connect.c`, `smtp_trouble.c` and
//! `src/qmgr/qmgr_deliver.c`. Others that are built on Postfix sign with their own `mail_name`.

use super::reply::collapse;
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by};
use crate::record::{Kind, Report};
use crate::smtp::reply::Class;
use crate::stage::Stage;

mod line;

pub(crate) use line::{Log, at_a_host, delivery};

pub(crate) const NAME: &str = "postfix";

const REFUSED: &str = "refused to start TLS";

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
    for (words, stage, kind) in [
        ("TLS is required, but was not offered by host", Some(Stage::StartTls), None),
        (REFUSED, Some(Stage::StartTls), Some(Kind::Rejected)),
        ("Cannot start TLS: handshake failure", Some(Stage::Tls), Some(Kind::TlsFailed)),
        ("Server certificate not verified", Some(Stage::Tls), Some(Kind::TlsFailed)),
        ("Server certificate not trusted", Some(Stage::Tls), Some(Kind::TlsFailed)),
        ("Host or domain name not found. Name service error", Some(Stage::Resolve), Some(Kind::DnsFailed)),
        ("Name service error for name", Some(Stage::Resolve), Some(Kind::DnsFailed)),
        ("local data error while talking to", None, Some(Kind::Local)),
    ] {
        for phrase in s.all(words) {
            let origin = (kind == Some(Kind::Local)).then(|| "local".to_owned());
            let report = Report { stage, kind, origin, ..by(NAME) };
            let hit = if words == REFUSED {
                let (start, host) = lead(s, phrase.start, &["host"]);
                Hit::new(start..phrase.end, named(report, host), sentence::reply_follows)
            } else {
                Hit::new(phrase, report, host_follows)
            };
            hits.push(hit);
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

/// The same for a text as Postfix wrote it, at a tenth of the cost: none where it is not the usual.
fn exactly(text: &str) -> Option<Report> {
    let (attempt, text) = match text.strip_prefix("delivery temporarily suspended: ") {
        Some(text) => (false, text),
        None => (true, text),
    };
    let mut report = if let Some(rest) = text.strip_prefix("host ") {
        let (host, told) = rest.split_at_checked(rest.find(']')? + 1)?;
        let mut report = named(by(NAME), host);
        if let Some(rest) = told.strip_prefix(" said: ") {
            said(&mut report, rest);
        } else {
            sentence::quote(&mut report, told.strip_prefix(" refused to talk to me: ")?);
            settle(&mut report);
        }
        report
    } else if let Some(rest) = text.strip_prefix("lost connection with ") {
        let mut report = Report { kind: Some(Kind::Dropped), ..by(NAME) };
        during(&mut report, rest);
        report
    } else {
        let rest = text.strip_prefix("conversation with ")?;
        let mut report = Report { kind: Some(Kind::TimedOut), ..by(NAME) };
        during(&mut report, rest);
        report
    };
    report.attempt = attempt;
    (report.kind.is_some()).then_some(report)
}

fn settle_if_refused(report: &mut Report, text: &str) {
    if text.contains("refused to talk to me") {
        settle(report);
    }
}

/// `host H[IP] said: R (in reply to CMD command)`, from behind `said`.
fn said(report: &mut Report, rest: &str) {
    if let Some((reply, command)) = rest.rsplit_once(" (in reply to ") {
        sentence::quote(report, reply);
        report.mta = Some(NAME.to_owned());
        report.stage = wording::command_stage(command).filter(|stage| *stage != Stage::Quit);
        return;
    }
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
