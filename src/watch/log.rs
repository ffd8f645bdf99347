//! What the watch says: a line a round and a line for whatever happens to an incident, or the JSON
//! lines themselves; and, to the operator, what it has to say of itself.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::record::{Between, Diagnosis, Incident, IncidentChange, IncidentEvent, Line, Summary};
use crate::sink::jsonl::json_line;
use crate::visible::visible;

/// The outputs. Clones share them.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Pages>>);

type Out = Box<dyn Write + Send>;

struct Pages {
    /// None: nobody reads it any more.
    out: Option<Out>,
    /// For the operator.
    err: Out,
    json: bool,
    record: Option<(String, Out)>,
}

impl Log {
    /// `json`: the lines in place of the text. `record` gets the lines too, and is called by name
    /// when it cannot be written.
    #[must_use]
    pub fn new(out: Out, err: Out, json: bool, record: Option<(String, Out)>) -> Self {
        Self(Arc::new(Mutex::new(Pages { out: Some(out), err, json, record })))
    }

    /// Tells the operator something about the watch itself.
    pub fn tell(&self, what: &str) {
        self.tell_lines(&visible(what));
    }

    /// The same of a text that is laid out in lines, and harmless already.
    pub(super) fn tell_lines(&self, what: &str) {
        // In one piece: a process that is killed has said a line or not.
        let _ = self.pages().err.write_all(format!("mxprobe: {what}\n").as_bytes());
    }

    /// A line of the record.
    pub(super) fn line(&self, line: &Line) {
        let Ok(text) = json_line(line) else { return };
        let mut pages = self.pages();
        if pages.json {
            pages.write(&text);
        }
        let Some((name, record)) = &mut pages.record else { return };
        if let Err(error) = record.write_all(text.as_bytes()).and_then(|()| record.flush()) {
            let what = format!("--record {name}: {error}: the recording is not whole");
            pages.record = None;
            drop(pages);
            self.tell(&what);
        }
    }

    /// A line for people.
    pub(super) fn say(&self, at: Timestamp, probe: &str, what: &str) {
        let mut pages = self.pages();
        if !pages.json {
            pages.write(&format!("{at:.0} {}: {}\n", visible(probe), visible(what)));
        }
    }

    /// Whether nobody reads the output any more.
    pub(super) fn is_unread(&self) -> bool {
        self.pages().out.is_none()
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn write(&mut self, text: &str) {
        let Some(out) = &mut self.out else { return };
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.out = None;
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _ = writeln!(self.err, "mxprobe: standard output: {error}");
            }
        }
    }
}

/// A round in a line: what was opened, what came of it, what the first diagnosis is.
pub(super) fn round(lines: &[Line], took: Duration) -> String {
    let summary = lines.iter().rev().find_map(|line| if let Line::Summary(s) = line { Some(s) } else { None });
    let diagnosis = lines.iter().find_map(|line| if let Line::Diagnosis(d) = line { Some(d) } else { None });
    let counts = summary.map_or_else(|| "broke off".to_owned(), counts);
    let diagnosis = diagnosis.map(|d| format!("; {}", diagnosed(d))).unwrap_or_default();
    format!("{counts}{diagnosis}; {:.1} s", took.as_secs_f64())
}

fn counts(summary: &Summary) -> String {
    let Summary { sessions, completed, failed, local, skipped, .. } = summary;
    let mut text = format!("{sessions} session{}", if *sessions == 1 { "" } else { "s" });
    for (count, what) in [(completed, "completed"), (failed, "failed"), (local, "local"), (skipped, "skipped")] {
        if *count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn diagnosed(d: &Diagnosis) -> String {
    let units = d.sources.iter().chain(&d.addresses).map(ToString::to_string).chain(d.backends.iter().cloned());
    let units: Vec<String> = units.collect();
    let shown = units.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let of = match units.len() {
        0 => String::new(),
        1..=3 => format!(" of {shown}"),
        more => format!(" of {shown} and {} more", more - 3),
    };
    let at = d.stage.map(|stage| format!(" at {stage}")).unwrap_or_default();
    format!("{}{of}{at} ({})", d.kind, d.confidence)
}

/// What happened to an incident, in a line.
pub(super) fn event(incident: &Incident, event: &IncidentEvent) -> String {
    let Incident { id, kind, opened, closed, sessions, failed, episodes, .. } = incident;
    // One that is not on record yet has no number.
    let number = if *id == 0 { String::new() } else { format!(" {id}") };
    let detail = event.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let more = match (event.event, closed) {
        (IncidentChange::Opened, _) => format!("; began {}", between(opened)),
        (IncidentChange::Closed, Some(closed)) => {
            let times = if *episodes == 1 { String::new() } else { format!(" in {episodes} episodes") };
            format!("; {kind} ended {}, {failed} of {sessions} sessions failed{times}", between(closed))
        }
        _ => String::new(),
    };
    format!("incident{number} {}{detail}{more}", event.event)
}

fn between(between: &Between) -> String {
    match between.after {
        Some(after) => format!("between {after:.0} and {:.0}", between.by),
        None => format!("by {:.0}", between.by),
    }
}
