//! `explain`: what an error says, at which stage, and whose problem it usually is. No network.

use std::io::{self, BufReader, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::show::look;
use super::{Done, Failure, catalog, name, open, written};
use crate::cli::args::Input;
use crate::cli::explain::{ExplainArgs, Item};
use crate::explain::explain as understand;
use crate::record::{Line, Report};
use crate::report::Reader;
use crate::sink;

pub(super) fn explain(args: &ExplainArgs) -> Done {
    let catalog = catalog(&args.catalogue)?;
    let mut sink = sink::open(args.output.format, io::stdout(), look(&args.output));
    // Stamps without a year or an offset are this host's, and recent.
    let now = Timestamp::now();
    let offset = TimeZone::system().to_offset(now);
    let reader = Reader::new().year(offset.to_datetime(now).year()).offset(offset);
    let (mut seq, mut skipped, mut outcome) = (0, 0, Ok(()));
    let mut found = |mut report: Report| {
        seq += 1;
        report.seq = seq;
        if report.at.is_some_and(|at| at > now) {
            report.at = None;
        }
        understand(&mut report, catalog);
        if outcome.is_ok() {
            outcome = sink.line(&Line::Report(Box::new(report))).and_then(|()| sink.flush());
        }
    };
    for item in &args.items {
        let mut read = |name: &str, input: &mut dyn io::BufRead| {
            let read = reader.read_from(name, input, &mut found);
            read.map_err(|(error, _)| Failure::config(format!("{name}: {error}")))
        };
        match item {
            Item::Text(text) => skipped += read("-", &mut text.as_bytes())?,
            Item::Input(input) => {
                for input in files(input)? {
                    skipped += read(&name(&input), &mut BufReader::new(open(&input)?))?;
                }
            }
        }
    }
    written(outcome)?;
    written(sink.finish())?;
    if seq == 0 || (skipped > 0 && !args.output.quiet) {
        let _ = writeln!(io::stderr(), "mxprobe: {seq} errors read, {skipped} other pieces skipped");
    }
    Ok(0)
}

/// The files behind an input: of a folder, such as a maildir, all that lie below it, in order.
fn files(input: &Input) -> Result<Vec<Input>, Failure> {
    let Input::File(path) = input else { return Ok(vec![input.clone()]) };
    if !path.is_dir() {
        return Ok(vec![input.clone()]);
    }
    let at = |e: io::Error| Failure::config(format!("{}: {e}", path.display()));
    let mut paths = std::fs::read_dir(path)
        .map_err(at)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(at)?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths.into_iter().filter(|path| !path.is_symlink()) {
        all.extend(files(&Input::File(path))?);
    }
    Ok(all)
}
