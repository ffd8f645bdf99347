//! `PowerMTA`: its log and queue texts, its accounting file.
//!
//! It always names both ends of the connection, and never the command.

use super::log::{Entry, Taken};
use super::reply::{Quoted, collapse};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "powermta";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    let mut from = 0;
    for phrase in s.all("while connected from") {
        let begin = sentence::floor(s.text, phrase.start.saturating_sub(900)).max(from);
        from = phrase.end;
        let before = &s.text[begin..phrase.start];
        // `"R" received from H (IP) while`: what the server said; without it, what PowerMTA says.
        let received = s.find("received from", begin).filter(|f| f.end <= phrase.start);
        let told = received.as_ref().map_or(before, |received| &s.text[begin..received.start]);
        let event = ["SMTP service unavailable", "Error:"]
            .iter()
            .filter_map(|w| s.find(w, begin))
            .filter(|f| f.end <= phrase.start)
            .map(|f| f.start)
            .max();
        let told_from = event.map_or(0, |event| event - begin);
        let mut report = by(NAME);
        let start = if let Some((at, quoted)) = Quoted::find(told.get(told_from..).unwrap_or_default()) {
            let reply = quoted.reply.trim_end_matches(|c: char| super::reply::is_quote(c)).to_owned();
            // An inner pair of quotes keeps its closing one.
            let inner = reply.chars().filter(|c| super::reply::is_quote(*c)).count() % 2;
            let whole = if inner == 1 { format!("{reply}\"") } else { reply };
            report.kind = Some(Kind::Rejected);
            if let Some(quoted) = Quoted::read(&whole) {
                sentence::set(&mut report, quoted);
            }
            event.unwrap_or(begin + told_from + at)
        } else {
            let line = told.rfind('\n').map_or(0, |at| at + 1);
            report.kind = wording::fault(&told[line..]);
            if report.kind.is_some_and(|kind| matches!(kind, Kind::Refused | Kind::Unreachable)) {
                report.stage = Some(Stage::Connect);
            }
            event.unwrap_or(begin + line)
        };
        hits.push(Hit::new(start..phrase.end, report, ends));
    }
}

/// `L (LIP) to H (IP)`, from behind `while connected from`.
fn ends(report: &mut Report, rest: &str) {
    let rest = collapse(&rest[..sentence::floor(rest, 400)]);
    let Some((local, remote)) = rest.split_once(" to ") else { return };
    let (host, source) = wording::host_and_address(local);
    (report.local_host, report.source) = (host, source);
    let end = remote.find(')').map_or(remote.len(), |at| at + 1);
    (report.mx, report.address) = wording::host_and_address(&remote[..end]);
}

/// A line of the log or of the queue page.
pub(crate) fn line(entry: &Entry<'_>) -> Taken {
    if !entry.stamped || !entry.text.contains("while connected from") {
        return Taken::No;
    }
    let Some(report) = sentence::read_as(entry.text, sentences) else { return Taken::No };
    Taken::errors(vec![entry.stamp(report)])
}

/// The columns of an accounting file that has no header line.
const COLUMNS: [&str; 20] = [
    "type",
    "timeLogged",
    "timeQueued",
    "orig",
    "rcpt",
    "orcpt",
    "dsnAction",
    "dsnStatus",
    "dsnDiag",
    "dsnMta",
    "bounceCat",
    "srcType",
    "srcMta",
    "dlvType",
    "dlvSourceIp",
    "dlvDestinationIp",
    "dlvEsmtpAvailable",
    "dlvSize",
    "vmta",
    "jobId",
];

/// The accounting file: one line per delivery, bounce or attempt.
#[derive(Default)]
pub(crate) struct Accounting {
    columns: Option<Vec<String>>,
}

impl Accounting {
    pub(crate) fn line(&mut self, line: &str) -> Taken {
        if line.starts_with("type,") {
            self.columns = Some(fields(line));
            return Taken::Other;
        }
        let kind = line.split(',').next().unwrap_or_default();
        if !matches!(kind, "b" | "d" | "t" | "r" | "rb" | "f" | "tq" | "rs")
            || (self.columns.is_none() && line.matches(',').count() < 9)
        {
            return Taken::No;
        }
        if !matches!(kind, "b" | "d" | "t" | "rb") {
            return Taken::Other;
        }
        let values = fields(line);
        let default: Vec<String> = COLUMNS.iter().map(|&c| c.to_owned()).collect();
        let columns = self.columns.as_ref().unwrap_or(&default);
        let value = |name: &str| {
            columns
                .iter()
                .position(|c| c == name)
                .and_then(|at| values.get(at))
                .map(String::as_str)
                .filter(|v| !v.is_empty())
        };
        let mut report = by(NAME);
        "log".clone_into(&mut report.format);
        if let Some(diagnostic) = value("dsnDiag") {
            let told = diagnostic.split_once(';').map_or(diagnostic, |(_, told)| told);
            sentence::quote(&mut report, told);
            if report.code.is_none() {
                (report.enhanced, report.reply) = (None, None);
                report.kind = wording::fault(told);
            }
            report.evidence = Some(collapse(diagnostic));
        }
        report.recipient = value("rcpt").and_then(wording::mailbox);
        report.action = value("dsnAction").map(str::to_owned);
        report.status = value("dsnStatus").and_then(|s| s.split(' ').next()).map(str::to_owned);
        if let Some(remote) = value("dsnMta") {
            (report.mx, report.address) = wording::host_and_address(remote);
        }
        report.source = value("dlvSourceIp").and_then(wording::ip);
        report.address = report.address.or_else(|| value("dlvDestinationIp").and_then(wording::ip));
        report.at =
            value("timeLogged").and_then(|at| super::log::stamp(super::log::Clock::default(), &format!("{at} "))?.0);
        if kind == "d" {
            let Report { recipient, mx, address, source, at, .. } = report;
            return Taken::passed(Report { recipient, mx, address, source, at, ..wording::passed(NAME) });
        }
        Taken::errors(vec![report])
    }
}

/// The fields of a CSV line (RFC 4180).
fn fields(line: &str) -> Vec<String> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    out.push(field);
    out
}
