//! Replies and greetings: one sample of each wording, and of every other reply of that wording only
//! the words in which it differs.
//!
//! Providers put queue ids, times and the client's own address into what they say; the same refusal
//! is another text each time. What makes two alike is [`normalise`]; the words that it takes out are
//! what is kept beside the sample, so that each reply comes back byte for byte.

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::super::Fault;
use super::text::{Known, Texts, digest, remember, see};
use crate::catalog::normalise;

/// The number of the wording, and what these lines have in place of the sample's words; none where
/// they are the sample.
pub(super) fn number(
    transaction: &Transaction<'_>,
    texts: &mut Texts,
    lines: &[String],
    day: i64,
) -> Result<(i64, Option<String>), Fault> {
    let raw = serde_json::to_string(lines)?;
    if let Some((known, words)) = texts.replies.get(&*raw).filter(|(known, _)| known.day == day) {
        return Ok((known.id, words.clone()));
    }
    let normalised = normalise(&lines.join("\n"));
    let digest = digest(&normalised);
    let found = transaction
        .prepare_cached("SELECT id, seen, sample FROM reply WHERE digest = ? AND normalised = ?")?
        .query_row(params![digest, normalised], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))
        .optional()?;
    let (id, words) = if let Some((id, seen, sample)) = found {
        see(transaction, "reply", id, seen, day)?;
        (id, differing(&sample, &raw))
    } else {
        let insert = "INSERT INTO reply (digest, seen, normalised, sample) VALUES (?, ?, ?, ?)";
        (transaction.prepare_cached(insert)?.insert(params![digest, day, normalised, raw])?, None)
    };
    remember(&mut texts.replies, &raw, (Known { id, day }, words.clone()));
    Ok((id, words))
}

/// The words of `raw` that are others than the sample's, each behind its place: `4 192.0.2.9`. All
/// of `raw`, which begins with a bracket, where the two do not match word by word. None where they
/// are the same.
fn differing(sample: &str, raw: &str) -> Option<String> {
    if sample == raw {
        return None;
    }
    if sample.split(' ').count() != raw.split(' ').count() {
        return Some(raw.to_owned());
    }
    let pairs = sample.split(' ').zip(raw.split(' ')).enumerate();
    let others = pairs.filter(|(_, (old, new))| old != new).map(|(at, (_, new))| format!("{at} {new}"));
    let words = others.collect::<Vec<_>>().join(" ");
    Some(if words.len() < raw.len() { words } else { raw.to_owned() })
}

/// The lines again; none where the file holds something else.
pub(super) fn restored(sample: &str, words: Option<&str>) -> Option<Vec<String>> {
    let Some(words) = words else { return serde_json::from_str(sample).ok() };
    if words.starts_with('[') {
        return serde_json::from_str(words).ok();
    }
    let mut all: Vec<&str> = sample.split(' ').collect();
    let mut words = words.split(' ');
    while let Some(at) = words.next() {
        *all.get_mut(at.parse::<usize>().ok()?)? = words.next()?;
    }
    serde_json::from_str(&all.join(" ")).ok()
}

#[cfg(test)]
mod tests {
    use super::{differing, restored};

    #[test]
    fn every_reply_comes_back() {
        let replies = [
            r#"["421 4.7.0 [TSS04] Messages from 192.0.2.10 deferred"]"#,
            r#"["421 4.7.0 [TSS04] Messages from 192.0.2.9 deferred"]"#,
            r#"["421 4.7.0 [TSS04] Messages from 192.0.2.9 Deferred"]"#,
            r#"["421 4.7.0 [TSS04]  Messages"]"#,
            r#"["554-a b","554 c  d\u001b[31m \n "]"#,
            "[]",
            r#"[""]"#,
            r#"["", " "]"#,
        ];
        for (sample, raw) in replies.iter().flat_map(|sample| replies.map(|raw| (*sample, raw))) {
            let words = differing(sample, raw);
            let wanted: Vec<String> = serde_json::from_str(raw).unwrap();
            assert_eq!(restored(sample, words.as_deref()), Some(wanted), "{sample} {raw} {words:?}");
        }
        assert_eq!(differing(replies[0], replies[1]).as_deref(), Some("5 192.0.2.9"));
        for damaged in ["9 x", "x y", "1", "1 \""] {
            assert_eq!(restored(replies[0], Some(damaged)), None, "{damaged}");
        }
    }
}
