//! The lines of Postfix's log: deliveries, and errors at one host before another is tried.

use super::{NAME, exactly, sentences, settle_if_refused};
use crate::record::Report;
use crate::report::log::{Entry, Recent, Taken};
use crate::report::reply::collapse;
use crate::report::sentence;
use crate::report::wording::{self, by, enclosed, field};

/// What the log of Postfix needs remembered.
#[derive(Default)]
pub(crate) struct Log {
    /// The last error of each process that names a host but no recipient.
    hosts: Recent<Report>,
}

impl Log {
    pub(crate) fn line(&mut self, entry: &Entry<'_>) -> Taken {
        let Some((instance, daemon)) = entry.program.rsplit_once('/') else { return Taken::No };
        if !instance.to_ascii_lowercase().contains("postfix") {
            return Taken::No;
        }
        if matches!(
            daemon,
            "smtpd" | "cleanup" | "pickup" | "postscreen" | "bounce" | "anvil" | "master" | "scache" | "tlsmgr"
        ) {
            return Taken::Other;
        }
        match delivery(entry.text) {
            Some(delivery) => {
                let mut errors = Vec::new();
                let text = collapse(delivery.text);
                if let Some(host) = self.hosts.take(entry.pid)
                    && !host.evidence.as_deref().is_some_and(|evidence| text.contains(evidence))
                {
                    errors.push(host);
                }
                if delivery.failed() {
                    errors.push(entry.stamp(delivery.report()));
                }
                if delivery.status == "sent" && delivery.relay.contains('[') {
                    let (mx, address) = wording::host_and_address(delivery.relay);
                    let recipient = wording::mailbox(delivery.to);
                    return Taken::Passed(
                        errors,
                        Box::new(entry.stamp(Report { recipient, mx, address, ..wording::passed(NAME) })),
                    );
                }
                Taken::errors(errors)
            }
            None => match at_a_host(entry) {
                Some(report) => Taken::errors(self.hosts.put(entry.pid, report).into_iter().collect()),
                None => Taken::Other,
            },
        }
    }

    pub(crate) fn end(&mut self) -> Vec<Report> {
        self.hosts.drain()
    }
}

/// A line that tells of an error at a host and names no recipient: another host is tried next.
pub(crate) fn at_a_host(entry: &Entry<'_>) -> Option<Report> {
    let (instance, daemon) = entry.program.rsplit_once('/')?;
    if !instance.contains("postfix") || !matches!(daemon, "smtp" | "lmtp") {
        return None;
    }
    let queued = entry.text.split_once(": ").filter(|(id, _)| id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let text = queued.map_or(entry.text, |(_, text)| text);
    let report = sentence::read_as(text, sentences).filter(|r| r.mx.is_some() || r.address.is_some())?;
    Some(entry.stamp(Report { mta: Some(NAME.to_owned()), evidence: Some(collapse(text)), ..report }))
}

/// One delivery line: `to=<..>, relay=.., dsn=.., status=deferred (..)`.
pub(crate) struct Delivery<'a> {
    pub(crate) to: &'a str,
    pub(crate) relay: &'a str,
    pub(crate) dsn: &'a str,
    pub(crate) status: &'a str,
    pub(crate) text: &'a str,
}

/// Reads a line behind its syslog head.
pub(crate) fn delivery(line: &str) -> Option<Delivery<'_>> {
    // The angle brackets may have been lost on the way.
    let head = &line[line.find("to=<").or_else(|| line.find(": to=").map(|at| at + 2))? + 3..];
    let (to, fields) = head.split_once(',')?;
    let (fields, status) = fields.split_once(", status=")?;
    let (status, text) = status.split_once(' ').unwrap_or((status, ""));
    let text = enclosed(text, '(', ')').or_else(|| text.strip_prefix('(')).unwrap_or(text);
    Some(Delivery {
        to,
        relay: field(fields, "relay=", &[',']).unwrap_or_default(),
        dsn: field(fields, "dsn=", &[',', ' ']).unwrap_or_default(),
        status,
        text,
    })
}

impl Delivery<'_> {
    pub(crate) fn failed(&self) -> bool {
        matches!(self.status, "deferred" | "bounced" | "expired" | "undeliverable" | "SOFTBOUNCE" | "softbounce")
    }

    pub(crate) fn report(&self) -> Report {
        let mut report = exactly(self.text).or_else(|| sentence::read_as(self.text, sentences)).unwrap_or_else(|| {
            let kind = wording::fault(self.text);
            let local = kind.is_none().then(|| "local".to_owned());
            Report { kind, origin: local, ..by(NAME) }
        });
        report.mta = Some(NAME.to_owned());
        let (mx, address) = wording::host_and_address(self.relay);
        report.mx = report.mx.or(mx);
        report.address = report.address.or(address);
        report.recipient = wording::mailbox(self.to);
        report.status = Some(self.dsn.to_owned()).filter(|dsn| !dsn.is_empty());
        report.evidence = Some(collapse(self.text));
        settle_if_refused(&mut report, self.text);
        report
    }
}
