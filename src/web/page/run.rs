//! `/run/RUN`: one round of a watch, or one run, as it is on record.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::ask::Ask;
use super::matrix::Matrix;
use super::times::Moment;
use super::verdict::Verdict;
use super::{Web, html, not_here, shown, unread};
use crate::record::{Diagnosis, Line, Lookup, Run, Session};
use crate::status::Tally;

/// So many lookups are shown.
const LOOKUPS: usize = 100;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    run: String,
    at: Option<Moment>,
    head: String,
    counts: String,
    verdicts: Vec<Verdict>,
    matrices: Vec<(String, Matrix)>,
    lookups: Vec<(String, String, String)>,
}

pub(super) async fn show(web: &Web, run: String) -> Response {
    let id = run.clone();
    match web.shelf.read(move |archive| archive.run(&id)).await {
        Ok(Some(lines)) => html(StatusCode::OK, &page(run, lines)),
        Ok(None) => not_here("no such run is on record, or it is forgotten"),
        Err(why) => unread(&why.to_string()),
    }
}

fn page(run: String, lines: Vec<Line>) -> RunPage {
    let mut heads: Vec<Run> = Vec::new();
    let mut sessions: Vec<Arc<Session>> = Vec::new();
    let (mut diagnoses, mut lookups): (Vec<Diagnosis>, Vec<Lookup>) = Default::default();
    for line in lines {
        match line {
            Line::Run(head) => heads.push(head),
            Line::Session(session) => sessions.push(Arc::from(session)),
            Line::Diagnosis(found) => diagnoses.push(*found),
            Line::Lookup(lookup) => lookups.push(lookup),
            _ => {}
        }
    }
    let head = heads.first();
    let targets = head.map(|head| head.targets.join(", ")).unwrap_or_default();
    let tally: Tally = sessions.iter().map(AsRef::as_ref).collect();
    let mut domains: Vec<Option<String>> = sessions.iter().map(|session| session.domain.clone()).collect();
    domains.sort();
    domains.dedup();
    let matrices = domains.iter().filter_map(|domain| {
        let matrix = Matrix::of(&sessions, &diagnoses, domain.as_deref(), &Ask::default())?;
        Some((shown(domain.as_deref().unwrap_or("hosts")), matrix))
    });
    RunPage {
        run,
        at: head.map(|head| Moment::of(head.at)),
        head: head.map_or_else(String::new, |head| {
            shown(format!("{targets}, to {}, seed {}, mxprobe {}", head.until, head.seed, head.version))
        }),
        counts: format!(
            "{} sessions: {} completed, {} failed, {} local, {} skipped",
            tally.sessions(),
            tally.completed,
            tally.failed,
            tally.local,
            tally.skipped
        ),
        verdicts: diagnoses
            .iter()
            .map(|diagnosis| Verdict::of_diagnosis(diagnosis, &targets, "in this run".to_owned()))
            .collect(),
        matrices: matrices.collect(),
        lookups: lookups
            .iter()
            .take(LOOKUPS)
            .map(|lookup| {
                let answer = match lookup.error {
                    Some(error) => error.to_string(),
                    None => lookup.answers.join(", "),
                };
                (shown(format!("{} {}", lookup.rtype, lookup.name)), shown(answer), format!("{:.1} ms", lookup.ms))
            })
            .collect(),
    }
}
