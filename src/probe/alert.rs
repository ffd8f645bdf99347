//! Whom a watch tells of trouble, and when.
//!
//! A receiver is one address that a notice goes to, and is delivered to or not apart from all
//! others. Its key says which one it is: what is kept for it under that key is handed over to this
//! receiver alone, and only as long as a probe file still names it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Uri;

use super::HostSpec;
use crate::address::Mailbox;

/// Whom a watch tells, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alert {
    /// Failing rounds in a row that open an incident.
    pub after: u32,
    /// Clean rounds in a row that close it.
    pub clear: u32,
    /// At least one, no two alike.
    pub receivers: Vec<Receiver>,
}

/// One address that notices go to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Receiver {
    Webhook(Webhook),
    /// A program and its arguments, run as they stand and by no shell.
    Command(Vec<String>),
    Mail(Mail),
}

impl Receiver {
    /// Which receiver this is, in a text that stays the same and from which nothing can be read.
    #[must_use]
    pub fn key(&self) -> String {
        sealed(&match self {
            Self::Webhook(Webhook { url, .. }) => format!("webhook {url}"),
            Self::Command(words) => format!("command {words:?}"),
            Self::Mail(Mail { to, relay, .. }) => format!("mail {to} by {relay}"),
        })
    }
}

/// A receiver's key of the words that say which one it is: the first of them, its kind, and a
/// digest of all. An address that nobody can guess is how many webhooks know their senders, and
/// keys are kept on disk.
#[must_use]
pub fn sealed(words: &str) -> String {
    let kind = words.split(' ').next().unwrap_or_default();
    format!("{kind} {}", URL_SAFE_NO_PAD.encode(digest(&SHA256, words.as_bytes())))
}

impl fmt::Display for Receiver {
    /// The receiver for eyes and logs: a webhook without its path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(webhook) => write!(f, "webhook {}", webhook.origin()),
            Self::Command(words) => write!(f, "command {}", words.first().map_or("", String::as_str)),
            Self::Mail(Mail { to, relay, .. }) => write!(f, "mail to {to} by {relay}"),
        }
    }
}

/// Where a notice is posted.
#[derive(Clone, Eq, PartialEq)]
pub struct Webhook {
    url: String,
    pub secure: bool,
    pub host: HostSpec,
    pub port: u16,
    /// Path and query: what is asked for there.
    pub path: String,
}

impl Webhook {
    /// The path that an Alertmanager takes alerts at (its API, version 2).
    const ALERTMANAGER: &str = "/api/v2/alerts";

    /// Whether it takes an Alertmanager's alerts rather than the notice itself.
    #[must_use]
    pub fn is_alertmanager(&self) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with(Self::ALERTMANAGER))
    }

    /// `http://HOST:PORT`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http{}://{}", if self.secure { "s" } else { "" }, HostPort { host: &self.host, port: self.port })
    }
}

impl fmt::Debug for Webhook {
    /// Without its path, as for eyes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

impl FromStr for Webhook {
    type Err = InvalidWebhook;

    fn from_str(text: &str) -> Result<Self, InvalidWebhook> {
        let error = |wanted| InvalidWebhook { found: text.chars().take(120).collect(), wanted };
        let no_url = || error("http://HOST/PATH or https://HOST/PATH");
        if text.len() > 2000 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(error("at most 2000 bytes of ASCII without spaces"));
        }
        let uri: Uri = text.parse().map_err(|_| no_url())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(no_url()),
        };
        let authority = uri.authority().ok_or_else(no_url)?;
        if authority.as_str().contains('@') {
            return Err(error("a URL without a password"));
        }
        if text.contains('#') {
            return Err(error("a URL without a fragment"));
        }
        let host = authority.host().parse().map_err(|_| error("a host name or an address behind the ://"))?;
        // What is behind the host is a port, or there is more than a host.
        let default = if secure { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" => default,
            _ => authority.port_u16().filter(|port| *port != 0).ok_or_else(|| error("a port from 1 to 65535"))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { url: text.to_owned(), secure, host, port, path })
    }
}

/// A text that is no address of a webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidWebhook {
    found: String,
    wanted: &'static str,
}

impl fmt::Display for InvalidWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no webhook: wanted {}", self.found, self.wanted)
    }
}

impl std::error::Error for InvalidWebhook {}

/// A mailbox and the way to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    pub to: Mailbox,
    pub relay: Relay,
    /// Without one: `mxprobe@` and this host's name.
    pub from: Option<Mailbox>,
}

/// The mail server that takes what is to go out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relay {
    pub host: HostSpec,
    pub port: u16,
}

impl Default for Relay {
    /// This host's own.
    fn default() -> Self {
        Self { host: HostSpec::Address([127, 0, 0, 1].into()), port: 25 }
    }
}

impl FromStr for Relay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || {
            let found: String = text.chars().take(120).collect();
            format!("{found:?} is no relay: wanted HOST or HOST:PORT, as in 127.0.0.1:25 or [2001:db8::1]:25")
        };
        if let Ok(host) = text.parse() {
            return Ok(Self { host, port: 25 });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host = host.parse().ok().filter(|host| bracketed || !matches!(host, HostSpec::Address(ip) if ip.is_ipv6()));
        let port = port.parse().ok().filter(|port| *port != 0);
        host.zip(port).map(|(host, port)| Self { host, port }).ok_or_else(error)
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HostPort { host: &self.host, port: self.port }.fmt(f)
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
struct HostPort<'a> {
    host: &'a HostSpec,
    port: u16,
}

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            HostSpec::Address(ip) if ip.is_ipv6() => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_taken_apart() {
        for (text, origin, path, alertmanager) in [
            ("http://127.0.0.1:9093/api/v2/alerts", "http://127.0.0.1:9093", "/api/v2/alerts", true),
            (
                "https://am.example/prefix/api/v2/alerts?x=1",
                "https://am.example:443",
                "/prefix/api/v2/alerts?x=1",
                true,
            ),
            ("http://[2001:db8::1]:9/x", "http://[2001:db8::1]:9", "/x", false),
            ("HTTPS://Hooks.Example", "https://hooks.example:443", "/", false),
            ("http://h.example/?to=/api/v2/alerts", "http://h.example:80", "/?to=/api/v2/alerts", false),
        ] {
            let webhook: Webhook = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (webhook.origin().as_str(), &*webhook.path, webhook.is_alertmanager()),
                (origin, path, alertmanager)
            );
            let shown = Receiver::Webhook(webhook.clone()).to_string();
            assert!(shown == format!("webhook {origin}"), "{shown}");
        }
        for text in [
            "javascript:alert(1)",
            "/api/v2/alerts",
            "http:///x",
            "http://me:secret@h.example/",
            "http://h.example/#x",
            "http://h.example:0/",
            "http://h.example:65536/",
            "http://h.example:/",
            "http://a b/",
            "http://h.example/\r\nX: y",
            "ftp://h.example/",
            "http://-\u{e4}/",
        ] {
            assert!(text.parse::<Webhook>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_tells_receivers_apart_and_nothing_else() {
        let webhook = |url: &str| Receiver::Webhook(url.parse().unwrap());
        let command = |words: &[&str]| Receiver::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let all = [
            webhook("https://hooks.example/s3cret"),
            webhook("https://hooks.example/s3cret2"),
            webhook("http://hooks.example/s3cret"),
            command(&["/bin/tell", "--token", "s3cret"]),
            command(&["/bin/tell", "--token s3cret"]),
        ];
        let keys: Vec<String> = all.iter().map(Receiver::key).collect();
        for (receiver, key) in all.iter().zip(&keys) {
            assert_eq!(keys.iter().filter(|other| *other == key).count(), 1, "{key}");
            assert_eq!(receiver.clone().key(), *key);
            let kind = if matches!(receiver, Receiver::Webhook(_)) { "webhook " } else { "command " };
            assert!(key.starts_with(kind) && key.len() == kind.len() + 43, "{key}");
            let said = format!("{key} {receiver} {:?}", Some(receiver).filter(|_| kind == "webhook "));
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn a_relay_is_a_host_and_perhaps_a_port() {
        for (text, want) in [
            ("127.0.0.1", Some("127.0.0.1:25")),
            ("127.0.0.1:2525", Some("127.0.0.1:2525")),
            ("relay.example:587", Some("relay.example:587")),
            ("2001:db8::1", Some("[2001:db8::1]:25")),
            ("[2001:db8::1]:2525", Some("[2001:db8::1]:2525")),
            ("2001:db8::1:2:3:4:5:6:7:25", None),
            ("relay.example:", None),
            ("relay.example:0", None),
            ("a b:25", None),
            (":25", None),
        ] {
            assert_eq!(text.parse::<Relay>().ok().map(|relay| relay.to_string()).as_deref(), want, "{text}");
        }
    }
}
