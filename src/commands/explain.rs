//! `explain`: what an error says, at which stage, and whose problem it usually is. No network.

use std::io::{self, BufReader, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::show::look;
use super::{Done, Failure, catalog, name, open, written};
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
            outcome = sink.line(&Line::Report(Box::new(report)));
        }
    };
    for item in &args.items {
        let (name, read) = match item {
            Item::Text(text) => ("-".to_owned(), reader.read_from("-", text.as_bytes(), &mut found)),
            Item::Input(input) => {
                let name = name(input);
                let read = reader.read_from(&name, BufReader::new(open(input)?), &mut found);
                (name, read)
            }
        };
        skipped += read.map_err(|(error, _)| Failure::config(format!("{name}: {error}")))?;
    }
    written(outcome)?;
    written(sink.finish())?;
    if seq == 0 || (skipped > 0 && !args.output.quiet) {
        let _ = writeln!(io::stderr(), "mxprobe: {seq} errors read, {skipped} other pieces skipped");
    }
    Ok(0)
}
