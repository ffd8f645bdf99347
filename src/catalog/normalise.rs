//! Makes replies comparable: what changes from one server, client or moment to the next becomes a
//! placeholder, what tells one refusal from another stays.

use super::head;
use super::quoted::{address_at, is_category};
use crate::smtp::reply::{Code, Enhanced};

mod date;
mod name;

/// The text of a reply with `{address}`, `{host}`, `{time}`, `{id}` and `{mailbox}` in the place of
/// what they name; a URL keeps its host and the words of its path. Code, enhanced code and the
/// provider's own code stay.
///
/// White space is folded and typographic quotes are made plain, because pasted reports have lost
/// them. Codes that a reply of several lines repeats are dropped, and so is the server's own name
/// behind the code, so that a reply equals itself however it was written down. A list's zone
/// (`blocked using zen.spamhaus.org`) stays: it is what the refusal is about.
///
/// Only the first 4 KiB are looked at and returned. `normalise(&normalise(x)) == normalise(x)`.
#[must_use]
pub fn normalise(text: &str) -> String {
    let text: String = head(text).chars().map(plain_char).collect();
    let words = date::fold(unrepeated(&text));
    let mut folded = String::with_capacity(text.len());
    for word in words {
        if folded.len() + 1 + word.len() > LIMIT {
            break;
        }
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(&word);
    }
    folded
}

const LIMIT: usize = 4096;
/// No word of a reply is longer than this.
const LONGEST_WORD: usize = 512;

fn plain_char(c: char) -> char {
    match c {
        '“' | '”' | '„' | '″' | '«' | '»' => '"',
        '‘' | '’' | '‚' | '′' => '\'',
        '‐' | '‑' | '‒' | '–' | '—' => '-',
        c if c.is_control() => ' ',
        c => c,
    }
}

/// The words, normalised one by one, without what the lines of one reply repeat.
fn unrepeated(text: &str) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let (mut code, mut several_lines, mut enhanced) = (None, false, None);
    // Whether nothing was met yet but the server's name and the codes.
    let mut opening = true;
    for mut word in text.split_whitespace() {
        if kept.is_empty()
            && let Some((digits, rest)) = split_code(word)
        {
            kept.push(digits.to_owned());
            (code, several_lines) = (Some(digits), rest.is_some());
            word = rest.unwrap_or_default();
        }
        while let Some(rest) = code.and_then(|code| word.strip_prefix(code)?.strip_prefix('-')) {
            word = rest;
        }
        if word.is_empty() || several_lines && code == Some(word) {
            continue;
        }
        let status = word.trim_start_matches('#').trim_end_matches(':').parse::<Enhanced>().ok();
        if status.is_some() && status == enhanced {
            continue;
        }
        if opening && enhanced.is_none() && status.is_some() {
            enhanced = status;
            kept.push(word.to_owned());
            continue;
        }
        let word = placeholders(word, kept.last().map_or("", String::as_str));
        if opening && word == "{host}" {
            continue;
        }
        opening = false;
        kept.push(word);
    }
    kept
}

/// A reply code at the start of a word, and what follows the hyphen behind it.
fn split_code(word: &str) -> Option<(&str, Option<&str>)> {
    let (digits, rest) = word.split_at_checked(3)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Code::new(digits.parse().ok()?)?;
    match rest.strip_prefix('-') {
        _ if rest.is_empty() => Some((digits, None)),
        Some(rest) => Some((digits, Some(rest))),
        None => None,
    }
}

/// One word with its placeholders; `before` is the word in front of it.
fn placeholders(word: &str, before: &str) -> String {
    if word.len() > LONGEST_WORD {
        return "{id}".into();
    }
    let bytes = word.as_bytes();
    let has_mailbox = word.contains('@') || word.contains("%40");
    let (mut out, mut at, mut in_url) = (String::with_capacity(word.len()), 0, false);
    while at < word.len() {
        if word[at..].starts_with("://") && out.ends_with(|c: char| c.is_ascii_alphabetic()) {
            out.push_str("://");
            at += 3;
            in_url = true;
            if address_at_start(word, at).is_none() {
                let host = name::run(&word[at..]);
                out.push_str(host);
                at += host.len();
            }
        } else if let Some(length) = has_mailbox.then(|| name::mailbox(&word[at..], in_url)).flatten() {
            out.push_str("{mailbox}");
            at += length;
        } else if let Some(end) = address_at_start(word, at) {
            if is_category(before == "-" && at == 0, &word[end..]) {
                out.push_str(&word[at..end]);
            } else {
                out.push_str("{address}");
            }
            at = end;
        } else if let Some(length) = date::time(&bytes[at..]) {
            out.push_str("{time}");
            at += length;
        } else if bytes[at].is_ascii_alphanumeric() {
            let run = name::run(&word[at..]);
            name::push(&mut out, run, before, in_url);
            at += run.len();
        } else {
            let c = word[at..].chars().next().unwrap_or_default();
            out.push(c);
            at += c.len_utf8();
        }
    }
    if out.len() > LONGEST_WORD { "{id}".into() } else { out }
}

fn address_at_start(word: &str, at: usize) -> Option<usize> {
    if at < word.len() { address_at(word, at).map(|(_, end)| end) } else { None }
}
