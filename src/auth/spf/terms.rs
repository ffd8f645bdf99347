//! A record's terms, each read alone, so that one that is none can be pointed at.

use std::net::{Ipv4Addr, Ipv6Addr};

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::spf::{Directive, Spf as Record};

/// A mechanism with its qualifier, and how it is written.
pub(super) struct Term {
    pub(super) text: String,
    pub(super) directive: Directive,
}

/// Whether a TXT record is one of SPF's (RFC 7208, section 4.5).
pub(super) fn is_spf(record: &[u8]) -> bool {
    record.get(..6).is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1"))
        && record.get(6).is_none_or(|&next| next == b' ')
}

/// The mechanisms of a record, in order; modifiers are left out.
///
/// # Errors
///
/// The first term that is neither.
pub(super) fn terms(record: &[u8]) -> Result<Vec<Term>, String> {
    let text = String::from_utf8_lossy(record);
    let mut terms = Vec::new();
    for word in text.split(' ').skip(1).filter(|word| !word.is_empty()) {
        let shown = || word.chars().take(80).collect::<String>();
        if !is_sound(word) {
            return Err(shown());
        }
        let read = Record::parse(format!("v=spf1 {word}").as_bytes()).map_err(|_| shown())?;
        match (&read.directives[..], is_modifier(word)) {
            ([directive], _) => terms.push(Term { text: shown(), directive: directive.clone() }),
            ([], true) => {}
            _ => return Err(shown()),
        }
    }
    Ok(terms)
}

/// Whether a term has one qualifier at most, and addresses and prefix lengths that are such: the
/// library takes `--all` and `ip4:1.2.3.400`.
fn is_sound(word: &str) -> bool {
    let bare = word.strip_prefix(['+', '-', '~', '?']).unwrap_or(word).to_ascii_lowercase();
    if bare.starts_with(['+', '-', '~', '?']) {
        return false;
    }
    let (term, lengths) = bare.split_once('/').map_or((&*bare, None), |(term, lengths)| (term, Some(lengths)));
    let fits = |length: &str, most: u8| {
        let is_plain = length == "0" || !length.starts_with('0');
        is_plain && length.bytes().all(|b| b.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|n| n <= most)
    };
    match term.split_once(':') {
        Some(("ip4", address)) => address.parse::<Ipv4Addr>().is_ok() && lengths.is_none_or(|n| fits(n, 32)),
        Some(("ip6", address)) => address.parse::<Ipv6Addr>().is_ok() && lengths.is_none_or(|n| fits(n, 128)),
        // `/24`, `//64`, `/24//64` (section 5.6); a macro may hold a slash of its own.
        _ if matches!(term.split(':').next(), Some("a" | "mx")) && !term.contains('%') => match lengths {
            None => true,
            Some(lengths) => match lengths.split_once('/') {
                None => fits(lengths, 32),
                Some((v4, v6)) => {
                    let v6 = if v4.is_empty() { Some(v6) } else { v6.strip_prefix('/') };
                    (v4.is_empty() || fits(v4, 32)) && v6.is_some_and(|v6| fits(v6, 128))
                }
            },
        },
        _ => true,
    }
}

/// `name=value` (section 4.6.1): unknown ones are passed over (section 6).
fn is_modifier(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::terms;

    #[test]
    fn what_is_no_term_is_pointed_at() {
        for (record, wrong) in [
            ("v=spf1 ip4:192.0.2.1 ip6:2001:db8::/32 a mx/24 a:b.example/24//64 mx//64 -all", None),
            ("v=spf1 +a ~include:x.example ?exists:%{i}.x.example moo=bar redirect=y.example", None),
            ("v=spf1 IP4:192.0.2.0/24 ALL", None),
            ("v=spf1", None),
            ("v=spf1 ip4:192.0.2.300", Some("ip4:192.0.2.300")),
            ("v=spf1 ip4:192.0.2.0/33", Some("ip4:192.0.2.0/33")),
            ("v=spf1 ip4:192.0.2.0/", Some("ip4:192.0.2.0/")),
            ("v=spf1 ip4:192.0.2.0/08", Some("ip4:192.0.2.0/08")),
            ("v=spf1 ip4", Some("ip4")),
            ("v=spf1 ip6:192.0.2.1", Some("ip6:192.0.2.1")),
            ("v=spf1 ip6:2001:db8::/129", Some("ip6:2001:db8::/129")),
            ("v=spf1 a/33", Some("a/33")),
            ("v=spf1 mx/24/64", Some("mx/24/64")),
            ("v=spf1 all:x", Some("all:x")),
            ("v=spf1 include:", Some("include:")),
            ("v=spf1 include", Some("include")),
            ("v=spf1 ipv4:192.0.2.1", Some("ipv4:192.0.2.1")),
            ("v=spf1 ip4=192.0.2.1", Some("ip4=192.0.2.1")),
            ("v=spf1 foo", Some("foo")),
            ("v=spf1 --all", Some("--all")),
            ("v=spf1 exists:%{z}.x", Some("exists:%{z}.x")),
        ] {
            let found = terms(record.as_bytes()).err();
            assert_eq!(found.as_deref(), wrong, "{record}");
        }
    }
}
