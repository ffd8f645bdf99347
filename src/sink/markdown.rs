//! A ticket: what a postmaster on the other side needs, in Markdown.
//!
//! Recipients' local parts are left out, also where a reply quotes them. Replies stand in fences
//! that they cannot close.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use super::faults::{Fault, called, faults, sessions};
use super::grid::{Cell, Grid};
use super::recording::{Recording, ranges};
use super::timing::timings;
use super::verdicts::{Sheet, sheets};
use crate::record::{Diagnosis, DiagnosisKind, Reproduction, Verdict};
use crate::visible::visible;

/// No more than this of a kind is listed.
const LISTED: usize = 12;

/// No more lines of one reply than this.
const LINES: usize = 40;

/// Writes a recording as a ticket.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W) -> io::Result<()> {
    let mut ticket = Ticket { out, recipients: recipients(recording) };
    ticket.head(recording)?;
    recording.reproductions.iter().try_for_each(|answer| ticket.reproduction(recording, answer))?;
    for domain in recording.domains() {
        let grid = Grid::of(recording, domain);
        if !grid.rows.is_empty() {
            ticket.matrix(domain, &grid)?;
        }
    }
    let faults = faults(recording.sessions.iter());
    if !faults.is_empty() {
        writeln!(ticket.out, "\n## What was said")?;
        faults.iter().take(LISTED).try_for_each(|fault| ticket.fault(fault))?;
        if faults.len() > LISTED {
            writeln!(ticket.out, "\nand {} more kinds of failure", faults.len() - LISTED)?;
        }
    }
    ticket.times(recording)?;
    ticket.diagnoses(recording)?;
    sheets(recording).iter().try_for_each(|sheet| ticket.verdicts(sheet))
}

struct Ticket<'w, W> {
    out: &'w mut W,
    /// Lower case, whole mailboxes.
    recipients: BTreeSet<String>,
}

impl<W: io::Write> Ticket<'_, W> {
    fn head(&mut self, recording: &Recording) -> io::Result<()> {
        let names: Vec<&str> = recording.domains().into_iter().flatten().collect();
        let found = recording.diagnoses.first().map_or_else(String::new, |d| format!(": {}", called(d.kind)));
        let names = if names.is_empty() { "SMTP".to_owned() } else { names.join(", ") };
        writeln!(self.out, "# {}{found}\n", self.inline(&names))?;
        if recording.runs.iter().any(|run| run.simulated) {
            writeln!(self.out, "**SIMULATED: the provider is a script; nothing here is about the real one.**\n")?;
        }
        for run in &recording.runs {
            let text = format!("run {} of {:.0}, seed {}, mxprobe {}", run.run, run.at, run.seed, run.version);
            writeln!(self.out, "- {}", self.inline(&text))?;
        }
        let times = recording.sessions.iter().map(|s| s.at);
        if let (Some(first), Some(last)) = (times.clone().min(), times.max()) {
            writeln!(self.out, "- sessions began between {first:.0} and {last:.0} (UTC)")?;
        }
        for domain in recording.domains() {
            for exchanger in recording.exchangers(domain).iter().take(LISTED) {
                let preference = exchanger.preference.map_or_else(String::new, |p| format!("MX {p} "));
                let name = exchanger.name.unwrap_or("host");
                let addresses = ranges(exchanger.addresses.iter().copied());
                let addresses = if addresses.is_empty() { "no address" } else { &addresses };
                writeln!(self.out, "- {}", self.inline(&format!("{preference}{name}: {addresses}")))?;
            }
        }
        let lists = [
            ("from", ranges(recording.sources(false))),
            ("from, of another reputation", ranges(recording.sources(true))),
            ("control", recording.controls().into_iter().collect::<Vec<_>>().join(", ")),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(self.out, "- {name}: {}", self.inline(&list))?;
        }
        let tally = recording.tally();
        let counts = format!("{}: {} completed, {} failed", sessions(tally.sessions()), tally.completed, tally.failed);
        writeln!(self.out, "- {counts}, {} not tried for a reason of ours, {} skipped", tally.local, tally.skipped)
    }

    /// What was reported, and whether it showed again.
    fn reproduction(&mut self, recording: &Recording, answer: &Reproduction) -> io::Result<()> {
        let result = answer.result.as_str().replace('-', " ").to_uppercase();
        let domain = answer.domain.as_deref().map_or_else(String::new, |domain| format!(" of {domain}"));
        let stage = answer.stage.map_or_else(String::new, |stage| format!(" at {stage}"));
        let such = if answer.reports > 1 { format!(", {} such reports", answer.reports) } else { String::new() };
        let title = format!("Report {}{stage}{domain}{such}: {result}", answer.report);
        writeln!(self.out, "\n## {}\n", self.inline(&title))?;
        let report = recording.reports.iter().find(|report| report.seq == answer.report);
        if let Some(reply) = report.and_then(|report| report.reply.as_ref()) {
            self.fenced(std::slice::from_ref(reply))?;
        }
        let (low, high) = (answer.rate_low * 100.0, answer.rate_high * 100.0);
        let seen = format!("{} of {}; rate {low:.1}-{high:.1} % (95 %)", answer.same, sessions(answer.sessions));
        let told = [
            ("because", answer.because.clone().unwrap_or_default()),
            ("seen in", if answer.sessions > 0 { seen } else { String::new() }),
            ("from", ranges(answer.sources.iter().copied())),
            ("at", ranges(answer.addresses.iter().copied())),
            ("instead", answer.others.join("; ")),
            ("not tested", answer.not_tested.join("; ")),
        ];
        let told = told.iter().filter(|(_, text)| !text.is_empty());
        told.clone().try_for_each(|(name, text)| writeln!(self.out, "- {name}: {}", self.inline(text)))
    }

    fn matrix(&mut self, domain: Option<&str>, grid: &Grid) -> io::Result<()> {
        let grid = if grid.rows.len() * grid.columns.len() > 64 { &grid.collapsed() } else { grid };
        writeln!(self.out, "\n## Matrix\n")?;
        let controlled = grid.rows.iter().any(|row| !row.control.symbol().is_empty());
        let corner = domain.unwrap_or("source");
        let mut rows = vec![vec![self.inline(corner)]];
        for column in &grid.columns {
            let addresses = ranges(column.ends.iter().map(|(address, _)| *address));
            let port = column.ends.iter().map(|(_, port)| *port).find(|&port| port != 25);
            let port = port.map_or_else(String::new, |port| format!(" port {port}"));
            rows[0].push(self.inline(&format!("{addresses}{port}")));
        }
        rows[0].extend(["failed", "95 %"].map(str::to_owned));
        if controlled {
            rows[0].push("control".to_owned());
        }
        rows.push(vec!["---".to_owned(); rows[0].len()]);
        for (row, cells) in grid.rows.iter().zip(&grid.cells) {
            let neutral = if row.neutral { " (neutral)" } else { "" };
            let mut line = vec![self.inline(&format!("{}{neutral}", ranges(row.sources.iter().copied())))];
            line.extend(cells.iter().map(Cell::symbol));
            line.extend([format!("{}/{}", row.total.failed, row.total.tried), row.total.interval()]);
            if controlled {
                line.push(if row.control.failed == 0 && row.control.tried > 0 {
                    "ok".into()
                } else {
                    row.control.symbol()
                });
            }
            rows.push(line);
        }
        let mut foot = vec!["failed".to_owned()];
        foot.extend(grid.columns.iter().map(|c| format!("{}/{}", c.total.failed, c.total.tried)));
        let total = grid.total();
        foot.push(format!("{}/{}", total.failed, total.tried));
        foot.resize(rows[0].len(), String::new());
        rows.push(foot);
        rows.iter().try_for_each(|row| writeln!(self.out, "| {} |", row.join(" | ")))?;
        let legend: Vec<String> =
            grid.legend().into_iter().map(|(symbol, meaning)| format!("`{symbol}` {meaning}")).collect();
        writeln!(self.out, "\n{}", legend.join(", "))
    }

    fn fault(&mut self, fault: &Fault<'_>) -> io::Result<()> {
        let first = fault.first();
        let expected = if first.expected { ", as expected" } else { "" };
        writeln!(self.out, "\n### {}: {}{expected}\n", fault.what(), sessions(fault.sessions.len() as u64))?;
        if let Some(reply) = &first.reply {
            self.fenced(reply)?;
        }
        for also in fault.also().into_iter().take(LISTED) {
            writeln!(self.out, "and then, unasked:\n")?;
            self.fenced(also)?;
        }
        if let Some(detail) = &first.detail {
            self.fenced(std::slice::from_ref(detail))?;
        }
        let named = fault.sessions.iter().any(|s| s.to.is_some());
        let mut heads = vec!["UTC", "from", "to", "server"];
        heads.extend(named.then_some("recipient"));
        writeln!(self.out, "| {} |\n|{}", heads.join(" | "), " --- |".repeat(heads.len()))?;
        for session in fault.sessions.iter().take(LISTED) {
            let to = session.address.map(|address| SocketAddr::from((address, session.port)).to_string());
            let mut cells = vec![
                format!("{:.0}", session.at),
                session.source.map_or_else(String::new, |source| source.to_string()),
                to.or_else(|| session.mx.clone()).unwrap_or_default(),
                session.backend.clone().or_else(|| session.mx.clone()).unwrap_or_default(),
            ];
            if named {
                cells.push(session.to.clone().unwrap_or_default());
            }
            let cells: Vec<String> = cells.iter().map(|cell| self.inline(cell)).collect();
            writeln!(self.out, "| {} |", cells.join(" | "))?;
        }
        if fault.sessions.len() > LISTED {
            writeln!(self.out, "\nand {} more", fault.sessions.len() - LISTED)?;
        }
        Ok(())
    }

    fn times(&mut self, recording: &Recording) -> io::Result<()> {
        let timings = timings(&recording.sessions);
        if timings.is_empty() {
            return Ok(());
        }
        writeln!(
            self.out,
            "\n## Times\n\n| stage | answered | min ms | median | max |\n| --- | --: | --: | --: | --: |"
        )?;
        for t in timings {
            writeln!(self.out, "| {} | {} | {:.1} | {:.1} | {:.1} |", t.stage, t.count, t.min, t.median, t.max)?;
        }
        Ok(())
    }

    fn diagnoses(&mut self, recording: &Recording) -> io::Result<()> {
        if recording.diagnoses.is_empty() {
            return Ok(());
        }
        writeln!(self.out, "\n## Diagnosis\n")?;
        recording.diagnoses.iter().try_for_each(|d| self.diagnosis(d))
    }

    fn diagnosis(&mut self, d: &Diagnosis) -> io::Result<()> {
        let mut who =
            vec![ranges(d.sources.iter().copied()), ranges(d.addresses.iter().copied()), d.backends.join(", ")];
        who.extend(d.stage.map(|stage| format!("at {stage}")));
        who.retain(|names| !names.is_empty());
        who.push(format!("confidence {}", d.confidence));
        writeln!(self.out, "{}. **{}**, {}", d.rank, called(d.kind), self.inline(&who.join(", ")))?;
        let kinds = |kinds: &[DiagnosisKind]| kinds.iter().map(|&kind| called(kind).to_lowercase()).collect::<Vec<_>>();
        let (candidates, leaning) = (kinds(&d.candidates), kinds(d.leaning.as_slice()));
        let told = [
            ("", &d.because),
            ("could be: ", &candidates),
            ("leaning: ", &leaning),
            ("ruled out: ", &d.ruled_out),
            ("would settle it: ", &d.would_raise),
            ("to do: ", &vec![d.advice.clone()]),
        ];
        for (name, texts) in told {
            for text in texts.iter().filter(|text| !text.is_empty()) {
                writeln!(self.out, "   - {name}{}", self.inline(text))?;
            }
        }
        Ok(())
    }

    fn verdicts(&mut self, sheet: &Sheet<'_>) -> io::Result<()> {
        let whole = sheet.whole;
        writeln!(self.out, "\n## Verdict: {}\n", whole.verdict.called())?;
        if let Some(reason) = &whole.reason {
            writeln!(self.out, "{}\n", self.inline(reason))?;
        }
        if !sheet.passed.is_empty() {
            let passed: Vec<&str> = sheet.passed.iter().map(|check| check.as_str()).collect();
            writeln!(self.out, "Passed by all: {}\n", passed.join(", "))?;
        }
        if !sheet.common.is_empty() {
            let common: Vec<String> =
                sheet.common.iter().map(|(check, mark)| format!("{check} {}", mark.text())).collect();
            writeln!(self.out, "Of all: {}\n", common.join(", "))?;
        }
        let heads: Vec<&str> = sheet.columns.iter().map(|column| column.name()).collect();
        writeln!(self.out, "| source | {} | verdict |\n|{}", heads.join(" | "), " --- |".repeat(heads.len() + 2))?;
        for row in &sheet.rows {
            let marks: Vec<String> = row.marks.iter().map(|mark| mark.text()).collect();
            writeln!(self.out, "| {} | {} | {} |", row.source, marks.join(" | "), row.gate.verdict.called())?;
        }
        writeln!(self.out)?;
        for finding in &sheet.findings {
            let fix = finding.fix.as_ref().map_or_else(String::new, |fix| format!(" To do: {fix}."));
            let text = format!("{} of {}: {}.{fix}", finding.name, finding.who(), finding.detail);
            writeln!(self.out, "- {}", self.inline(&text))?;
        }
        for row in sheet.rows.iter().filter(|row| row.gate.verdict != Verdict::Go) {
            let until =
                row.gate.until.map_or_else(String::new, |until| format!("; test again no sooner than {until:.0}"));
            let text = format!("{}: {}{until}", row.source, row.gate.reason.as_deref().unwrap_or_default());
            writeln!(self.out, "- **{}** {}", row.gate.verdict.called(), self.inline(&text))?;
        }
        Ok(())
    }

    /// Lines in a fence longer than any run of backticks in them.
    fn fenced(&mut self, lines: &[String]) -> io::Result<()> {
        let shown: Vec<String> =
            lines.iter().take(LINES).map(|line| visible(&self.redacted(line)).into_owned()).collect();
        let longest = shown.iter().flat_map(|line| line.split(|c| c != '`').map(str::len)).max().unwrap_or_default();
        let fence = "`".repeat(3.max(longest + 1));
        writeln!(self.out, "{fence}text")?;
        shown.iter().try_for_each(|line| writeln!(self.out, "{line}"))?;
        if lines.len() > LINES {
            writeln!(self.out, "(and {} lines more)", lines.len() - LINES)?;
        }
        writeln!(self.out, "{fence}\n")
    }

    /// Text that is nothing but text where Markdown, and the HTML in it, could see more.
    fn inline(&self, text: &str) -> String {
        let redacted = self.redacted(text);
        let mut out = String::with_capacity(redacted.len());
        for c in visible(&redacted).chars() {
            match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    }

    /// The text without the local parts of recipients.
    fn redacted(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for recipient in &self.recipients {
            let Some(at) = recipient.rfind('@') else { continue };
            let (mut out, mut done) = (String::with_capacity(text.len()), 0);
            // Lower case in ASCII changes no byte's place.
            for (start, _) in text.to_ascii_lowercase().match_indices(recipient.as_str()) {
                out.push_str(&text[done..start]);
                out.push('…');
                done = start + at;
            }
            out.push_str(&text[done..]);
            text = out;
        }
        text
    }
}

fn recipients(recording: &Recording) -> BTreeSet<String> {
    let sessions = recording.sessions.iter().filter_map(|s| s.to.as_deref());
    let reports = recording.reports.iter().filter_map(|r| r.recipient.as_deref());
    sessions.chain(reports).map(str::to_ascii_lowercase).collect()
}
