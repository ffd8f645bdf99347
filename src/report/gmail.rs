//! Gmail: the sentences of its notices. A reply stands behind them, a stage never.

use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "gmail";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for words in [
        "The error that the other server returned was",
        "The response from the remote server was",
        "The response was",
        "the error that the other server returned was",
    ] {
        for phrase in s.all(words) {
            let (mx, address) = rejected_by(&s.text[..phrase.start]);
            hits.push(Hit::new(phrase, Report { mx, address, ..by(NAME) }, returned));
        }
    }
    for phrase in s.all("DNS Error:") {
        hits.push(Hit::new(
            phrase,
            Report { kind: Some(Kind::DnsFailed), ..at(NAME, Stage::Resolve) },
            sentence::nothing_follows,
        ));
    }
    for phrase in s.all("did not accept our requests to connect") {
        hits.push(Hit::new(phrase, Report { mx: None, ..at(NAME, Stage::Connect) }, |report, rest| {
            report.kind = wording::fault(rest);
            let named = wording::enclosed(rest, '[', ']').unwrap_or_default();
            // `[H IP: what]`; before, `[H (1): what]`.
            let (host, what) = named.split_once(": ").unwrap_or((named, ""));
            (report.mx, report.address) = wording::host_and_address(host.split(" (").next().unwrap_or(host));
            if what.contains("banner") {
                report.stage = Some(Stage::Banner);
            }
        }));
    }
}

/// `.. rejected by the server for the recipient domain D by H. [IP].` before the phrase.
fn rejected_by(before: &str) -> (Option<String>, Option<std::net::IpAddr>) {
    let from = sentence::floor(before, before.len().saturating_sub(400));
    let before = &before[from..];
    let Some((_, host)) = before.rsplit_once(" by ").filter(|_| before.contains("recipient domain")) else {
        return (None, None);
    };
    wording::host_and_address(host)
}

fn returned(report: &mut Report, rest: &str) {
    let rest = rest.trim_start_matches([':', ' ', '\n', '\r', '\t']);
    let part = rest.split("\n\n").next().unwrap_or(rest);
    // `(state 14)` is Google's own, and undocumented.
    let part = part.rsplit_once("(state ").filter(|(_, state)| state.len() < 6).map_or(part, |(reply, _)| reply);
    sentence::quote(report, part);
    if report.code.is_none() && report.reply.is_none() {
        report.kind = wording::fault(part);
        if report.kind == Some(Kind::DnsFailed) {
            report.stage = Some(Stage::Resolve);
        }
    }
}
