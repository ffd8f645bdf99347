//! What the bytes are: compressed or not, a mail, an mbox, lines; cut into pieces of bounded size.

use std::io::{self, BufRead, BufReader, Read};

use super::log::{Clock, Taken};
use super::mail::{self, Mail};
use super::pieces::{LONGEST_TEXT, Pieces};
use super::{dsn, finish, kumomta};
use crate::record::Report;

/// A longer line is cut, its rest thrown away.
const LONGEST_LINE: usize = 64 * 1024;
/// A longer mail is cut: what a report says stands at its beginning.
const LONGEST_MAIL: usize = 8 * 1024 * 1024;
/// Pretty-printed JSON larger than this is not looked at.
const LONGEST_JSON: usize = 1024 * 1024;

pub(crate) fn read(
    clock: Clock,
    name: &str,
    mut input: impl BufRead,
    found: &mut dyn FnMut(Report),
) -> Result<u64, (io::Error, u64)> {
    // A pipe may hand over less at once than it takes to tell.
    let mut head = Vec::new();
    (&mut input).take(4).read_to_end(&mut head).map_err(|e| (e, 0))?;
    let gzip = head.starts_with(&[0x1f, 0x8b]);
    let zstd = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let input = head.as_slice().chain(input);
    let mut out = Out { name, found, seq: 0, skipped: 0 };
    if gzip {
        let inner = BufReader::new(flate2::bufread::MultiGzDecoder::new(input));
        // What is damaged ends here.
        if plain(clock, inner, &mut out).is_err() {
            out.skipped += 1;
        }
    } else if zstd {
        match zstd::stream::read::Decoder::with_buffer(input) {
            Ok(inner) => {
                if plain(clock, BufReader::new(inner), &mut out).is_err() {
                    out.skipped += 1;
                }
            }
            Err(_) => out.skipped += 1,
        }
    } else if let Err(error) = plain(clock, input, &mut out) {
        return Err((error, out.skipped));
    }
    Ok(out.skipped)
}

/// Where reports go, each finished and numbered.
pub(crate) struct Out<'a> {
    name: &'a str,
    found: &'a mut dyn FnMut(Report),
    seq: u64,
    pub(crate) skipped: u64,
}

impl Out<'_> {
    pub(crate) fn put(&mut self, mut report: Report, line: u64) {
        self.seq += 1;
        report.seq = self.seq;
        self.name.clone_into(&mut report.file);
        report.line = report.line.or(Some(line));
        finish::finish(&mut report);
        (self.found)(report);
    }
}

fn plain(clock: Clock, mut input: impl BufRead, out: &mut Out<'_>) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut head = Vec::new();
    // Enough to see what it is; longer only while it may still be the head of a mail.
    while head.len() < LONGEST_TEXT {
        let Some(line) = lines.next(&mut input)? else { break };
        head.extend_from_slice(line);
        head.push(b'\n');
        out.skipped += u64::from(lines.cut);
        if lines.number > 400 || lines.number > 8 && !may_be_mail(&head) {
            break;
        }
    }
    let first = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).to_vec();
    let rest = first.as_slice().chain(input);
    if first.starts_with(b"From ") && is_mail(first.splitn(2, |b| *b == b'\n').nth(1).unwrap_or_default()) {
        return mbox(rest, out);
    }
    if is_mail(&first) {
        return one_mail(rest, out);
    }
    if first.trim_ascii_start().starts_with(b"{") || first.trim_ascii_start().starts_with(b"[") {
        return json(clock, rest, out);
    }
    log_or_text(clock, rest, out)
}

/// Lines of bounded length.
#[derive(Default)]
struct Lines {
    number: u64,
    line: Vec<u8>,
    /// Whether the last line had to be cut.
    cut: bool,
}

impl Lines {
    /// The next line without its end.
    fn next(&mut self, input: &mut impl BufRead) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        self.cut = false;
        let mut any = false;
        loop {
            let buffer = match input.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = LONGEST_LINE - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.cut |= part.len() > room;
            let used = end.map_or(buffer.len(), |end| end + 1);
            input.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(Some(&self.line))
    }
}

fn is_field(line: &[u8]) -> bool {
    let name = line.split(|b| *b == b':').next().unwrap_or_default();
    name.len() < line.len() && std::str::from_utf8(name).is_ok_and(mail::is_name)
}

/// Whether the first lines are all fields of a header.
fn may_be_mail(head: &[u8]) -> bool {
    let mut lines = head.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let first = lines.next().unwrap_or_default();
    let first_sound = is_field(first) || first.starts_with(b"From ");
    first_sound
        && lines.take_while(|l| !l.is_empty()).all(|l| is_field(l) || l.starts_with(b" ") || l.starts_with(b"\t"))
}

/// Whether the bytes begin with the header of a mail: two of its fields at least.
fn is_mail(bytes: &[u8]) -> bool {
    const FIELDS: [&str; 12] = [
        "from",
        "to",
        "subject",
        "date",
        "message-id",
        "received",
        "return-path",
        "mime-version",
        "content-type",
        "delivered-to",
        "x-failed-recipients",
        "auto-submitted",
    ];
    let head = bytes.strip_prefix(b"\n").unwrap_or(bytes);
    if !may_be_mail(head) {
        return false;
    }
    let lines = head.split(|b| *b == b'\n').take_while(|l| !l.trim_ascii().is_empty());
    let names =
        lines.filter_map(|l| l.split(|b| *b == b':').next()).map(|n| String::from_utf8_lossy(n).to_ascii_lowercase());
    let mut known: Vec<String> = names.filter(|n| FIELDS.contains(&n.as_str())).collect();
    known.sort();
    known.dedup();
    known.len() >= 2
}

fn one_mail(input: impl BufRead, out: &mut Out<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut input = input;
    let read = (&mut input).take(LONGEST_MAIL as u64).read_to_end(&mut bytes);
    message(&bytes, 0, out);
    read?;
    io::copy(&mut input, &mut io::sink())?;
    Ok(())
}

/// An mbox: a message after each `From ` line behind a blank one.
fn mbox(mut input: impl BufRead, out: &mut Out<'_>) -> io::Result<()> {
    let mut lines = Lines::default();
    let (mut bytes, mut start, mut blank, mut any) = (Vec::new(), 0, true, false);
    loop {
        let number = lines.number;
        let next = lines.next(&mut input);
        let line = match next {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                message(&bytes, start, out);
                return Err(error);
            }
        };
        if blank && line.starts_with(b"From ") {
            if any {
                message(&bytes, start, out);
            }
            bytes.clear();
            (start, any) = (number + 1, true);
        } else if bytes.len() < LONGEST_MAIL {
            let line = line.strip_prefix(b">").filter(|l| l.trim_ascii_start().starts_with(b"From ")).unwrap_or(line);
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        blank = lines.line.is_empty();
    }
    if any {
        message(&bytes, start, out);
    }
    Ok(())
}

/// Reads one mail that begins behind line `start`.
fn message(bytes: &[u8], start: u64, out: &mut Out<'_>) {
    let mut pending = vec![(bytes.to_vec(), 0)];
    let mut any = false;
    while let Some((bytes, depth)) = pending.pop() {
        let Some(mail) = Mail::parse(&bytes) else { continue };
        if mail.is_bounce() {
            let reports = dsn::read(&mail);
            any |= !reports.is_empty();
            for report in reports {
                let line = report.recipient.as_deref().map_or(1, |to| line_of(&bytes, to));
                out.put(report, start + line);
            }
        }
        if !any && depth < 3 {
            pending.extend(mail.forwarded.into_iter().map(|inner| (inner, depth + 1)));
        }
    }
    if !any {
        out.skipped += 1;
    }
}

/// On which line of a mail's body a recipient is named first, from 1.
fn line_of(bytes: &[u8], to: &str) -> u64 {
    let body = memchr::memmem::find(bytes, b"\n\n").or_else(|| memchr::memmem::find(bytes, b"\r\n\r\n")).unwrap_or(0);
    let at = memchr::memmem::find(&bytes[body..], to.as_bytes()).map_or(0, |at| body + at);
    memchr::memchr_iter(b'\n', &bytes[..at]).count() as u64 + 1
}

/// JSON: one record a line, or one document.
fn json(clock: Clock, mut input: impl BufRead, out: &mut Out<'_>) -> io::Result<()> {
    let first = input.fill_buf()?;
    let line = first.split(|b| *b == b'\n').next().unwrap_or_default();
    if serde_json::from_slice::<serde_json::Value>(line).is_ok()
        || first.len() > LONGEST_TEXT && !first.contains(&b'\n')
    {
        return log_or_text(clock, input, out);
    }
    let mut bytes = Vec::new();
    let read = (&mut input).take(LONGEST_JSON as u64).read_to_end(&mut bytes);
    match serde_json::from_slice::<serde_json::Value>(&bytes) {
        Ok(document) => {
            let records = document.as_array().cloned().unwrap_or_else(|| vec![document]);
            for record in records {
                match kumomta::line(&record.to_string()) {
                    Taken::Errors(reports) => reports.into_iter().for_each(|report| out.put(report, 1)),
                    _ => out.skipped += 1,
                }
            }
        }
        Err(_) => log_or_text(clock, bytes.as_slice().chain(input), out)?,
    }
    read.map(|_| ())
}

/// Log lines, text, or both: what has a log's head is a log line, the rest is text.
fn log_or_text(clock: Clock, mut input: impl BufRead, out: &mut Out<'_>) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut pieces = Pieces::new(clock);
    loop {
        let next = lines.next(&mut input).map(|line| line.map(|line| String::from_utf8_lossy(line).into_owned()));
        match next {
            Ok(Some(line)) => {
                if lines.cut {
                    out.skipped += 1;
                }
                let line_number = lines.number;
                pieces.take(&line, line_number, out);
            }
            Ok(None) => break,
            Err(error) => {
                pieces.end(out);
                return Err(error);
            }
        }
    }
    pieces.end(out);
    Ok(())
}
