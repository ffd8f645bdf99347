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
const LENGTHS: [i64; 10] = [1, 10, 60, 300, 900, HOUR, 4 * HOUR, 24 * HOUR, 7 * 24 * HOUR, 28 * 24 * HOUR];

/// In seconds.
const HOUR: i64 = 3_600;

/// So many trials from a source to an address at a time, and how many of them failed.
struct Seen {
    place: (Option<IpAddr>, Option<IpAddr>),
    at: Timestamp,
    tried: u64,
    failed: u64,
}

pub(super) fn when(recording: &Recording, past: Option<&Past>, ink: &Ink) -> Vec<Block> {
    let mut list = past.map_or_else(Vec::new, |past| super::incident::course(past, ink));
    let times = recording.sessions.iter().map(|s| s.at);
    if let (Some(first), Some(last)) = (times.clone().min(), times.max()) {
        list.push(format!("sessions began between {first:.0} and {last:.0}"));
    }
    let bad = recording.sessions.iter().filter(|s| failed(s)).map(|s| s.at);
    if let (Some(first), Some(last)) = (bad.clone().min(), bad.max()) {
        list.push(format!("those that failed, between {first:.0} and {last:.0}"));
    }
    let mut blocks: Vec<Block> = Block::list(list).into_iter().collect();
    // Sessions say it to the second, where all of them are here.
    let hours = past.filter(|past| !past.hours.is_empty() && (recording.sessions.is_empty() || past.left_out > 0));
    let drawn = match hours {
        Some(past) => strips(&by_the_hour(past), HOUR),
        None => strips(&by_session(recording), 1),
    };
    if let Some(Drawn { legend, rows }) = drawn {
        blocks.push(Block::Strips { legend, rows, in_words: hours.is_some() });
    }
    blocks
}

fn by_session(recording: &Recording) -> Vec<Seen> {
    let sessions = recording.sessions.iter().filter(|s| s.role != Role::Control && s.kind.is_trial());
    let sessions = sessions.filter(|s| s.address.is_some()).map(|s| Seen {
        place: (s.source, s.address),
        at: s.at,
        tried: 1,
        failed: u64::from(failed(s)),
    });
    sessions.collect()
}

fn by_the_hour(past: &Past) -> Vec<Seen> {
    let hours = past.hours.iter().filter(|h| h.role != Role::Control && h.kind.is_trial());
    let hours = hours.map(|h| Seen {
        place: (h.source, h.address),
        at: h.at,
        tried: h.sessions,
        failed: if h.failed { h.sessions } else { 0 },
    });
    hours.collect()
}

struct Drawn {
    legend: String,
    rows: Vec<Row>,
}

/// A strip for each place where something failed, the worst first; the others are drawn as one, and
/// so are those that are too many. What was seen is known to `shortest` seconds.
fn strips(seen: &[Seen], shortest: i64) -> Option<Drawn> {
    let (first, last) = (seen.iter().map(|s| s.at).min()?, seen.iter().map(|s| s.at).max()?);
    let span = last.duration_since(first).as_secs() + 1;
    let longest = LENGTHS[LENGTHS.len() - 1].max(span / STRETCHES + 1);
    let length =
        LENGTHS.into_iter().find(|&length| length >= shortest && span <= length * STRETCHES).unwrap_or(longest);
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
            for (_, strip) in &strips {
                all.merge(strip);
            }
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
