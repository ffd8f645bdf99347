//! The addresses that a reply quotes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::head;

/// The addresses that a reply names, in order, each once; IPv4-mapped ones as IPv4. Networks
/// (`192.0.2.0/24`), addresses inside host names and Yahoo's category numbers (`- 4.16.55.1;`) are
/// none.
#[must_use]
pub fn addresses_named(text: &str) -> Vec<IpAddr> {
    let text = head(text);
    let (mut named, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let Some((address, end)) = address_at(text, at) else {
            at += 1;
            continue;
        };
        let network = text.as_bytes()[end..].first() == Some(&b'/')
            && text.as_bytes().get(end + 1).is_some_and(u8::is_ascii_digit)
            && !in_url(text, at);
        let dash = text[..at].trim_end().ends_with('-');
        if !network && !is_category(dash, &text[end..]) && !named.contains(&address.to_canonical()) {
            named.push(address.to_canonical());
        }
        at = end;
    }
    named
}

/// The address that starts at a byte, and where it ends. Nothing that could be part of a longer
/// number or name is one, nor what a placeholder touches: it stands for the
/// rest of such a name.
pub(super) fn address_at(text: &str, at: usize) -> Option<(IpAddr, usize)> {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'0'..=b'9' => v4_at(text, at).or_else(|| v6_at(text, at)),
        b'a'..=b'f' | b'A'..=b'F' | b':' => v6_at(text, at),
        _ => None,
    }
}

/// Whether a quad of numbers is one of Yahoo's categories: a dash before it, a semicolon behind.
pub(super) fn is_category(dash_before: bool, behind: &str) -> bool {
    dash_before && behind.starts_with(';')
}

fn v4_at(text: &str, at: usize) -> Option<(IpAddr, usize)> {
    let bytes = text.as_bytes();
    let joined = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'{' | b'}');
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    if before(1).is_some_and(|b| joined(b) || b == b'.')
        || before(1) == Some(b'-') && before(2).is_some_and(|b| b.is_ascii_alphanumeric())
    {
        return None;
    }
    let length = bytes[at..].iter().take(16).take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let run = text[at..at + length].trim_end_matches('.');
    let address: Ipv4Addr = run.parse().ok()?;
    let end = at + run.len();
    let goes_on = match bytes.get(end) {
        Some(b'.' | b'-') => bytes.get(end + 1).is_some_and(|&b| joined(b)),
        Some(&b) => joined(b),
        None => false,
    };
    (!goes_on).then_some((address.into(), end))
}

fn v6_at(text: &str, at: usize) -> Option<(IpAddr, usize)> {
    // Longest: eight groups of four, or six and a dotted quad; and two bytes of punctuation.
    const LONGEST: usize = 47;
    let bytes = text.as_bytes();
    match at.checked_sub(1).map(|i| bytes[i]) {
        Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'}') => return None,
        // `IPv6:2001:db8::1` is one behind a word, `1:2:3` is part of something longer.
        Some(b':') => {
            let word = bytes[..at - 1].iter().rev().take_while(|b| b.is_ascii_alphanumeric());
            if word.into_iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
        }
        _ => {}
    }
    let run = bytes[at..].iter().take(LONGEST + 1).take_while(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    let end = at + run.count();
    if bytes.get(end).is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'{') {
        return None;
    }
    let run = &text[at..end];
    if run.bytes().filter(|&b| b == b':').count() < 2 || !run.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    (0..=2).find_map(|trimmed| {
        let run = run.get(..run.len().checked_sub(trimmed)?)?;
        let address: Ipv6Addr = run.parse().ok()?;
        Some((address.into(), at + run.len()))
    })
}

fn in_url(text: &str, at: usize) -> bool {
    text[..at].rsplit(char::is_whitespace).next().is_some_and(|word| word.contains("://"))
}
