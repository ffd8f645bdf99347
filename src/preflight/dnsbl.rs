//! Block lists in DNS (RFC 5782), those only that the operator names: asking one has terms.

use std::net::IpAddr;

use futures_util::future::join_all;

use super::Room;
use crate::address::Host;
use crate::plan::Source;
use crate::record::{Check, CheckName, CheckResult, LookupError};

/// `dnsbl`: a check per list.
pub(super) async fn listed(room: &Room, source: &Source) -> Vec<Check> {
    let lists = room.probe.dnsbl.iter();
    let checks = lists.map(|list| {
        room.in_time(CheckName::Dnsbl, async move {
            let ip = source.seen_as;
            let answer = match listing(ip, list) {
                Some(name) => room.dns.ips(&name, true).await,
                None => {
                    return vec![Check::new(
                        CheckName::Dnsbl,
                        CheckResult::Unknown,
                        format!("{list} has too long a name"),
                    )];
                }
            };
            vec![asked(list, answer, ip)]
        })
    });
    join_all(checks).await.concat()
}

/// What a list's answer means.
fn asked(list: &Host, answer: Result<Vec<IpAddr>, LookupError>, ip: IpAddr) -> Check {
    let check = |result, why: String| Check::new(CheckName::Dnsbl, result, why);
    let codes = match answer {
        Ok(codes) => codes,
        Err(LookupError::Nxdomain | LookupError::Nodata) => return check(CheckResult::Pass, format!("not on {list}")),
        Err(error) => return check(CheckResult::Unknown, format!("{list}: {error}")),
    };
    let shown: Vec<String> = codes.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    let octets = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    if let Some(refusal) = codes.iter().map(octets).find(|code| code[..3] == [127, 255, 255]) {
        let why = match refusal[3] {
            252 => "the list has no such name",
            254 => "it does not answer public resolvers",
            255 => "it was asked too often",
            _ => "it does not answer us",
        };
        return check(CheckResult::Unknown, format!("{list} answers {shown}: {why}"))
            .fix("ask through a resolver of your own (--dns), on the list's terms");
    }
    if !codes.iter().all(|code| octets(code)[0] == 127) {
        return check(
            CheckResult::Unknown,
            format!("{list} answers {shown}, which is no listing (RFC 5782, section 2.1)"),
        )
        .fix("look whether the list is still there, or a resolver on the way makes answers up");
    }
    check(CheckResult::Fail, format!("{ip} is on {list} ({shown})")).fix(format!("have {ip} taken off {list}"))
}

/// The name under which a list has an address: the address turned around, octets or nibbles.
fn listing(ip: IpAddr, list: &Host) -> Option<Host> {
    let mut parts: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().map(ToString::to_string).collect(),
        IpAddr::V6(ip) => {
            ip.octets().iter().flat_map(|o| [o >> 4, o & 15]).map(|nibble| format!("{nibble:x}")).collect()
        }
    };
    parts.reverse();
    format!("{}.{list}", parts.join(".")).parse().ok()
}
