//! `KumoMTA`: the JSON lines of its log.
//!
//! A record names the command that the response answers; none is the greeting. What `KumoMTA` itself has
//! to say begins with `KumoMTA internal`.

use jiff::Timestamp;
use serde_json::Value;

use super::log::Taken;
use super::sentence;
use super::wording::{self, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "kumomta";

pub(crate) fn line(line: &str) -> Taken {
    if !line.starts_with('{') {
        return Taken::No;
    }
    let Ok(record) = serde_json::from_str::<Value>(line) else { return Taken::No };
    if record.get("response").is_none() || record.get("recipient").is_none() {
        return super::amazonses::record(&record);
    }
    let failed = matches!(record["type"].as_str(), Some("Bounce" | "TransientFailure" | "Expiration" | "OOB"));
    if failed {
        return Taken::errors(reports(&record));
    }
    let passed = if record["type"] == "Delivery" { reports(&record).into_iter().next() } else { None };
    passed.map_or(Taken::Other, |Report { recipient, mx, address, source, at, .. }| {
        Taken::passed(Report { recipient, mx, address, source, at, ..wording::passed(NAME) })
    })
}

fn reports(record: &Value) -> Vec<Report> {
    let response = &record["response"];
    let content = response["content"].as_str().unwrap_or_default();
    let mut report = by(NAME);
    "log".clone_into(&mut report.format);
    report.at = record["timestamp"]
        .as_f64()
        .and_then(seconds)
        .or_else(|| record["timestamp"].as_str().and_then(|at| at.parse().ok()));
    if let Some(peer) = record.get("peer_address") {
        report.mx = peer["name"].as_str().and_then(wording::host_name);
        report.address = peer["addr"].as_str().and_then(wording::ip);
    }
    report.source = record["source_address"]["address"]
        .as_str()
        .or_else(|| record["source_address"].as_str())
        .and_then(wording::ip);
    report.local_host = record["nodename"].as_str().map(str::to_owned);
    report.evidence = Some(super::reply::collapse(content));
    if content.contains("KumoMTA internal") || record["type"] == "Expiration" {
        internal(&mut report, content);
    } else {
        let enhanced = &response["enhanced_code"];
        let part = |name: &str| enhanced[name].as_u64();
        let code = response["code"].as_u64().unwrap_or_default();
        let reply = match (part("class"), part("subject"), part("detail")) {
            (Some(class), Some(subject), Some(detail)) => format!("{code} {class}.{subject}.{detail} {content}"),
            _ => format!("{code} {content}"),
        };
        sentence::quote(&mut report, &reply);
        report.stage = match response["command"].as_str() {
            Some(command) => wording::command_stage(command),
            None => Some(Stage::Banner),
        };
    }
    let recipients: Vec<&str> = match &record["recipient"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    recipients.into_iter().take(1000).map(|to| Report { recipient: wording::mailbox(to), ..report.clone() }).collect()
}

/// `KumoMTA`'s own words: the code is its own, no server's.
fn internal(report: &mut Report, content: &str) {
    report.origin = Some("local".to_owned());
    report.kind = wording::fault(content);
    let has = |words: &str| content.contains(words);
    report.stage = match () {
        () if has("reading banner") => Some(Stage::Banner),
        () if has("EHLO after STARTTLS") => Some(Stage::EhloTls),
        () if has("EHLO after banner") => Some(Stage::Ehlo),
        () if has("read initial banner") && matches!(report.kind, Some(Kind::Refused | Kind::Unreachable)) => {
            Some(Stage::Connect)
        }
        () if has("failed to resolve") || report.kind == Some(Kind::DnsFailed) => Some(Stage::Resolve),
        () => None,
    };
    if let Some((_, to)) = content.split_once("connect to ")
        && report.address.is_none()
    {
        let to = to.split(" and ").next().unwrap_or(to);
        report.address = wording::ip(to.trim_start_matches(|c: char| c.is_alphabetic() || c == '-'));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a log's seconds; saturates")]
fn seconds(at: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((at * 1000.0) as i64).ok()
}
