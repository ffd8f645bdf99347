//! What the words of a reply say about trying again, and whether its parts agree.

use super::head;
use crate::smtp::reply::{Class, Code, Enhanced};

/// What the words say: try again, or never. `None` where they say nothing about it (`blocked`,
/// `not accepting connections`) or both.
#[must_use]
pub fn text_class(text: &str) -> Option<Class> {
    let text = head(text).to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if says(NO_RETRY) {
        return Some(Class::Permanent);
    }
    match (says(TRANSIENT), says(PERMANENT)) {
        (true, false) => Some(Class::Transient),
        (false, true) => Some(Class::Permanent),
        _ => None,
    }
}

/// Whether the parts of a reply disagree in class: its code, its enhanced code, its words, and the
/// action of the delivery report that quotes it. A 4yz that ended in `failed` is none: the queue
/// gave up.
#[must_use]
pub fn contradicts(
    code: Option<Code>,
    enhanced: Option<Enhanced>,
    text: Option<Class>,
    dsn_action: Option<&str>,
) -> bool {
    let delayed = dsn_action.is_some_and(|action| action.trim().eq_ignore_ascii_case("delayed"));
    let parts = [
        code.map(Code::class),
        enhanced.map(|enhanced| match enhanced.class {
            4 => Class::Transient,
            5 => Class::Permanent,
            _ => Class::Completed,
        }),
        text,
        delayed.then_some(Class::Transient),
    ];
    let mut said = parts.into_iter().flatten();
    said.next().is_some_and(|first| said.any(|other| other != first))
}

/// Say that trying again is of no use, in words that may hold those of [`TRANSIENT`].
const NO_RETRY: &[&str] = &[
    "will not succeed",
    "do not retry",
    "don't retry",
    "do not try again",
    "don't try again",
    "should not be retried",
    "do not attempt to retry",
    "permanently deferred",
];

const PERMANENT: &[&str] = &[
    "permanent",
    "user unknown",
    "unknown user",
    "no such user",
    "no such mailbox",
    "no such recipient",
    "user does not exist",
    "user doesn't exist",
    "mailbox does not exist",
    "account does not exist",
    "mailbox not found",
    "this user doesn't have a",
    "is no longer valid",
    "no longer on server",
    "does not accept mail",
    "never accepts mail",
];

const TRANSIENT: &[&str] = &[
    "tempfail",
    "temporar",
    "try again",
    "try later",
    "retry later",
    "try your message again",
    "please retry",
    "come back later",
    "later, please",
    "greylist",
    "graylist",
    "grey-list",
    "gray-list",
    "grey list",
    "server busy",
    "server is busy",
    "servers are busy",
    "too busy",
    "currently unavailable",
    "currently busy",
    "overloaded",
    "will be deferred",
    "message deferred",
    "rate limited",
    "rate-limited",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_gave_up_contradicts_nothing() {
        let code = |n| Code::new(n);
        assert!(!contradicts(code(421), None, None, Some("failed")));
        assert!(contradicts(code(554), None, None, Some("Delayed")));
        assert!(contradicts(code(554), "4.0.0".parse().ok(), None, None));
        assert!(contradicts(code(450), "5.1.1".parse().ok(), None, None));
        assert!(contradicts(code(250), "4.1.1".parse().ok(), None, None));
        assert!(contradicts(code(521), None, Some(Class::Transient), None));
        assert!(!contradicts(code(550), "5.1.1".parse().ok(), Some(Class::Permanent), Some("failed")));
        assert!(!contradicts(None, None, None, None));
    }
}
