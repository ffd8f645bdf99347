//! What can go wrong with TLS, theirs apart from ours.

use std::fmt;
use std::io;

use rustls::{AlertDescription, Error, PeerIncompatible};

/// Why there is no TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsFault {
    /// The peer said no: the alert's name (RFC 8446, section 6), `internal_error`.
    Alert(String),
    /// What the peer offers is outside what this prober speaks; other mailers may well succeed.
    OurLimit(String),
    /// The peer did not answer in TLS: what it said instead.
    Garbage(String),
    /// The peer closed the connection.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// Verification was asked for and the certificate does not hold: why.
    Unverified(String),
    /// The peer's TLS is broken, or its connection: how.
    Other(String),
}

impl TlsFault {
    /// What an error of an established [`Stream`](super::Stream) says about its TLS; null = nothing, it is
    /// the connection's own. TLS 1.3 servers that want a client's certificate say so only then.
    #[must_use]
    pub fn of(e: &io::Error) -> Option<Self> {
        inner(e).map(|_| Self::read(e, &[]))
    }

    /// What an error during the handshake comes to, with what the peer had begun to say.
    pub(super) fn read(e: &io::Error, head: &[u8]) -> Self {
        let Some(error) = inner(e) else {
            return match e.kind() {
                io::ErrorKind::UnexpectedEof => Self::Closed,
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                    Self::Reset
                }
                _ => Self::Other(format!("the connection broke during the handshake: {e}")),
            };
        };
        match error {
            Error::AlertReceived(alert) => match alert {
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity => {
                    Self::OurLimit(format!("the server answered with alert {}", alert_name(*alert)))
                }
                _ => Self::Alert(alert_name(*alert)),
            },
            Error::PeerIncompatible(what) => Self::OurLimit(match what {
                PeerIncompatible::ServerDoesNotSupportTls12Or13 => {
                    "the server offers neither TLS 1.2 nor 1.3".to_owned()
                }
                other => format!("nothing in common with the server ({other:?})"),
            }),
            // A record begins with its content type, 20 to 24 (RFC 8446, section 5.1).
            _ if head.first().is_some_and(|byte| !(20..=24).contains(byte)) => {
                let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
                Self::Garbage(line.trim_ascii_end().escape_ascii().to_string())
            }
            other => Self::Other(format!("the server's TLS is broken: {other}")),
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert(name) => write!(f, "the server ended the handshake with alert {name}"),
            Self::OurLimit(text) => {
                write!(f, "{text}: outside what this prober's TLS speaks (TLS 1.2 and 1.3, ECDHE, AEAD ciphers)")?;
                f.write_str("; other mailers may succeed")
            }
            Self::Garbage(text) => write!(f, "no TLS came: {text}"),
            Self::Closed => f.write_str("the server closed the connection during the handshake"),
            Self::Reset => f.write_str("the server reset the connection during the handshake"),
            Self::Unverified(problem) => write!(f, "the certificate does not hold: {problem}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The TLS error that an I/O error holds.
fn inner(e: &io::Error) -> Option<&Error> {
    e.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The name as the RFCs write it, `handshake_failure`.
fn alert_name(alert: AlertDescription) -> String {
    let name = match alert {
        AlertDescription::UnrecognisedName => "UnrecognizedName",
        _ => match alert.as_str() {
            Some(name) => name,
            None => return u8::from(alert).to_string(),
        },
    };
    let mut written = String::new();
    let mut before_upper = true;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let starts_word = !before_upper || letters.peek().is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && !written.is_empty() && starts_word {
            written.push('_');
        }
        before_upper = letter.is_ascii_uppercase();
        written.push(letter.to_ascii_lowercase());
    }
    written
}
