//! Amazon SES: the JSON of its bounce notifications. Its bounce mails are plain RFC 3464.

use serde_json::Value;

use super::log::Taken;
use super::sentence;
use super::wording::{self, by};
use crate::record::Report;

pub(crate) const NAME: &str = "amazonses";

/// A notification, or the SNS envelope around one.
pub(crate) fn record(record: &Value) -> Taken {
    if let Some(inner) = record["Message"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        return self::record(&inner);
    }
    let Some(bounced) = record["bounce"]["bouncedRecipients"].as_array() else {
        let ours = record.get("notificationType").or_else(|| record.get("eventType")).is_some();
        return if ours { Taken::Other } else { Taken::No };
    };
    let bounce = &record["bounce"];
    let reports = bounced.iter().take(1000).map(|to| {
        let mut report = by(NAME);
        "dsn".clone_into(&mut report.format);
        report.recipient = to["emailAddress"].as_str().and_then(wording::mailbox);
        report.action = to["action"].as_str().map(str::to_owned);
        report.status = to["status"].as_str().map(str::to_owned);
        report.at = bounce["timestamp"].as_str().and_then(|at| at.parse().ok());
        report.local_host =
            bounce["reportingMTA"].as_str().map(|mta| mta.rsplit(';').next().unwrap_or(mta).trim().to_owned());
        report.address = bounce["remoteMtaIp"].as_str().and_then(wording::ip);
        if let Some(diagnostic) = to["diagnosticCode"].as_str() {
            sentence::quote(&mut report, diagnostic.split_once(';').map_or(diagnostic, |(_, told)| told));
            report.evidence = Some(super::reply::collapse(diagnostic));
        }
        report
    });
    Taken::errors(reports.collect::<Vec<Report>>())
}

/// `554 4.4.7 Message expired: .. <421 4.4.2 Connection timed out>`: the reply inside.
pub(crate) fn expired(report: &mut Report) {
    let Some(reply) = report.reply.as_deref().filter(|reply| reply.contains("Message expired")) else { return };
    report.origin = Some("local".to_owned());
    if let Some(inner) = wording::enclosed(reply, '<', '>').filter(|inner| inner.starts_with(['4', '5'])) {
        report.inner_reply = Some(inner.to_owned());
    }
}
