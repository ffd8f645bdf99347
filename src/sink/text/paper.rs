//! What text is written on: lines of a given width, coloured or not.
//!
//! The one door to the terminal: every text passes [`visible`] here, and only here are line ends
//! and escape sequences written.

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

    /// One line, with no blanks at its end; cut at the width where it is longer.
    pub(super) fn line(&mut self, pieces: impl IntoIterator<Item = Piece>) -> io::Result<()> {
        self.begun = true;
        let (mut room, mut blanks) = (self.width, 0);
        for Piece { text, style } in pieces {
            let (text, _) = cut(&text, room);
            room -= width(text);
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
    /// as far.
    pub(super) fn flow(&mut self, head: Piece, style: Style, text: &str) -> io::Result<()> {
        let indent = head.width().min(self.width / 2);
        let text = visible(text);
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let mut word = word;
            if !line.is_empty() && indent + width(&line) + 1 + width(word) > self.width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            while indent + width(&line) + width(word) > self.width {
                let (here, rest) = cut(word, self.width - indent - width(&line));
                line.push_str(here);
                lines.push(std::mem::take(&mut line));
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

    /// Items side by side, three blanks apart, none of them broken where it fits into a line.
    pub(super) fn items(&mut self, head: Piece, items: impl IntoIterator<Item = Vec<Piece>>) -> io::Result<()> {
        let indent = head.width();
        let mut line = vec![head];
        let mut taken = indent;
        for item in items {
            let needs: usize = item.iter().map(Piece::width).sum();
            if taken > indent && taken + 3 + needs > self.width {
                self.line(std::mem::replace(&mut line, vec![blanks(indent)]))?;
                taken = indent;
            }
            if taken > indent {
                line.push(blanks(3));
                taken += 3;
            }
            taken += needs;
            line.extend(item);
        }
        self.line(line)
    }

    /// Rows in columns that are as wide as their widest piece, two blanks apart, `indent` in. What
    /// the width does not hold follows in further blocks, each with the first column before it.
    pub(super) fn table(&mut self, indent: usize, rows: &[Vec<Piece>]) -> io::Result<()> {
        let mut widths = Vec::new();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            row.iter().zip(&mut widths).for_each(|(piece, width)| *width = piece.width().max(*width));
        }
        let mut next = 1;
        while next == 1 || next < widths.len() {
            let (first, mut taken) = (next, indent + widths.first().unwrap_or(&0));
            while next < widths.len() && (next == first || taken + 2 + widths[next] <= self.width) {
                taken += 2 + widths[next];
                next += 1;
            }
            if first > 1 {
                self.blank()?;
            }
            for row in rows {
                let here = row.get(first..next.min(row.len())).unwrap_or_default();
                if first > 1 && here.iter().all(|piece| piece.text.is_empty()) {
                    continue;
                }
                let cells = row.first().into_iter().zip(&widths).chain(here.iter().zip(&widths[first..]));
                let padded = cells.flat_map(|(piece, width)| piece.clone().padded(width + 2));
                self.line(std::iter::once(blanks(indent)).chain(padded))?;
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
