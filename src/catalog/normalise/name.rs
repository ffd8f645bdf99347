//! Host names, mailboxes and ids, as they stand inside a word.

/// The letters, digits, dots, hyphens and underscores that a text starts with, without those of
/// them at its end that are punctuation.
pub(super) fn run(text: &str) -> &str {
    let length = text.bytes().take_while(|&b| b.is_ascii_alphanumeric() || is_joint(b)).count();
    text[..length].trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// How long the mail address is that a text starts with. In a URL the local part ends where the
/// query's fields do.
pub(super) fn mailbox(text: &str, in_url: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    if !bytes.first()?.is_ascii_alphanumeric() {
        return None;
    }
    let is_local =
        |b: &u8| b.is_ascii_alphanumeric() || is_joint(*b) || matches!(b, b'+' | b'~' | b'*') || *b == b'=' && !in_url;
    let local = bytes.iter().take_while(|b| is_local(b)).count();
    let at = match &bytes[local..] {
        [b'@', ..] => 1,
        [b'%', b'4', b'0', ..] if in_url => 3,
        _ => return None,
    };
    let domain = run(&text[local + at..]);
    domain.starts_with(|c: char| c.is_ascii_alphanumeric()).then_some(local + at + domain.len())
}

/// Appends a [`run`], or what stands for it.
pub(super) fn push(out: &mut String, run: &str, before: &str, in_url: bool) {
    if !in_url && is_host(run) {
        let name = &run[reversed_address(run)..];
        if before.eq_ignore_ascii_case("using") || is_list(name) {
            if name.len() < run.len() {
                out.push_str("{address}.");
            }
            out.push_str(name);
        } else {
            out.push_str("{host}");
        }
    } else if super::date::is_day(run) || super::date::is_duration(run) {
        out.push_str("{time}");
    } else if is_id(run) && !out.ends_with("AS(") {
        out.push_str("{id}");
    } else {
        out.push_str(run);
    }
}

const fn is_joint(b: u8) -> bool {
    matches!(b, b'.' | b'-' | b'_')
}

/// Whether a run is a host name: labels under a top-level domain that exists or is reserved, or
/// three labels and more, because sites have names of their own inside.
fn is_host(run: &str) -> bool {
    let Some((rest, last)) = run.rsplit_once('.') else { return false };
    let top = last.to_ascii_lowercase();
    rest.split('.').all(|label| label.bytes().any(|b| b.is_ascii_alphanumeric()) && label.len() < 64)
        && (top.starts_with("xn--") || top.len() > 1 && top.bytes().all(|b| b.is_ascii_alphabetic()))
        && (rest.contains('.')
            || RESERVED.contains(&&*top)
            || psl::suffix(top.as_bytes()).is_some_and(|s| s.is_known()))
}

/// Names that no registry gives out (RFC 2606, RFC 6761, RFC 6762, RFC 8375, and local habit).
const RESERVED: &[&str] = &[
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "test",
];

/// Block lists: their zone tells one refusal from another.
const LISTS: &[&str] = &[
    "abuseat.org",
    "barracudacentral.org",
    "blocklist.de",
    "invaluement.com",
    "mailspike.net",
    "njabl.org",
    "psbl.org",
    "senderscore.com",
    "sorbs.net",
    "spamcop.net",
    "spamhaus.net",
    "spamhaus.org",
    "spamrats.com",
    "surbl.org",
    "uceprotect.net",
    "uribl.com",
];

fn is_list(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    LISTS.iter().any(|list| name.strip_suffix(list).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// How long the reversed address is that a list was asked about, its dot included.
fn reversed_address(name: &str) -> usize {
    let is_part = |label: &&str| {
        label.bytes().all(|b| b.is_ascii_digit()) || label.len() == 1 && label.as_bytes()[0].is_ascii_hexdigit()
    };
    let labels: Vec<_> = name.split('.').take_while(is_part).collect();
    if labels.len() < 4 { 0 } else { labels.iter().map(|label| label.len() + 1).sum() }
}

/// Whether a run is a queue id, a session id or a serial number.
fn is_id(run: &str) -> bool {
    let parts = || run.split(|c: char| !c.is_ascii_alphanumeric());
    parts().any(is_random) || {
        let lengths = parts().map(str::len);
        // Exim's, before and since 4.97.
        (lengths.clone().eq([6, 6, 2]) || lengths.eq([6, 11, 4])) && run.bytes().any(|b| b.is_ascii_digit())
    }
}

fn is_random(part: &str) -> bool {
    let bytes = part.as_bytes();
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    if bytes.len() < 8 || digits == 0 {
        return false;
    }
    if digits == bytes.len() {
        return true;
    }
    let capitals = bytes.iter().take_while(|b| b.is_ascii_uppercase()).count();
    if (1..=6).contains(&capitals) && capitals + digits == bytes.len() && digits <= 8 {
        // The form of a provider's own codes: ES000001.
        return false;
    }
    let turns = bytes.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    let one_case = !(bytes.iter().any(u8::is_ascii_uppercase) && bytes.iter().any(u8::is_ascii_lowercase));
    one_case && bytes.iter().all(u8::is_ascii_hexdigit) || turns >= 3 || bytes.len() >= 12 && turns >= 2
}
