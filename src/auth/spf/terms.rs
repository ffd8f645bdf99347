//! A record's terms, each read alone, so that one that is none can be pointed at.

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
        let read = Record::parse(format!("v=spf1 {word}").as_bytes()).map_err(|_| shown())?;
        match (&read.directives[..], is_modifier(word)) {
            ([directive], _) => terms.push(Term { text: shown(), directive: directive.clone() }),
            ([], true) => {}
            _ => return Err(shown()),
        }
    }
    Ok(terms)
}

/// `name=value` (section 4.6.1): unknown ones are passed over (section 6).
fn is_modifier(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    })
}
