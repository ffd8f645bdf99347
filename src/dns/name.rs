//! Names between the forms of [`Host`], of the wire and of the record.

use std::fmt::Write as _;
use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::address::Host;

/// The name as DNS writes it: absolute, so that no search list applies.
pub(super) fn dns_name(host: &Host) -> Name {
    // A host's labels are 1 to 63 bytes and 253 in all: always a name.
    Name::from_labels(host.as_str().split('.').map(str::as_bytes)).unwrap_or_default()
}

/// A name in presentation form without the final dot, the root being `.` (RFC 1035, section 5.1:
/// what could be taken for something else is `\DDD`, in decimal).
pub(super) fn shown_name(name: &Name) -> String {
    let mut shown = String::new();
    for label in name {
        if !shown.is_empty() {
            shown.push('.');
        }
        for &byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => shown.extend(['\\', char::from(byte)]),
                b'!'..=b'~' => shown.push(char::from(byte)),
                // Writing to a text does not fail.
                _ => _ = write!(shown, "\\{byte:03}"),
            }
        }
    }
    if shown.is_empty() { ".".to_owned() } else { shown }
}

/// Whether a name is an address in a name's clothing.
pub(super) fn is_address(name: &Name) -> bool {
    let text = shown_name(name);
    text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}
