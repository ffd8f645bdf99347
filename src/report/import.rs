//! Whole MTA logs as evidence: a session for every attempt that failed, a count for those that went
//! through.
//!
//! A Postfix log is cut into chunks that two threads search at once; the others, whose lines lean on
//! one another, are read line by line. Nothing is kept but the counts, one per host and hour.

mod scan;
mod tally;

use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use jiff::Timestamp;
use jiff::tz::Offset;

use self::scan::{Batch, Chunk, Item};
use self::tally::Tally;
use super::finish;
use super::log::{Clock, Memory, Recent, Taken};
use crate::record::{Kind, Line, Report, Role, Session, Variant};
use crate::smtp::reply::Class;
use crate::stage::Stage;

/// How a log is read.
#[derive(Clone, Debug)]
pub struct Import {
    clock: Clock,
    year: i16,
    run: String,
    source: Option<IpAddr>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    domains: Vec<String>,
}

/// What a log held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// Attempts that failed: one `session` line each.
    pub failed: u64,
    /// Deliveries that went through, all `passed` lines together.
    pub passed: u64,
    /// Lines that only repeat an earlier result.
    pub repeated: u64,
    /// Failures and deliveries outside the time or domain asked for.
    pub outside: u64,
    /// Failures and deliveries whose time is not told.
    pub undated: u64,
    /// Failures that no server had a part in.
    pub local: u64,
    /// Whether the log ends in a damaged archive.
    pub damaged: bool,
}

/// What one thread is given to search.
const CHUNK: usize = 1024 * 1024;
const THREADS: usize = 2;

impl Import {
    /// `year` is the one in which the log begins, for stamps that name none; stamps without an offset
    /// are UTC.
    #[must_use]
    pub fn new(year: i16) -> Self {
        Self {
            clock: Clock { year: Some(year), offset: Some(Offset::UTC) },
            year,
            run: String::new(),
            source: None,
            since: None,
            until: None,
            domains: Vec::new(),
        }
    }

    /// How far from UTC the stamps that name no offset are.
    #[must_use]
    pub const fn offset(mut self, offset: Offset) -> Self {
        self.clock.offset = Some(offset);
        self
    }

    /// The run that the lines belong to.
    #[must_use]
    pub fn run(mut self, run: &str) -> Self {
        run.clone_into(&mut self.run);
        self
    }

    /// The address that the log's host spoke from, where its lines do not say.
    #[must_use]
    pub const fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Leaves out what was before.
    #[must_use]
    pub const fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Leaves out what was then or later.
    #[must_use]
    pub const fn until_time(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// Keeps what was for recipients of this domain, and of others asked for; leaves out the rest, and
    /// what tells none.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domains.push(domain.trim_end_matches('.').to_ascii_lowercase());
        self
    }

    /// Reads a log, compressed by gzip or zstd or not at all; hands over `session` lines in the order
    /// of the log and then `passed` lines by hour, source and address.
    ///
    /// # Errors
    ///
    /// The input's own error. A damaged archive is none, but [`Imported::damaged`].
    pub fn read(&self, input: impl Read + Send, found: &mut dyn FnMut(Line)) -> io::Result<Imported> {
        let mut input = BufReader::with_capacity(CHUNK, input);
        // A pipe may hand over less at once than it takes to tell.
        let mut head = Vec::new();
        (&mut input).take(4).read_to_end(&mut head)?;
        let mut to = Evidence {
            import: self,
            found,
            seq: 0,
            hosts: Recent::default(),
            tally: Tally::default(),
            told: Imported::default(),
        };
        let (gzip, zstd) = (head.starts_with(&[0x1f, 0x8b]), head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
        let input = head.as_slice().chain(input);
        let archive = if gzip {
            Some(self.lines(BufReader::with_capacity(CHUNK, flate2::bufread::MultiGzDecoder::new(input)), &mut to))
        } else if zstd {
            let inner = zstd::stream::read::Decoder::with_buffer(input);
            Some(inner.and_then(|inner| self.lines(BufReader::with_capacity(CHUNK, inner), &mut to)))
        } else {
            self.lines(input, &mut to)?;
            None
        };
        to.told.damaged = archive.is_some_and(|read| read.is_err());
        Ok(to.end())
    }

    fn lines(&self, mut input: impl BufRead + Send, to: &mut Evidence<'_, '_>) -> io::Result<()> {
        let mut head = Vec::new();
        let read = (&mut input).take(CHUNK as u64).read_to_end(&mut head);
        let postfix = scan::is_postfix(&head);
        let mut each = |input: &mut (dyn BufRead + Send)| {
            if postfix { self.side_by_side(input, to) } else { self.one_by_one(input, to) }
        };
        match read {
            Ok(_) => each(&mut head.as_slice().chain(input)),
            // What came before it broke off is read all the same.
            Err(error) => each(&mut head.as_slice()).and(Err(error)),
        }
    }

    /// Chunks to the threads, what they find back in the order of the log.
    fn side_by_side(&self, mut input: impl BufRead + Send, to: &mut Evidence<'_, '_>) -> io::Result<()> {
        let (send_chunk, chunks) = mpsc::sync_channel::<Chunk>(THREADS);
        let (send_batch, batches) = mpsc::sync_channel::<(usize, Batch)>(THREADS);
        let chunks = Arc::new(Mutex::new(chunks));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let (chunks, send_batch) = (Arc::clone(&chunks), send_batch.clone());
                scope.spawn(move || {
                    loop {
                        let chunk = chunks.lock().ok().and_then(|chunks| chunks.recv().ok());
                        let Some(chunk) = chunk else { return };
                        let index = chunk.index;
                        if send_batch.send((index, scan::search(self, chunk))).is_err() {
                            return;
                        }
                    }
                });
            }
            // With the threads gone, so are their ends of the channels.
            drop((send_batch, chunks));
            let reader =
                scope.spawn(move || scan::cut(&mut input, self.year, CHUNK, |chunk| send_chunk.send(chunk).is_ok()));
            let (mut next, mut early) = (0, Vec::new());
            for (index, batch) in batches {
                early.push((index, batch));
                while let Some(at) = early.iter().position(|(index, _)| *index == next) {
                    to.take(early.swap_remove(at).1);
                    next += 1;
                }
            }
            reader.join().unwrap_or_else(|_| Err(io::Error::other("the log's reader stopped")))
        })
    }

    fn one_by_one(&self, mut input: impl BufRead, to: &mut Evidence<'_, '_>) -> io::Result<()> {
        let mut memory = Memory::default();
        let mut years = scan::Years::new(self.year);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line longer than this is no log line; its rest is read as one more.
            let read = (&mut input).take(64 * 1024).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            let clock = Clock { year: Some(years.of(&line)), ..self.clock };
            let (errors, passed) = match memory.line(clock, &String::from_utf8_lossy(&line)) {
                Taken::Errors(errors) => (errors, None),
                Taken::Passed(errors, passed) => (errors, Some(passed)),
                Taken::Other | Taken::No => continue,
            };
            to.errors(errors);
            if let Some(passed) = passed {
                to.passed(&passed);
            }
        }
        to.errors(memory.end());
        Ok(())
    }

    fn wants(&self, at: Timestamp, recipient: Option<&str>) -> bool {
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && (self.domains.is_empty()
                || recipient
                    .and_then(|to| to.rsplit_once('@'))
                    .is_some_and(|(_, of)| self.domains.iter().any(|domain| of.eq_ignore_ascii_case(domain))))
    }
}

/// Where everything goes.
struct Evidence<'i, 'f> {
    import: &'i Import,
    found: &'f mut dyn FnMut(Line),
    seq: u64,
    /// Postfix's errors that name no recipient, until it is clear whether the delivery line repeats them.
    hosts: Recent<Report>,
    tally: Tally,
    told: Imported,
}

impl Evidence<'_, '_> {
    fn take(&mut self, batch: Batch) {
        for item in batch.items {
            match item {
                Item::Host(process, report) => {
                    if let Some(earlier) = self.hosts.put(&process, *report) {
                        self.failed(earlier);
                    }
                }
                Item::Failed(process, report) => {
                    let repeats = |host: &Report| {
                        host.evidence
                            .as_deref()
                            .is_some_and(|told| report.evidence.as_deref().is_some_and(|e| e.contains(told)))
                    };
                    if let Some(host) = self.hosts.take(&process).filter(|host| !repeats(host)) {
                        self.failed(host);
                    }
                    self.failed(*report);
                }
            }
        }
        self.told.passed += batch.tally.count();
        self.told.outside += batch.outside;
        self.told.undated += batch.undated;
        self.tally.add(batch.tally);
    }

    fn passed(&mut self, report: &Report) {
        let (Some(at), Some(address)) = (report.at, report.address) else {
            self.told.undated += u64::from(report.address.is_some());
            return;
        };
        if !self.import.wants(at, report.recipient.as_deref()) {
            self.told.outside += 1;
            return;
        }
        self.told.passed += 1;
        let domain = report
            .recipient
            .as_deref()
            .and_then(|to| to.rsplit_once('@'))
            .map(|(_, domain)| domain.to_ascii_lowercase());
        self.tally.one(report.source, address, at, report.mx.as_deref(), domain.as_deref());
    }

    fn errors(&mut self, errors: Vec<Report>) {
        for mut report in errors {
            finish::finish(&mut report);
            self.failed(report);
        }
    }

    fn failed(&mut self, report: Report) {
        if !report.attempt {
            self.told.repeated += 1;
            return;
        }
        let Some(at) = report.at else {
            self.told.undated += 1;
            return;
        };
        if !self.import.wants(at, report.recipient.as_deref()) {
            self.told.outside += 1;
            return;
        }
        let Some(session) = session(self.import, report, at) else {
            self.told.local += 1;
            return;
        };
        self.seq += 1;
        self.told.failed += 1;
        (self.found)(Line::Session(Box::new(Session { seq: self.seq, ..session })));
    }

    fn end(mut self) -> Imported {
        for host in self.hosts.drain() {
            self.failed(host);
        }
        let tally = std::mem::take(&mut self.tally);
        for mut passed in tally.lines() {
            self.import.run.clone_into(&mut passed.run);
            passed.source = passed.source.or(self.import.source);
            (self.found)(Line::Passed(passed));
        }
        self.told
    }
}

/// An error as the session that it ended; none where no server had a part in it.
fn session(import: &Import, report: Report, at: Timestamp) -> Option<Session> {
    let refused = report.code.is_some_and(|code| code.class().refuses());
    let kind = report.kind.or(refused.then_some(Kind::Rejected))?;
    let local = report.origin.as_deref() == Some("local") && report.stage.is_none();
    if local || kind == Kind::Local || kind == Kind::Rejected && !refused {
        return None;
    }
    let class = report.code.map(crate::smtp::reply::Code::class).filter(|class| class.refuses());
    Some(Session {
        run: import.run.clone(),
        seq: 0,
        attempt: 1,
        at,
        role: Role::Target,
        domain: report.domain,
        mx: report.mx,
        preference: None,
        address: report.address,
        port: 25,
        backend: None,
        banner: None,
        variant: Variant::Plain,
        source: report.source.or(import.source),
        seen_as: None,
        ehlo: None,
        from: None,
        to: report.recipient,
        until: Stage::EndOfData,
        stage: report.stage,
        kind,
        code: report.code,
        enhanced: report.enhanced,
        tag: report.tag,
        class: class.filter(|class| matches!(class, Class::Transient | Class::Permanent)),
        text_class: report.text_class,
        detail: report.reply.is_none().then_some(report.evidence).flatten(),
        reply: report.reply.map(|reply| vec![reply]),
        reply_base64: None,
        also: Vec::new(),
        notes: report.notes,
        expected: false,
        tls: None,
        extensions: None,
        steps: Vec::new(),
        total_ms: None,
    })
}
