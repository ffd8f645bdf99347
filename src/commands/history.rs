//! `history`: what is on record.

use std::io;

use jiff::Timestamp;

use super::show::look;
use super::{Done, Failure, recorded, report, written};
use crate::cli::args::{Moment, Output};
use crate::cli::history::{HistoryArgs, What};
use crate::history::HistoryError;
use crate::history::archive::{Archive as _, Filter, StoreArchive};
use crate::record::Line;
use crate::sink::{self, Format, past};

/// So many runs are listed for a reader.
const LISTED: usize = 20;

pub(super) fn history(args: &HistoryArgs) -> Done {
    let output = args.output.with(args.format);
    let Some(mut archive) = recorded::archive(args.history.as_ref())? else {
        return match args.format {
            Format::Text => super::print(b"nothing is on record\n"),
            _ => Ok(0),
        };
    };
    match &args.what {
        Some(What::Run(word)) => run(&mut archive, word, &output),
        Some(What::Incident(id)) => incident(&mut archive, *id, &output),
        None if args.format == Format::Jsonl => lines(&mut archive, args),
        None if args.format != Format::Text => Err(Failure::config(format!(
            "--format {}: wanted a run or an incident to go with it; a list comes as text or jsonl",
            args.format
        ))),
        None => list(&mut archive, args, &output),
    }
}

fn filter(args: &HistoryArgs) -> Filter {
    let now = Timestamp::now();
    let at = |moment: Option<Moment>| moment.map(|moment| moment.at(now));
    Filter {
        since: at(args.since),
        until: at(args.until_time),
        domain: args.domain.clone(),
        probe: args.probe.clone(),
        address: args.address,
        limit: args.limit.map(|limit| limit as usize),
        ..args.sessions.filter()
    }
}

/// One run, as it was shown when it was run.
fn run(archive: &mut StoreArchive, word: &str, output: &Output) -> Done {
    let run = recorded::find(archive, word, "run")?;
    let mut sink = sink::open(output.format, io::stdout(), look(output));
    let lines = archive.run(&run).map_err(failed)?.unwrap_or_default();
    let shown = lines.iter().try_for_each(|line| sink.line(line)).and_then(|()| sink.finish());
    written(shown).map(|_| 0)
}

fn incident(archive: &mut StoreArchive, id: u64, output: &Output) -> Done {
    if matches!(output.format, Format::Markdown | Format::Html) {
        return report::incident(archive, id, &Filter::default(), output);
    }
    let Some(incident) = archive.incident(id).map_err(failed)? else {
        return Err(Failure::config(format!("{id}: there is no such incident in {}", archive.path().display())));
    };
    let shown = match output.format {
        Format::Jsonl => {
            let mut sink = sink::open(Format::Jsonl, io::stdout(), look(output));
            sink.line(&Line::Incident(Box::new(incident)))
        }
        _ => past::incident(&mut io::stdout(), look(output), &incident),
    };
    written(shown).map(|_| 0)
}

/// The newest runs, and the incidents of their time.
fn list(archive: &mut StoreArchive, args: &HistoryArgs, output: &Output) -> Done {
    let mut wanted = filter(args);
    wanted.limit = wanted.limit.or(Some(LISTED));
    let runs = if args.incidents { Vec::new() } else { archive.runs(&wanted).map_err(failed)? };
    let incidents = archive.incidents(&wanted, false).map_err(failed)?;
    written(past::list(&mut io::stdout(), look(output), &runs, &incidents, args.incidents)).map(|_| 0)
}

/// The evidence itself: of each run its head, the sessions and diagnoses, the oldest run first;
/// then incidents.
fn lines(archive: &mut StoreArchive, args: &HistoryArgs) -> Done {
    let wanted = filter(args);
    let mut sink = sink::open(Format::Jsonl, io::BufWriter::new(io::stdout()), look(&args.output.with(args.format)));
    let mut shown = Ok(());
    if !args.incidents {
        let each = &mut |line: Line| {
            if matches!(line, Line::Run(_) | Line::Session(_) | Line::Diagnosis(_)) {
                shown = sink.line(&line);
            }
            shown.is_ok()
        };
        archive.lines(&wanted, each).map_err(failed)?;
    }
    if written(shown)? {
        let mut incidents = archive.incidents(&wanted, false).map_err(failed)?.into_iter().rev();
        written(incidents.try_for_each(|incident| sink.line(&Line::Incident(Box::new(incident)))))?;
    }
    Ok(0)
}

fn failed(error: HistoryError) -> Failure {
    Failure::ours(error)
}
