//! `report`: what a provider's postmaster is told of a run, a recording or an incident.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::show::look;
use super::{DRAWN, Done, Failure, catalog, name, recorded, written};
use crate::cli::args::{Input, Output};
use crate::cli::report::{ReportArgs, What};
use crate::history::HistoryError;
use crate::history::archive::{Archive as _, Filter, Hour, StoreArchive};
use crate::judge::{Evidence, judge};
use crate::record::{Incident, Line, Session};
use crate::sink::{self, Past, Sink};
use crate::status::{Tally, failed};

/// What came before an incident, where nothing on record says when it was otherwise.
const BEFORE: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn report(args: &ReportArgs) -> Done {
    let output = args.output.with(args.format);
    let since = args.since.map(|since| since.at(Timestamp::now()));
    let wanted = Filter { since, ..args.sessions.filter() };
    match &args.what {
        What::Recording(input) => recording(input, args, &wanted, &output),
        What::Incident(id) => {
            let archive = recorded::archive(args.history.as_ref())?;
            let mut archive = archive.ok_or_else(|| Failure::config(format!("{id}: nothing is on record")))?;
            incident(&mut archive, *id, &wanted, &output)
        }
    }
}

/// Whether the filter wants a session.
fn wants(wanted: &Filter, session: &Session) -> bool {
    wanted.since.is_none_or(|since| session.at >= since)
        && (wanted.source.is_none() || wanted.source == session.source)
        && (wanted.stage.is_none() || wanted.stage == session.stage)
        && (wanted.code.is_none() || wanted.code == session.code)
        && (wanted.tag.is_none() || wanted.tag == session.tag)
}

/// A recording, wherever it is. Its own diagnoses are told where they are of all of it; else it is
/// judged anew.
fn recording(input: &Input, args: &ReportArgs, wanted: &Filter, output: &Output) -> Done {
    let file = name(input);
    let (mut evidence, mut lines, mut sessions, mut runs, mut diagnosed) = (Evidence::new(), Vec::new(), 0, 0, false);
    let mut take = |text: &str| {
        let Ok(Some(line)) = Line::parse(text) else { return };
        match &line {
            Line::Session(session) => {
                sessions += 1;
                if sessions > DRAWN || !wants(wanted, session) {
                    return;
                }
            }
            Line::Run(_) => runs += 1,
            Line::Diagnosis(_) => diagnosed = true,
            _ => {}
        }
        lines.push(line);
    };
    let reader = BufReader::new(recorded::open(input, args.history.as_ref())?);
    evidence.read_with(reader, &file, &mut take).map_err(Failure::config)?;
    if lines.is_empty() && sessions == 0 {
        return Err(Failure::config(format!("{file}: no line of a recording is in it: wanted what --record writes")));
    }
    if sessions == 0
        && let Some(Line::Incident(incident)) = lines.iter().find(|line| matches!(line, Line::Incident(_)))
    {
        let past = Past { incident: (**incident).clone(), hours: vec![], elsewhere: Tally::default(), left_out: 0 };
        return told(sink::open_incident(output.format, io::stdout(), look(output), past), &lines);
    }
    super::say_drawn(sessions, output.format);
    if !diagnosed || runs > 1 {
        lines.retain(|line| !matches!(line, Line::Diagnosis(_) | Line::Summary(_)));
        let found = judge(&evidence, catalog(&[] as &[&str])?);
        lines.extend(found.into_iter().map(|diagnosis| Line::Diagnosis(Box::new(diagnosis))));
    }
    told(sink::open(output.format, io::stdout(), look(output)), &lines)
}

fn told(mut sink: Box<dyn Sink + Send>, lines: &[Line]) -> Done {
    let told = lines.iter().try_for_each(|line| sink.line(line)).and_then(|()| sink.finish());
    written(told).map(|_| 0)
}

/// An incident, with the sessions of its time and place.
pub(super) fn incident(archive: &mut StoreArchive, id: u64, wanted: &Filter, output: &Output) -> Done {
    let Some(incident) = archive.incident(id).map_err(ours)? else {
        return Err(Failure::config(format!("{id}: there is no such incident in {}", archive.path().display())));
    };
    let time = time_of(&incident);
    let by_domain = Filter { domain: Some(incident.domain.clone()), ..time.clone() };
    let mut found = Found::default();
    archive.sessions(&by_domain, &mut |session| found.add(&incident, wanted, session)).map_err(ours)?;
    // A probe of hosts has no domain on record: its incidents name the hosts.
    if found.is_empty() {
        let each = &mut |session: Session| !is_host(&incident, &session) || found.add(&incident, wanted, session);
        archive.sessions(&time, each).map_err(ours)?;
    }
    let Found { mut lines, elsewhere, left_out, run, addresses } = found;
    // The head and the lookups of the run that showed it last.
    if let Some(run) = run {
        let of_run = archive.run(&run).map_err(ours)?.unwrap_or_default();
        lines.extend(of_run.into_iter().filter(|line| matches!(line, Line::Run(_) | Line::Lookup(_) | Line::Check(_))));
    }
    let before = time.since.map(|since| earlier(since, BEFORE));
    let mut hours = archive.hours(&Filter { since: before, ..by_domain }).map_err(ours)?;
    if hours.is_empty() {
        hours = archive.hours(&Filter { since: before, ..time }).map_err(ours)?;
        let named = |ip: IpAddr| addresses.contains(&ip) || is_named(&incident, &ip.to_string());
        hours.retain(|hour| hour.domain.is_none() && hour.address.is_some_and(named));
    }
    hours.retain(|hour| is_there(&incident, hour));
    let past = Past { incident, hours, elsewhere, left_out };
    told(sink::open_incident(output.format, io::stdout(), look(output), past), &lines)
}

/// The sessions of an incident's time.
#[derive(Default)]
struct Found {
    /// Those of its place, that are to be told.
    lines: Vec<Line>,
    left_out: u64,
    elsewhere: Tally,
    /// The run that showed it last.
    run: Option<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.elsewhere.sessions() == 0
    }

    /// Always wants the next one.
    fn add(&mut self, incident: &Incident, wanted: &Filter, session: Session) -> bool {
        self.addresses.extend(session.address);
        if !is_of(incident, &session) {
            self.elsewhere.add(&session);
        } else if wants(wanted, &session) {
            if failed(&session) || self.run.is_none() {
                self.run = Some(session.run.clone());
            }
            if (self.lines.len() as u64) < DRAWN {
                self.lines.push(Line::Session(Box::new(session)));
            } else {
                self.left_out += 1;
            }
        }
        true
    }
}

/// From the last look that was otherwise before an incident to the first one after it.
fn time_of(incident: &Incident) -> Filter {
    let opened = incident.opened;
    let since = opened.after.unwrap_or_else(|| earlier(opened.by, BEFORE));
    // A round's sessions begin before the round is over.
    let until = incident.closed.map(|closed| earlier(closed.by, SignedDuration::from_secs(-1)));
    Filter { since: Some(since), until, ..Filter::default() }
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_sub(by).unwrap_or(at)
}

/// Whether a session is one at a host that the incident names.
fn is_host(incident: &Incident, session: &Session) -> bool {
    session.domain.is_none()
        && (session.mx.as_deref().is_some_and(|mx| is_named(incident, mx))
            || session.address.is_some_and(|address| is_named(incident, &address.to_string())))
}

fn is_named(incident: &Incident, host: &str) -> bool {
    incident.domain.split(", ").any(|name| name.eq_ignore_ascii_case(host))
}

/// Whether a session is at the incident's place: from its sources, to its addresses and backends;
/// where it names none, from and to anywhere.
fn is_of(incident: &Incident, session: &Session) -> bool {
    let Incident { sources, addresses, backends, .. } = incident;
    within(sources, session.source)
        && within(addresses, session.address)
        && (backends.is_empty() || session.backend.as_ref().is_some_and(|backend| backends.contains(backend)))
}

/// The same of an hour, which knows no backends.
fn is_there(incident: &Incident, hour: &Hour) -> bool {
    within(&incident.sources, hour.source) && within(&incident.addresses, hour.address)
}

fn within(all: &[IpAddr], one: Option<IpAddr>) -> bool {
    all.is_empty() || one.is_some_and(|one| all.contains(&one))
}

fn ours(error: HistoryError) -> Failure {
    Failure::ours(error)
}
