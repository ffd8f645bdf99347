//! What all dialects have in common: names of commands, of system errors, of hosts.

use std::net::IpAddr;

use crate::address::{Host, Mailbox};
use crate::record::{Kind, Report};
use crate::stage::Stage;

/// A report of which nothing is known yet but who wrote it.
pub(crate) fn by(mta: &str) -> Report {
    Report { mta: (!mta.is_empty()).then(|| mta.to_owned()), attempt: true, ..Report::default() }
}

/// A delivery that went through.
pub(crate) fn passed(mta: &str) -> Report {
    Report { kind: Some(Kind::Completed), ..by(mta) }
}

/// A report of an error at `stage`.
pub(crate) fn at(mta: &str, stage: Stage) -> Report {
    Report { stage: Some(stage), ..by(mta) }
}

/// The stage of the command at the start of `text`: `RCPT TO:<a@b>`, `final DATA`, `end of data`.
pub(crate) fn command_stage(text: &str) -> Option<Stage> {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '.');
    let lower: String =
        text.chars().take(48).collect::<String>().to_ascii_lowercase().replace(['_', '\n', '\r', '\t'], " ");
    let starts = |words: &[&str]| words.iter().any(|w| lower.starts_with(w));
    Some(match () {
        () if starts(&["initial connect", "initial greeting", "connect", "greeting", "banner"]) => Stage::Banner,
        () if starts(&["ehlo", "helo", "lhlo", "xforward", "xclient"]) => Stage::Ehlo,
        () if starts(&["starttls"]) => Stage::StartTls,
        () if starts(&["auth"]) => Stage::Auth,
        () if starts(&["mail"]) => Stage::Mail,
        () if starts(&["rcpt"]) => Stage::Rcpt,
        () if starts(&[
            "end of data",
            "end-of-data",
            "final data",
            "final dot",
            "sending data block",
            "bdat",
            "text",
            "body",
            ".",
            "dot",
        ]) =>
        {
            Stage::EndOfData
        }
        () if starts(&["data"]) => Stage::Data,
        () if starts(&["quit"]) => Stage::Quit,
        () => return None,
    })
}

/// What happened, where a system's or resolver's own words say it.
pub(crate) fn fault(text: &str) -> Option<Kind> {
    let text = text.to_ascii_lowercase().replace('_', " ");
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    Some(match () {
        () if has(&["connection refused", "econnrefused", "actively refused"]) => Kind::Refused,
        () if has(&["no route to host", "unreachable", "enetunreach", "ehostunreach", "host is down"]) => {
            Kind::Unreachable
        }
        () if has(&["timed out", "timeout", "etimedout", "time out"]) => Kind::TimedOut,
        () if has(&["cannot assign requested address", "address not available", "too many open files"]) => Kind::Local,
        () if has(&[
            "host not found",
            "domain not found",
            "name service error",
            "host unknown",
            "nxdomain",
            "no such domain",
            "dns lookup",
            "domain does not exist",
            "lookup failed",
            "host or domain name",
            "couldn't find any host",
            "no mx found",
            "no mx for",
        ]) =>
        {
            Kind::DnsFailed
        }
        () if has(&[
            "connection reset",
            "econnreset",
            "closed connection",
            "connection closed",
            "lost connection",
            "connection lost",
            "broken pipe",
            "epipe",
            "connection died",
            "connection dropped",
            "shut down",
            "read error",
            "empty reply",
            "connection shut",
        ]) =>
        {
            Kind::Dropped
        }
        () => return None,
    })
}

/// A host and its address: `H[IP]`, `H [IP]`, `H (IP)`, `H. [IP]:25`, `IP`, `H`; brackets may have
/// been lost and blanks may have come in between.
pub(crate) fn host_and_address(text: &str) -> (Option<String>, Option<IpAddr>) {
    let (mut host, mut address) = (String::new(), None);
    for word in text.split(|c: char| c.is_whitespace() || "[](){}<>,;\"'=|".contains(c)) {
        if let Some(found) = ip(word) {
            address = Some(found);
            break;
        }
        if let Some((name, found)) = glued(word) {
            host.push_str(name);
            address = Some(found);
            break;
        }
        host.push_str(word);
    }
    (host_name(&host), address)
}

/// `mx.example.com192.0.2.1:25`: the brackets between the two are lost.
fn glued(word: &str) -> Option<(&str, IpAddr)> {
    let quad = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
    let v4 = word.rfind(|c: char| !quad(c)).map(|at| at + 1);
    // A top-level domain has no digits.
    let top = word.split(':').next().and_then(|head| head.rfind('.')).unwrap_or_default();
    let v6 = word[top..].find(|c: char| c.is_ascii_digit()).map(|at| top + at);
    let split = |at: usize, v4: bool| {
        let (name, address) = word.split_at_checked(at)?;
        let address = ip(address).filter(|address| address.is_ipv4() == v4)?;
        name.contains('.').then_some((name, address))
    };
    v4.and_then(|at| split(at, true)).or_else(|| split(v6?, false))
}

/// A fully qualified host name in its usual form.
pub(crate) fn host_name(text: &str) -> Option<String> {
    let text = text.trim_end_matches([':', '.', ',', ';']);
    let text = text
        .split_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(text, |(host, _)| host);
    let host: Host = text.parse().ok()?;
    let top = host.as_str().rsplit('.').next()?;
    let named = host.as_str().contains('.') && top.len() > 1 && !top.bytes().all(|b| b.is_ascii_digit());
    named.then(|| host.to_string())
}

/// An address, perhaps with a port or in brackets.
pub(crate) fn ip(word: &str) -> Option<IpAddr> {
    let word = word.trim_matches(|c: char| "[]()<>,;\"'".contains(c) || c.is_whitespace()).trim_end_matches(['.', ':']);
    let word = word.strip_prefix("IPv6:").or_else(|| word.strip_prefix("ipv6:")).unwrap_or(word);
    if let Ok(found) = word.parse() {
        return Some(found);
    }
    let (address, port) = word.rsplit_once(':')?;
    let address = address.trim_matches(['[', ']']);
    (port.bytes().all(|b| b.is_ascii_digit()) && (address.contains('.') || word.contains(']')))
        .then(|| address.parse().ok())?
}

/// A mail address, freed of brackets and of what some write around it.
pub(crate) fn mailbox(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.split_once("<mailto:").map_or(text, |(address, _)| address);
    let text = text.strip_prefix("rfc822;").unwrap_or(text);
    let text = text.trim_matches(|c: char| c.is_whitespace() || "<>()[]\"',;:".contains(c));
    text.parse::<Mailbox>().ok()?;
    Some(text.to_owned())
}

/// The value behind `key` up to any of `ends`.
pub(crate) fn field<'a>(text: &'a str, key: &str, ends: &[char]) -> Option<&'a str> {
    let rest = &text[text.find(key)? + key.len()..];
    Some(&rest[..rest.find(ends).unwrap_or(rest.len())])
}

/// What stands in `text` between the first `open` and the `close` that belongs to it.
pub(crate) fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    let start = text.find(open)? + open.len_utf8();
    let mut depth = 1;
    for (at, c) in text[start..].char_indices() {
        if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(&text[start..start + at]);
            }
        } else if c == open {
            depth += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_with_and_without_brackets() {
        for (text, host, address) in [
            ("mx.example.com[192.0.2.1]:25", Some("mx.example.com"), Some("192.0.2.1")),
            ("mx.example.com. [192.0.2.1]", Some("mx.example.com"), Some("192.0.2.1")),
            ("mx.example.com (192.0.2.1)", Some("mx.example.com"), Some("192.0.2.1")),
            ("mx.exam ple.com 192.0.2.1", Some("mx.example.com"), Some("192.0.2.1")),
            ("mx.example.com192.0.2.1:25", Some("mx.example.com"), Some("192.0.2.1")),
            ("[2001:db8::1]:25", None, Some("2001:db8::1")),
            ("192.0.2.1:25", None, Some("192.0.2.1")),
            ("[]", None, None),
            ("none", None, None),
        ] {
            let got = host_and_address(text);
            assert_eq!((got.0.as_deref(), got.1.map(|a| a.to_string()).as_deref()), (host, address), "{text}");
        }
    }
}
