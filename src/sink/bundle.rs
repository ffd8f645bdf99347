//! What a provider's postmaster is told: the subject, what is asked, what was found and why, when,
//! from where, to where, how often, the words, the dialogs, and what was not tested.
//!
//! Here is decided what is said; [`markdown`](super::markdown) and [`html`](super::html) write it
//! down. Whatever came from a network or a file has had its recipients left out and its hostile
//! characters spelled out before it gets into a bundle, and is clipped; escaping is the writer's.

use super::recording::Recording;
use super::redact::Redaction;
use super::{Detail, strip::Strip};
use crate::history::archive::Hour;
use crate::record::Incident;
use crate::status::Tally;
use crate::visible::visible;

mod asked;
mod facts;
mod found;
mod incident;
mod places;
mod said;
mod verdicts;
mod when;

/// So many characters of a text, where it stands among others and where it is quoted.
const INLINE: usize = 600;
const QUOTED: usize = 1000;

/// So many lines of one reply.
const LINES: usize = 40;

/// A cell of more characters has several lines.
const LONG: usize = 36;

/// So many rows of a table, and no more of a kind than so many.
const ROWS: usize = 24;
const LISTED: usize = 12;

/// What is on record of an incident beside its sessions.
#[derive(Clone, Debug)]
pub struct Past {
    pub incident: Incident,
    /// Counts by the hour of its time and place.
    pub hours: Vec<Hour>,
    /// What the same target's other sessions of the time came to.
    pub elsewhere: Tally,
    /// Sessions that are not told: there are more than anybody reads.
    pub left_out: u64,
}

/// Everything that is told, ready to be written down.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) title: String,
    pub(super) simulated: bool,
    pub(super) sections: Vec<Section>,
}

#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(super) enum Block {
    Heading(String),
    Text(String),
    List(Vec<String>),
    Finding(Finding),
    Table(Table),
    /// Lines as they came, or in the notation of dialogs.
    Verbatim(Vec<String>),
    /// Drawn; told in words too where that says more than the counts do.
    Strips {
        legend: String,
        rows: Vec<Row>,
        in_words: bool,
    },
}

/// A diagnosis: what, the facts, what they rest on.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) rank: u32,
    pub(super) called: String,
    pub(super) facts: String,
    pub(super) points: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) heads: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A cell of a table. Its tone repeats what its text says.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: &'static str,
}

/// A place's stretches of time.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: String,
    pub(super) strip: Strip,
}

impl Bundle {
    pub(super) fn of(recording: &Recording, past: Option<&Past>, detail: Detail) -> Self {
        // What an incident says may be of recipients that are forgotten.
        let domain = past.map(|past| past.incident.domain.as_str());
        let ink = &Ink { redaction: Redaction::of(recipients(recording)).at(domain) };
        let domain = |domain: &Option<String>| ink.word(domain.as_deref().unwrap_or("hosts given by hand"));
        let simulated = recording.runs.iter().any(|run| run.simulated);
        let title = past.map_or_else(|| asked::title(recording, ink), |past| incident::title(&past.incident, ink));
        let mut sections = verdicts::verdicts(recording, ink);
        sections.extend([
            Section::new("What is asked", asked::asked(recording, past, ink)),
            Section::new("What was reported", found::reproductions(recording, ink)),
            Section::new("What was found", found::found(recording, past, ink)),
        ]);
        if detail > Detail::Quiet {
            sections.push(Section::new("When (UTC)", when::when(recording, past, ink)));
            sections.push(Section::new("From where", places::sources(recording, ink)));
            sections.push(Section::new("To where", places::addresses(recording, ink)));
            for (name, blocks) in places::matrices(recording, ink) {
                sections.push(Section::new(&format!("Matrix of {}", domain(&name)), blocks));
            }
            sections.push(Section::new("Attempts", places::attempts(recording, past, ink)));
            sections.push(Section::new("What was said", said::said(recording, ink)));
            sections.push(Section::new("Dialogs", said::dialogs(recording, ink)));
            sections.push(Section::new("TLS", facts::tls(recording, ink)));
            sections.push(Section::new("Lookups", facts::lookups(recording, ink)));
            sections.push(Section::new("Checks", facts::checks(recording, ink)));
            sections.push(Section::new("Times", facts::times(recording)));
            sections.push(Section::new("What was not tested", facts::untested(recording, past, ink)));
            sections.push(Section::new("Where this comes from", facts::origin(recording, ink)));
        }
        sections.retain(|section| !section.blocks.is_empty());
        Self { title, simulated, sections }
    }
}

impl Section {
    fn new(title: &str, blocks: Vec<Block>) -> Self {
        Self { title: title.to_owned(), blocks }
    }
}

impl Block {
    /// A list; nothing where it is empty.
    fn list(points: Vec<String>) -> Option<Self> {
        (!points.is_empty()).then_some(Self::List(points))
    }
}

impl Table {
    fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { heads: heads.map(str::to_owned).into(), rows: Vec::new() }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(Cell::plain).into());
    }

    /// The table, and what it leaves out; nothing where it is empty.
    fn blocks(mut self, what: &str) -> Vec<Block> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let more = self.rows.len().saturating_sub(ROWS);
        self.rows.truncate(ROWS);
        let mut blocks = vec![Block::Table(self)];
        if more > 0 {
            blocks.push(Block::Text(format!("and {more} more {what}")));
        }
        blocks
    }
}

impl Cell {
    /// Whether it is to be broken into lines.
    pub(super) fn is_long(&self) -> bool {
        self.text.chars().count() > LONG
    }

    fn plain(text: String) -> Self {
        Self { text, tone: "" }
    }

    /// How many of how many failed.
    fn counted(failed: u64, tried: u64) -> Self {
        let tone = match (failed, tried) {
            (_, 0) => "",
            (0, _) => "good",
            _ => "bad",
        };
        Self { text: format!("{failed}/{tried}"), tone }
    }
}

/// Makes texts fit to be told.
struct Ink {
    redaction: Redaction,
}

impl Ink {
    /// A text that may hold anything: words of theirs, or of ours about them.
    fn text(&self, text: &str) -> String {
        clipped(&visible(&self.redaction.text(text)), INLINE)
    }

    fn texts<'a>(&self, texts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        texts.into_iter().filter(|text| !text.is_empty()).map(|text| self.text(text)).collect()
    }

    /// A name that no recipient is in: a host's, an address.
    #[expect(clippy::unused_self, reason = "what is told goes through here")]
    fn word(&self, word: &str) -> String {
        clipped(&visible(word), INLINE)
    }

    /// Lines as they came.
    fn quoted(&self, lines: &[String]) -> Block {
        let mut shown: Vec<String> =
            lines.iter().take(LINES).map(|line| clipped(&visible(&self.redaction.text(line)), QUOTED)).collect();
        if lines.len() > LINES {
            shown.push(format!("(and {} lines more)", lines.len() - LINES));
        }
        Block::Verbatim(shown)
    }
}

fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}… ({} bytes more)", &text[..at], text.len() - at),
        None => text.to_owned(),
    }
}

fn recipients(recording: &Recording) -> impl Iterator<Item = &str> {
    let sessions = recording.sessions.iter().chain(&recording.planned).filter_map(|s| s.to.as_deref());
    sessions.chain(recording.reports.iter().filter_map(|r| r.recipient.as_deref()))
}
