//! Whether a domain says where it wants to hear of failed handshakes (RFC 8460).

use super::Room;
use super::theirs::listed;
use crate::address::Host;
use crate::policy::tls_rpt;
use crate::record::{Check, CheckName, CheckResult};

pub(super) async fn look(room: &Room, domain: &Host) -> Check {
    let check = |result, detail: String| Check::new(CheckName::TlsRpt, result, detail);
    let owner = format!("_smtp._tls.{domain}");
    let Ok(name) = owner.parse() else { return check(CheckResult::Pass, "the name is too long for one".to_owned()) };
    let texts = match room.dns.txt(&name).await {
        Ok(texts) => texts,
        Err(error) if error.is_denial() => Vec::new(),
        Err(error) => return check(CheckResult::Unknown, format!("TXT records of {owner}: {error}")),
    };
    match tls_rpt::destinations(&texts) {
        Ok(None) => check(CheckResult::Pass, "no reports wanted".to_owned()),
        Ok(Some(all)) => check(CheckResult::Pass, format!("reports to {}", listed(&all))),
        Err(why) => check(CheckResult::Warn, format!("{owner}: {why}"))
            .fix("nothing to change here: their record is broken, and their postmaster may want to know"),
    }
}
