//! Names and addresses that cannot smuggle a command.
//!
//! Everything that a session writes on the wire is made of these types. None of them can hold
//! CR, LF, NUL, a space or an unquoted `>`: their constructors parse, and there is no other way in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A host or domain name in its ASCII form (A-labels, RFC 5890), lower case, no trailing dot, at
/// most 253 bytes of letters, digits, `-`, `_` and dots.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Host(Arc<str>);

impl Host {
    /// The name as it goes into DNS and onto the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let error = |wanted| InvalidAddress::new("host name", text, wanted);
        let trimmed = text.strip_suffix('.').unwrap_or(text);
        let ascii = if trimmed.is_ascii() {
            trimmed.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(trimmed).map_err(|_| error("a name that IDNA allows"))?
        };
        if ascii.is_empty() {
            return Err(error("at least one label"));
        }
        if ascii.len() > 253 {
            return Err(error("at most 253 bytes"));
        }
        for label in ascii.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(error("labels of 1 to 63 bytes between the dots"));
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
                return Err(error("letters, digits, hyphens and dots"));
            }
        }
        Ok(Self(ascii.into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What follows `EHLO`: a host name or an address literal (RFC 5321, section 4.1.3).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum EhloName {
    /// A fully qualified name, or what the operator insists on.
    Name(Host),
    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

impl FromStr for EhloName {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) else {
            return text.parse().map(Self::Name);
        };
        let bare = inner.strip_prefix("IPv6:").unwrap_or(inner);
        bare.parse().map(Self::Literal).map_err(|_| InvalidAddress::new("EHLO name", text, "a host name or [address]"))
    }
}

impl fmt::Display for EhloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(host) => write!(f, "{host}"),
            Self::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Self::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

/// A mailbox, `local@domain` (RFC 5321, section 4.1.2; RFC 6531 for local parts beyond ASCII).
///
/// The local part is kept as written, quotes included.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mailbox {
    local: Arc<str>,
    domain: Host,
}

impl Mailbox {
    /// The part before the last `@`, as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The part after the last `@`.
    #[must_use]
    pub fn domain(&self) -> &Host {
        &self.domain
    }

    /// Whether the server must offer SMTPUTF8 (RFC 6531) before it can be named.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

impl FromStr for Mailbox {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let error = |wanted| InvalidAddress::new("mail address", text, wanted);
        let bare = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
        let (local, domain) = bare.rsplit_once('@').ok_or_else(|| error("local@domain"))?;
        if local.is_empty() || local.len() > 64 {
            return Err(error("a local part of 1 to 64 bytes"));
        }
        let sound = match local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
            Some(inner) => quoted(inner),
            None => local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext)),
        };
        if !sound {
            return Err(error("a local part without spaces, controls or brackets"));
        }
        Ok(Self { local: local.into(), domain: domain.parse().map_err(|_| error("a domain after the @"))? })
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// The envelope sender: a mailbox, or the null reverse-path `<>` (RFC 5321, section 4.5.5).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Sender {
    /// `<>`.
    Null,
    /// A mailbox of the operator's.
    Mailbox(Mailbox),
}

impl FromStr for Sender {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text == "<>" { Ok(Self::Null) } else { text.parse().map(Self::Mailbox) }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "{mailbox}"),
        }
    }
}

/// A text that is not the name or address it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidAddress {
    what: &'static str,
    found: String,
    wanted: &'static str,
}

impl InvalidAddress {
    fn new(what: &'static str, found: &str, wanted: &'static str) -> Self {
        Self { what, found: found.chars().take(120).collect(), wanted }
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}: wanted {}", self.found, self.what, self.wanted)
    }
}

impl std::error::Error for InvalidAddress {}

/// Whether an address is not public: loopback, private, link-local, shared (RFC 6598), unspecified.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || a == 0 || ip.is_broadcast() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// `atext` of RFC 5322, section 3.2.3, and what RFC 6531 adds to it.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

/// The inside of a quoted local part: printable, with `"` and `\` only behind a `\`.
fn quoted(inner: &str) -> bool {
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let taken = if c == '\\' { chars.next() } else { Some(c).filter(|&c| c != '"') };
        if !taken.is_some_and(|c| c == ' ' || !(c.is_control() || c.is_whitespace())) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_end_a_command_gets_in() {
        for evil in ["a b", "a\r\nRCPT TO:<x@y>", "a\n", "a\0b", "a>b", "", "a..b", "-\u{1b}[2J", ".a"] {
            assert!(evil.parse::<Host>().is_err(), "{evil:?} as a host");
            assert!(evil.parse::<EhloName>().is_err(), "{evil:?} as an EHLO name");
            assert!(format!("{evil}@example.org").parse::<Mailbox>().is_err(), "{evil:?} as a local part");
            assert!(format!("a@{evil}").parse::<Mailbox>().is_err(), "{evil:?} as a domain");
        }
        assert!("\"a\r\n\"@example.org".parse::<Mailbox>().is_err());
        assert!("\"a\"b\"@example.org".parse::<Mailbox>().is_err());
    }

    #[test]
    fn names_are_folded_to_what_dns_knows() {
        assert_eq!("MX.Example.".parse::<Host>().unwrap().as_str(), "mx.example");
        assert_eq!("bücher.example".parse::<Host>().unwrap().as_str(), "xn--bcher-kva.example");
        assert_eq!("[192.0.2.1]".parse::<EhloName>().unwrap().to_string(), "[192.0.2.1]");
        assert_eq!("[IPv6:2001:db8::1]".parse::<EhloName>().unwrap().to_string(), "[IPv6:2001:db8::1]");
        assert_eq!("\"a b\"@Example.org".parse::<Mailbox>().unwrap().to_string(), "\"a b\"@example.org");
        assert_eq!("<>".parse::<Sender>().unwrap(), Sender::Null);
        assert!("jörg@example.org".parse::<Mailbox>().unwrap().needs_smtputf8());
    }
}
