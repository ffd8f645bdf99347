//! When: the times of the sessions, of an incident, and the heat strip of every place.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::{Block, Ink, Past, ROWS, Row};
use crate::record::Role;
use crate::sink::recording::Recording;
use crate::sink::strip::Strip;
use crate::status::failed;

/// A strip has no more stretches than this, each of one of these lengths in seconds.
const STRETCHES: i64 = 96;
const LENGTHS: [i64; 10] = [1, 10, 60, 300, 900, 3_600, 4 * 3_600, 24 * 3_600, 7 * 24 * 3_600, 28 * 24 * 3_600];

/// So many trials from a source to an address at a time, and how many of them failed.
struct Seen {
    place: (Option<IpAddr>, Option<IpAddr>),
    at: Timestamp,
    tried: u64,
    failed: u64,
}

pub(super) fn when(recording: &Recording, past: Option<&Past>, ink: &Ink) -> Vec<Block> {
    let mut blocks = past.map_or_else(Vec::new, |past| super::incident::course(past, ink));
    let times = recording.sessions.iter().map(|s| s.at);
    let mut list = Vec::new();
    if let (Some(first), Some(last)) = (times.clone().min(), times.max()) {
        list.push(format!("sessions began between {first:.0} and {last:.0}"));
    }
    let bad = recording.sessions.iter().filter(|s| failed(s)).map(|s| s.at);
    if let (Some(first), Some(last)) = (bad.clone().min(), bad.max()) {
        list.push(format!("those that failed, between {first:.0} and {last:.0}"));
    }
    blocks.extend(Block::list(list));
    if let Some(Drawn { legend, rows }) = strips(&seen(recording, past)) {
        blocks.push(Block::Strips { legend, rows, in_words: past.is_some() });
    }
    blocks
}

/// The sessions; an incident's hours, where its sessions are no longer on record.
fn seen(recording: &Recording, past: Option<&Past>) -> Vec<Seen> {
    let sessions = recording.sessions.iter().filter(|s| s.role != Role::Control && s.kind.is_trial());
    let sessions = sessions.filter(|s| s.address.is_some()).map(|s| Seen {
        place: (s.source, s.address),
        at: s.at,
        tried: 1,
        failed: u64::from(failed(s)),
    });
    let hours = past.iter().flat_map(|past| &past.hours).filter(|h| h.role != Role::Control && h.kind.is_trial());
    let hours = hours.map(|h| Seen {
        place: (h.source, h.address),
        at: h.at,
        tried: h.sessions,
        failed: if h.failed { h.sessions } else { 0 },
    });
    // Either has what the other has; hours are never forgotten, and reach further back.
    if past.is_some_and(|past| !past.hours.is_empty()) { hours.collect() } else { sessions.collect() }
}

struct Drawn {
    legend: String,
    rows: Vec<Row>,
}

/// A strip for each place where something failed, the worst first; the others are drawn as one, and
/// so are those that are too many.
fn strips(seen: &[Seen]) -> Option<Drawn> {
    let (first, last) = (seen.iter().map(|s| s.at).min()?, seen.iter().map(|s| s.at).max()?);
    let span = last.duration_since(first).as_secs() + 1;
    let longest = LENGTHS[LENGTHS.len() - 1].max(span / STRETCHES + 1);
    let length = LENGTHS.into_iter().find(|length| span <= length * STRETCHES).unwrap_or(longest);
    let begin = first.as_second().div_euclid(length) * length;
    let count = usize::try_from((last.as_second() - begin) / length + 1).unwrap_or(1);
    let since = Timestamp::from_second(begin).unwrap_or(first);
    let empty = || Strip::new(since, SignedDuration::from_secs(length), count);
    let mut places: BTreeMap<_, Strip> = BTreeMap::new();
    for Seen { place, at, tried, failed } in seen {
        places.entry(*place).or_insert_with(empty).add(*at, *tried, *failed);
    }
    let (mut bad, good): (Vec<_>, Vec<_>) = places.into_iter().partition(|(_, strip)| strip.total().1 > 0);
    bad.sort_by_key(|(_, strip)| std::cmp::Reverse(strip.total().1));
    let others = bad.split_off(bad.len().min(ROWS));
    let mut rows: Vec<Row> =
        bad.into_iter().map(|((source, address), strip)| Row { place: named(source, address), strip }).collect();
    for (what, strips) in [("with failures", others), ("without a failure", good)] {
        if !strips.is_empty() {
            let mut all = empty();
            strips.iter().for_each(|(_, strip)| all.merge(strip));
            let pairs = if strips.len() == 1 { "1 pair".to_owned() } else { format!("{} pairs", strips.len()) };
            rows.push(Row { place: format!("{pairs} {what}"), strip: all });
        }
    }
    let length = std::time::Duration::from_secs(length.unsigned_abs());
    let legend = format!(
        "Each column is {}, the first begins at {since:.0}. The more of a column's sessions failed, the higher its bar; \
         where there is no bar, there was no session.",
        humantime::format_duration(length)
    );
    Some(Drawn { legend, rows })
}

fn named(source: Option<IpAddr>, address: Option<IpAddr>) -> String {
    let name = |address: Option<IpAddr>| address.map_or_else(|| "?".to_owned(), |address| address.to_string());
    format!("{} to {}", name(source), name(address))
}
