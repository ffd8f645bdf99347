//! What a server's EHLO reply says: its name and what it offers (RFC 5321, section 4.1.1.1).

use super::reply::Reply;

/// The keywords of an EHLO reply, upper case, with their parameters: `SIZE 10240000`.
///
/// The first line is the server's greeting and holds none, unless it is the only line and a known
/// keyword: some servers answer `250 STARTTLS`.
#[must_use]
pub fn extensions(reply: &Reply) -> Vec<String> {
    let keyword = |text: &[u8]| {
        let mut text = String::from_utf8_lossy(text).trim().to_owned();
        let word = text.find(' ').unwrap_or(text.len());
        text[..word].make_ascii_uppercase();
        text
    };
    match reply.lines.len() {
        1 => reply.texts().map(keyword).filter(|word| word == "STARTTLS").collect(),
        _ => reply.texts().skip(1).map(keyword).filter(|word| !word.is_empty()).collect(),
    }
}

/// Whether the reply offers `keyword` (upper case), with or without parameters.
#[must_use]
pub fn offers(reply: &Reply, keyword: &str) -> bool {
    extensions(reply).iter().any(|e| e.split(' ').next() == Some(keyword))
}

/// The host name at the start of a greeting or of an EHLO reply: a word with a dot in it that
/// could be a name.
#[must_use]
pub fn server_name(reply: &Reply) -> Option<String> {
    let text = reply.texts().next()?;
    let word = std::str::from_utf8(text.trim_ascii_start()).ok()?.split_ascii_whitespace().next()?;
    let name = word.trim_end_matches('.');
    let sound =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let named = name.len() <= 253
        && name.contains('.')
        && name.split('.').all(sound)
        && name.bytes().any(|b| b.is_ascii_alphabetic());
    named.then(|| name.to_ascii_lowercase())
}
