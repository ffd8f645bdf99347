//! `dkim`: whether what is signed will be verified.

use std::collections::BTreeMap;

use super::Room;
use crate::address::Host;
use crate::auth::{KeyRecord, Signer, signatures, verify};
use crate::record::{Check, CheckName, CheckResult, LookupError};
use crate::smtp::command::crlf;

/// What is known of the signatures that the campaign will bear.
pub(super) struct Signing {
    pub(super) checks: Vec<Check>,
    /// The domains of those that will hold.
    pub(super) domains: Vec<Host>,
    /// Whether there may be others: nothing is known of a signer.
    pub(super) open: bool,
}

/// Checks the key that is given; without one, the signatures that the message already bears.
pub(super) async fn key(room: &Room) -> Signing {
    let mut signing = Signing { checks: Vec::new(), domains: Vec::new(), open: false };
    if let Some(signer) = &room.signer {
        let published = room.in_time(CheckName::Dkim, async {
            let checks = published(room, signer).await;
            if checks.iter().all(|check| matches!(check.result, CheckResult::Pass | CheckResult::Warn)) {
                signing.domains.push(signer.domain().clone());
            }
            checks
        });
        signing.checks = published.await;
        signing.open = signing.checks.iter().any(|check| check.result == CheckResult::Unknown);
        return signing;
    }
    let body = room.probe.message.body.as_deref().map(crlf).unwrap_or_default();
    let borne = signatures(&body);
    if borne.is_empty() {
        signing.open = true;
        let why = "not checked: the probe names no key ([message] dkim), and the message bears no signature";
        signing.checks.push(Check::new(CheckName::Dkim, CheckResult::Warn, why));
        return signing;
    }
    let mut keys = BTreeMap::new();
    for name in borne.iter().filter_map(|signature| signature.key_name().parse::<Host>().ok()) {
        if let Ok(records) = room.dns.txt(&name).await {
            keys.extend(records.into_iter().next().map(|record| (name.to_string(), record)));
        }
    }
    for (signature, held) in borne.iter().zip(verify(&body, &keys).await) {
        let name = signature.key_name();
        signing.checks.push(match held {
            Ok(()) => {
                signing.domains.extend(signature.domain.parse::<Host>());
                Check::new(CheckName::Dkim, CheckResult::Pass, format!("the message's signature verifies with {name}"))
            }
            Err(why) => Check::new(
                CheckName::Dkim,
                CheckResult::Fail,
                format!("the message's signature does not verify with {name}: {why}"),
            )
            .fix("sign the message again, after its last change"),
        });
    }
    signing
}

/// The published key, and a signature of the real message verified with it.
async fn published(room: &Room, signer: &Signer) -> Vec<Check> {
    let name = signer.key_name();
    let check = |result, why: String| Check::new(CheckName::Dkim, result, why);
    let publish =
        || format!("publish the public half of {} at {name}, or name the selector that has it", signer.key_file());
    let Ok(host) = name.parse::<Host>() else {
        return vec![check(CheckResult::Fail, format!("{name} is no name")).fix("name another selector")];
    };
    let records = match room.dns.txt(&host).await {
        Ok(records) => records,
        Err(LookupError::Nxdomain | LookupError::Nodata) => {
            return vec![check(CheckResult::Fail, format!("there is no key at {name}")).fix(publish())];
        }
        Err(error) => return vec![check(CheckResult::Unknown, format!("{name} TXT: {error}"))],
    };
    let [record] = &records[..] else {
        let why = format!("{name} has {} records: wanted one", records.len());
        return vec![check(CheckResult::Fail, why).fix(format!("take the other records away from {name}"))];
    };
    let read = match KeyRecord::read(record, signer) {
        Ok(read) => read,
        Err(fault) => return vec![check(CheckResult::Fail, fault.found).fix(fault.fix)],
    };
    let body = room.probe.message.body.as_deref();
    // Without a message one that is as good as any shows that key and record fit.
    let sample = signer.sign(body.unwrap_or(b"From: <mxprobe@localhost>\r\nSubject: mxprobe\r\n\r\nmxprobe\r\n"));
    let held = verify(&sample, &BTreeMap::from([(name.clone(), record.clone())])).await;
    // Ours stands in front of any that the message bore before.
    if let Some(Err(why)) = held.first() {
        let why = format!("what {} signs does not verify with {name}: {why}", signer.key_file());
        return vec![check(CheckResult::Fail, why).fix(publish())];
    }
    if held.is_empty() {
        let why = "the message has no field that could be signed".to_owned();
        return vec![check(CheckResult::Fail, why).fix("give the message a From")];
    }
    let strength = read.bits.map_or_else(|| signer.kind().to_owned(), |bits| format!("{}, {bits} bits", signer.kind()));
    let of = if body.is_some() { "the signed message verifies" } else { "a signature verifies" };
    let detail = format!("{name} ({strength}): {of}");
    vec![if read.testing {
        check(CheckResult::Warn, format!("{detail}, but t=y asks receivers to treat it as unsigned"))
            .fix(format!("take t=y out of {name}"))
    } else {
        check(CheckResult::Pass, detail)
    }]
}
