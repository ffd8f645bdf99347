//! SMTP TLS reporting (RFC 8460): where a domain wants to hear of handshakes that failed.

use super::{BLANKS, Invalid, fields, quoted};
use crate::address::{Host, Mailbox};

/// Where reports go, from the TXT records of `_smtp._tls` and the domain (section 3); `None` where
/// none are wanted.
///
/// # Errors
///
/// Records that senders take for none, though somebody meant one.
pub fn destinations(texts: &[Vec<u8>]) -> Result<Option<Vec<String>>, Invalid> {
    let Some(fields) = fields(texts, "TLSRPTv1")? else { return Ok(None) };
    let wanted = "wanted rua= and mailto: or https: addresses";
    let found = fields.iter().find(|(name, _)| *name == "rua");
    let (_, addresses) = found.ok_or_else(|| Invalid(format!("found no rua, {wanted}")))?;
    let addresses = addresses.split(',').map(|address| {
        let address = address.trim_matches(BLANKS);
        let invalid = || Invalid(format!("rua {}: {wanted}", quoted(address.as_bytes())));
        if is_destination(address) { Ok(address.to_owned()) } else { Err(invalid()) }
    });
    addresses.collect::<Result<_, _>>().map(Some)
}

fn is_destination(address: &str) -> bool {
    // What separates addresses and fields must be escaped within them.
    if address.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'!') {
        return false;
    }
    let Some((scheme, rest)) = address.split_once(':') else { return false };
    if scheme.eq_ignore_ascii_case("mailto") {
        let mailbox = rest.split('?').next().unwrap_or_default().replace("%2B", "+").replace("%2b", "+");
        return mailbox.parse::<Mailbox>().is_ok();
    }
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = authority.map(|authority| authority.rsplit_once(':').map_or(authority, |(host, _)| host));
    scheme.eq_ignore_ascii_case("https") && host.is_some_and(|host| host.parse::<Host>().is_ok())
}
