//! How the values of a probe are written, in a file and on the command line alike.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::HostSpec;
use crate::address::Host;
use crate::stage::Stage;

impl FromStr for HostSpec {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let error = |wanted: &str| InvalidHost(format!("{:?} is no host: wanted {wanted}", short(text)));
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self::Address(ip));
        }
        let host: Host = text.parse().map_err(|_| error("a host name or an IP address"))?;
        // No top-level domain is a number (RFC 3696, section 2): this was meant to be an address.
        if host.as_str().rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit())) {
            return Err(error("four numbers of 0 to 255, or a name"));
        }
        Ok(Self::Name(host))
    }
}

/// A text that is neither a host's name nor its address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidHost(String);

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidHost {}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(host) => host.fmt(f),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

/// Reads a share of 0 to 100 per cent, `5 %`, as a number from 0 to 1.
///
/// # Errors
///
/// Text that is no such share.
pub fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
    percent
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("{:?} is no share: wanted 0 % to 100 %, as in \"5 %\"", short(text)))
}

/// Reads an IP address, and says what was wanted where it is none.
///
/// # Errors
///
/// Text that is no address.
pub fn ip(text: &str) -> Result<IpAddr, InvalidHost> {
    text.parse()
        .map_err(|_| InvalidHost(format!("{:?} is no IP address: wanted 192.0.2.1 or 2001:db8::1", short(text))))
}

/// Reads a stage that a session can stop after.
///
/// # Errors
///
/// Any other word; `resolve`, `quit` and `auth` are stages too, but none to stop after.
pub fn stop(text: &str) -> Result<Stage, InvalidStop> {
    Stage::STOPS.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| InvalidStop(short(text)))
}

/// A word that is no stage to stop after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidStop(String);

impl fmt::Display for InvalidStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stops: Vec<&str> = Stage::STOPS.iter().map(|stage| stage.as_str()).collect();
        write!(f, "{:?} is no stage to stop after: wanted one of {}", self.0, stops.join(", "))
    }
}

impl std::error::Error for InvalidStop {}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}
