//! The messages that are sent: the one that says what it is, and the operator's own.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::{Attempt, Source};
use crate::address::Sender;
use crate::record::Variant;
use crate::stage::Stage;

impl Attempt {
    /// The message of this session, unsigned; none where it does not come to one.
    ///
    /// The operator's goes out as it is; as one half of a pair it gets an id of its own, so that no
    /// two of them are one to the other side.
    pub(super) fn message(&self, source: &Source, run: &str, at: Timestamp) -> Arc<[u8]> {
        match (&self.probe.message.body, self.variant) {
            _ if self.until < Stage::EndOfData => Arc::default(),
            (None, _) | (_, Variant::ControlMessage) => self.introduction(source, run, at).into(),
            (Some(body), Variant::Campaign) => with_id(body, &self.message_id(source, run)).into(),
            (Some(body), _) => Arc::clone(body),
        }
    }

    /// The message that says what it is.
    fn introduction(&self, source: &Source, run: &str, at: Timestamp) -> Vec<u8> {
        let from = match &self.from {
            Sender::Null => format!("mxprobe@{}", source.ehlo),
            Sender::Mailbox(mailbox) => mailbox.to_string(),
        };
        let to = self.to.as_ref().map(|to| format!("To: <{to}>\r\n")).unwrap_or_default();
        let date = rfc2822::DateTimePrinter::new().timestamp_to_string(&at).unwrap_or_default();
        format!(
            "Date: {date}\r\nFrom: mxprobe <{from}>\r\n{to}Message-ID: {}\r\n\
             Subject: mxprobe delivery test\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=us-ascii\r\nAuto-Submitted: auto-generated\r\n\r\n\
             This is one test message, sent on purpose by mxprobe to a mailbox of its operator's,\r\n\
             to see whether mail from this host is accepted. Nobody needs to answer it.\r\n",
            self.message_id(source, run)
        )
        .into_bytes()
    }

    fn message_id(&self, source: &Source, run: &str) -> String {
        format!("<{run}.{}.{}@{}>", self.seq, self.number, source.ehlo)
    }
}

/// The message with this id in the place of its own, or before everything where it has none. One
/// that is signed already stays as it is: the signature covers the id.
fn with_id(message: &[u8], id: &str) -> Vec<u8> {
    let line = format!("Message-ID: {id}\r\n").into_bytes();
    let (mut out, mut rest, mut placed) = (Vec::with_capacity(message.len() + line.len()), message, false);
    while !rest.is_empty() {
        let end = field_end(rest);
        let (field, behind) = rest.split_at(end);
        if field.iter().all(u8::is_ascii_whitespace) {
            break;
        }
        let name = field.split(|&b| b == b':').next().unwrap_or_default();
        if name.trim_ascii().eq_ignore_ascii_case(b"DKIM-Signature") {
            return message.to_vec();
        }
        if name.trim_ascii().eq_ignore_ascii_case(b"Message-ID") {
            if !placed {
                out.extend_from_slice(&line);
            }
            placed = true;
        } else {
            out.extend_from_slice(field);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    if placed { out } else { [line, out].concat() }
}

/// Where a header field ends: behind the line end that no blank follows (RFC 5322, section 2.2.3).
fn field_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = text[at..].iter().position(|&b| b == b'\n') {
        let line_is_empty = text[at..at + length].iter().all(|&b| b == b'\r');
        at += length + 1;
        if line_is_empty || !matches!(text.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::with_id;

    #[test]
    fn a_message_gets_one_id_and_keeps_the_rest() {
        for (message, want) in [
            (
                "From: a\r\nMessage-ID: <x@y>\r\nTo: b\r\n\r\nhi\r\n",
                "From: a\r\nMessage-ID: <1@z>\r\nTo: b\r\n\r\nhi\r\n",
            ),
            ("message-id:\r\n <x@y>\r\nTo: b\r\n\r\nhi", "Message-ID: <1@z>\r\nTo: b\r\n\r\nhi"),
            ("To: b\n c\n\nMessage-ID: <in@body>\n", "Message-ID: <1@z>\r\nTo: b\n c\n\nMessage-ID: <in@body>\n"),
            ("Message-ID: <a>\r\nMessage-ID: <b>\r\n\r\n", "Message-ID: <1@z>\r\n\r\n"),
            ("Message-ID: <a>\r\nDKIM-Signature: v=1\r\n\r\n", "Message-ID: <a>\r\nDKIM-Signature: v=1\r\n\r\n"),
            ("", "Message-ID: <1@z>\r\n"),
        ] {
            assert_eq!(String::from_utf8(with_id(message.as_bytes(), "<1@z>")).unwrap(), want, "{message:?}");
        }
    }
}
