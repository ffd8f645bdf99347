//! A stream of lines that may be log lines, pasted text, or both by turns: log lines go to their
//! dialect one by one, what lies between them is read as a text.

use super::input::Out;
use super::log::{Clock, Entry, Memory, Taken};
use super::{exim, msmtp, sentence, text};
use crate::record::Report;

/// Pasted text is read in pieces of about this size.
pub(crate) const LONGEST_TEXT: usize = 128 * 1024;

/// What of a stream of lines is not decided yet.
pub(crate) struct Pieces {
    clock: Clock,
    memory: Memory,
    /// A log line that a later line without a head may continue, as terminals and mails wrap them.
    open: Option<Open>,
    /// A line of msmtp's log, which messages and a dialog may follow.
    held: Option<(Report, u64)>,
    text: String,
    text_line: u64,
    /// The line taken last: what is only told at the end stands there.
    last: u64,
}

/// A log line that may go on.
struct Open {
    line: String,
    number: u64,
    /// The length of its last piece.
    width: usize,
    /// Whether the line itself tells when it is whole.
    precise: bool,
}

impl Open {
    /// Whether `next` is more of it: it is not whole, or was cut where a line has to be cut and what
    /// follows is no error of its own.
    fn goes_on(&self, next: &str) -> bool {
        let unfinished = self.line.ends_with([':', ',', '=', '_']);
        let long = next.len() > self.width.max(80) + 20 && !unfinished;
        if self.line.len() + next.len() > 8 * 1024 || long {
            return false;
        }
        let told = self.line.split_once(", status=").map_or("", |(_, told)| told);
        if self.precise {
            return !told.contains('(') || told.matches('(').count() > told.matches(')').count();
        }
        let failing = [" ** ", " == ", " H=", " to="].iter().any(|mark| self.line.contains(mark));
        unfinished
            || failing && sentence::read(&self.line).is_empty() && !self.line.contains("stat=")
            || self.width > 50 && sentence::read(next).is_empty()
    }

    fn add(&mut self, next: &str) {
        if !self.line.ends_with('=') && !next.starts_with(' ') {
            self.line.push(' ');
        }
        self.line.push_str(next);
        self.width = next.len();
    }
}

impl Pieces {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, memory: Memory::default(), open: None, held: None, text: String::new(), text_line: 0, last: 0 }
    }

    /// Takes the next line.
    pub(crate) fn take(&mut self, raw: &str, number: u64, out: &mut Out<'_>) {
        self.last = number;
        let line = text::plain(raw);
        let line = text::plain(&line);
        let entry = Entry::read(self.clock, &line);
        // msmtp writes a reply's line ends so too.
        if line.contains("\\n") && !entry.text.starts_with("host=") {
            let parts = parts(self.clock, &line);
            if parts.len() > 1 {
                return parts.iter().for_each(|part| self.take(part, number, out));
            }
        }
        if is_headed(&entry) {
            self.close(out);
            self.flush_text(out);
            if entry.text.starts_with("host=") || entry.program == "dma" || entry.program.starts_with("courier") {
                self.log(&line, number, out);
            } else {
                let precise = entry.program.contains("postfix");
                self.open = Some(Open { width: line.len(), precise, line: line.into_owned(), number });
            }
            return;
        }
        if line.trim().is_empty() {
            self.close(out);
        } else if let Some(open) = self.open.as_mut().filter(|open| open.goes_on(&line)) {
            open.add(&line);
            return;
        }
        self.close(out);
        match self.memory.line(self.clock, &line) {
            Taken::Errors(reports) | Taken::Passed(reports, _) if !reports.is_empty() => {
                self.flush_text(out);
                return reports.into_iter().for_each(|report| out.put(report, number));
            }
            Taken::Errors(_) | Taken::Other | Taken::Passed(..) => return out.skipped += 1,
            Taken::No => {}
        }
        if self.text.is_empty() {
            self.text_line = number;
        }
        if line.contains("\\n") {
            self.text.push_str(&line.replace("\\r", "").replace("\\n", "\n"));
        } else {
            self.text.push_str(line.trim_end());
        }
        self.text.push('\n');
        if self.text.len() > LONGEST_TEXT && (line.trim().is_empty() || self.text.len() > 2 * LONGEST_TEXT) {
            self.flush_text(out);
        }
    }

    fn close(&mut self, out: &mut Out<'_>) {
        if let Some(Open { line, number, .. }) = self.open.take() {
            self.log(&line, number, out);
        }
    }

    fn log(&mut self, line: &str, number: u64, out: &mut Out<'_>) {
        match self.memory.line(self.clock, line) {
            Taken::Errors(reports) | Taken::Passed(reports, _) if !reports.is_empty() => {
                for report in reports {
                    if report.mta.as_deref() == Some(msmtp::NAME) {
                        self.release(out);
                        self.held = Some((report, number));
                    } else {
                        out.put(report, number);
                    }
                }
            }
            Taken::Errors(_) | Taken::Other | Taken::Passed(..) => out.skipped += 1,
            Taken::No => {
                if self.text.is_empty() {
                    self.text_line = number;
                }
                self.text.push_str(line);
                self.text.push('\n');
            }
        }
    }

    fn flush_text(&mut self, out: &mut Out<'_>) {
        let text = std::mem::take(&mut self.text);
        let reports = text::read(&text);
        out.skipped += paragraphs(&text, &reports);
        for (line, report) in reports {
            // msmtp's messages and dialog tell the attempt of its log line again.
            if report.mta.as_deref() == Some(msmtp::NAME)
                && let Some((held, _)) = &mut self.held
                && (held.code == report.code || held.code.is_none())
            {
                if held.code.is_none() && report.code.is_some() {
                    (held.code, held.enhanced, held.kind) = (report.code, report.enhanced, report.kind);
                    held.reply.clone_from(&report.reply);
                }
                held.stage = held.stage.or(report.stage);
                held.kind = held.kind.or(report.kind);
                continue;
            }
            self.release(out);
            // A line with line ends spelled in it has become several.
            out.put(report, (self.text_line + line).min(self.last));
        }
        self.release(out);
    }

    fn release(&mut self, out: &mut Out<'_>) {
        if let Some((report, number)) = self.held.take() {
            out.put(report, number);
        }
    }

    /// Reads what is left.
    pub(crate) fn end(&mut self, out: &mut Out<'_>) {
        self.close(out);
        self.flush_text(out);
        for report in self.memory.end() {
            out.put(report, self.last);
        }
    }
}

/// Whether a line can only be a log's.
fn is_headed(entry: &Entry<'_>) -> bool {
    !entry.program.is_empty()
        || exim::message(entry.text).is_some()
        || entry.stamped && entry.text.len() > 5
        || entry.text.starts_with("delivery ") && entry.text.contains(": ")
        || entry.text.starts_with("starting delivery ")
}

/// A whole log pasted as one string, `\n` for its line ends, cut into its lines. Exim writes a reply's
/// line ends the same way.
fn parts(clock: Clock, line: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in line.replace("\\r", "").split("\\n") {
        let exims = parts.last().is_some_and(|last| exim::message(Entry::read(clock, last).text).is_some());
        match parts.last_mut().filter(|_| exims && !is_headed(&Entry::read(clock, part))) {
            Some(last) => {
                last.push_str("\\n");
                last.push_str(part);
            }
            None => parts.push(part.to_owned()),
        }
    }
    parts
}

/// How many paragraphs no report begins in.
fn paragraphs(text: &str, reports: &[(u64, Report)]) -> u64 {
    let (mut from, mut idle) = (0, 0);
    for paragraph in text.split("\n\n") {
        let lines = paragraph.matches('\n').count() as u64;
        let told = reports.iter().any(|(line, _)| (from..=from + lines).contains(line));
        idle += u64::from(!told && !paragraph.trim().is_empty());
        from += lines + 2;
    }
    idle
}
