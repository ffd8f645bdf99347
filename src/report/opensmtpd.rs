//! `OpenSMTPD`: its log and its bounces.
//!
//! The wording is that of `usr.sbin/smtpd/mta_session.c` and mta.c. Only what goes wrong before MAIL is
//! named by its stage; a reply to MAIL, RCPT, DATA or the dot stands alone.

use super::log::{Entry, Recent, Taken};
use super::reply::collapse;
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by, field};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "opensmtpd";

const AFTER_EHLO: [Stage; 4] = [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfData];

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for (words, stage) in [
        ("BANNER rejected:", Stage::Banner),
        ("EHLO rejected:", Stage::Ehlo),
        ("HELO rejected:", Stage::Ehlo),
        ("LHLO rejected:", Stage::Ehlo),
        ("STARTTLS rejected:", Stage::StartTls),
        ("AUTH rejected:", Stage::Auth),
    ] {
        for phrase in s.all(words) {
            if s.text[phrase.end..].starts_with(':') {
                hits.push(Hit::new(
                    phrase,
                    Report { kind: Some(Kind::Rejected), ..at(NAME, stage) },
                    sentence::reply_follows,
                ));
            }
        }
    }
    for phrase in s.all("TLS required but not supported by remote host") {
        hits.push(Hit::new(phrase, at(NAME, Stage::StartTls), sentence::nothing_follows));
    }
    for phrase in s.all("Network error on destination MXs") {
        hits.push(Hit::new(phrase, passing(), sentence::nothing_follows));
    }
    for phrase in s.all("No MX found for domain").chain(s.all("Domain does not exist")) {
        hits.push(Hit::new(
            phrase,
            Report { kind: Some(Kind::DnsFailed), ..at(NAME, Stage::Resolve) },
            sentence::nothing_follows,
        ));
    }
}

/// `OpenSMTPD`'s own words after attempts that it logged before: no attempt of their own.
fn passing() -> Report {
    Report { attempt: false, origin: Some("local".to_owned()), ..by(NAME) }
}

/// What follows an address in a bounce: a bare reply, or words of its own.
pub(crate) fn section(text: &str) -> Option<Report> {
    let text = text.trim();
    if text.starts_with("Envelope expired") || text.starts_with("Network error on destination MXs") {
        return Some(passing());
    }
    if text.starts_with(['4', '5']) {
        let mut report = Report { candidates: AFTER_EHLO.to_vec(), ..by(NAME) };
        sentence::quote(&mut report, text);
        return report.code.is_some().then_some(report);
    }
    let kind = wording::fault(text)?;
    Some(Report { kind: Some(kind), stage: (kind == Kind::DnsFailed).then_some(Stage::Resolve), ..by(NAME) })
}

/// What the log needs remembered: where each session went, and an error that a delivery line may repeat.
#[derive(Default)]
pub(crate) struct Log {
    sessions: Recent<Session>,
}

#[derive(Default)]
struct Session {
    address: String,
    host: String,
    connected: bool,
    delivered: bool,
    error: Option<Report>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        let text = entry.text;
        if !entry.program.is_empty() && !entry.program.contains("smtpd") {
            return Taken::No;
        }
        if text.starts_with("smtp-out: ") || text.starts_with("relay: ") {
            return Taken::Other;
        }
        let Some((session, told)) =
            text.split_once(' ').filter(|(id, _)| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        else {
            return Taken::No;
        };
        let Some(told) = told.strip_prefix("mta ").or_else(|| told.strip_prefix("mta event=")) else {
            return Taken::Other;
        };
        if told.starts_with("connecting ") {
            let quoted = |key| field(told, key, &[' ']).unwrap_or_default().to_owned();
            let address = quoted("address=").trim_start_matches("smtp://").trim_start_matches("smtps://").to_owned();
            let old = self.sessions.put(session, Session { address, host: quoted("host="), ..Session::default() });
            return Taken::errors(old.and_then(|s| s.error).into_iter().collect());
        }
        if told.starts_with("connected") {
            if let Some(session) = self.sessions.get_mut(session) {
                session.connected = true;
            }
            return Taken::Other;
        }
        if told.starts_with("disconnected") || told.starts_with("closed") {
            return Taken::errors(self.sessions.take(session).and_then(|s| s.error).into_iter().collect());
        }
        if let Some((_, reason)) =
            told.split_once("error reason=").filter(|_| told.starts_with("error") || told.contains(" error "))
        {
            return self.error(session, reason, entry);
        }
        if !told.starts_with("delivery ") {
            return Taken::Other;
        }
        let repeated = self.sessions.get_mut(session).and_then(|known| {
            known.delivered = true;
            known.error.take()
        });
        match delivery(told) {
            Some(mut report) => {
                if report.kind == Some(Kind::Completed) {
                    return Taken::passed(entry.stamp(report));
                }
                if let Some(error) = repeated {
                    report.kind = report.kind.or(error.kind);
                }
                Taken::errors(vec![entry.stamp(report)])
            }
            None => Taken::Other,
        }
    }

    fn error(&mut self, id: &str, reason: &str, entry: &Entry<'_>) -> Taken {
        let session = self.sessions.get_mut(id);
        let mut report =
            sentence::read_as(reason, sentences).unwrap_or_else(|| Report { kind: wording::fault(reason), ..by(NAME) });
        report.evidence = Some(collapse(reason));
        let Some(session) = session else { return Taken::errors(vec![entry.stamp(report)]) };
        report.mx = wording::host_name(&session.host);
        report.address = wording::ip(&session.address);
        let told = report.stage.is_some();
        if !session.connected && report.stage.is_none() {
            report.stage = Some(Stage::Connect);
        }
        let report = entry.stamp(report);
        if told || !session.connected {
            return Taken::errors(vec![report]);
        }
        if !session.delivered {
            session.error = Some(report);
        }
        Taken::Other
    }

    pub(crate) fn end(&mut self) -> Vec<Report> {
        self.sessions.drain().into_iter().filter_map(|session| session.error).collect()
    }
}

/// `delivery evpid=.. to=<..> source="IP" relay="IP (H)" result="TempFail" stat="R"`.
fn delivery(told: &str) -> Option<Report> {
    let quoted = |key: &str| {
        let rest = &told[told.find(key)? + key.len()..];
        Some(rest[..rest.find('"')?].to_owned())
    };
    let result = quoted("result=\"")?;
    // It ends the line; quotes before its own belong to the reply.
    let stat = told.split_once("stat=\"").map_or("", |(_, stat)| stat.trim_end());
    let stat = stat.strip_suffix('"').unwrap_or(stat);
    let mut report = if result == "Ok" {
        wording::passed(NAME)
    } else if stat.starts_with(['4', '5']) {
        let mut report = Report { candidates: AFTER_EHLO.to_vec(), ..by(NAME) };
        sentence::quote(&mut report, stat);
        report
    } else {
        sentence::read_as(stat, sentences).or_else(|| section(stat)).unwrap_or_else(|| by(NAME))
    };
    report.recipient = wording::mailbox(field(told, " to=", &[' ']).unwrap_or_default());
    report.source = quoted("source=\"").and_then(|source| wording::ip(&source));
    let relay = quoted("relay=\"").unwrap_or_default();
    if relay.contains('(') {
        let (address, host) = relay.split_once('(').unwrap_or((&relay, ""));
        report.address = wording::ip(address);
        report.mx = wording::host_name(host.trim_end_matches(')'));
    }
    report.evidence = Some(collapse(stat));
    Some(report)
}
