//! `judge`: diagnoses recorded evidence again. No network and no clock: the same input gives the
//! same bytes.

use std::io::{self, BufReader};

use super::show::look;
use super::{DRAWN, Done, Failure, catalog, name, recorded, written};
use crate::cli::judge::JudgeArgs;
use crate::judge::{Evidence, judge as diagnose};
use crate::record::{DiagnosisKind, Line};
use crate::sink::{self, Format};

pub(super) fn judge(args: &JudgeArgs) -> Done {
    let catalog = catalog(&args.evidence.catalogue)?;
    let output = args.evidence.output.with(args.evidence.format);
    let mut sink = sink::open(args.evidence.format, io::stdout(), look(&output));
    let (mut evidence, mut sessions, mut outcome) = (Evidence::new(), 0_u64, Ok(()));
    let mut draw = |text: &str| {
        sessions += u64::from(text.starts_with(r#"{"type":"session""#));
        // The diagnoses on record are not drawn: they are what is asked again.
        if args.evidence.format == Format::Jsonl || sessions > DRAWN || outcome.is_err() {
            return;
        }
        if let Ok(Some(line)) = Line::parse(text)
            && !matches!(line, Line::Diagnosis(_) | Line::Summary(_) | Line::Incident(_))
        {
            outcome = sink.line(&line);
        }
    };
    for file in &args.files {
        evidence
            .read_with(BufReader::new(recorded::open(file, args.history.as_ref())?), &name(file), &mut draw)
            .map_err(Failure::config)?;
    }
    if !written(outcome)? {
        return Ok(0);
    }
    super::say_drawn(sessions, args.evidence.format);

    let diagnoses = diagnose(&evidence, catalog);
    let healthy = diagnoses.iter().all(|diagnosis| diagnosis.kind == DiagnosisKind::Healthy);
    let (exit, run) = (u8::from(!healthy), diagnoses.last().map(|last| last.run.clone()).unwrap_or_default());
    let summary = Line::Summary(evidence.tally().summary(&run, None, exit));
    let mut lines = diagnoses.into_iter().map(|diagnosis| Line::Diagnosis(Box::new(diagnosis))).chain([summary]);
    let said = lines.try_for_each(|line| sink.line(&line)).and_then(|()| sink.finish());
    Ok(if written(said)? { exit } else { 0 })
}
