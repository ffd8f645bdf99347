//! How long a reply keeps a source away from a provider.
//!
//! A prober that goes on after it was told to slow down makes the sender's standing worse. These
//! are the replies that tell it so.

use std::time::Duration;

use super::{Words, head};
use crate::smtp::reply::Enhanced;

pub(super) fn rest(words: &Words<'_>) -> Option<Duration> {
    if !words.refuses() {
        return None;
    }
    let code = words.code.map(crate::smtp::reply::Code::get);
    let enhanced = words.enhanced();
    let text = head(words.text).to_ascii_lowercase();
    let is = |class, subject, detail| enhanced == Some(Enhanced { class, subject, detail });

    // Some tags stand without brackets, and one reply may hold two.
    let in_text = head(words.text).split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    let by_tag = in_text.chain(words.tag()).filter_map(by_tag);
    let by_words = [
        (code == Some(521), DAY),
        (code.is_none_or(|code| code == 553) && is(5, 7, 2) && text.contains("will not succeed"), DAY),
        (is(4, 7, 28), hours(2)),
        (text.contains("too many connections"), hours(2)),
    ];
    by_words.into_iter().filter_map(|(holds, rest)| holds.then_some(rest)).chain(by_tag).max()
}

const DAY: Duration = hours(24);

fn by_tag(tag: &str) -> Option<Duration> {
    match tag {
        "TS04" | "TSS04" | "IPTS04" | "IPTS05" | "DYN:T1" | "CON:B1" => Some(hours(2)),
        "TS05" | "TSS05" => Some(hours(4)),
        "RTR:BL" => Some(DAY),
        _ => {
            let number = tag.strip_prefix("BL")?;
            (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(DAY)
        }
    }
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}
