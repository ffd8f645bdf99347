//! Haraka: the reasons that its outbound log and its bounces give.
//!
//! The wording is that of outbound/hmail.js. Only `recipient <a> rejected` names a stage.

use super::log::{Entry, Taken};
use super::reply::collapse;
use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, at, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "haraka";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for phrase in s.all("Upstream error:") {
        if s.text[phrase.end..].starts_with(':') {
            hits.push(Hit::new(phrase, Report { kind: Some(Kind::Rejected), ..by(NAME) }, sentence::reply_follows));
        }
    }
    for phrase in s.all("Tried all MXs") {
        hits.push(Hit::new(
            phrase,
            Report { attempt: false, origin: Some("local".to_owned()), ..by(NAME) },
            sentence::nothing_follows,
        ));
    }
    for (words, end) in [("No MX for", "No MX for"), ("sends and receives no email", "NULL MX")] {
        for phrase in s.all(words) {
            if end == "NULL MX" || s.text[phrase.clone()].starts_with("No MX for") {
                hits.push(Hit::new(
                    phrase,
                    Report { kind: Some(Kind::DnsFailed), ..at(NAME, Stage::Resolve) },
                    sentence::nothing_follows,
                ));
            }
        }
    }
    for phrase in s.all("recipient") {
        let rest = &s.text[phrase.end..];
        let Some((to, told)) =
            rest.trim_start().strip_prefix('<').and_then(|to| to.split_once('>')).filter(|(to, _)| to.len() < 320)
        else {
            continue;
        };
        let Some(told) =
            told.trim_start().strip_prefix("deferred:").or_else(|| told.trim_start().strip_prefix("rejected:"))
        else {
            continue;
        };
        let end = s.text.len() - told.len();
        let report = Report { kind: Some(Kind::Rejected), recipient: wording::mailbox(to), ..at(NAME, Stage::Rcpt) };
        hits.push(Hit::new(phrase.start..end, report, sentence::reply_follows));
    }
}

/// `[INFO] [uuid] [outbound] ..` and the like.
pub(crate) fn line(entry: &Entry<'_>) -> Taken {
    let text = entry.text;
    let ours = text.contains("[outbound]") && text.trim_start_matches(|c: char| c != '[').starts_with('[');
    if !ours {
        return Taken::No;
    }
    let told = text.split_once("[outbound]").map_or("", |(_, told)| told);
    if told.trim_start().starts_with("delivered ") {
        let address = wording::field(told, " ip=", &[' ']).and_then(wording::ip);
        let mx = wording::field(told, " host=", &[' ']).and_then(|host| wording::host_name(host.trim_matches('"')));
        return Taken::passed(entry.stamp(Report { mx, address, ..wording::passed(NAME) }));
    }
    let report = sentence::read_as(told, sentences).or_else(|| broken(told));
    Taken::errors(
        report.map(|report| entry.stamp(Report { evidence: Some(collapse(told)), ..report })).into_iter().collect(),
    )
}

/// `Ongoing connection failed to H:25 : err`, `Remote end H:25 closed connection while we were processing mail`.
fn broken(told: &str) -> Option<Report> {
    let (named, kind) = if let Some((_, rest)) = told.split_once("Ongoing connection failed to ") {
        rest.split_once(" : ").map(|(host, err)| (host, wording::fault(err)))?
    } else if let Some((_, rest)) = told.split_once("Remote end ") {
        (rest.split_once(" closed connection")?.0, Some(Kind::Dropped))
    } else {
        let (_, rest) = told.split_once("Failed to get pool entry: ")?;
        let kind = wording::fault(rest);
        let (_, address) = wording::host_and_address(rest.rsplit(' ').next().unwrap_or(rest));
        return Some(Report { kind, address, ..at(NAME, Stage::Connect) });
    };
    let (mx, address) = wording::host_and_address(named.rsplit_once(':').map_or(named, |(host, _)| host));
    let stage = told
        .contains("waiting on ")
        .then(|| told.rsplit("waiting on ").next().and_then(wording::command_stage))
        .flatten();
    let stage = if matches!(kind, Some(Kind::Refused | Kind::Unreachable)) { Some(Stage::Connect) } else { stage };
    Some(Report { stage, kind, mx, address, ..by(NAME) })
}
