//! `/`: every target, those in trouble first; of one target, or of few, everything.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::ask::{Ask, Range};
use super::matrix::Matrix;
use super::shelf::Unread;
use super::timeline::Timeline;
use super::times::{Moment, long};
use super::verdict::{Verdict, headline};
use super::{fault, html, shown};
use crate::history::archive::{Filter, Stretch};
use crate::record::{DiagnosisKind, Incident};
use crate::stage::Stage;
use crate::web::Web;
use crate::web::board::Seen;

/// Of so many targets everything is shown at once; of more, one at a time.
const FEW: usize = 3;

/// How far back incidents are listed, and how many of a target.
const PAST: SignedDuration = SignedDuration::from_hours(30 * 24);
const INCIDENTS: usize = 20;

/// So many stretches are read of a target.
const STRETCHES: usize = 200_000;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    title: String,
    now: Moment,
    ask: Ask,
    /// Whether it asks for less than everything.
    filtered: bool,
    sections: Vec<Section>,
    /// All targets, where there are several.
    index: Vec<Entry>,
    /// What the filters can be set to.
    targets: Vec<String>,
    sources: Vec<String>,
    addresses: Vec<String>,
    /// Why the history says nothing.
    unread: Option<String>,
}

/// A target in one line.
struct Entry {
    target: String,
    href: String,
    tone: &'static str,
    headline: String,
    since: String,
}

struct Section {
    id: usize,
    target: String,
    /// At least one.
    verdicts: Vec<Verdict>,
    /// When it was probed last, and will be next.
    rounds: String,
    matrix: Option<Matrix>,
    /// Whether strips and incidents are here, or behind the link.
    whole: bool,
    href: String,
    timeline: Option<Timeline>,
    ranges: Vec<(&'static str, String, bool)>,
    past: Vec<Past>,
}

/// An incident in one line.
struct Past {
    href: String,
    headline: String,
    opened: Moment,
    lasted: String,
    confidence: &'static str,
    open: bool,
}

impl OverviewPage {
    /// For the form; the template compares words.
    fn stages(&self) -> Vec<(&'static str, bool)> {
        Stage::ALL.iter().map(|stage| (stage.as_str(), self.ask.stage == Some(*stage))).collect()
    }

    fn ranges(&self) -> Vec<(&'static str, bool)> {
        Range::ALL.iter().map(|range| (range.as_str(), self.ask.range == *range)).collect()
    }

    fn is_source(&self, text: &str) -> bool {
        self.ask.source.is_some_and(|source| source.to_string() == text)
    }

    fn is_address(&self, text: &str) -> bool {
        self.ask.address.is_some_and(|address| address.to_string() == text)
    }

    fn is_target(&self, text: &str) -> bool {
        self.ask.target.as_deref() == Some(text)
    }
}

/// What the history says of a target.
#[derive(Default)]
struct Past30 {
    stretches: Vec<Stretch>,
    incidents: Vec<Incident>,
}

pub(super) async fn show(web: &Web, ask: Ask, now: Timestamp) -> Response {
    let all = web.board.seen();
    if let Some(target) = &ask.target
        && !all.iter().any(|seen| seen.target == *target)
    {
        return fault(StatusCode::NOT_FOUND, "Nothing is here", &format!("no probe watches {target:?}"));
    }
    let wanted = |seen: &&Seen| ask.target.as_ref().is_none_or(|target| seen.target == *target);
    let shown_now: Vec<&Seen> = all.iter().filter(wanted).collect();
    let whole = shown_now.len() <= FEW;
    let mut unread = None;
    let mut sections = Vec::new();
    for (id, seen) in shown_now.iter().enumerate() {
        let mut past = Past30::default();
        if whole {
            match read(web, seen, &ask, now).await {
                Ok(read) => past = read,
                Err(why) => unread = Some(why.to_string()),
            }
        }
        sections.push(section(id, seen, &ask, now, whole, past));
    }
    sections.sort_by_key(|section| section.verdicts.first().map_or(3, |verdict| worth(verdict.tone)));
    let mut index: Vec<Entry> = all.iter().map(|seen| entry(seen, &ask, now)).collect();
    index.sort_by_key(|entry| worth(entry.tone));
    let places = |place: fn(&crate::record::Session) -> Option<std::net::IpAddr>| {
        let found = shown_now.iter().flat_map(|seen| &seen.sessions).filter_map(|session| place(session));
        found.collect::<std::collections::BTreeSet<_>>().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let title = match index.first() {
        Some(entry) if entry.tone != "good" => entry.headline.clone(),
        Some(_) => "every target lets you in".to_owned(),
        None => "nothing is watched".to_owned(),
    };
    let page = OverviewPage {
        title,
        now: Moment::of(now),
        filtered: ask != Ask { range: ask.range, ..Ask::default() },
        sections,
        targets: index.iter().map(|entry| entry.target.clone()).collect(),
        index,
        sources: places(|session| session.source),
        addresses: places(|session| session.address),
        unread: unread.map(shown),
        ask,
    };
    html(StatusCode::OK, &page)
}

/// Trouble first.
fn worth(tone: &str) -> u8 {
    match tone {
        "bad" => 0,
        "warn" => 1,
        "none" => 2,
        _ => 3,
    }
}

async fn read(web: &Web, seen: &Seen, ask: &Ask, now: Timestamp) -> Result<Past30, Unread> {
    let places = Filter {
        // Sessions of hosts that are given one by one have no domain.
        domain: Some(seen.domain.clone().unwrap_or_default()),
        source: ask.source,
        address: ask.address,
        stage: ask.stage,
        since: Some(ask.range.since(now)),
        limit: Some(STRETCHES),
        ..Filter::default()
    };
    let incidents = Filter {
        domain: Some(seen.target.clone()),
        since: now.checked_sub(PAST).ok(),
        limit: Some(INCIDENTS),
        ..places.clone()
    };
    let hours = ask.range.stretches().0;
    let read = move |archive: &mut dyn crate::history::archive::Archive| {
        Ok(Past30 { stretches: archive.stretches(&places, hours)?, incidents: archive.incidents(&incidents, false)? })
    };
    web.shelf.read(read).await
}

fn section(id: usize, seen: &Seen, ask: &Ask, now: Timestamp, whole: bool, past: Past30) -> Section {
    let Past30 { mut stretches, incidents } = past;
    if seen.domain.is_none() {
        // Other probes may have hosts too.
        stretches.retain(|stretch| seen.sessions.iter().any(|session| session.address == stretch.address));
    }
    let of_target = Ask { target: Some(seen.target.clone()), ..ask.clone() };
    let range = |range: &Range| {
        let href = Ask { range: *range, ..of_target.clone() }.to_string();
        (range.as_str(), href, *range == ask.range)
    };
    Section {
        id,
        target: shown(&seen.target),
        verdicts: verdicts(seen, ask, now),
        rounds: rounds(seen, now),
        matrix: Matrix::of(&seen.sessions, &seen.diagnoses, seen.domain.as_deref(), &of_target),
        whole,
        href: of_target.to_string(),
        timeline: Timeline::of(&stretches, &of_target, now),
        ranges: Range::ALL.iter().map(range).collect(),
        past: incidents.iter().map(|incident| line(incident, now)).collect(),
    }
}

/// The incidents that last; without one what the last round says.
fn verdicts(seen: &Seen, ask: &Ask, now: Timestamp) -> Vec<Verdict> {
    let is_about = |places: &[std::net::IpAddr], asked: Option<std::net::IpAddr>| {
        asked.is_none_or(|asked| places.is_empty() || places.contains(&asked))
    };
    let mut open: Vec<&Incident> = seen.incidents.iter().collect();
    open.retain(|incident| {
        is_about(&incident.sources, ask.source)
            && is_about(&incident.addresses, ask.address)
            && (ask.stage.is_none() || ask.stage == incident.stage)
    });
    // The surest first, and of these the oldest.
    open.sort_by_key(|incident| (std::cmp::Reverse(incident.confidence), incident.opened.by));
    let mut verdicts: Vec<_> = open.iter().map(|incident| Verdict::of_incident(incident, now)).collect();
    if verdicts.is_empty() {
        let last = seen.sessions.iter().map(|session| session.at).max();
        let when = last.map_or_else(String::new, |at| format!("the round of {}", Moment::of(at).shown));
        let mut of_round =
            seen.diagnoses.iter().filter(|d| d.kind != DiagnosisKind::Healthy || seen.diagnoses.len() == 1);
        verdicts.extend(of_round.next().map(|diagnosis| {
            let since = match diagnosis.kind {
                DiagnosisKind::Healthy => when,
                _ => format!("{when}, so far that alone: not yet an incident"),
            };
            Verdict::of_diagnosis(diagnosis, &seen.target, since)
        }));
    }
    verdicts
}

fn rounds(seen: &Seen, now: Timestamp) -> String {
    let last = seen.ended.or_else(|| seen.sessions.iter().map(|session| session.at).max());
    let last = match last {
        Some(at) => format!("last round {} ago", long(at, now)),
        None => "no round yet".to_owned(),
    };
    match seen.next {
        Some(next) if next > now => format!("{last}, the next in {}", long(now, next)),
        Some(_) => format!("{last}, the next is due"),
        None => last,
    }
}

fn entry(seen: &Seen, ask: &Ask, now: Timestamp) -> Entry {
    let verdict = verdicts(seen, &Ask::default(), now).into_iter().next();
    let href = Ask { target: Some(seen.target.clone()), range: ask.range, ..Ask::default() }.to_string();
    let target = shown(&seen.target);
    match verdict {
        Some(verdict) => {
            let since = verdict.facts.iter().find(|(name, _)| *name == "Since");
            let since = since.map(|(_, since)| since.clone()).unwrap_or_default();
            Entry { target, href, tone: verdict.tone, headline: verdict.headline, since }
        }
        None => Entry { target, href, tone: "none", headline: "not probed yet".to_owned(), since: String::new() },
    }
}

fn line(incident: &Incident, now: Timestamp) -> Past {
    let end = incident.closed.map_or(now, |closed| closed.by);
    Past {
        href: format!("/incident/{}", incident.id),
        headline: headline(incident),
        opened: Moment::of(incident.opened.by),
        lasted: long(incident.opened.by, end),
        confidence: incident.confidence.as_str(),
        open: incident.closed.is_none(),
    }
}
