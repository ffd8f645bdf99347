//! Why a stage ended without an answer: what happened, never a string to be parsed.

use std::fmt;

use super::decoder::Malformed;
use super::reply::Reply;
use crate::words::words;

/// Why a stage ended without an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The operator stopped the run.
    Cancelled,
    /// The server closed the connection.
    Closed,
    /// The name did not resolve.
    Dns(LookupError),
    /// This host could not do its part: address not here, no route, out of descriptors.
    Local(String),
    /// The server's bytes were no reply.
    Malformed(Malformed),
    /// Whether DANE asks for TLS could not be told (RFC 7672, section 2.1.2): what was looked up.
    NoDane(LookupError, String),
    /// An address of the envelope needs SMTPUTF8, which the server does not offer.
    NoSmtpUtf8,
    /// A positive reply that makes no sense here, such as a 250 to `DATA`.
    OutOfPlace(Reply),
    /// The server had sent more than its reply to `STARTTLS` (CVE-2011-0411's class).
    PlaintextAfterStartTls,
    /// TCP said no.
    Refused,
    /// The connection was reset.
    Reset,
    /// TLS was required, and the server does not offer it.
    StartTlsNotOffered,
    /// Time ran out.
    TimedOut,
    /// The handshake failed.
    Tls(String),
    /// The handshake failed on what our own TLS does not speak.
    TlsLimit(String),
    /// The network said that there is no way to the address.
    Unreachable(String),
    /// The handshake succeeded, and the certificate does not hold.
    Unverified(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Dns(error) => write!(f, "the name did not resolve: {error}"),
            Self::Malformed(malformed) => {
                let Malformed { why, line } = malformed;
                write!(f, "{why}: {:?}", String::from_utf8_lossy(&line[..line.len().min(120)]))
            }
            Self::NoDane(error, what) => {
                write!(f, "DANE: {what}: {error}; a sender that goes by DANE keeps its mail for later")
            }
            Self::NoSmtpUtf8 => f.write_str("an address needs SMTPUTF8, which the server does not offer"),
            Self::OutOfPlace(reply) => write!(f, "{} makes no sense here", reply.code),
            Self::PlaintextAfterStartTls => f.write_str("plaintext behind the reply to STARTTLS (response injection)"),
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("the server reset the connection"),
            Self::StartTlsNotOffered => f.write_str("TLS is required, and the server does not offer STARTTLS"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Local(what)
            | Self::Tls(what)
            | Self::TlsLimit(what)
            | Self::Unreachable(what)
            | Self::Unverified(what) => f.write_str(what),
        }
    }
}

words! {
    /// How a lookup failed.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum LookupError ("lookup error") {
        /// The name does not exist.
        Nxdomain = "nxdomain",
        /// The name exists, without records of this type.
        Nodata = "nodata",
        /// The server failed.
        Servfail = "servfail",
        /// The server would not answer.
        Refused = "refused",
        /// No answer in time.
        Timeout = "timeout",
        /// No server could be asked: ours to mend.
        Unreachable = "unreachable",
        /// DNSSEC validation failed.
        Bogus = "bogus",
    }
}

impl LookupError {
    /// Whether it is an answer: that there is nothing.
    #[must_use]
    pub const fn is_denial(self) -> bool {
        matches!(self, Self::Nxdomain | Self::Nodata)
    }
}
