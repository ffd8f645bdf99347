//! Finding words in a text that was cut, wrapped or retyped on its way here.
//!
//! What survives every way of copying an error is its letters and digits, in order: quotes turn
//! curly, hyphens become dashes, brackets get lost, lines break inside words, qmail's log writes
//! spaces as underscores. So the telling phrases are looked for among those alone.

use std::ops::Range;

use memchr::memmem;

/// A text beside its letters and digits in lower case, each of which knows where it stood.
pub(crate) struct Squeezed<'a> {
    pub(crate) text: &'a str,
    letters: Vec<u8>,
    at: Vec<u32>,
}

impl<'a> Squeezed<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let (mut letters, mut at) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
        for (i, b) in text.bytes().enumerate().take(u32::MAX as usize) {
            if b.is_ascii_alphanumeric() {
                letters.push(b.to_ascii_lowercase());
                #[expect(clippy::cast_possible_truncation, reason = "bounded by the take above")]
                at.push(i as u32);
            }
        }
        Self { text, letters, at }
    }

    /// Where `words` first stand at or behind byte `from` of the text.
    pub(crate) fn find(&self, words: &str, from: usize) -> Option<Range<usize>> {
        let (mut needle, mut length) = ([0; 96], 0);
        for (slot, b) in needle.iter_mut().zip(words.bytes().filter(u8::is_ascii_alphanumeric)) {
            *slot = b.to_ascii_lowercase();
            length += 1;
        }
        let needle = &needle[..length];
        let start = self.at.partition_point(|&at| (at as usize) < from);
        let found = start + memmem::find(self.letters.get(start..)?, needle)?;
        let last = found + needle.len().checked_sub(1)?;
        Some(self.at[found] as usize..self.at[last] as usize + 1)
    }

    /// Every place where `words` stand.
    pub(crate) fn all<'s>(&'s self, words: &'s str) -> impl Iterator<Item = Range<usize>> + 's {
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.find(words, from)?;
            from = found.end;
            Some(found)
        })
    }

    pub(crate) fn has(&self, words: &str) -> bool {
        self.find(words, 0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whatever_happened_between_their_letters() {
        for text in [
            "x refused to talk to me: 421",
            "x refu\nsed to ta\r\n> lk to me: 421",
            "x refused_to_talk_to_me: 421",
            "x “Refused”–to—talk to me: 421",
        ] {
            let found = Squeezed::new(text).find("refused to talk to me", 0).unwrap();
            assert!(text[..found.start].ends_with(['x', ' ', '“']), "{text}");
            assert_eq!(&text[found.end..], ": 421");
        }
        assert!(!Squeezed::new("refused").has("refused to"));
        assert_eq!(Squeezed::new("ab ab ab").all("ab").count(), 3);
    }
}
