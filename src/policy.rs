//! What a domain says about TLS for its mail: MTA-STS (RFC 8461) and TLS reports (RFC 8460), read
//! strictly, as the strictest of senders would.
//!
//! Apart from how the texts are come by: this is the reading alone.

use crate::visible::visible;

pub mod mta_sts;
pub mod tls_rpt;

/// Characters of a text that are quoted.
const QUOTED: usize = 120;

/// A text that is not what the RFC wants: what was found, and what was wanted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// What a name's TXT records come to, if exactly one is of a version; `Ok(None)` without any.
///
/// The fields behind the version, in order: `NAME=VALUE`, each ended by a semicolon (RFC 8461,
/// section 3.1, and RFC 8460, section 3).
fn fields<'a>(texts: &'a [Vec<u8>], version: &str) -> Result<Option<Vec<(&'a str, &'a str)>>, Invalid> {
    let tag = format!("v={version}");
    // Records that begin otherwise are passed over.
    let is_one = |text: &&Vec<u8>| {
        text.strip_prefix(tag.as_bytes()).is_some_and(|rest| rest.trim_ascii_start().starts_with(b";"))
    };
    let mut of_version = texts.iter().filter(is_one);
    let Some(text) = of_version.next() else {
        let meant =
            texts.iter().find(|text| text.to_ascii_lowercase().starts_with(tag.to_ascii_lowercase().as_bytes()));
        return meant.map_or(Ok(None), |text| Err(Invalid(format!("{}: wanted {tag}; and fields", quoted(text)))));
    };
    if let more @ 1.. = of_version.count() {
        return Err(Invalid(format!("{} records begin with {tag}, wanted one: senders take it for none", more + 1)));
    }
    let invalid = |wanted: &str| Invalid(format!("{}: wanted {wanted}", quoted(text)));
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii()).ok_or_else(|| invalid("plain ASCII"))?;
    let mut fields = Vec::new();
    let rest = text[tag.len()..].trim_matches(BLANKS);
    let rest = rest.strip_suffix(';').unwrap_or(rest);
    for field in rest.split(';').skip(1) {
        let (name, value) =
            field.trim_matches(BLANKS).split_once('=').ok_or_else(|| invalid("NAME=VALUE between semicolons"))?;
        if !is_name(name) {
            return Err(invalid("names of up to 32 letters, digits, \"_\", \"-\" and \".\""));
        }
        fields.push((name, value));
    }
    Ok(Some(fields))
}

/// White space within a line (RFC 5234, `WSP`).
const BLANKS: [char; 2] = [' ', '\t'];

/// Whether a field may be called so (RFC 8461, section 3.1, `sts-ext-name`).
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && text.len() <= 32
}

/// A text from elsewhere, fit to be shown.
fn quoted(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(QUOTED).collect();
    format!("\"{}\"", visible(&text))
}
