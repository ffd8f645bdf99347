//! The bundle for a postmaster on the other side, in Markdown: for a form, a ticket, a mail.
//!
//! Text is nothing but text, whatever is in it; replies stand in fences that they cannot close.

use std::io;

use super::bundle::{Block, Bundle, Finding, Past, Table};
use super::recording::Recording;
use super::{Look, strip::Strip};

/// Writes a recording, and an incident's past where it is one's.
pub(super) fn write<W: io::Write>(
    recording: &Recording,
    past: Option<&Past>,
    out: &mut W,
    look: Look,
) -> io::Result<()> {
    let bundle = Bundle::of(recording, past, look.detail);
    writeln!(out, "# {}", inline(&bundle.title))?;
    if bundle.simulated {
        writeln!(out, "\n**SIMULATED: the provider is a script; nothing here is about the real one.**")?;
    }
    for section in &bundle.sections {
        writeln!(out, "\n## {}", inline(&section.title))?;
        section.blocks.iter().try_for_each(|block| write_block(out, block))?;
    }
    Ok(())
}

fn write_block<W: io::Write>(out: &mut W, block: &Block) -> io::Result<()> {
    match block {
        Block::Heading(text) => writeln!(out, "\n### {}", inline(text)),
        Block::Text(text) => writeln!(out, "\n{}", inline(text)),
        Block::List(points) => {
            writeln!(out)?;
            points.iter().try_for_each(|point| writeln!(out, "- {}", inline(point)))
        }
        Block::Finding(finding) => write_finding(out, finding),
        Block::Table(table) => write_table(out, table),
        Block::Verbatim(lines) => write_fenced(out, lines),
        Block::Strips { rows, in_words, .. } => {
            let mut failed = rows.iter().filter(|row| *in_words && Strip::total(&row.strip).1 > 0).peekable();
            if failed.peek().is_some() {
                writeln!(out, "\nBy place:\n")?;
            }
            failed.try_for_each(|row| writeln!(out, "- {}: {}", inline(&row.place), inline(&row.strip.in_words())))
        }
    }
}

fn write_finding<W: io::Write>(out: &mut W, finding: &Finding) -> io::Result<()> {
    let Finding { rank, called, facts, points } = finding;
    writeln!(out, "\n{rank}. **{called}**, {}", inline(facts))?;
    points.iter().try_for_each(|point| writeln!(out, "   - {}", inline(point)))
}

fn write_table<W: io::Write>(out: &mut W, table: &Table) -> io::Result<()> {
    let heads: Vec<String> = table.heads.iter().map(|head| inline(head)).collect();
    writeln!(out, "\n| {} |\n|{}", heads.join(" | "), " --- |".repeat(heads.len()))?;
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| inline(&cell.text)).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

/// Lines in a fence longer than any run of backticks in them (`CommonMark`, section 4.5).
fn write_fenced<W: io::Write>(out: &mut W, lines: &[String]) -> io::Result<()> {
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`').map(str::len)).max().unwrap_or_default();
    let fence = "`".repeat(3.max(longest + 1));
    writeln!(out, "\n{fence}text")?;
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    writeln!(out, "{fence}")
}

/// Text that is nothing but text where Markdown, and the HTML in it, could see more.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => out.extend(['\\', c]),
            // Forges make a mention of it, and notify whoever has that name.
            '@' if !before.is_alphanumeric() && before != '…' => out.extend(['\\', c]),
            c => out.push(c),
        }
        before = c;
    }
    out
}
