//! Hostile text made visible, in one place.
//!
//! A banner can hold an escape sequence that retitles the reader's terminal, a reply can hold marks
//! that turn the rest of the line around. Whatever came from a network or a file passes through
//! here on its way to eyes, and comes out with every such character spelled: `\x1b`, `\u{202e}`.
//! Machine-readable outputs do without: there the evidence stays as it was.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// The text with everything spelled out that does not show as itself: control characters (line
/// ends and tabs too), what has no width of its own (zero-width and combining characters, marks of
/// direction, byte order marks), line separators and blanks that are no space.
///
/// What comes out has one width per character, [`width`] of it is exact, and it is one line.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(shows) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if shows(c) => out.push(c),
            // A String takes everything that is written to it.
            c if c.is_ascii() => _ = write!(out, "\\x{:02x}", u32::from(c)),
            c => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
        }
    }
    Cow::Owned(out)
}

/// How many columns of a terminal a visible text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Whether the character shows as itself and as nothing else.
fn shows(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Blanks that pass for a space, and characters that are drawn as nothing though tables
        // give them a width; private use, where what shows is up to the reader's font.
        '\u{a0}'
        | '\u{ad}'
        | '\u{115f}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}'
        | '\u{205f}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3000}'
        | '\u{3164}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{ffa0}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fdd0}'..='\u{fdef}'
        | '\u{f0000}'.. => false,
        // No characters at all.
        c if u32::from(c) & 0xfffe == 0xfffe => false,
        c => c.width().is_some_and(|width| width > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::{visible, width};

    #[test]
    fn what_does_not_show_is_spelled() {
        for (text, want) in [
            ("554 plain, [x] (y) <z> `\\x1b`", "554 plain, [x] (y) <z> `\\x1b`"),
            ("Grüße, 日本, €, \u{fffd}", "Grüße, 日本, €, \u{fffd}"),
            ("\x1b]0;owned\x07\x1b[2J", "\\x1b]0;owned\\x07\\x1b[2J"),
            ("a\0b\tc\r\nd\x7f", "a\\x00b\\tc\\r\\nd\\x7f"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{feff}a\u{200b}b\u{2060}", "\\u{feff}a\\u{200b}b\\u{2060}"),
            ("\u{202e}moc.loa\u{202c}", "\\u{202e}moc.loa\\u{202c}"),
            ("\u{2066}\u{2067}\u{2068}\u{2069}", "\\u{2066}\\u{2067}\\u{2068}\\u{2069}"),
            ("\u{200e}\u{200f}\u{61c}", "\\u{200e}\\u{200f}\\u{61c}"),
            ("\u{2028}\u{2029}\u{85}", "\\u{2028}\\u{2029}\\u{85}"),
            ("e\u{301}\u{e0041}\u{fe0f}", "e\\u{301}\\u{e0041}\\u{fe0f}"),
        ] {
            assert_eq!(visible(text), want, "{text:?}");
        }
    }

    #[test]
    fn no_character_gets_through_that_could_act() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = visible(c.encode_utf8(&mut [0; 4])).into_owned();
            let acts = |c: char| {
                c.is_control()
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            };
            assert!(!shown.chars().any(acts), "U+{:04X}", u32::from(c));
            assert!(width(&shown) > 0, "U+{:04X}", u32::from(c));
        }
    }
}
