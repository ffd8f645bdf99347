//! Heat strips: how each source went at each address, from the hourly counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::ask::Ask;
use super::times::Moment;
use crate::history::archive::Stretch;
use crate::record::Role;
use crate::sink::strip::Strip;

/// So many strips are drawn of a target.
const MOST: usize = 96;

/// Up to so many cells, each has its strip; of more those that failed.
const ROOMY: usize = 48;

#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pub(super) rows: Vec<Row>,
    /// Strips that are not drawn.
    pub(super) more: usize,
    /// Sources whose addresses are added up.
    pub(super) folded: bool,
    pub(super) from: Moment,
    pub(super) to: Moment,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) source: String,
    /// None: all addresses together.
    pub(super) address: Option<String>,
    /// Whether the source stands above it already.
    pub(super) under: bool,
    pub(super) href: String,
    pub(super) count: String,
    pub(super) tone: &'static str,
    /// The drawing, which is numbers and words of ours.
    pub(super) svg: String,
}

impl Timeline {
    /// None where there is nothing to draw.
    pub(super) fn of(stretches: &[Stretch], ask: &Ask, now: Timestamp) -> Option<Self> {
        let (since, stretch, count) = (ask.range.since(now), ask.range.stretch(), ask.range.stretches().1);
        let empty = || Strip::new(since, stretch, count);
        let mut cells: BTreeMap<Option<IpAddr>, BTreeMap<Option<IpAddr>, Strip>> = BTreeMap::new();
        for one in stretches.iter().filter(|one| one.role != Role::Control) {
            let strip = cells.entry(one.source).or_default().entry(one.address).or_insert_with(empty);
            strip.add(one.at, one.tried, one.failed);
        }
        let many = cells.values().map(BTreeMap::len).sum::<usize>() > ROOMY;
        let whole = |(source, strips): (Option<IpAddr>, BTreeMap<Option<IpAddr>, Strip>)| {
            let mut all = empty();
            for strip in strips.values() {
                all.merge(strip);
            }
            (all, source, strips)
        };
        let mut sources: Vec<_> = cells.into_iter().map(whole).collect();
        // Those with the highest share of failures first.
        sources.sort_by(|(a, ..), (b, ..)| share(b).total_cmp(&share(a)));
        let mut rows = Vec::new();
        for (all, source, strips) in &sources {
            let of_source = Ask { source: *source, ..ask.clone() };
            let under = strips.len() > 1;
            if under {
                rows.push(row(*source, None, &of_source, all));
            }
            for (address, strip) in strips {
                if many && under && strip.total().1 == 0 {
                    continue;
                }
                let of_cell = Ask { address: *address, ..of_source.clone() };
                rows.push(Row { under, ..row(*source, Some(name(*address)), &of_cell, strip) });
            }
        }
        let end = since.saturating_add(stretch.saturating_mul(i32::try_from(count).unwrap_or(0))).unwrap_or(now);
        let more = rows.len().saturating_sub(MOST);
        rows.truncate(MOST);
        (!rows.is_empty()).then(|| Self {
            rows,
            more,
            folded: many,
            from: Moment::of(since),
            to: Moment::of(end.min(now)),
        })
    }
}

fn row(source: Option<IpAddr>, address: Option<String>, ask: &Ask, strip: &Strip) -> Row {
    let (tried, failed) = strip.total();
    Row {
        source: name(source),
        address,
        under: false,
        href: ask.to_string(),
        count: format!("{failed}/{tried}"),
        tone: if failed == 0 { "good" } else { "bad" },
        svg: strip.svg(),
    }
}

fn name(ip: Option<IpAddr>) -> String {
    ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn share(strip: &Strip) -> f64 {
    let (tried, failed) = strip.total();
    failed as f64 / tried.max(1) as f64
}
