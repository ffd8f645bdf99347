//! `judge`: diagnoses recorded evidence again. No network and no clock: the same input gives the
//! same bytes.

use std::io::{self, BufRead as _, BufReader};

use super::show::look;
use super::{Done, Failure, catalog, name, open, written};
use crate::cli::judge::JudgeArgs;
use crate::judge::{Evidence, judge as diagnose};
use crate::record::{DiagnosisKind, Line, Summary};
use crate::sink::{self, Format};
use crate::status::Tally;

pub(super) fn judge(args: &JudgeArgs) -> Done {
    let catalog = catalog(&args.catalogue)?;
    let mut evidence = Evidence::new();
    let output = args.output.with(args.format);
    let mut sink = sink::open(args.format, io::stdout(), look(&output));
    let mut tally = Tally::default();
    let mut last = String::new();
    for file in &args.files {
        let name = name(file);
        let mut input = BufReader::new(open(file)?);
        let (mut text, mut number) = (String::new(), 0_u64);
        loop {
            text.clear();
            number += 1;
            let read = input.read_line(&mut text);
            if read.map_err(|e| Failure::config(format!("{name}:{number}: {e}")))? == 0 {
                break;
            }
            if text.trim().is_empty() {
                continue;
            }
            let line = Line::parse(&text).map_err(|e| Failure::config(format!("{name}:{number}: {e}")))?;
            let Some(line) = line.filter(|line| !matches!(line, Line::Diagnosis(_) | Line::Summary(_))) else {
                continue;
            };
            match &line {
                Line::Session(session) => tally.add(session),
                Line::Run(run) => last.clone_from(&run.run),
                _ => {}
            }
            if args.format != Format::Jsonl && !written(sink.line(&line))? {
                return Ok(0);
            }
            evidence.add(line);
        }
    }
    let diagnoses = diagnose(&evidence, catalog);
    let healthy = diagnoses.iter().all(|diagnosis| diagnosis.kind == DiagnosisKind::Healthy);
    let exit = u8::from(!healthy);
    for diagnosis in diagnoses {
        last.clone_from(&diagnosis.run);
        if !written(sink.line(&Line::Diagnosis(Box::new(diagnosis))))? {
            return Ok(0);
        }
    }
    let summary: Summary = tally.summary(&last, None, exit);
    let read = written(sink.line(&Line::Summary(summary)))? && written(sink.finish())?;
    Ok(if read { exit } else { 0 })
}
