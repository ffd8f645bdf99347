//! Mail as a report's wrapping: headers, the part written for people, the delivery status.
//!
//! The only module that knows the MIME parser. Nothing of the returned message leaves it: neither its
//! text nor its headers say anything about the error.

use std::borrow::Cow;

use mail_parser::decoders::html::html_to_text;
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use memchr::memmem;

/// The fields of one block of a `message/delivery-status` part (RFC 3464), names in lower case.
pub(crate) type Group = Vec<(String, String)>;

/// What a report in mail form consists of.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Its own headers, names in lower case, unfolded; without the `Received` ones, which say nothing
    /// about the error.
    pub(crate) headers: Vec<(String, String)>,
    /// The part for people, up to where the returned message begins.
    pub(crate) text: String,
    /// The blocks of the delivery status: the first is about the message.
    pub(crate) status: Vec<Group>,
    /// Messages in it that are not the returned one: a forwarded report.
    pub(crate) forwarded: Vec<Vec<u8>>,
}

/// More than this of one mail is not looked at: what a report says stands at its beginning.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const MOST_TEXT: usize = 256 * 1024;
const MOST_GROUPS: usize = 10_000;
const MOST_PARTS: usize = 100;

impl Mail {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bounded(&bytes[..bytes.len().min(MOST_BYTES)]);
        let message = MessageParser::default().parse(&*bytes)?;
        let mut mail = Self::default();
        for (name, value) in message.headers_raw().take(500) {
            let name = name.to_ascii_lowercase();
            if !matches!(name.as_str(), "received" | "x-received" | "dkim-signature" | "arc-seal") {
                mail.headers.push((name, super::reply::collapse(value)));
            }
        }
        mail.parts(&message);
        let cut = returned(&mail.text);
        mail.text.truncate(cut);
        Some(mail)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether a mailer wrote it, rather than a person.
    pub(crate) fn is_bounce(&self) -> bool {
        self.is_mailers() || self.header("return-path").is_some_and(|path| path.trim() == "<>")
    }

    /// Whether it says so itself; an empty return path alone may be any program's.
    pub(crate) fn is_mailers(&self) -> bool {
        let from = self.header("from").unwrap_or_default().to_ascii_lowercase();
        let subject = self.header("subject").unwrap_or_default().to_ascii_lowercase();
        !self.status.is_empty()
            || self.header("x-failed-recipients").is_some()
            || ["mailer-daemon", "mail delivery", "postmaster", "mailerdaemon", "mdaemon"]
                .iter()
                .any(|w| from.contains(w))
            || [
                "undeliver",
                "delivery status",
                "delivery fail",
                "failure notice",
                "returned mail",
                "mail delivery",
                "delivery notification",
                "delivery report",
                "could not send message",
                "delayed mail",
            ]
            .iter()
            .any(|w| subject.contains(w))
    }

    fn parts(&mut self, message: &Message<'_>) {
        let reported = |kind: &str, sub: &str| {
            matches!(
                (kind, sub),
                ("message", "delivery-status" | "global-delivery-status" | "rfc822" | "global" | "global-headers")
                    | ("text", "rfc822-headers")
            )
        };
        let mut behind = false;
        for part in &message.parts {
            let (kind, sub) =
                part.content_type().map_or(("text", "plain"), |c| (c.ctype(), c.subtype().unwrap_or_default()));
            let (kind, sub) = (kind.to_ascii_lowercase(), sub.to_ascii_lowercase());
            if sub.ends_with("delivery-status") {
                self.status.extend(groups(&String::from_utf8_lossy(part.contents())));
            }
            behind |= reported(&kind, &sub);
            match &part.body {
                PartType::Text(text) if !behind && self.text.len() < MOST_TEXT => {
                    self.text.push_str(&text[..super::sentence::floor(text, MOST_TEXT)].replace('\r', ""));
                    self.text.push('\n');
                }
                PartType::Html(html) if !behind && self.text.trim().is_empty() => {
                    self.text
                        .push_str(&html_to_text(&html[..super::sentence::floor(html, MOST_TEXT)]).replace('\r', ""));
                }
                PartType::Message(inner) if self.status.is_empty() && self.forwarded.len() < 20 => {
                    self.forwarded.push(inner.raw_message().to_vec());
                }
                _ => {}
            }
        }
        // Some mailers put the delivery status into the text.
        if self.status.is_empty() && self.text.contains("Final-Recipient:") {
            self.status = groups(&self.text);
            self.status
                .retain(|group| group.iter().any(|(name, _)| name == "final-recipient" || name == "reporting-mta"));
        }
    }
}

/// The mail up to where its parts nest deeper than any report's do, for the parser recurses. A message
/// that is itself encoded (RFC 2046, section 5.2.1, forbids it) could hide the same, so it is none.
fn bounded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let lower = bytes.to_ascii_lowercase();
    let kinds: [&[u8]; 3] = [b"message/rfc822", b"message/global", b"multipart/"];
    let mut found: Vec<usize> =
        kinds.iter().flat_map(|kind| memmem::find_iter(&lower, kind).take(MOST_PARTS + 1)).collect();
    found.sort_unstable();
    let end = found.get(MOST_PARTS).copied().unwrap_or(bytes.len());
    let mut bytes = Cow::Borrowed(&bytes[..end]);
    for at in found.into_iter().take(MOST_PARTS).filter(|&at| lower[at..].starts_with(b"message/")) {
        let blank: [&[u8]; 2] = [b"\n\n", b"\r\n\r\n"];
        let from = blank.iter().filter_map(|blank| memmem::rfind(&lower[..at], blank)).max().unwrap_or(0);
        let to = blank.iter().filter_map(|blank| memmem::find(&lower[at..end], blank)).min().map_or(end, |to| at + to);
        let head = &lower[from..to];
        let encoding = memmem::find(head, b"content-transfer-encoding").map_or(&[][..], |at| &head[at..]);
        let encoding = encoding.splitn(2, |b| *b == b'\n').next().unwrap_or_default();
        if memmem::find(encoding, b"base64").is_some() || memmem::find(encoding, b"quoted").is_some() {
            bytes.to_mut()[at..at + 14].copy_from_slice(b"message/opaque");
        }
    }
    bytes
}

/// Reads blocks of fields, separated by blank lines; folded lines are joined by a line end.
pub(crate) fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = vec![Vec::new()];
    let push = |groups: &mut Vec<Group>, group: Group| {
        if groups.len() < MOST_GROUPS {
            groups.push(group);
        }
    };
    for line in text.lines() {
        let line = line.trim_end();
        if line.trim().is_empty() {
            if groups.last().is_some_and(|group| !group.is_empty()) {
                push(&mut groups, Vec::new());
            }
            continue;
        }
        let Some(group) = groups.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_name(name)) {
            // A second recipient without a blank line before it begins a new block all the same.
            let name = name.to_ascii_lowercase();
            if name == "final-recipient" && group.iter().any(|(n, _)| *n == name) {
                push(&mut groups, vec![(name, value.trim().to_owned())]);
            } else if group.len() < 100 {
                group.push((name, value.trim().to_owned()));
            }
        } else if let Some((_, value)) = group.last_mut() {
            value.push('\n');
            value.push_str(line.trim());
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

pub(crate) fn is_name(name: &str) -> bool {
    (2..50).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Where the returned message begins in a text that holds it.
fn returned(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line
            .trim()
            .trim_matches(|c: char| {
                c == '-' || c == '=' || c == '*' || c == '_' || c == '\u{2014}' || c == '\u{2013}' || c.is_whitespace()
            })
            .to_ascii_lowercase();
        let marked = [
            "below this line is a copy of the message",
            "this is a copy of the message",
            "this is a copy of your message",
            "original message",
            "original message headers",
            "original message follows",
            "the original message follows",
            "unsent message below",
            "unsent message follows",
            "message headers follow",
            "message header follows",
            "message headers",
            "forwarded message",
            "returned message",
            "your original message",
            "here is a copy of the original message",
            "below is a copy of the original message",
            "a copy of the message",
            "undelivered message follows",
            "text of message follows",
        ]
        .iter()
        .any(|marker| bare.starts_with(marker) && bare.len() < marker.len() + 40);
        if marked && at > 0 {
            return at;
        }
        at += line.len();
    }
    at
}
