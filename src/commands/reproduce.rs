//! `reproduce`: reads reported errors, probes what they describe, and says whether it is still so.

use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::run::{keeper, ledger, setup, shown_as};
use super::show::Show;
use super::{Done, Failure, catalog, name, open, runtime};
use crate::catalog::Catalog;
use crate::cli::args::Input;
use crate::cli::reproduce::{ReproduceArgs, settle};
use crate::explain::explain;
use crate::probe::Probe;
use crate::record::{Line, Report};
use crate::report::Reader;
use crate::reproduce::Inquiry;
use crate::reproduce::group::{Group, Groups};
use crate::reproduce::question::{Means, Question, question};
use crate::reproduce::rehearsal::rehearsal;
use crate::run::Sampling;
use crate::sink::Format;
use crate::visible::visible;
use crate::wire;

/// So many errors are reproduced in one run, the most frequent ones.
const MOST_QUESTIONS: usize = 10;

pub(super) fn reproduce(args: &ReproduceArgs) -> Done {
    let nagios = args.options.output.format == Format::Nagios;
    go(args).map_err(|failure| Failure { status: if nagios { 3 } else { failure.status }, ..failure })
}

fn go(args: &ReproduceArgs) -> Done {
    let catalog = catalog(&args.options.catalogue)?;
    let mut show = Show::open(&args.options.output, args.options.record.as_deref())?;
    let ledger = ledger(&args.options);
    show.keep(keeper(&args.options, &*ledger));
    let mut groups = Groups::about(given_domain(args));
    read(&args.inputs, catalog, &mut show, &mut groups)?;
    let (mut groups, rest) = groups.ranked();
    let rarer = groups.split_off(groups.len().min(MOST_QUESTIONS));
    let more = rarer.iter().map(|group| group.reports).sum::<u64>() + rest;
    if more > 0 {
        say(&format!("not probed: the errors of {more} reports, rarer than the {MOST_QUESTIONS} most frequent ones"));
    }
    if let Some(dir) = &args.emit {
        emit(dir, &groups)?;
    }
    let (questions, unasked) = questions(args, groups)?;
    let probes = match probes(&questions) {
        Ok(probes) if !probes.is_empty() => probes,
        Ok(_) => {
            show.close();
            let why = unasked.into_iter().next().map(|(_, why)| why);
            return Err(Failure::config(why.unwrap_or_else(|| "there is nothing to reproduce".to_owned())));
        }
        Err(failure) => {
            show.close();
            return Err(failure);
        }
    };
    if args.swaks {
        show.swaks(probes.first().map(|probe| probe.tls).unwrap_or_default());
    }
    let samples = questions.iter().map(|question| question.sample.clone()).collect();
    let inquiry = Arc::new(Mutex::new(Inquiry::new(questions).without(unasked, more > 0)));
    let sampling = Sampling { samples, inquiry };
    let so_far = sampling.clone();
    show.so_far(Box::new(move || so_far.inquiry().so_far()));
    let setup = setup(&args.options, probes, catalog, ledger)?;
    runtime()?.block_on(async { Ok(shown_as(setup, Some(sampling), show).await?.status) })
}

/// The domain that the command line names, for reports that name none.
fn given_domain(args: &ReproduceArgs) -> Option<String> {
    let to = || args.flags.to.first().map(|to| to.domain().clone());
    args.target.domain.clone().or_else(to).map(|domain| domain.to_string())
}

/// Reads every error, shows it, and puts it to those that say the same.
fn read(inputs: &[Input], catalog: &Catalog, show: &mut Show, groups: &mut Groups) -> Result<(), Failure> {
    // Stamps without a year or an offset are this host's, and recent.
    let now = Timestamp::now();
    let offset = TimeZone::system().to_offset(now);
    let reader = Reader::new().year(offset.to_datetime(now).year()).offset(offset);
    let mut seq = 0;
    let mut found = |mut report: Report| {
        seq += 1;
        report.seq = seq;
        report.at = report.at.filter(|at| *at <= now);
        explain(&mut report, catalog);
        show.also(&Line::Report(Box::new(report.clone())));
        groups.add(report);
    };
    let mut names = Vec::new();
    for input in inputs {
        if *input == Input::Stdin && io::stdin().is_terminal() {
            say("paste the error, then end with Ctrl-D");
        }
        let files = files(input)?;
        let empty = if files.is_empty() { " (there is no file in it)" } else { "" };
        for file in files {
            let read = reader.read_from(&name(&file), BufReader::new(open(&file)?), &mut found);
            read.map_err(|(error, _)| Failure::config(format!("{}: {error}", name(&file))))?;
        }
        names.push(if *input == Input::Stdin {
            "standard input".to_owned()
        } else {
            format!("{}{empty}", name(input))
        });
    }
    if seq == 0 {
        let names = names.join(", ");
        return Err(Failure::config(format!(
            "no error was found in {names}: wanted a bounce, log lines or an error's words"
        )));
    }
    Ok(())
}

/// A file, or what lies in a directory: a maildir's mails, or plain files.
fn files(input: &Input) -> Result<Vec<Input>, Failure> {
    let Input::File(path) = input else { return Ok(vec![Input::Stdin]) };
    if !path.is_dir() {
        return Ok(vec![input.clone()]);
    }
    let folders = [path.clone(), path.join("new"), path.join("cur")];
    let mut all: Vec<PathBuf> = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let failed = |error: io::Error| Failure::config(format!("{}: {error}", folder.display()));
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            all.push(entry.map_err(failed)?.path());
        }
    }
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    all.retain(|path| path.is_file() && !hidden(path));
    all.sort();
    Ok(all.into_iter().map(Input::File).collect())
}

type Unasked = Vec<(Group, String)>;

/// What is asked about each group, and of which groups nothing can be.
fn questions(args: &ReproduceArgs, groups: Vec<Group>) -> Result<(Vec<Question>, Unasked), Failure> {
    let interfaces = wire::interfaces().map_err(|e| Failure::config(format!("this host's interfaces: {e}")))?;
    let means = Means {
        flags: args.flags.clone(),
        target: args.target.clone(),
        interfaces,
        resolver_given: !args.options.dns.is_empty(),
        rate: args.rate,
    };
    let (mut questions, mut unasked) = (Vec::new(), Vec::new());
    let shares = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    for group in groups {
        match question(group.clone(), &means, shares) {
            Ok(question) => questions.push(question),
            Err(no_target) => unasked.push((group, no_target.to_string())),
        }
    }
    // One look at the controls is enough for all.
    questions.iter_mut().skip(1).for_each(|question| question.layer.control.clear());
    Ok((questions, unasked))
}

fn probes(questions: &[Question]) -> Result<Vec<Arc<Probe>>, Failure> {
    questions.iter().map(|question| settle(question.layer.clone()).map(Arc::new).map_err(Failure::config)).collect()
}

/// Writes each error as a scenario and a probe.
fn emit(dir: &Path, groups: &[Group]) -> Result<(), Failure> {
    let failed = |path: &Path, error: io::Error| Failure::config(format!("--emit {}: {error}", path.display()));
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    for group in groups {
        let seq = group.report.seq;
        let scenario = format!("report-{seq}-scenario.toml");
        match rehearsal(&group.report, &scenario) {
            Err(why) => say(&format!("not written: {why}")),
            Ok(written) => {
                let files = [(scenario, written.scenario), (format!("report-{seq}-probe.toml"), written.probe)];
                for (name, text) in files {
                    let path = dir.join(name);
                    std::fs::write(&path, text).map_err(|e| failed(&path, e))?;
                    say(&format!("written: {}", path.display()));
                }
            }
        }
    }
    Ok(())
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "mxprobe: {}", visible(what));
}
