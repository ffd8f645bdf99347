//! msmtp: the line of its log, its messages and the dialog of `--debug`.

use super::log::{Entry, Taken};
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::transcript::{self, Said};
use super::wording::{self, at, by, field};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "msmtp";

const SERVER: &str = "msmtp: server message";

const MESSAGES: [(&str, Stage); 10] = [
    ("cannot get initial OK message from server", Stage::Banner),
    ("SMTP server does not accept EHLO or HELO commands", Stage::Ehlo),
    ("command STARTTLS failed", Stage::StartTls),
    ("TLS handshake failed", Stage::Tls),
    ("authentication failed", Stage::Auth),
    ("not accepted by the server", Stage::Mail),
    ("the server does not accept mail data", Stage::Data),
    ("the server did not accept the mail", Stage::EndOfData),
    ("cannot connect to", Stage::Connect),
    ("cannot locate host", Stage::Resolve),
];

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for phrase in s.all(SERVER) {
        if is_further_line(&s.text[..phrase.start]) {
            continue;
        }
        let from = sentence::floor(s.text, phrase.start.saturating_sub(300));
        let start = s.find("msmtp:", from).map_or(phrase.start, |f| f.start);
        let stage = stage(&s.text[start..phrase.start]);
        hits.push(Hit::new(start..phrase.end, Report { stage, kind: Some(Kind::Rejected), ..by(NAME) }, reply));
    }
    for phrase in s.all("msmtp: cannot connect to") {
        let rest = s.text[phrase.end..].lines().next().unwrap_or_default();
        let (host, what) = rest.split_once(", port").unwrap_or((rest, rest));
        let report =
            Report { kind: wording::fault(what), mx: wording::host_name(host.trim()), ..at(NAME, Stage::Connect) };
        hits.push(Hit::new(phrase, report, sentence::nothing_follows));
    }
}

/// Every line of a reply has the phrase before it: whether one that goes on ends what was read.
fn is_further_line(before: &str) -> bool {
    let last = before.trim_end().rsplit('\n').next().unwrap_or_default();
    let line = last.trim_start().strip_prefix("msmtp: server message:").unwrap_or_default().trim_start().as_bytes();
    line.len() > 3 && line[..3].iter().all(u8::is_ascii_digit) && line[3] == b'-'
}

/// The reply ends where msmtp says the next thing.
fn reply(report: &mut Report, rest: &str) {
    let lines = rest.replace("msmtp: server message:", "");
    sentence::reply_follows(report, lines.split("msmtp:").next().unwrap_or_default());
}

/// `host=H tls=.. recipients=A smtpstatus=421 smtpmsg='421 R' errormsg='..' exitcode=EX_..`.
pub(crate) fn line(entry: &Entry<'_>) -> Taken {
    let text = entry.text;
    let ours = text.starts_with("host=") && text.contains(" tls=") && text.contains(" exitcode=");
    if !ours {
        return Taken::No;
    }
    let quoted = |key: &str, end: &str| {
        let rest = &text[text.find(key)? + key.len()..];
        Some(&rest[..rest.find(end)?])
    };
    let Some(message) = quoted(" errormsg='", "' exitcode=") else { return Taken::Other };
    let mut report = Report { stage: stage(message), kind: wording::fault(message), ..by(NAME) };
    let reply = quoted(" smtpmsg='", "' errormsg=").map(|reply| reply.replace("\\n", "\n"));
    if let Some(reply) = &reply {
        report.kind = None;
        sentence::quote(&mut report, reply);
    }
    if report.kind == Some(Kind::DnsFailed) {
        report.stage = Some(Stage::Resolve);
    }
    report.mx = field(text, "host=", &[' ']).and_then(wording::host_name);
    let recipients: Vec<&str> = field(text, " recipients=", &[' ']).unwrap_or_default().split(',').collect();
    let named = quoted(" errormsg='recipient address ", " ");
    let of = |recipient: &str| {
        let mut report = report.clone();
        report.recipient = wording::mailbox(recipient);
        report.evidence =
            Some(reply.as_deref().map_or_else(|| message.to_owned(), |reply| format!("{message}: {reply}")));
        entry.stamp(report)
    };
    Taken::errors(named.map_or_else(|| recipients.iter().map(|r| of(r)).collect(), |named| vec![of(named)]))
}

/// The dialog of `--debug`, `-->` and `<--`. Its messages go to another stream and may stand before it.
pub(crate) fn dialog(text: &str) -> Option<Report> {
    let lines = text.lines().filter_map(|line| {
        let sent = line.strip_prefix("-->").map(|sent| Said::Sent(sent.trim_start()));
        sent.or_else(|| line.strip_prefix("<-- ").map(Said::Received))
    });
    let broke = text.lines().filter_map(|line| line.strip_prefix("msmtp: ")).find_map(|message| {
        let broke = message.contains("network read error") || message.contains("empty reply");
        broke.then(|| Said::Broke(wording::fault(message).unwrap_or(Kind::Dropped)))
    });
    transcript::ending(NAME, lines.chain(broke))
}

fn stage(message: &str) -> Option<Stage> {
    if message.contains("recipient address") {
        return Some(Stage::Rcpt);
    }
    MESSAGES.iter().find(|(words, _)| message.contains(words)).map(|(_, stage)| *stage)
}
