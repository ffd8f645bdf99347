//! `import`: MTA logs as the same evidence, and the diagnosis of it. No network.

use std::io::{self, Cursor, Read as _, Write as _};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::show::look;
use super::{DRAWN, Done, Failure, catalog, name, open, written};
use crate::cli::args::Input;
use crate::cli::import::ImportArgs;
use crate::judge::{Evidence, judge};
use crate::record::Line;
use crate::report::import::{Import, Imported};
use crate::sink::{self, Format};
use crate::status::Tally;
use crate::visible::visible;

pub(super) fn import(args: &ImportArgs) -> Done {
    let catalog = catalog(&args.evidence.catalogue)?;
    let output = args.evidence.output.with(args.evidence.format);
    let mut sink = sink::open(args.evidence.format, io::stdout(), look(&output));
    let run = uuid::Uuid::now_v7().to_string();
    let (mut evidence, mut tally, mut seq) = (Evidence::new(), Tally::default(), 0);
    let (mut outcome, mut sourceless) = (Ok(()), 0_u64);
    for log in &args.logs {
        let (reader, input) = reader(args, log, &run)?;
        let mut found = |mut line: Line| {
            if let Line::Session(session) = &mut line {
                seq += 1;
                session.seq = seq;
                sourceless += u64::from(session.source.is_none());
                tally.add(session);
            }
            let drawn = args.evidence.format == Format::Jsonl || seq <= DRAWN || !matches!(line, Line::Session(_));
            if drawn && outcome.is_ok() {
                outcome = sink.line(&line).and_then(|()| sink.flush());
            }
            evidence.add(&line);
        };
        let read = reader.read(input, &mut found).map_err(|e| Failure::config(format!("{}: {e}", name(log))))?;
        if !args.evidence.output.quiet {
            tell(&name(log), &read);
        }
    }
    written(outcome)?;
    if sourceless > 0 {
        let _ = writeln!(
            io::stderr(),
            "mxprobe: {sourceless} failures do not say from which address they were tried: --source says it for them"
        );
    }
    super::say_drawn(seq, args.evidence.format);
    for mut diagnosis in judge(&evidence, catalog) {
        diagnosis.run.clone_from(&run);
        written(sink.line(&Line::Diagnosis(Box::new(diagnosis))))?;
    }
    written(sink.line(&Line::Summary(tally.summary(&run, None, 0))))?;
    written(sink.finish())?;
    Ok(0)
}

/// What reads this log, and the log. Stamps without a year begin in the year that makes them past.
fn reader(args: &ImportArgs, log: &Input, run: &str) -> Result<(Import, impl io::Read + Send + use<>), Failure> {
    let now = Timestamp::now();
    let offset = TimeZone::system().to_offset(now);
    let mut input = open(log)?;
    let mut head = vec![0; 4096];
    let read = input.read(&mut head).map_err(|e| Failure::config(format!("{}: {e}", name(log))))?;
    head.truncate(read);
    let year = match args.year.and_then(|year| i16::try_from(year).ok()) {
        Some(year) => year,
        None => begins(&head, offset.to_datetime(written_at(log).unwrap_or(now))),
    };
    let mut import = Import::new(year).offset(offset).run(run);
    if let Some(source) = args.source {
        import = import.source(source);
    }
    if let Some(since) = args.since {
        import = import.since(since);
    }
    if let Some(until) = args.until_time {
        import = import.until_time(until);
    }
    for domain in &args.domains {
        import = import.domain(domain.as_str());
    }
    Ok((import, Cursor::new(head).chain(input)))
}

/// When the log was last written, which is when its last line was.
fn written_at(log: &Input) -> Option<Timestamp> {
    let Input::File(path) = log else { return None };
    std::fs::metadata(path).ok()?.modified().ok()?.try_into().ok()
}

/// The year in which a log begins that ended by `end`: the year before, where its first stamp would
/// else lie ahead.
fn begins(head: &[u8], end: DateTime) -> i16 {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = head.get(..3).and_then(|m| MONTHS.chunks(3).position(|name| name == m));
    let day = head.get(4..6).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.trim().parse::<i8>().ok());
    match month.and_then(|month| i8::try_from(month + 1).ok()).zip(day) {
        Some(first) if first > (end.month(), end.day()) => end.year() - 1,
        _ => end.year(),
    }
}

/// What was read and what was not evidence, on standard error.
fn tell(name: &str, read: &Imported) {
    let Imported { failed, passed, repeated, outside, undated, local, damaged } = read;
    let mut parts = vec![format!("{failed} failures, {passed} deliveries")];
    for (count, what) in [
        (repeated, "lines that repeat an earlier result"),
        (outside, "outside what was asked for"),
        (undated, "without a time"),
        (local, "of this host's own"),
    ] {
        if *count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if *damaged {
        parts.push("the archive is damaged, what could be read was".to_owned());
    }
    let _ = writeln!(io::stderr(), "mxprobe: {}: {}", visible(name), parts.join(", "));
}
