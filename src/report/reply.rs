//! Reading a server's reply out of the text that quotes it.

use std::net::IpAddr;

use crate::smtp::reply::{Code, Enhanced};

/// A reply as a report quotes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Quoted {
    pub(crate) code: Option<Code>,
    pub(crate) enhanced: Option<Enhanced>,
    /// The code, then the text of all lines, joined by a space.
    pub(crate) reply: String,
    /// The text alone.
    pub(crate) text: String,
}

impl Quoted {
    /// Reads the reply at the start of `text`; quotes and punctuation before it are no hindrance.
    /// It begins with a code (`550`, `550-`, `550:`, `550 550`, `#550`) or, where the report left the
    /// code out, with an enhanced status code.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim_start_matches(|c: char| c.is_whitespace() || is_quote(c) || "<(#:;,-.".contains(c));
        let Some((code, separator)) = code_at(text) else {
            let enhanced = Enhanced::leading(text.as_bytes())?;
            let text = collapse(text);
            return Some(Self { code: None, enhanced: Some(enhanced), reply: text.clone(), text });
        };
        let mut body = collapse(&unfold(&text[3..], code, separator == Some('-')));
        // Some senders write the code twice: `550 550 5.1.1 no such user`.
        while code_at(&body).is_some_and(|(again, _)| again == code) {
            body = body[3..].trim_start_matches([' ', '-', ':']).to_owned();
        }
        let reply = if body.is_empty() { code.to_string() } else { format!("{code} {body}") };
        Some(Self { code: Some(code), enhanced: enhanced(code, &body), reply, text: body })
    }

    /// The first place in `text` where a reply may begin: a code between 400 and 599 that stands
    /// apart from its neighbours and is followed by words.
    pub(crate) fn find(text: &str) -> Option<(usize, Self)> {
        let mut from = 0;
        loop {
            let at = from + text.get(from..)?.find(['4', '5'])?;
            let before = text[..at].chars().next_back();
            let apart = before.is_none_or(|c| c.is_whitespace() || is_quote(c) || "(<[:;,/>#".contains(c));
            if apart && code_at(&text[at..]).is_some_and(|(_, separator)| separator.is_some_and(|c| " -:#".contains(c)))
            {
                let rest = text[at + 4..].trim_start();
                if rest.starts_with(|c: char| c.is_alphanumeric() || is_quote(c) || ":([<#".contains(c)) {
                    return Some((at, Self::read(&text[at..])?));
                }
            }
            from = at + 1;
        }
    }
}

/// The address of a client that a reply names, where it names exactly one.
pub(crate) fn named_source(text: &str) -> Option<IpAddr> {
    let mut found = None;
    for word in text.split(|c: char| !(c.is_ascii_hexdigit() || matches!(c, '.' | ':'))) {
        let word = word.trim_matches(['.', ':']);
        let Some(ip) = word.parse::<IpAddr>().ok().filter(|_| word.len() >= 7) else { continue };
        if found.is_some_and(|other| other != ip) {
            return None;
        }
        found = Some(ip);
    }
    found
}

/// Every run of whitespace as one space, none at the ends.
pub(crate) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

pub(crate) fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}' | '«' | '»' | '′' | '″')
}

/// The code at the very start of `text` and the character behind it.
fn code_at(text: &str) -> Option<(Code, Option<char>)> {
    let digits = text.get(..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let separator = text[3..].chars().next();
    if separator.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '/' | '@')) {
        return None;
    }
    let code = Code::new(digits.parse().ok()?)?;
    Some((code, separator))
}

/// Takes the code off the later lines of a reply, which may have been joined to one.
fn unfold(rest: &str, code: Code, multi: bool) -> String {
    let rest = rest.strip_prefix(['-', ':']).unwrap_or(rest);
    if !multi {
        return rest.to_owned();
    }
    let (more, last) = (format!("{code}-"), format!("{code} "));
    let mut out = String::with_capacity(rest.len());
    let mut words = rest;
    loop {
        let next = words
            .match_indices(more.as_str())
            .map(|(i, _)| i)
            .chain(words.match_indices(last.as_str()).map(|(i, _)| i))
            .filter(|&i| i == 0 || words[..i].ends_with(char::is_whitespace))
            .min();
        let Some(at) = next else { break };
        out.push_str(&words[..at]);
        out.push(' ');
        words = &words[at + 4..];
    }
    out.push_str(words);
    out
}

/// The enhanced code that the reply itself gives: at its start (RFC 2034), behind the server's name
/// there, or as qmail servers write it, `(#5.1.1)`. Only one that agrees with the code in its class
/// is taken from any other place than the start.
fn enhanced(code: Code, body: &str) -> Option<Enhanced> {
    let first = body.trim_start_matches(|c: char| is_quote(c) || matches!(c, '(' | '[' | '<' | ' ' | '-' | ':'));
    if let Some(found) = Enhanced::leading(first.replace([')', ']', ',', ';'], " ").as_bytes()) {
        return Some(found);
    }
    let agrees = |e: &Enhanced| u16::from(e.class) == code.get() / 100;
    let mut words = body.split(' ');
    if words.next().is_some_and(|host| host.contains('.') && host.parse::<crate::address::Host>().is_ok())
        && let Some(found) = words.next().and_then(|w| Enhanced::leading(w.as_bytes())).filter(agrees)
    {
        return Some(found);
    }
    body.match_indices('#').find_map(|(at, _)| {
        let word: &str = body[at + 1..].split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        word.trim_end_matches('.').parse().ok().filter(agrees)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_however_it_is_written() {
        for (text, code, enhanced, reply) in [
            ("550 5.1.1 x", 550, Some("5.1.1"), "550 5.1.1 x"),
            (": “521 5.2.1 “TempFail””", 521, Some("5.2.1"), "521 5.2.1 “TempFail””"),
            ("550 550 5.1.1 x", 550, Some("5.1.1"), "550 5.1.1 x"),
            ("550: 5.1.1 x", 550, Some("5.1.1"), "550 5.1.1 x"),
            ("#550 5.1.1 x", 550, Some("5.1.1"), "550 5.1.1 x"),
            ("554-a\n554-b 554 c\n554 d", 554, None, "554 a b c d"),
            ("550-5.7.1 a\n  550 5.7.1 b", 550, Some("5.7.1"), "550 5.7.1 a 5.7.1 b"),
            ("421 mx.example.com 4.7.0 x", 421, Some("4.7.0"), "421 mx.example.com 4.7.0 x"),
            ("550 no such user (#5.5.0)", 550, Some("5.5.0"), "550 no such user (#5.5.0)"),
            ("421", 421, None, "421"),
            ("554 no IP 5.1.1.1", 554, None, "554 no IP 5.1.1.1"),
        ] {
            let got = Quoted::read(text).unwrap();
            assert_eq!(got.code, Code::new(code), "{text}");
            assert_eq!(got.enhanced.map(|e| e.to_string()).as_deref(), enhanced, "{text}");
            assert_eq!(got.reply, reply);
        }
        for text in ["", "5500 x", "550.1 x", "reply 550", "192.0.2.1"] {
            assert_eq!(Quoted::read(text), None, "{text}");
        }
        assert_eq!(Quoted::read("4.4.2 lost").unwrap().code, None);
        assert_eq!(Quoted::find("it said (554 5.7.1 no) to 500 people").unwrap().0, 9);
        assert_eq!(Quoted::find("to 500 people").unwrap().0, 3);
        assert_eq!(Quoted::find("port 2550 or 192.0.2.450").map(|f| f.0), None);
    }
}
