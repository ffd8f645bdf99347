//! The `DragonFly` Mail Agent: its log and its bounces.

use super::log::{Entry, Recent, Taken};
use super::reply::collapse;
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "dma";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for phrase in s.all("did not like our") {
        let line = s.text[..phrase.start].rfind('\n').map_or(0, |at| at + 1);
        let start = line.max(sentence::floor(s.text, phrase.start.saturating_sub(300)));
        let (mx, address) = wording::host_and_address(&s.text[start..phrase.start]);
        hits.push(Hit::new(start..phrase.end, Report { mx, address, ..by(NAME) }, after_command));
    }
    for words in ["Could not deliver for the last", "unknown bounce reason"] {
        for phrase in s.all(words) {
            hits.push(Hit::new(
                phrase,
                Report { attempt: false, origin: Some("local".to_owned()), ..by(NAME) },
                sentence::nothing_follows,
            ));
        }
    }
}

/// What the log needs remembered: for whom each queue entry is.
#[derive(Default)]
pub(crate) struct Log {
    recipients: Recent<String>,
    /// Where its delivery is being tried.
    hosts: Recent<String>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        if entry.program != "dma" {
            return Taken::No;
        }
        let text = entry.text.trim_start();
        if let Some((to, _)) = text.strip_prefix('<').and_then(|t| t.split_once("> trying delivery")) {
            self.recipients.put(entry.pid, to.to_owned());
            return Taken::Other;
        }
        if let Some(host) = text.strip_prefix("trying remote delivery to ") {
            self.hosts.put(entry.pid, host.split(" pref ").next().unwrap_or(host).to_owned());
            return Taken::Other;
        }
        if let Some((to, _)) = text.strip_prefix('<').and_then(|t| t.split_once("> delivery successful")) {
            let host = self.hosts.take(entry.pid).unwrap_or_default();
            let (mx, address) = wording::host_and_address(&host);
            let report = Report { recipient: wording::mailbox(to), mx, address, ..wording::passed(NAME) };
            return Taken::passed(entry.stamp(report));
        }
        let delivery =
            text.strip_prefix("remote delivery to ").or_else(|| text.strip_prefix("remote delivery deferred: "));
        let mut report = if let Some((host, told)) = delivery.and_then(|told| told.split_once(" failed after ")) {
            let mut report = by(NAME);
            (report.mx, report.address) = wording::host_and_address(host);
            after_command(&mut report, told);
            report
        } else if let Some((host, told)) =
            text.strip_prefix("connect to ").and_then(|told| told.split_once(" failed: "))
        {
            let (mx, address) = wording::host_and_address(host);
            Report { mx, address, kind: wording::fault(told), ..at(NAME, Stage::Connect) }
        } else if let Some((host, told)) =
            text.strip_prefix("Could not perform server greeting at ").and_then(|told| told.split_once("]: "))
        {
            // dma's word for EHLO and HELO; what the server greets with is its "connect".
            let mut report = at(NAME, Stage::Ehlo);
            (report.mx, report.address) = wording::host_and_address(host);
            answer(&mut report, told);
            report
        } else {
            return Taken::Other;
        };
        report.recipient = self.recipients.get(entry.pid).and_then(|to| wording::mailbox(to));
        report.evidence = Some(collapse(text));
        Taken::errors(vec![entry.stamp(report)])
    }
}

/// `CMD: R`; `connect` is the greeting, `final DATA` the dot.
fn after_command(report: &mut Report, rest: &str) {
    report.stage = wording::command_stage(rest);
    if let Some((_, told)) = rest.split_once(':') {
        answer(report, told);
    }
}

/// A reply, or what the system says.
fn answer(report: &mut Report, told: &str) {
    sentence::quote(report, told);
    if report.code.is_none() {
        (report.enhanced, report.reply) = (None, None);
        report.kind = wording::fault(told).filter(|kind| *kind != Kind::DnsFailed);
    }
}
