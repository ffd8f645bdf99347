//! What text is written on: lines of a given width, coloured or not.
//!
//! The one door to the terminal: every text passes [`visible`] here, and only here are line ends
//! and escape sequences written.

use std::borrow::Cow;
use std::io;

use anstyle::{AnsiColor, Style};

use crate::sink::Look;
use crate::visible::{visible, width};

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();

/// A piece of a line in one style.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    text: String,
    style: Style,
}

/// A piece.
pub(super) fn piece(style: Style, text: impl AsRef<str>) -> Piece {
    Piece { text: visible(text.as_ref()).into_owned(), style }
}

impl Piece {
    pub(super) fn width(&self) -> usize {
        width(&self.text)
    }

    /// The piece, or as much of it as fits, and `…`.
    pub(super) fn shortened(&self, room: usize) -> Self {
        let text = match cut(&self.text, room) {
            (_, "") => self.text.clone(),
            _ => format!("{}…", cut(&self.text, room.saturating_sub(1)).0),
        };
        Self { text, style: self.style }
    }

    /// The piece with blanks behind it, `width` columns wide.
    fn padded(self, width: usize) -> [Self; 2] {
        let blanks = " ".repeat(width.saturating_sub(self.width()));
        [self, Self { text: blanks, style: PLAIN }]
    }
}

#[derive(Debug)]
pub(super) struct Paper<W> {
    out: W,
    width: usize,
    colour: bool,
    begun: bool,
}

impl<W: io::Write> Paper<W> {
    pub(super) fn new(out: W, look: Look) -> Self {
        Self { out, width: look.width.max(40), colour: look.colour, begun: false }
    }

    pub(super) const fn width(&self) -> usize {
        self.width
    }

    /// A blank line between what was written and what follows.
    pub(super) fn blank(&mut self) -> io::Result<()> {
        if self.begun { self.out.write_all(b"\n") } else { Ok(()) }
    }

    /// One line, with no blanks at its end; one that is longer than the width ends in `…`.
    pub(super) fn line(&mut self, pieces: impl IntoIterator<Item = Piece>) -> io::Result<()> {
        self.begun = true;
        let (mut room, mut blanks) = (self.width, 0);
        for Piece { text, style } in pieces {
            let text = match cut(&text, room) {
                (head, rest) if rest.trim_end_matches(' ').is_empty() => Cow::Borrowed(head),
                _ if room == 0 => Cow::Borrowed(""),
                _ => Cow::Owned(format!("{}…", cut(&text, room - 1).0)),
            };
            room -= width(&text);
            let body = text.trim_end_matches(' ');
            if !body.is_empty() {
                write!(self.out, "{:blanks$}", "")?;
                blanks = 0;
                if self.colour && style != PLAIN {
                    write!(self.out, "{style}{body}{style:#}")?;
                } else {
                    self.out.write_all(body.as_bytes())?;
                }
            }
            blanks += text.len() - body.len();
        }
        self.out.write_all(b"\n")
    }

    /// Running text, broken at blanks: `head` goes before its first line, all others are indented
    /// as far, or half the width.
    pub(super) fn flow(&mut self, head: Piece, style: Style, text: &str) -> io::Result<()> {
        let indent = head.width().min(self.width / 2);
        let text = visible(text);
        let mut lines = Vec::new();
        let mut line = String::new();
        let mut room = self.width.saturating_sub(head.width());
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let mut word = word;
            let blank = usize::from(!line.is_empty());
            if width(&line) + blank + width(word) > room && blank > 0 {
                lines.push(std::mem::take(&mut line));
                room = self.width - indent;
            } else if blank > 0 {
                line.push(' ');
            }
            while width(&line) + width(word) > room {
                let (here, rest) = cut(word, room - width(&line));
                line.push_str(here);
                lines.push(std::mem::take(&mut line));
                room = self.width - indent;
                word = rest;
            }
            line.push_str(word);
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(line);
        }
        let heads = std::iter::once(head).chain(std::iter::repeat(blanks(indent)));
        lines.into_iter().zip(heads).try_for_each(|(line, head)| self.line([head, piece(style, line)]))
    }

    /// A text word for word, blanks and all, over as many lines as it takes: `indent` columns in,
    /// its continuations two more.
    pub(super) fn verbatim(&mut self, indent: usize, style: Style, text: &str) -> io::Result<()> {
        let text = visible(text);
        let (mut rest, mut indent) = (&*text, indent);
        loop {
            let (mut head, mut tail) = cut(rest, self.width - indent);
            if !tail.is_empty()
                && let Some(blank) = head.rfind(' ').filter(|blank| blank * 2 > head.len())
            {
                (head, tail) = rest.split_at(blank + 1);
            }
            self.line([blanks(indent), piece(style, head)])?;
            if tail.is_empty() {
                return Ok(());
            }
            if rest.len() == text.len() {
                indent += 2;
            }
            rest = tail;
        }
    }

    /// Items side by side, three blanks apart, none of them broken where it fits into a line. The
    /// head is short.
    pub(super) fn items(&mut self, head: Piece, items: impl IntoIterator<Item = Vec<Piece>>) -> io::Result<()> {
        let indent = head.width();
        let mut line = vec![head];
        let (mut taken, mut began) = (indent, false);
        for item in items {
            let needs: usize = item.iter().map(Piece::width).sum();
            if taken > indent && taken + 3 + needs > self.width {
                self.line(std::mem::replace(&mut line, vec![blanks(indent)]))?;
                taken = indent;
            }
            if taken + needs > self.width {
                let text: String = item.into_iter().map(|piece| piece.text).collect();
                let head = std::mem::replace(&mut line, vec![blanks(indent)]).swap_remove(0);
                self.flow(head, PLAIN, &text)?;
                began = true;
                continue;
            }
            if taken > indent {
                line.push(blanks(3));
                taken += 3;
            }
            taken += needs;
            line.extend(item);
        }
        if taken == indent && began { Ok(()) } else { self.line(line) }
    }

    /// Rows in columns that are as wide as their widest piece, two blanks apart. What the width does
    /// not hold follows in further blocks, each with the first column before it; the last `tail`
    /// columns stay together.
    pub(super) fn table(&mut self, rows: &[Vec<Piece>], tail: usize) -> io::Result<()> {
        let mut widths = Vec::new();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            row.iter().zip(&mut widths).for_each(|(piece, width)| *width = piece.width().max(*width));
        }
        let tail = widths.len().saturating_sub(tail);
        let tail_width = widths[tail..].iter().map(|width| width + 2).sum::<usize>();
        let mut next = 1;
        while next == 1 || next < widths.len() {
            let (first, mut taken) = (next, *widths.first().unwrap_or(&0));
            while next < widths.len() && (next == first || taken + 2 + widths[next] <= self.width) {
                if next == tail && next > first && taken + tail_width > self.width {
                    break;
                }
                taken += 2 + widths[next];
                next += 1;
            }
            let here = |row: &'_ Vec<Piece>| row.get(first..next.min(row.len())).unwrap_or_default().to_vec();
            let empty = |row: &Vec<Piece>| first > 1 && here(row).iter().all(|piece| piece.text.is_empty());
            if first > 1 && !rows.iter().all(empty) {
                self.blank()?;
            }
            for row in rows.iter().filter(|row| !empty(row)) {
                let cells = row.iter().take(1).cloned().chain(here(row));
                let widths = widths.iter().take(1).chain(&widths[first..]);
                let padded = cells.zip(widths).flat_map(|(piece, width)| piece.padded(width + 2));
                self.line(padded)?;
            }
            next = next.max(2);
        }
        Ok(())
    }
}

/// That many blanks.
pub(super) fn blanks(count: usize) -> Piece {
    piece(PLAIN, " ".repeat(count))
}

/// The longest head of the text that takes no more than `room` columns, at least one character
/// where there is room for any, and what is left.
fn cut(text: &str, room: usize) -> (&str, &str) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += width(c.encode_utf8(&mut [0; 4]));
        if taken > room {
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PLAIN, Paper, piece};
    use crate::sink::Look;
    use crate::visible::{visible, width};

    fn drawn(width: usize, draw: impl Fn(&mut Paper<&mut Vec<u8>>) -> std::io::Result<()>) -> String {
        let mut out = Vec::new();
        draw(&mut Paper::new(&mut out, Look { width, ..Look::default() })).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The text without blanks and line ends: what must be there however it is broken.
    fn inked(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_sticks_out(text in ".{0,300}|([a-z<>日]{1,90} {1,3}){0,9}", columns in 40_usize..90, indent in 0_usize..30) {
            let head = " ".repeat(indent);
            let flowed = drawn(columns, |paper| paper.flow(piece(PLAIN, &head), PLAIN, &text));
            let word_for_word = drawn(columns, |paper| paper.verbatim(indent.min(8), PLAIN, &text));
            let items = text.split("  ").map(|item| vec![piece(PLAIN, item)]);
            let beside = drawn(columns, |paper| paper.items(piece(PLAIN, &head), items.clone()));
            for out in [flowed, word_for_word, beside] {
                prop_assert_eq!(inked(&out), inked(&visible(&text)));
                prop_assert!(out.lines().all(|line| width(line) <= columns), "{}", out);
            }
        }
    }

    #[test]
    fn a_head_wider_than_half_leaves_the_rest_its_half() {
        let out = drawn(40, |paper| {
            paper.flow(piece(PLAIN, "a head of twenty-six wide "), PLAIN, "and words that go on and on")
        });
        assert_eq!(out, "a head of twenty-six wide and words that\n                    go on and on\n");
    }

    #[test]
    fn word_for_word_keeps_the_blanks_between() {
        let out = drawn(40, |paper| paper.verbatim(4, PLAIN, "521 5.2.1 :  (TempFail)  and so on and on and on"));
        assert_eq!(out, "    521 5.2.1 :  (TempFail)  and so on\n      and on and on\n");
    }

    #[test]
    fn a_wide_table_goes_on_below() {
        let row = |cells: [&str; 4]| cells.map(|cell| piece(PLAIN, cell)).to_vec();
        let rows = [row(["name", "a23456789", "b23456789", "c23456789"]), row(["first one", "1", "2", ""])];
        let out = drawn(40, |paper| paper.table(&rows, 0));
        assert_eq!(out, "name       a23456789  b23456789\nfirst one  1          2\n\nname       c23456789\n");
        let out = drawn(40, |paper| paper.table(&rows, 2));
        assert_eq!(out, "name       a23456789\nfirst one  1\n\nname       b23456789  c23456789\nfirst one  2\n");
        let out = drawn(40, |paper| paper.table(&[row(["name", "1", &"x".repeat(60), ""])], 0));
        assert_eq!(out, format!("name  1\n\nname  {}…\n", "x".repeat(33)));
    }
}
