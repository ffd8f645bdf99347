//! What a client says: typed values to bytes (RFC 5321, section 4.1.1).
//!
//! The commands are made of types that cannot hold a line end, so one command is one line.

use crate::address::{EhloName, Mailbox, Sender};

/// `EHLO name`.
#[must_use]
pub fn ehlo(name: &EhloName) -> Vec<u8> {
    format!("EHLO {name}\r\n").into_bytes()
}

/// `HELO name`, for a server that knows no EHLO (RFC 5321, section 3.2).
#[must_use]
pub fn helo(name: &EhloName) -> Vec<u8> {
    format!("HELO {name}\r\n").into_bytes()
}

/// `STARTTLS` (RFC 3207, section 4).
#[must_use]
pub fn starttls() -> Vec<u8> {
    b"STARTTLS\r\n".to_vec()
}

/// `MAIL FROM:<sender>`, with `SMTPUTF8` where an address needs it (RFC 6531, section 3.4) and
/// `BODY=8BITMIME` where the message does (RFC 6152, section 3).
#[must_use]
pub fn mail(sender: &Sender, smtputf8: bool, eight_bit: bool) -> Vec<u8> {
    let smtputf8 = if smtputf8 { " SMTPUTF8" } else { "" };
    let body = if eight_bit { " BODY=8BITMIME" } else { "" };
    match sender {
        Sender::Null => format!("MAIL FROM:<>{smtputf8}{body}\r\n"),
        Sender::Mailbox(mailbox) => format!("MAIL FROM:<{mailbox}>{smtputf8}{body}\r\n"),
    }
    .into_bytes()
}

/// `RCPT TO:<recipient>`.
#[must_use]
pub fn rcpt(recipient: &Mailbox) -> Vec<u8> {
    format!("RCPT TO:<{recipient}>\r\n").into_bytes()
}

/// `DATA`.
#[must_use]
pub fn data() -> Vec<u8> {
    b"DATA\r\n".to_vec()
}

/// `QUIT`.
#[must_use]
pub fn quit() -> Vec<u8> {
    b"QUIT\r\n".to_vec()
}

/// The message with CRLF at the end of every line, bare CR and bare LF included, so that what is
/// signed is what goes out.
#[must_use]
pub fn crlf(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 32 + 2);
    let mut rest = message;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"\r\n");
        let end = if rest[at..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[at + end..];
    }
    out.extend_from_slice(rest);
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The message as it goes out: every line ends in CRLF, leading dots are doubled, a lone dot ends
/// it (RFC 5321, sections 2.3.8 and 4.5.2).
///
/// Bare CR and bare LF become CRLF, so that no message can end early or smuggle a command.
#[must_use]
pub fn message(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 32 + 5);
    for line in crlf(message).split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_message_ends_at_its_last_dot_and_nowhere_else() {
        for (body, wire) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".a\r\n.\r\nb", "..a\r\n..\r\nb\r\n.\r\n"),
            ("a\n.\nMAIL FROM:<x@y>\n", "a\r\n..\r\nMAIL FROM:<x@y>\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\n.\r\n", "a\r\n\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(message(body.as_bytes())).unwrap(), wire, "{body:?}");
        }
    }
}
