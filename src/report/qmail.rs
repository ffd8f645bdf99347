//! qmail and notqmail: the sentences of qmail-remote, the log of qmail-send, the bounce's own status.
//!
//! The wording is that of qmail-remote.c. It names an address, never a host, and `(#x.y.z)` behind its
//! own sentences is its own status, not the server's.

use super::log::{Entry, Recent, Taken};
use super::reply::{Quoted, collapse};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "qmail";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    let first = hits.len();
    for (words, stage, kind) in [
        ("but greeting failed", Some(Stage::Banner), Kind::Rejected),
        ("but my name was rejected", Some(Stage::Ehlo), Kind::Rejected),
        ("but sender was rejected", Some(Stage::Mail), Kind::Rejected),
        ("does not like recipient", Some(Stage::Rcpt), Kind::Rejected),
        ("failed on DATA command", Some(Stage::Data), Kind::Rejected),
        ("failed after I sent the message", Some(Stage::EndOfData), Kind::Rejected),
        ("but connection died", None, Kind::Dropped),
        ("but unable to use TLS", Some(Stage::StartTls), Kind::Rejected),
    ] {
        for phrase in s.all(words) {
            let (start, address) = before(s.text, phrase.start);
            let report = Report { stage, kind: Some(kind), address, ..by(NAME) };
            hits.push(Hit::new(start..phrase.end, report, if kind == Kind::Dropped { died } else { said }));
        }
    }
    for (words, stage, kind) in [
        ("Sorry, I wasn't able to establish an SMTP connection", Stage::Connect, None),
        ("CNAME lookup failed", Stage::Resolve, Some(Kind::DnsFailed)),
        ("Sorry, I couldn't find any host named", Stage::Resolve, Some(Kind::DnsFailed)),
        ("Sorry, I couldn't find a mail exchanger or IP address", Stage::Resolve, Some(Kind::DnsFailed)),
        ("Sorry, I couldn't find any host by that name", Stage::Resolve, Some(Kind::DnsFailed)),
    ] {
        for phrase in s.all(words) {
            hits.push(Hit::new(phrase, Report { kind, ..at(NAME, stage) }, own_status));
        }
    }
    for phrase in s.all("most progress was") {
        let start =
            s.find("Sorry, no SMTP connection got far enough", 0).map_or(phrase.start, |f| f.start.min(phrase.start));
        hits.push(Hit::new(start..phrase.end, Report { kind: Some(Kind::Rejected), ..by(NAME) }, progress));
    }
    for phrase in s.all("Remote host said") {
        // Behind one of the sentences above it belongs to that.
        if hits[first..].iter().any(|hit| hit.span.end <= phrase.start && phrase.start - hit.span.end < 60) {
            continue;
        }
        hits.push(Hit::new(phrase, Report { kind: Some(Kind::Rejected), ..by("") }, super::yahoo::remote_host_said));
    }
}

/// What the log of qmail-send needs remembered: to whom each delivery goes.
#[derive(Default)]
pub(crate) struct Log {
    deliveries: Recent<String>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        if let Some(started) = entry.text.strip_prefix("starting delivery ") {
            if let Some((number, to)) = started.split_once(": msg ") {
                let to = to.rsplit_once(' ').map_or("", |(_, to)| to);
                self.deliveries.put(number, to.to_owned());
            }
            return Taken::Other;
        }
        let Some(ended) = entry.text.strip_prefix("delivery ") else {
            let known = ["info msg ", "new msg ", "end msg ", "bounce msg ", "status: local ", "triple bounce"];
            return if known.iter().any(|k| entry.text.starts_with(k)) { Taken::Other } else { Taken::No };
        };
        let Some((number, ended)) = ended.split_once(": ") else { return Taken::No };
        let to = self.deliveries.take(number);
        let Some(text) = ended.strip_prefix("deferral: ").or_else(|| ended.strip_prefix("failure: ")) else {
            let Some(accepted) = ended.strip_prefix("success: ") else { return Taken::No };
            let address = accepted.split_once("_accepted_message").and_then(|(ip, _)| wording::ip(ip));
            let recipient = to.as_deref().and_then(wording::mailbox);
            let report = Report { recipient, address, ..wording::passed(NAME) };
            return Taken::passed(entry.stamp(report));
        };
        let text = text.replace('/', "\n").replace('_', " ");
        let mut report = sentence::read_as(&text, sentences).unwrap_or_else(|| own(&text));
        report.recipient = to.as_deref().and_then(wording::mailbox);
        report.evidence = Some(collapse(&text));
        report.mta = Some(NAME.to_owned());
        Taken::errors(vec![entry.stamp(report)])
    }
}

/// What qmail-remote itself writes: `r`, `h` or `s` for each recipient, then `K`, `Z` or `D` for the
/// message, each before its text, NUL between them.
pub(crate) fn remote(text: &str) -> Option<Report> {
    let text = text.replace('\0', "\n");
    let known = text.lines().next()?.trim_start_matches(['r', 'h', 's', 'K', 'Z', 'D']);
    let own = |line: &str| {
        ["Connected to ", "Sorry, ", "Giving up on ", "CNAME lookup", "Remote host said"]
            .iter()
            .any(|w| line.starts_with(w))
    };
    let begins = own(known)
        || ip_first(known)
        || known.is_empty() && text.lines().nth(1).is_some_and(|l| own(l.trim_start_matches(['K', 'Z', 'D'])));
    begins.then(|| sentence::read_as(&text, sentences)).flatten()
}

fn ip_first(line: &str) -> bool {
    line.split(' ').next().is_some_and(|word| wording::ip(word).is_some())
}

/// An error that is qmail's own: no server said it.
pub(crate) fn own(text: &str) -> Report {
    let mut report = Report { kind: wording::fault(text), origin: Some("local".to_owned()), ..by(NAME) };
    own_status(&mut report, text);
    report
}

/// `IP ` or `Connected to IP ` before the phrase.
fn before(text: &str, end: usize) -> (usize, Option<std::net::IpAddr>) {
    let from = sentence::floor(text, end.saturating_sub(80));
    let words = text[from..end].trim_end_matches([' ', '_', '\n', '\r', '\t']);
    let word_at = words.rfind([' ', '_', '\n', '\t']).map_or(0, |at| at + 1);
    let word = &words[word_at..];
    let address = wording::ip(word.trim_start_matches(|c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit()))
        .or_else(|| wording::ip(word.strip_prefix(['h', 's', 'r', 'Z', 'D']).unwrap_or(word)))
        .or_else(|| wording::host_and_address(word).1);
    let start = if address.is_some() { from + word_at } else { end };
    let lead = text[from..start].trim_end_matches([' ', '_', '\n']);
    let connected = ["Connected to", "Connected_to", "connected to"].iter().find(|w| lead.ends_with(*w));
    (connected.map_or(start, |w| from + lead.len() - w.len()), address)
}

fn said(report: &mut Report, rest: &str) {
    let squeezed = Squeezed::new(rest);
    match squeezed.find("Remote host said", 0).filter(|said| said.start < 40) {
        Some(said) => reply(report, &rest[said.end..]),
        None => own_status(report, rest),
    }
}

fn died(report: &mut Report, rest: &str) {
    if Squeezed::new(rest).find("Possible duplicate", 0).is_some_and(|found| found.start < 20) {
        report.stage = Some(Stage::EndOfData);
        report.stage_why =
            Some("\"Possible duplicate!\": the message had been sent when the connection died".to_owned());
    }
    own_status(report, rest);
}

/// The server's reply, up to where qmail goes on: its last sentences, or a line that begins a new one.
fn reply(report: &mut Report, rest: &str) {
    let squeezed = Squeezed::new(rest);
    let end = ["Giving up on", "I'm not going to try again", "Below this line"]
        .iter()
        .filter_map(|words| squeezed.find(words, 0))
        .map(|f| f.start)
        .min();
    let told = rest[..end.unwrap_or(rest.len())].trim_start();
    let told = told.split("\n\n").next().unwrap_or(told);
    let told = told.trim_end_matches([' ', '/', '\n', '-']);
    // Yahoo adds the command.
    let command = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let told = told
        .strip_suffix(']')
        .and_then(|told| told.rsplit_once(" ["))
        .filter(|(_, word)| command(word))
        .map_or(told, |(told, _)| told);
    sentence::quote(report, told);
}

/// `RCPT TO response; remote host IP said: R`, from behind `most progress was`.
fn progress(report: &mut Report, rest: &str) {
    report.stage = wording::command_stage(rest);
    let squeezed = Squeezed::new(rest);
    let Some(host) = squeezed.find("remote host", 0) else { return };
    let Some(said) = squeezed.find("said", host.end) else { return };
    report.address = wording::host_and_address(&rest[host.end..said.start]).1;
    let end = squeezed.find("Other MXes tried", said.end).map_or(rest.len(), |f| f.start);
    reply(report, rest[said.end..end].trim_end_matches(['(', '\n', ' ']));
}

/// `(#x.y.z)` in qmail's own sentence.
fn own_status(report: &mut Report, rest: &str) {
    let line = rest.trim_start().split('\n').next().unwrap_or(rest);
    let line = line.get(..sentence::floor(line, 200)).unwrap_or(line);
    let Some(at) = line.find('#') else { return };
    let status: String = line[at + 1..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    if Quoted::read(&status).is_some() {
        report.local_status = Some(status);
    }
}
