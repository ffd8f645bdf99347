//! `/incident/ID`: one incident, its proof, what happened to it, and sessions of it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::ask::Ask;
use super::session::{Neighbour, neighbour};
use super::times::Moment;
use super::verdict::Verdict;
use super::{Web, html, not_here, shown, unread};
use crate::history::HistoryError;
use crate::history::archive::{Archive, Filter};
use crate::record::{Incident, Session};
use crate::status::failed;

/// So many failures are listed, the first ones, from no more than so many sessions.
const FAILURES: usize = 20;
const LOOKED_AT: usize = 5000;

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage {
    id: u64,
    target: String,
    /// The target's page, as far as the incident is about it.
    href: String,
    verdict: Verdict,
    events: Vec<(Moment, &'static str, String)>,
    failures: Vec<(String, Neighbour)>,
}

pub(super) async fn show(web: &Web, id: u64, now: Timestamp) -> Response {
    let read = web.shelf.read(move |archive| {
        let Some(incident) = archive.incident(id)? else { return Ok(None) };
        let failures = failures(archive, &incident)?;
        Ok(Some((incident, failures)))
    });
    let read = read.await;
    // One that lasts is known without a history too.
    let known = || {
        let mut all = web.board.seen().into_iter().flat_map(|seen| seen.incidents);
        all.find(|incident| incident.id == id && id != 0)
    };
    match read {
        Ok(Some((incident, failures))) => html(StatusCode::OK, &page(&incident, failures, now)),
        Ok(None) => not_here("no such incident is on record"),
        Err(why) => match known() {
            Some(incident) => html(StatusCode::OK, &page(&incident, Vec::new(), now)),
            None => unread(&why.to_string()),
        },
    }
}

/// The first failures of the incident, with the place of each.
fn failures(archive: &mut dyn Archive, incident: &Incident) -> Result<Vec<(String, Neighbour)>, HistoryError> {
    let one = |places: &[std::net::IpAddr]| if let [only] = places { Some(*only) } else { None };
    let end = incident.closed.and_then(|closed| closed.by.checked_add(SignedDuration::from_secs(1)).ok());
    // Hosts that are given one by one are no domain of sessions.
    let domain = if incident.domain.contains(", ") || incident.domain.parse::<std::net::IpAddr>().is_ok() {
        String::new()
    } else {
        incident.domain.clone()
    };
    let of_incident = Filter {
        domain: Some(domain),
        source: one(&incident.sources),
        address: one(&incident.addresses),
        since: Some(incident.opened.after.unwrap_or(incident.opened.by)),
        until: end,
        limit: Some(LOOKED_AT),
        ..Filter::default()
    };
    let holds = |places: &[std::net::IpAddr], ip: Option<std::net::IpAddr>| {
        places.is_empty() || ip.is_some_and(|ip| places.contains(&ip))
    };
    let mut found = Vec::new();
    archive.sessions(&of_incident, &mut |session: Session| {
        let is_of = holds(&incident.sources, session.source) && holds(&incident.addresses, session.address);
        if is_of && failed(&session) {
            let name = |ip: Option<std::net::IpAddr>| ip.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
            let place = format!("{} \u{2192} {}", name(session.source), name(session.address));
            found.push((place, neighbour(&session, &session)));
        }
        found.len() < FAILURES
    })?;
    Ok(found)
}

fn page(incident: &Incident, failures: Vec<(String, Neighbour)>, now: Timestamp) -> IncidentPage {
    let event = |event: &crate::record::IncidentEvent| {
        let detail = event.detail.as_ref().map(shown).unwrap_or_default();
        (Moment::of(event.at), event.event.as_str(), detail)
    };
    let one = |places: &[std::net::IpAddr]| if let [only] = places { Some(*only) } else { None };
    let of_target = Ask {
        target: Some(incident.domain.clone()),
        source: one(&incident.sources),
        address: one(&incident.addresses),
        ..Ask::default()
    };
    IncidentPage {
        id: incident.id,
        target: shown(&incident.domain),
        href: of_target.to_string(),
        verdict: Verdict { href: None, ..Verdict::of_incident(incident, now) },
        events: incident.events.iter().map(event).collect(),
        failures,
    }
}
