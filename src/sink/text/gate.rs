//! The smoke test's answer: the table, what is not as it should be, and the verdicts.

use std::io;

use anstyle::Style;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, WARN, piece};
use crate::record::{CheckResult, Gate, Verdict};
use crate::sink::Detail;
use crate::sink::recording::Recording;
use crate::sink::verdicts::{Finding, Mark, Sheet, sheets};

/// No more findings than this are told.
const SHOWN: usize = 40;

/// The verdicts on each target; quiet: the verdicts alone.
pub(super) fn gate<W: io::Write>(paper: &mut Paper<W>, recording: &Recording, detail: Detail) -> io::Result<()> {
    for sheet in sheets(recording) {
        if detail > Detail::Quiet {
            table(paper, &sheet)?;
            findings(paper, &sheet.findings)?;
        }
        verdicts(paper, &sheet)?;
    }
    Ok(())
}

fn table<W: io::Write>(paper: &mut Paper<W>, sheet: &Sheet<'_>) -> io::Result<()> {
    let mut head = vec![piece(DIM, "source"), piece(DIM, "verdict")];
    head.extend(sheet.columns.iter().map(|column| piece(DIM, column.name())));
    let mut rows = vec![head];
    for row in &sheet.rows {
        let verdict = piece(of_verdict(row.gate.verdict), called(row.gate));
        let mut line = vec![piece(PLAIN, row.source.to_string()), verdict];
        line.extend(row.marks.iter().map(|mark| piece(of_mark(*mark), mark.text())));
        rows.push(line);
    }
    paper.blank()?;
    let passed: Vec<&str> = sheet.passed.iter().map(|check| check.as_str()).collect();
    let common: Vec<String> = sheet.common.iter().map(|(check, mark)| format!("{check} {}", mark.text())).collect();
    for (name, style, text) in [("passed by all: ", GOOD, passed.join(", ")), ("of all: ", WARN, common.join(", "))] {
        if !text.is_empty() {
            paper.flow(piece(style, name), PLAIN, &text)?;
        }
    }
    paper.blank()?;
    paper.table(&rows, 0)
}

fn findings<W: io::Write>(paper: &mut Paper<W>, findings: &[Finding]) -> io::Result<()> {
    if !findings.is_empty() {
        paper.blank()?;
    }
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0).min(24) + 2;
    for finding in findings.iter().take(SHOWN) {
        let (word, style) = match finding.result {
            CheckResult::Pass => ("ok", PLAIN),
            CheckResult::Warn => ("warn", WARN),
            CheckResult::Unknown => ("?", WARN),
            CheckResult::Fail => ("FAIL", BAD),
        };
        let head = piece(style, format!("{word:6}{:width$}", finding.name));
        paper.flow(head, PLAIN, &format!("{}: {}", finding.who(), finding.detail))?;
        if let Some(fix) = &finding.fix {
            paper.flow(piece(DIM, format!("{:1$}do: ", "", width + 6)), PLAIN, fix)?;
        }
    }
    if findings.len() > SHOWN {
        paper.flow(
            piece(DIM, format!("{:1$}", "", width + 6)),
            DIM,
            &format!("and {} more", findings.len() - SHOWN),
        )?;
    }
    Ok(())
}

fn verdicts<W: io::Write>(paper: &mut Paper<W>, sheet: &Sheet<'_>) -> io::Result<()> {
    let name = |gate: &Gate| gate.source.map_or_else(|| sheet.domain.unwrap_or("all").to_owned(), |s| s.to_string());
    paper.blank()?;
    let width = sheet.rows.iter().map(|row| name(row.gate).len()).chain([name(sheet.whole).len()]).max().unwrap_or(0);
    for gate in sheet.rows.iter().map(|row| row.gate).chain([sheet.whole]) {
        let style = if gate.source.is_none() { of_verdict(gate.verdict).bold() } else { of_verdict(gate.verdict) };
        let head = piece(style, format!("{:width$}  {:7}", name(gate), called(gate)));
        let indent = head.width();
        let mut told = Vec::new();
        if let (Some(go), Some(wanted)) = (gate.go, gate.wanted)
            && gate.verdict == Verdict::Go
        {
            told.push(format!("{go} GO, wanted {wanted}"));
        }
        told.extend(gate.reason.clone());
        told.extend(gate.until.map(|until| format!("test again no sooner than {until:.0}")));
        paper.flow(head, if gate.source.is_none() { BOLD } else { PLAIN }, &told.join("; "))?;
        if let Some(fix) = gate.fix.as_ref().filter(|_| gate.source.is_some()) {
            paper.flow(piece(DIM, format!("{:indent$}do: ", "")), PLAIN, fix)?;
        }
    }
    Ok(())
}

/// The verdict as a word; a HOLD for want of knowledge is told from one that waits.
fn called(gate: &Gate) -> String {
    if gate.unknown { format!("{}?", gate.verdict.called()) } else { gate.verdict.called() }
}

const fn of_verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Go => GOOD,
        Verdict::Hold => WARN,
        Verdict::NoGo => BAD,
    }
}

const fn of_mark(mark: Mark) -> Style {
    match mark {
        Mark::None => DIM,
        Mark::Check(CheckResult::Pass) => GOOD,
        Mark::Check(CheckResult::Fail) => BAD,
        Mark::Check(CheckResult::Warn | CheckResult::Unknown) => WARN,
        Mark::Passed(passed, tried) => {
            if passed == tried {
                GOOD
            } else {
                BAD
            }
        }
    }
}
