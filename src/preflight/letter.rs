//! `message`: whether the campaign's message is one, and one that these servers take.
//!
//! What a filter thinks of it only a real delivery shows; what no server should take is seen here.

use super::Room;
use crate::auth::signatures;
use crate::record::{Check, CheckName, CheckResult, Session};
use crate::smtp::command::crlf;

/// The longest line without its end (RFC 5322, section 2.1.1).
const LONGEST_LINE: usize = 998;

/// The message by itself.
pub(super) fn letter(room: &Room) -> Vec<Check> {
    let Some(body) = &room.probe.message.body else {
        return vec![check(CheckResult::Warn, "not checked: the probe names no message ([message] body)")];
    };
    let mut found = Vec::new();
    lines(body, &mut found);
    let message = crlf(body);
    let (fields, text) = fields(&message);
    headers(&fields, text, &mut found);
    unsubscribe(room, &message, &fields, &mut found);
    if found.iter().all(|check| check.result == CheckResult::Pass) {
        found = vec![check(
            CheckResult::Pass,
            format!("{} bytes in {} header fields and a body", message.len(), fields.len()),
        )];
    }
    found
}

/// The message against what each server's EHLO offers.
pub(super) fn against(room: &Room, sessions: &[Session]) -> Vec<Check> {
    let Some(body) = &room.probe.message.body else { return Vec::new() };
    let size = room.signer.as_ref().map_or_else(|| crlf(body), |signer| signer.sign(body)).len() as u64;
    let heard: Vec<(&Session, &[String])> =
        sessions.iter().filter_map(|s| s.extensions.as_deref().map(|extensions| (s, extensions))).collect();
    if heard.is_empty() {
        return vec![check(CheckResult::Unknown, "no server has said what size and which bytes it takes")];
    }
    let limit = |extensions: &[String]| {
        let parameter = extensions.iter().find_map(|e| e.strip_prefix("SIZE").or_else(|| e.strip_prefix("size")));
        // None and 0: no limit is stated (RFC 1870, section 4).
        parameter.and_then(|size| size.trim().parse::<u64>().ok()).filter(|&size| size > 0)
    };
    let at = |session: &Session| {
        let address = session.address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
        session.mx.as_deref().map_or_else(|| address.clone(), |mx| format!("{mx} ({address})"))
    };
    let mut found = Vec::new();
    let least = heard.iter().filter_map(|(session, e)| Some((limit(e)?, *session))).min_by_key(|(limit, _)| *limit);
    match least {
        Some((limit, session)) if size > limit => {
            let why = format!("{size} bytes, and {} takes {limit} at most (SIZE)", at(session));
            found.push(check(CheckResult::Fail, why).fix("make the message smaller"));
        }
        Some((limit, _)) => {
            found.push(check(CheckResult::Pass, format!("{size} bytes of {limit} that every server takes")));
        }
        None => found.push(check(CheckResult::Pass, format!("{size} bytes, and no server states a limit"))),
    }
    let offers = |extensions: &[String]| extensions.iter().any(|e| e.eq_ignore_ascii_case("8BITMIME"));
    if !body.is_ascii()
        && let Some((session, _)) = heard.iter().find(|(_, extensions)| !offers(extensions))
    {
        let why = format!("bytes beyond ASCII, and {} does not offer 8BITMIME", at(session));
        found.push(check(CheckResult::Fail, why).fix("encode the parts (quoted-printable or base64)"));
    }
    found
}

/// What the lines are like before they are made to end in CRLF.
fn lines(body: &[u8], found: &mut Vec<Check>) {
    let (mut ends, mut bare) = (0_usize, 0_usize);
    for (at, &byte) in body.iter().enumerate() {
        match byte {
            b'\n' if at > 0 && body[at - 1] == b'\r' => ends += 1,
            b'\n' => bare += 1,
            b'\r' if body.get(at + 1) != Some(&b'\n') => bare += 1,
            _ => {}
        }
    }
    match (ends, bare) {
        (_, 0) => {}
        // As editors write it; mxprobe sends CRLF in its place.
        (0, _) => found.push(
            check(
                CheckResult::Warn,
                "lines end in a bare LF; mxprobe sends CRLF, and so must whoever sends the campaign",
            )
            .fix("write the file with CRLF"),
        ),
        (_, bare) => found.push(
            check(
                CheckResult::Fail,
                format!("{bare} bare CR or LF among lines that end in CRLF (RFC 5322, section 2.3)"),
            )
            .fix("end every line in CRLF: receivers refuse the others, as commands are smuggled so"),
        ),
    }
    let longest = body.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).len()).max();
    if let Some(length) = longest.filter(|&length| length > LONGEST_LINE) {
        let why = format!("a line of {length} bytes: wanted {LONGEST_LINE} at most (RFC 5322, section 2.1.1)");
        found.push(check(CheckResult::Fail, why).fix("encode the part (quoted-printable or base64)"));
    }
    if body.contains(&0) {
        found.push(check(CheckResult::Fail, "a NUL byte").fix("encode the part (base64)"));
    }
}

/// A field's name, and its value with everything in it.
type Field<'a> = (&'a [u8], &'a [u8]);

/// The header fields of a message whose lines end in CRLF, and its body.
fn fields(message: &[u8]) -> (Vec<Field<'_>>, Option<&[u8]>) {
    let (mut fields, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        if let Some(text) = rest.strip_prefix(b"\r\n") {
            return (fields, Some(text));
        }
        let mut end = 0;
        while let Some(length) = rest[end..].iter().position(|&b| b == b'\n') {
            end += length + 1;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, behind) = rest.split_at(if end == 0 { rest.len() } else { end });
        let colon = field.iter().position(|&b| b == b':').unwrap_or(field.len());
        fields.push((&field[..colon], field.get(colon + 1..).unwrap_or_default()));
        rest = behind;
    }
    (fields, None)
}

fn headers(fields: &[Field<'_>], text: Option<&[u8]>, found: &mut Vec<Check>) {
    let count =
        |name: &str| fields.iter().filter(|(n, _)| n.trim_ascii().eq_ignore_ascii_case(name.as_bytes())).count();
    let is_sound = |name: &[u8]| !name.is_empty() && name.trim_ascii_end().iter().all(|b| matches!(b, 33..=126));
    if let Some((name, _)) = fields.iter().find(|(name, _)| !is_sound(name)) {
        let line: String = String::from_utf8_lossy(name).trim().chars().take(60).collect();
        let why = format!("{line:?} is no header field");
        found.push(check(CheckResult::Fail, why).fix("put an empty line between the header and the body"));
    }
    if text.is_none() {
        found.push(check(CheckResult::Warn, "no empty line ends the header: there is no body"));
    }
    if fields.iter().any(|(_, value)| !value.is_ascii()) {
        let why = "bytes beyond ASCII in the header (RFC 5322, section 2.2)";
        found.push(check(CheckResult::Fail, why).fix("encode them (RFC 2047)"));
    }
    for (name, must) in [("Date", true), ("From", true), ("Message-ID", false), ("Subject", false), ("To", false)] {
        match count(name) {
            0 if must => {
                found.push(check(CheckResult::Fail, format!("no {name}")).fix(format!("give the message a {name}")));
            }
            0 if name == "Message-ID" => {
                found.push(check(CheckResult::Warn, "no Message-ID; the sending server should add one"));
            }
            0 | 1 => {}
            n => {
                found.push(check(CheckResult::Fail, format!("{n} {name} fields: wanted one")).fix("leave one of them"));
            }
        }
    }
}

/// One-click unsubscription (RFC 8058), which large providers ask of bulk senders.
fn unsubscribe(room: &Room, message: &[u8], fields: &[Field<'_>], found: &mut Vec<Check>) {
    let value = |name: &str| {
        let field = fields.iter().find(|(n, _)| n.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        field.map(|(_, value)| String::from_utf8_lossy(value).split_whitespace().collect::<String>())
    };
    let fail = |why: &str, fix: &str| check(CheckResult::Fail, format!("{why} (RFC 8058)")).fix(fix);
    let Some(list) = value("List-Unsubscribe") else {
        return found.push(fail(
            "no List-Unsubscribe",
            "add List-Unsubscribe: <https://…> and List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        ));
    };
    if !list.to_ascii_lowercase().contains("<https://") {
        found.push(fail("List-Unsubscribe without an https address", "add <https://…> to List-Unsubscribe"));
    }
    match value("List-Unsubscribe-Post") {
        Some(post) if post.eq_ignore_ascii_case("List-Unsubscribe=One-Click") => {}
        _ => found.push(fail("no one-click unsubscription", "add List-Unsubscribe-Post: List-Unsubscribe=One-Click")),
    }
    let borne = signatures(message);
    let covers = |name: &str| borne.iter().any(|signature| signature.fields.iter().any(|field| field == name));
    if room.signer.is_none() && !borne.is_empty() && !(covers("list-unsubscribe") && covers("list-unsubscribe-post")) {
        found.push(fail(
            "the signature does not cover List-Unsubscribe and List-Unsubscribe-Post",
            "sign these fields too",
        ));
    }
}

fn check(result: CheckResult, why: impl Into<String>) -> Check {
    Check::new(CheckName::Message, result, why)
}
