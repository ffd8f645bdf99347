//! GMX, 1&1, IONOS: `SMTP error from remote server after RCPT command, host: H (IP) reason: R`.

use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, by};
use crate::record::{Kind, Report};

pub(crate) const NAME: &str = "gmx";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for words in
        ["SMTP error from remote server after", "SMTP error from remote server for", "SMTP error from remote server in"]
    {
        for phrase in s.all(words) {
            hits.push(Hit::new(phrase, Report { kind: Some(Kind::Rejected), ..by(NAME) }, |report, rest| {
                report.stage = wording::command_stage(rest);
                let squeezed = Squeezed::new(rest);
                let reason = squeezed.find("reason", 0);
                if let Some(host) = squeezed.find("host", 0) {
                    let end = reason
                        .as_ref()
                        .map_or_else(|| sentence::floor(rest, host.end + 120), |r| r.start.max(host.end));
                    (report.mx, report.address) =
                        wording::host_and_address(rest[host.end..end].trim_start_matches(':'));
                }
                if let Some(reason) = reason {
                    sentence::reply_follows(report, &rest[reason.end..]);
                }
            }));
        }
    }
    for phrase in s.all("Unexpected connection response from server") {
        hits.push(Hit::new(
            phrase,
            Report { kind: Some(Kind::Rejected), ..wording::at("", crate::stage::Stage::Banner) },
            sentence::reply_follows,
        ));
    }
}
