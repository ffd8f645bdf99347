//! Searching a Postfix log: chunks of whole lines, of which only delivery lines and errors at a host
//! are looked at.

use std::io::{self, BufRead};
use std::net::IpAddr;

use jiff::Timestamp;
use memchr::{memchr, memmem, memrchr};

use super::Import;
use super::tally::Tally;
use crate::record::Report;
use crate::report::finish::{self, Words};
use crate::report::log::{Clock, Entry};
use crate::report::postfix;

/// Whole lines, and what must be known to read them apart from the others.
pub(super) struct Chunk {
    pub(super) index: usize,
    /// The year of its first stamp.
    year: i16,
    bytes: Vec<u8>,
}

/// What a chunk holds.
#[derive(Default)]
pub(super) struct Batch {
    /// In the order of the log.
    pub(super) items: Vec<Item>,
    pub(super) tally: Tally,
    pub(super) outside: u64,
    pub(super) undated: u64,
}

/// An error and the process that logged it.
pub(super) enum Item {
    /// At a host, for no recipient in particular.
    Host(String, Box<Report>),
    /// For a recipient.
    Failed(String, Box<Report>),
}

/// Whether the log's beginning is Postfix's.
pub(super) fn is_postfix(head: &[u8]) -> bool {
    let mut lines = head.split(|b| *b == b'\n').take(2000);
    lines.any(|line| {
        memmem::find(line.get(..120).unwrap_or(line), b"postfix").is_some_and(|at| memchr(b'[', &line[at..]).is_some())
    })
}

/// Cuts the input into chunks of whole lines until `send` has enough.
pub(super) fn cut(
    input: &mut impl BufRead,
    year: i16,
    size: usize,
    mut send: impl FnMut(Chunk) -> bool,
) -> io::Result<()> {
    let mut years = Years::new(year);
    let mut left = Vec::new();
    for index in 0.. {
        let mut bytes = Vec::with_capacity(size + left.len());
        bytes.append(&mut left);
        let read = io::Read::read_to_end(&mut io::Read::take(&mut *input, size as u64), &mut bytes);
        let ended = read.as_ref().map_or(true, |read| *read == 0);
        if !ended && let Some(end) = memrchr(b'\n', &bytes) {
            left = bytes.split_off(end + 1);
        }
        // A line that fills a chunk is no log line: it is cut.
        let year = years.of(&bytes);
        if let Some(last) = memrchr(b'\n', &bytes[..bytes.len().saturating_sub(1)]) {
            years.of(&bytes[last + 1..]);
        }
        let goes_on = bytes.is_empty() || send(Chunk { index, year, bytes });
        read?;
        if ended || !goes_on {
            break;
        }
    }
    Ok(())
}

/// The year of stamps that name none: it turns where the month falls back from December.
pub(super) struct Years {
    year: i16,
    month: Option<u8>,
}

impl Years {
    pub(super) const fn new(year: i16) -> Self {
        Self { year, month: None }
    }

    /// The year of a line, or of the first line of several.
    pub(super) fn of(&mut self, line: &[u8]) -> i16 {
        let month =
            line.get(..4).and_then(|head| MONTHS.iter().position(|month| head.starts_with(month) && head[3] == b' '));
        if let Some(month) = month.and_then(|month| u8::try_from(month).ok()) {
            if self.month.is_some_and(|last| month + 6 < last) {
                self.year += 1;
                self.month = Some(month);
            } else if self.month.is_none_or(|last| month < last + 6) {
                self.month = Some(month);
            }
        }
        self.year
    }
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Words of the lines that tell of an error at a host before another is tried.
const AT_A_HOST: [&[u8]; 5] =
    [b"refused to talk to me", b"lost connection with ", b"conversation with ", b" said: ", b": connect to "];

/// Searches one chunk.
pub(super) fn search(import: &Import, chunk: Chunk) -> Batch {
    let Chunk { year, bytes, .. } = chunk;
    let mut batch = Batch::default();
    let mut times = Times { import, words: Words::default(), years: Years::new(year), last: [0; 15], minute: 0 };
    let mut found: Vec<(usize, Item)> = Vec::new();
    let mut done = 0;
    for hit in memmem::find_iter(&bytes, b", status=") {
        if hit < done {
            continue;
        }
        let start = memrchr(b'\n', &bytes[done..hit]).map_or(done, |at| done + at + 1);
        done = memchr(b'\n', &bytes[hit..]).map_or(bytes.len(), |at| hit + at);
        let line = &bytes[start..done];
        if line[hit - start + 9..].starts_with(b"sent") {
            sent(import, &mut times, &line[..hit - start], &mut batch);
        } else if let Some(item) = failed(import, &mut times, line) {
            found.push((start, item));
        }
    }
    for words in AT_A_HOST {
        for hit in memmem::find_iter(&bytes, words) {
            let start = memrchr(b'\n', &bytes[..hit]).map_or(0, |at| at + 1);
            let end = memchr(b'\n', &bytes[hit..]).map_or(bytes.len(), |at| hit + at);
            let line = &bytes[start..end];
            if memmem::find(line, b", status=").is_none() && !found.iter().rev().take(8).any(|(at, _)| *at == start) {
                found.extend(at_a_host(&mut times, import, line).map(|item| (start, item)));
            }
        }
    }
    found.sort_by_key(|(at, _)| *at);
    batch.items = found.into_iter().map(|(_, item)| item).collect();
    batch
}

/// What lines of one chunk have in common: most share their minute with the line before, and many
/// failures their reply.
struct Times<'i> {
    import: &'i Import,
    words: Words,
    years: Years,
    last: [u8; 15],
    /// The minute of `last`, in seconds since 1970.
    minute: i64,
}

impl Times<'_> {
    fn of(&mut self, line: &[u8]) -> Option<Timestamp> {
        let stamp: &[u8; 15] = line.first_chunk()?;
        let digit = |at: usize| i64::from(stamp[at].wrapping_sub(b'0'));
        if stamp[..13] != self.last[..13] || stamp[12] != b':' {
            let year = self.years.of(line);
            let head = String::from_utf8_lossy(&line[..line.len().min(64)]);
            let at = crate::report::log::stamp(Clock { year: Some(year), ..self.import.clock }, &head)?.0?;
            if stamp[12] != b':' || stamp[3] != b' ' {
                return Some(at);
            }
            self.last = *stamp;
            self.minute = at.as_second() - digit(13) * 10 - digit(14);
            return Some(at);
        }
        Timestamp::from_second(self.minute + digit(13) * 10 + digit(14)).ok()
    }
}

/// Counts a delivery that went through.
fn sent(import: &Import, times: &mut Times<'_>, line: &[u8], batch: &mut Batch) {
    let Some(relay) = memmem::find(line, b", relay=").map(|at| &line[at + 8..]) else { return };
    let Some((host, address)) = host_and_address(relay) else { return };
    let Some(at) = times.of(line) else {
        batch.undated += 1;
        return;
    };
    let recipient =
        memmem::find(line, b" to=<").map(|at| &line[at + 5..]).and_then(|to| Some(&to[..memchr(b'>', to)?]));
    let recipient = recipient.and_then(|to| std::str::from_utf8(to).ok());
    if import.wants(at, recipient) {
        let domain = recipient.and_then(|to| to.rsplit_once('@')).map(|(_, domain)| domain);
        batch.tally.one(None, address, at, Some(host), domain);
    } else {
        batch.outside += 1;
    }
}

/// `H[IP]:25, ..`
fn host_and_address(relay: &[u8]) -> Option<(&str, IpAddr)> {
    let open = memchr(b'[', relay.get(..300).unwrap_or(relay))?;
    let close = open + memchr(b']', &relay[open..])?;
    let host = std::str::from_utf8(&relay[..open]).ok()?;
    let address = std::str::from_utf8(&relay[open + 1..close]).ok()?.parse().ok()?;
    (!host.contains(',')).then_some((host, address))
}

fn failed(import: &Import, times: &mut Times<'_>, line: &[u8]) -> Option<Item> {
    let at = times.of(line);
    let line = String::from_utf8_lossy(line);
    let entry = Entry::read(import.clock, &line);
    let ours = entry.program.rsplit_once('/').is_some_and(|(instance, _)| instance.contains("postfix"));
    let delivery = postfix::delivery(entry.text).filter(|delivery| ours && delivery.failed())?;
    let mut report = entry.stamp(Report { at, ..delivery.report() });
    finish::finish_with(&mut times.words, &mut report);
    Some(Item::Failed(entry.pid.to_owned(), Box::new(report)))
}

fn at_a_host(times: &mut Times<'_>, import: &Import, line: &[u8]) -> Option<Item> {
    let at = times.of(line);
    let line = String::from_utf8_lossy(line);
    let entry = Entry::read(import.clock, &line);
    let mut report = Report { at, ..postfix::at_a_host(&entry)? };
    finish::finish_with(&mut times.words, &mut report);
    Some(Item::Host(entry.pid.to_owned(), Box::new(report)))
}
