//! Oracle (iPlanet, Sun, Apple) Messaging Server: its reasons, and its `Remote-MTA`.

use super::wording;
use crate::record::Report;
use crate::stage::Stage;

pub(crate) const NAME: &str = "oracle";

const REASONS: [(&str, &[Stage]); 8] = [
    ("Remote SMTP server has rejected address", &[Stage::Rcpt]),
    ("Server rejected MAIL FROM address", &[Stage::Mail]),
    ("SMTP transmission failure has occurred", &[Stage::Data, Stage::EndOfData]),
    ("Failed connect()", &[Stage::Connect]),
    ("unable to connect", &[Stage::Connect]),
    ("Illegal host/domain name found", &[Stage::Resolve]),
    ("Remote SMTP server not accepting", &[Stage::Banner]),
    ("TLS", &[]),
];

/// Sets the stage that a `Reason:` or a status comment names.
pub(crate) fn reason(report: &mut Report, text: &str) {
    let Some((words, stages)) =
        REASONS.iter().find(|(words, _)| text.contains(words)).filter(|(_, stages)| !stages.is_empty())
    else {
        return;
    };
    report.mta = Some(NAME.to_owned());
    match stages {
        [stage] => report.stage = Some(*stage),
        several => report.candidates = several.to_vec(),
    }
    report.evidence = report.evidence.take().or_else(|| Some((*words).to_owned()));
}

/// `H (TCP|LIP|LPORT|RIP|25) (banner)`: the host, our address and theirs.
pub(crate) fn remote(report: &mut Report, value: &str) -> bool {
    let Some((host, ends)) = value.split_once("(TCP|") else { return false };
    let ends: Vec<&str> = ends.split(['|', ')']).collect();
    report.mta = Some(NAME.to_owned());
    report.mx = wording::host_name(host.rsplit(';').next().unwrap_or(host).trim());
    report.source = ends.first().and_then(|ip| wording::ip(ip));
    report.address = ends.get(2).and_then(|ip| wording::ip(ip));
    true
}
