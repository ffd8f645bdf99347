//! An incident: what it is about, how it went.

use super::asked::About;
use super::{Finding, Ink, Past};
use crate::record::{Between, Incident};
use crate::sink::faults::called;
use crate::sink::recording::ranges;

pub(super) fn about(incident: &Incident) -> About<'_> {
    let Incident { kind, sources, addresses, stage, code, .. } = incident;
    About { kind: *kind, sources, addresses, stage: *stage, code: *code }
}

pub(super) fn title(incident: &Incident, ink: &Ink) -> String {
    about(incident).title(&ink.word(&incident.domain))
}

/// The diagnosis over the whole incident.
pub(super) fn finding(past: &Past, ink: &Ink) -> Finding {
    let incident = &past.incident;
    let mut who = vec![
        ranges(incident.sources.iter().copied()),
        ranges(incident.addresses.iter().copied()),
        ink.text(&incident.backends.join(", ")),
    ];
    who.extend(incident.stage.map(|stage| format!("at {stage}")));
    who.retain(|names| !names.is_empty());
    who.push(format!("confidence {}", incident.confidence));
    let mut points = vec![format!("{} of {} sessions failed", incident.failed, incident.sessions)];
    let elsewhere = past.elsewhere;
    if elsewhere.trials() > 0 {
        points.push(format!(
            "other sources and addresses in the same time: {} of {} sessions failed",
            elsewhere.failed,
            elsewhere.trials()
        ));
    }
    points.extend(ink.texts(&incident.because));
    points.extend(ink.texts(&incident.ruled_out).into_iter().map(|text| format!("ruled out: {text}")));
    if let Some(reply) = &incident.reply {
        points.push(format!("said most often, but for names and numbers: {}", ink.text(reply)));
    }
    if !incident.advice.is_empty() {
        points.push(format!("for us: {}", ink.text(&incident.advice)));
    }
    Finding { rank: 1, called: called(incident.kind), facts: who.join(", "), points }
}

/// From when to when, and what happened.
pub(super) fn course(past: &Past, ink: &Ink) -> Vec<String> {
    let incident = &past.incident;
    let mut course = vec![format!("began {}", between(&incident.opened))];
    course
        .push(incident.closed.map_or_else(|| "not over yet".to_owned(), |closed| format!("over {}", between(&closed))));
    if incident.episodes > 1 {
        course.push(format!("{} episodes: it was quiet in between, not long enough to be over", incident.episodes));
    }
    let happened = incident.events.iter().map(|event| {
        let detail = event.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", ink.text(detail)));
        format!("{:.0} {}{detail}", event.at, event.event)
    });
    course.extend(happened);
    course
}

/// Between the look that was still otherwise and the one that showed it.
fn between(moment: &Between) -> String {
    match moment.after {
        Some(after) => format!("between {after:.0} and {:.0}", moment.by),
        None => format!("by {:.0}, with nothing on record before", moment.by),
    }
}
