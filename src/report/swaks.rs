//! swaks: its transcript, `->`, `<-`, `<**`, `===` and `***`.

use super::transcript::{self, Said};
use super::wording;
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "swaks";

/// Whether `line` can only be swaks's.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("=== Trying ") || line.starts_with("=== Connected to ")
}

/// Reads one session.
pub(crate) fn session(text: &str) -> Option<Report> {
    let (mut host, mut address) = (None, None);
    let mut refused = None;
    let mut connecting = false;
    for line in text.lines() {
        if let Some(to) = line.strip_prefix("=== Trying ") {
            let to = to.trim_end_matches("...");
            let named = to.rsplit_once(':').map_or(to, |(host, _)| host);
            match wording::ip(named) {
                Some(ip) => address = Some(ip),
                None => host = wording::host_name(named),
            }
        } else if let Some(to) = line.strip_prefix("=== Connected to ") {
            let to = to.trim_end_matches('.');
            address = wording::ip(to).or(address);
            host = host.or_else(|| wording::host_name(to));
        } else if line.starts_with("*** Error connecting to ") {
            connecting = true;
            refused = Some(Report { kind: wording::fault(line), ..wording::at(NAME, Stage::Connect) });
        } else if connecting
            && line.starts_with("***")
            && let Some(report) = &mut refused
        {
            report.kind = report.kind.or_else(|| wording::fault(line));
        }
    }
    let said = text.lines().filter_map(|line| {
        let sent = [" -> ", " ~> ", "-> ", "~> "]
            .iter()
            .find_map(|arrow| line.strip_prefix(arrow))
            .or_else(|| (line.trim() == "->").then_some(""));
        if let Some(sent) = sent {
            return Some(Said::Sent(sent));
        }
        if line.starts_with("<** Timeout") {
            return Some(Said::Broke(Kind::TimedOut));
        }
        let received =
            ["<-  ", "<~  ", "<** ", "<*~ ", "<~* ", "<- "].iter().find_map(|arrow| line.strip_prefix(arrow));
        if let Some(received) = received {
            return Some(Said::Received(received));
        }
        if line.starts_with("*** TLS startup failed") {
            return Some(Said::Broke(Kind::TlsFailed));
        }
        (line.starts_with("*** Remote host closed") || line.starts_with("*** Timeout"))
            .then(|| Said::Broke(wording::fault(line).unwrap_or(Kind::Dropped)))
    });
    if let Some(report) = refused.as_mut().filter(|report| report.kind == Some(Kind::Dropped)) {
        // The reset came while or just after the connection was made.
        report.stage = None;
        report.candidates = vec![Stage::Connect, Stage::Banner];
    }
    let mut report = refused.or_else(|| transcript::ending(NAME, said))?;
    // Where swaks was given an address, the server's greeting names it.
    let greeting = text.lines().find_map(|line| line.strip_prefix("<-  220").or_else(|| line.strip_prefix("<** ")));
    host = host.or_else(|| {
        greeting.and_then(|told| wording::host_name(told.trim_start_matches([' ', '-']).split(' ').next()?))
    });
    (report.mx, report.address) = (host, address);
    Some(report)
}
