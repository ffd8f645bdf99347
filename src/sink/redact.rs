//! Recipients' local parts left out, wherever a text repeats them.
//!
//! Servers echo a recipient in many spellings: in other case, without the quotes, without what
//! stands behind a plus, with another domain or none, percent-encoded in a link, in bytes that are no
//! UTF-8. All of them become `…`. Rather a word too many than a name: where the local part is a word
//! of three letters or more, that word goes too.

use std::collections::BTreeSet;

use regex::{Captures, Regex, RegexBuilder};

/// What stands in a local part's place.
pub(super) const LEFT_OUT: char = '…';

/// So many spellings are looked for at a time: a maildir has thousands of recipients.
const AT_A_TIME: usize = 100;

/// A word that is left out without a domain behind it has so many letters.
const WORD: usize = 3;

/// The recipients that are not to be named.
#[derive(Debug, Default)]
pub(crate) struct Redaction {
    spellings: Vec<Regex>,
    /// Lower case, whole.
    mailboxes: BTreeSet<String>,
    /// Any mailbox at all of a domain.
    anybody: Option<Regex>,
}

impl Redaction {
    pub(crate) fn of<'a>(recipients: impl Iterator<Item = &'a str>) -> Self {
        let mailboxes: BTreeSet<String> = recipients.map(str::to_lowercase).collect();
        let mut spellings: Vec<String> = mailboxes.iter().flat_map(|mailbox| spellings(mailbox)).collect();
        // The longest first: of several that fit, the first one counts.
        spellings.sort_unstable_by_key(|spelling| std::cmp::Reverse(spelling.chars().count()));
        spellings.dedup();
        let any = |spellings: &[String]| {
            let any: Vec<String> = spellings.iter().map(|spelling| pattern(spelling)).collect();
            RegexBuilder::new(&any.join("|")).case_insensitive(true).size_limit(64 << 20).build()
        };
        // What is made of escaped characters is a pattern.
        let spellings = spellings.chunks(AT_A_TIME).filter_map(|chunk| any(chunk).ok()).collect();
        Self { spellings, mailboxes, anybody: None }
    }

    /// The same, and everybody who has a mailbox at a domain, but those that are there to be written to.
    pub(crate) fn at(self, domain: Option<&str>) -> Self {
        let local = r#"("(?:[^"\\]|\\.)*"|[^\s<>()\[\]"',;:@]+)"#;
        let anybody = domain.and_then(|domain| Regex::new(&format!("(?i){local}(@{})", regex::escape(domain))).ok());
        Self { anybody, ..self }
    }

    /// The text without the local parts.
    pub(crate) fn text(&self, text: &str) -> String {
        let text = self.spellings.iter().fold(text.to_owned(), |text, spellings| without(&text, spellings));
        let Some(anybody) = &self.anybody else { return text };
        let left_out = |found: &Captures<'_>| match &found[1].to_ascii_lowercase()[..] {
            "postmaster" | "abuse" => found[0].to_owned(),
            _ => format!("{LEFT_OUT}{}", &found[2]),
        };
        anybody.replace_all(&text, left_out).into_owned()
    }

    /// A mailbox of ours: named, unless it is a recipient too.
    pub(super) fn sender(&self, mailbox: &str) -> String {
        match mailbox.rsplit_once('@') {
            Some((_, domain)) if self.mailboxes.contains(&mailbox.to_lowercase()) => format!("{LEFT_OUT}@{domain}"),
            _ => mailbox.to_owned(),
        }
    }

    /// A recipient: its domain.
    pub(crate) fn recipient(mailbox: &str) -> String {
        let domain = mailbox.rsplit_once('@').map_or("", |(_, domain)| domain);
        format!("{LEFT_OUT}@{domain}")
    }
}

/// The local part as it is written, without its quotes, and without what is behind its plus.
fn spellings(mailbox: &str) -> BTreeSet<String> {
    let local = mailbox.rsplit_once('@').map_or(mailbox, |(local, _)| local);
    let quoted = local.strip_prefix('"').and_then(|local| local.strip_suffix('"'));
    let plain = quoted.map_or_else(|| local.to_owned(), |quoted| quoted.replace('\\', ""));
    let base = plain.split('+').next().unwrap_or_default().to_owned();
    [local.to_owned(), plain, base].into_iter().filter(|spelling| !spelling.trim().is_empty()).collect()
}

/// What a spelling looks like: plus and blank perhaps encoded, the rest perhaps behind a backslash,
/// and what is not ASCII perhaps in two characters or as bytes that were none.
fn pattern(spelling: &str) -> String {
    let spelled = |c: char| {
        let escaped = regex::escape(c.encode_utf8(&mut [0; 4]));
        match c {
            '+' => r"\\?(?:\+|%2B|\+2B)".to_owned(),
            ' ' => r"\\?(?: |%20|\+20)".to_owned(),
            c if c.is_ascii_alphanumeric() => escaped,
            c if c.is_ascii() => format!(r"\\?(?:{escaped}|%{:02X})", u32::from(c)),
            _ => format!(r"(?:{escaped}|\x{{fffd}}{{1,4}}|[a-z]\p{{M}}{{1,3}})"),
        }
    };
    spelling.chars().map(spelled).collect()
}

fn without(text: &str, spellings: &Regex) -> String {
    let (mut out, mut done, mut from) = (String::with_capacity(text.len()), 0, 0);
    while let Some(found) = spellings.find_at(text, from) {
        if found.is_empty() {
            break;
        }
        if stands_for_itself(text, found.start(), found.end()) {
            out.push_str(&text[done..found.start()]);
            out.push(LEFT_OUT);
            (done, from) = (found.end(), found.end());
        } else {
            from = found.start() + text[found.start()..].chars().next().map_or(1, char::len_utf8);
        }
    }
    out + &text[done..]
}

/// Whether what was found is a name, and no part of another word.
fn stands_for_itself(text: &str, start: usize, end: usize) -> bool {
    let (before, behind) = (&text[..start], &text[end..]);
    let last = before.chars().next_back();
    let next = behind.chars().next();
    if last.is_some_and(char::is_alphanumeric) {
        return false;
    }
    let starts = |with: &str| behind.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with));
    if ["@", "%40", "+", "%2b", "\\@", "\"@", "="].iter().any(|with| starts(with)) {
        return true;
    }
    if next.is_some_and(char::is_alphanumeric) {
        return false;
    }
    let enclosed = last.is_some_and(|c| "<\"'([{`:".contains(c)) && next.is_some_and(|c| ">\"')]}`".contains(c));
    // `mx.john.example` is a host.
    let joins = |c: Option<char>| c.is_some_and(|c| ".-_".contains(c));
    let joined = joins(last) && before.chars().rev().nth(1).is_some_and(char::is_alphanumeric)
        || joins(next) && behind.chars().nth(1).is_some_and(char::is_alphanumeric);
    let found = &text[start..end];
    let is_word = found.chars().count() >= WORD && !(found.len() == WORD && found.bytes().all(|b| b.is_ascii_digit()));
    enclosed || is_word && !joined
}

#[cfg(test)]
mod tests {
    use super::Redaction;

    #[test]
    fn no_spelling_of_a_recipient_gets_through() {
        for (recipient, text, want) in [
            ("john.doe@aol.com", "550 <john.doe@aol.com> unknown", "550 <…@aol.com> unknown"),
            ("john.doe@aol.com", "550 JOHN.DOE@AOL.COM", "550 …@AOL.COM"),
            ("John.Doe@aol.com", "no mailbox john.doe here", "no mailbox … here"),
            ("john.doe@aol.com", "john.doe@other.example", "…@other.example"),
            ("john.doe@aol.com", "https://x.example/?to=john.doe%40aol.com", "https://x.example/?to=…%40aol.com"),
            ("john.doe@aol.com", "john%2Edoe%40aol.com, john\\.doe@aol.com", "…%40aol.com, …@aol.com"),
            ("john.doe@aol.com", "bounce-john.doe=aol.com@example.net", "bounce-…=aol.com@example.net"),
            ("john.doe@aol.com", "john.doe+tag@aol.com john.doe.", "…+tag@aol.com …."),
            ("john.doe@aol.com", "johnxdoe@aol.com upjohn.doer", "johnxdoe@aol.com upjohn.doer"),
            ("john+probe@aol.com", "john+probe@aol.com is john@aol.com", "…@aol.com is …@aol.com"),
            ("john+probe@aol.com", "john+2Bprobe@aol.com john%2Bprobe%40aol.com", "…@aol.com …%40aol.com"),
            ("\"john doe\"@aol.com", "<\"john doe\"@aol.com> <john doe@aol.com>", "<…@aol.com> <…@aol.com>"),
            ("\"john doe\"@aol.com", "john\\ doe@aol.com 'John Doe'", "…@aol.com '…'"),
            ("\"a\\\"b\"@aol.com", "<\"a\\\"b\"@aol.com> a\"b@aol.com", "<…@aol.com> …@aol.com"),
            ("\"x@y\"@aol.com", "<\"x@y\"@aol.com> x@y@aol.com", "<…@aol.com> …@aol.com"),
            ("jürgen@aol.com", "JÜRGEN@aol.com ju\u{308}rgen j\u{fffd}rgen", "…@aol.com … …"),
            ("用户@例.example", "<用户@例.example> 用户", "<…@例.example> 用户"),
            ("jo@aol.com", "jo@aol.com <jo> jo is a jolly good fellow", "…@aol.com <…> jo is a jolly good fellow"),
            ("421@aol.com", "421 4.7.0 <421> 421@aol.com", "421 4.7.0 <…> …@aol.com"),
            ("a(b@aol.com", "a(b@aol.com a%28b%40aol.com", "…@aol.com …%40aol.com"),
            (
                "mail@aol.com",
                "mail.aol.com at mail-01.mx.aol.com: mail@aol.com",
                "mail.aol.com at mail-01.mx.aol.com: …@aol.com",
            ),
            ("no domain", "no domain", "…"),
            ("@aol.com", "@aol.com", "@aol.com"),
        ] {
            assert_eq!(Redaction::of([recipient].into_iter()).text(text), want, "{recipient} in {text}");
        }
    }

    #[test]
    fn a_maildir_of_recipients_is_no_pattern_too_large() {
        let many: Vec<String> = (0..300).map(|n| format!("Müller.number-{n}+x{n}@aol.com")).collect();
        let redaction = Redaction::of(many.iter().map(String::as_str));
        assert_eq!(redaction.text("müller.number-211@aol.com and 4711"), "…@aol.com and 4711");
        assert_eq!(redaction.text("<MÜLLER.NUMBER-299+X299@aol.com>"), "<…@aol.com>");
    }

    #[test]
    fn where_the_recipients_are_forgotten_nobody_is_named() {
        let redaction = Redaction::of([].into_iter()).at(Some("aol.com"));
        for (text, want) in [
            ("550 <john.doe+x@AOL.com> unknown", "550 <…@AOL.com> unknown"),
            ("550 \"john doe\"@aol.com, 用户@aol.com", "550 …@aol.com, …@aol.com"),
            ("write to postmaster@aol.com or john@other.example", "write to postmaster@aol.com or john@other.example"),
        ] {
            assert_eq!(redaction.text(text), want);
        }
    }

    #[test]
    fn a_sender_is_named_unless_it_is_the_recipient() {
        let redaction = Redaction::of(["Me@aol.com"].into_iter());
        assert_eq!(redaction.sender("me@AOL.com"), "…@AOL.com");
        assert_eq!(redaction.sender("me@example.net"), "me@example.net");
        assert_eq!(redaction.sender("<>"), "<>");
        assert_eq!(Redaction::recipient("Me@aol.com"), "…@aol.com");
    }
}
