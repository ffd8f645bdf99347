//! A smoke test's verdicts: the table of checks, what is not as it should be, why not to send.

use super::{Block, Cell, Ink, Section, Table};
use crate::record::Verdict;
use crate::sink::recording::Recording;
use crate::sink::verdicts::{Sheet, sheets};

/// No more points than this are told.
const POINTS: usize = 40;

/// A section for each target.
pub(super) fn verdicts(recording: &Recording, ink: &Ink) -> Vec<Section> {
    let section = |sheet: &Sheet<'_>| {
        let title = format!("Verdict: {}", sheet.whole.verdict.called());
        Section::new(&title, told(sheet, ink))
    };
    sheets(recording).iter().map(section).collect()
}

fn told(sheet: &Sheet<'_>, ink: &Ink) -> Vec<Block> {
    let mut blocks: Vec<Block> = sheet.whole.reason.iter().map(|reason| Block::Text(ink.text(reason))).collect();
    let passed: Vec<&str> = sheet.passed.iter().map(|check| check.as_str()).collect();
    let common: Vec<String> = sheet.common.iter().map(|(check, mark)| format!("{check} {}", mark.text())).collect();
    for (what, checks) in [("Passed by all", passed.join(", ")), ("Of all", common.join(", "))] {
        if !checks.is_empty() {
            blocks.push(Block::Text(format!("{what}: {checks}")));
        }
    }
    let mut table = Table::new(["source"]);
    table.heads.extend(sheet.columns.iter().map(|column| column.name().to_owned()));
    table.heads.push("verdict".to_owned());
    for row in &sheet.rows {
        let mut line = vec![Cell::plain(row.source.to_string())];
        line.extend(row.marks.iter().map(|mark| Cell::plain(mark.text())));
        let tone = if row.gate.verdict == Verdict::Go { "good" } else { "bad" };
        line.push(Cell { text: row.gate.verdict.called(), tone });
        table.rows.push(line);
    }
    blocks.extend(table.blocks("sources"));
    let mut points: Vec<String> = sheet
        .findings
        .iter()
        .map(|finding| {
            let fix = finding.fix.as_ref().map_or_else(String::new, |fix| format!(" To do: {fix}."));
            ink.text(&format!("{} of {}: {}.{fix}", finding.name, finding.who(), finding.detail))
        })
        .collect();
    for row in sheet.rows.iter().filter(|row| row.gate.verdict != Verdict::Go) {
        let until = row.gate.until.map_or_else(String::new, |until| format!("; test again no sooner than {until:.0}"));
        let reason = row.gate.reason.as_deref().unwrap_or_default();
        points.push(ink.text(&format!("{} {}: {reason}{until}", row.gate.verdict.called(), row.source)));
    }
    let more = points.len().saturating_sub(POINTS);
    points.truncate(POINTS);
    if more > 0 {
        points.push(format!("and {more} more"));
    }
    blocks.extend(Block::list(points));
    blocks
}
