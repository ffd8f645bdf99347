//! From where, to where, and how often it failed in between.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::{Block, Cell, Ink, Past, Table};
use crate::judge::statistics::{could_have_missed, wilson};
use crate::record::{Role, Session};
use crate::sink::faults::sessions;
use crate::sink::grid::{self, Grid};
use crate::sink::recording::{Recording, ranges};
use crate::status::failed;

/// A matrix of more cells is drawn with like rows and columns as one.
const CELLS: usize = 64;

/// What the sessions of a place came to.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    failed: u64,
    tried: u64,
}

impl Count {
    fn add(&mut self, session: &Session) {
        self.tried += u64::from(session.kind.is_trial());
        self.failed += u64::from(failed(session));
    }

    /// The failure rate behind it, at 95 %.
    fn interval(self) -> String {
        match (self.failed, self.tried) {
            (_, 0) => String::new(),
            (0, tried) => format!("<{:.1} %", could_have_missed(tried) * 100.0),
            (failed, tried) => {
                let (low, high) = wilson(failed.min(tried), tried);
                format!("{:.1}-{:.1} %", low * 100.0, high * 100.0)
            }
        }
    }

    /// The most failures first.
    fn rank(self) -> std::cmp::Reverse<(bool, u64)> {
        let rate = (self.failed * 1_000_000).checked_div(self.tried).unwrap_or_default();
        std::cmp::Reverse((self.failed > 0, rate))
    }
}

/// What is known of one of our addresses.
#[derive(Default)]
struct Source {
    seen_as: BTreeSet<IpAddr>,
    ehlo: BTreeSet<String>,
    count: Count,
    control: Count,
    neutral: bool,
}

/// Our addresses as they are seen from outside, and the names they say.
pub(super) fn sources(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let mut sources: BTreeMap<IpAddr, Source> = BTreeMap::new();
    for session in recording.sessions.iter().chain(&recording.planned) {
        let Some(address) = session.source else { continue };
        let source = sources.entry(address).or_default();
        source.seen_as.extend(session.seen_as);
        source.ehlo.extend(session.ehlo.clone());
        source.neutral |= session.role == Role::Neutral;
        let count = if session.role == Role::Control { &mut source.control } else { &mut source.count };
        count.add(session);
    }
    let mut sources: Vec<(IpAddr, Source)> = sources.into_iter().collect();
    sources.sort_by_key(|(_, source)| source.count.rank());
    let mut table = Table::new(["source", "seen as", "EHLO", "failed", "95 %", "control failed"]);
    for (address, source) in sources {
        let neutral = if source.neutral { " (neutral)" } else { "" };
        let Source { count, control, .. } = source;
        let names: Vec<String> = source.ehlo.into_iter().collect();
        let control = if control.tried > 0 { format!("{}/{}", control.failed, control.tried) } else { String::new() };
        table.row([
            format!("{address}{neutral}"),
            ranges(source.seen_as),
            ink.word(&names.join(", ")),
            String::new(),
            count.interval(),
            control,
        ]);
        if let Some(cell) = table.rows.last_mut().and_then(|row| row.get_mut(3)) {
            *cell = Cell::counted(count.failed, count.tried);
        }
    }
    table.blocks("sources")
}

/// What is known of one of their addresses.
#[derive(Default)]
struct Address<'a> {
    count: Count,
    names: BTreeSet<String>,
    backends: BTreeSet<&'a str>,
}

/// Their addresses, with the exchangers that have them and the names that the servers give themselves.
pub(super) fn addresses(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let mut table = Table::new(["address:port", "MX", "calls itself", "failed", "95 %"]);
    let mut addresses: BTreeMap<(Option<u16>, SocketAddr), Address<'_>> = BTreeMap::new();
    let mut nowhere: BTreeSet<String> = BTreeSet::new();
    let probed = recording.sessions.iter().chain(&recording.planned);
    for session in probed.filter(|session| session.role != Role::Control) {
        let preference = session.preference.map_or_else(String::new, |preference| format!("{preference} "));
        let name = session.mx.as_deref().map(|mx| format!("{preference}{}", ink.word(mx)));
        let Some(address) = session.address else {
            nowhere.extend(name);
            continue;
        };
        let end = (session.preference, SocketAddr::from((address, session.port)));
        let Address { count, names, backends } = addresses.entry(end).or_default();
        count.add(session);
        names.extend(name);
        backends.extend(session.backend.as_deref());
    }
    let mut addresses: Vec<_> = addresses.into_iter().collect();
    addresses.sort_by_key(|(_, address)| address.count.rank());
    for ((_, end), Address { count, names, backends }) in addresses {
        let names: Vec<String> = names.into_iter().collect();
        let backends: Vec<&str> = backends.into_iter().collect();
        table.row([end.to_string(), names.join(", "), ink.text(&backends.join(", ")), String::new(), count.interval()]);
        if let Some(cell) = table.rows.last_mut().and_then(|row| row.get_mut(3)) {
            *cell = Cell::counted(count.failed, count.tried);
        }
    }
    for name in nowhere {
        table.row(["no address".to_owned(), name, String::new(), String::new(), String::new()]);
    }
    table.blocks("addresses")
}

/// Each target's matrix, where it has more than one cell.
pub(super) fn matrices(recording: &Recording, ink: &Ink) -> Vec<(Option<String>, Vec<Block>)> {
    let domains = recording.domains().into_iter().map(|domain| (domain, Grid::of(recording, domain)));
    let drawn = domains.filter(|(_, grid)| grid.rows.len() * grid.columns.len() > 1);
    drawn.map(|(domain, grid)| (domain.map(str::to_owned), matrix(&grid, ink))).collect()
}

fn matrix(grid: &Grid, ink: &Ink) -> Vec<Block> {
    let grid = if grid.rows.len() * grid.columns.len() > CELLS { &grid.collapsed() } else { grid };
    let controlled = grid.rows.iter().any(|row| !row.control.symbol().is_empty());
    let mut table = Table::new(["source"]);
    for column in &grid.columns {
        table.heads.push(match column.ends[..] {
            [(address, port)] if port != 25 => SocketAddr::from((address, port)).to_string(),
            _ => ranges(column.ends.iter().map(|(address, _)| *address)),
        });
    }
    table.heads.extend(["failed", "95 %"].map(str::to_owned));
    table.heads.extend(controlled.then(|| "control".to_owned()));
    for (row, cells) in grid.rows.iter().zip(&grid.cells) {
        let neutral = if row.neutral { " (neutral)" } else { "" };
        let mut line = vec![Cell::plain(format!("{}{neutral}", ranges(row.sources.iter().copied())))];
        line.extend(cells.iter().map(drawn));
        line.extend([Cell::counted(row.total.failed, row.total.tried), Cell::plain(row.total.interval())]);
        if controlled {
            let passed = row.control.failed == 0 && row.control.tried > 0;
            line.push(Cell::plain(if passed { "ok".into() } else { row.control.symbol() }));
        }
        table.rows.push(line);
    }
    let mut foot = vec![Cell::plain("failed".to_owned())];
    foot.extend(grid.columns.iter().map(|c| Cell::counted(c.total.failed, c.total.tried)));
    let total = grid.total();
    foot.push(Cell::counted(total.failed, total.tried));
    foot.resize_with(table.heads.len(), || Cell::plain(String::new()));
    let mut blocks = table.blocks("sources");
    if let Some(Block::Table(table)) = blocks.first_mut() {
        table.rows.push(foot);
    }
    let legend: Vec<String> =
        grid.legend().into_iter().map(|(symbol, meaning)| format!("{symbol} {meaning}")).collect();
    blocks.push(Block::Text(ink.text(&legend.join(", "))));
    blocks
}

fn drawn(cell: &grid::Cell) -> Cell {
    let tone = match (cell.failed, cell.tried) {
        (_, 0) => "",
        (0, _) => "good",
        _ => "bad",
    };
    Cell { text: cell.symbol(), tone }
}

/// A source, an address and its port; 0 where that is not on record.
type Pair = (Option<IpAddr>, Option<IpAddr>, u16);

/// What is counted by source and address; where the sessions are no longer on record, by the hours
/// that are.
pub(super) fn attempts(recording: &Recording, past: Option<&Past>, ink: &Ink) -> Vec<Block> {
    let mut cells: BTreeMap<Pair, (Count, BTreeSet<String>)> = BTreeMap::new();
    for session in recording.sessions.iter().filter(|s| s.role != Role::Control && s.address.is_some()) {
        let cell = cells.entry((session.source, session.address, session.port)).or_default();
        cell.0.add(session);
        cell.1.extend(session.backend.clone());
    }
    let forgotten = past.filter(|past| cells.is_empty() && !past.hours.is_empty());
    for hour in forgotten.iter().flat_map(|past| &past.hours).filter(|hour| hour.kind.is_trial()) {
        let cell = cells.entry((hour.source, hour.address, 0)).or_default();
        cell.0.tried += hour.sessions;
        cell.0.failed += if hour.failed { hour.sessions } else { 0 };
    }
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_by_key(|(_, (count, _))| count.rank());
    let (bad, good): (Vec<_>, Vec<_>) = cells.into_iter().partition(|(_, (count, _))| count.failed > 0);
    let mut table = Table::new(["from", "to", "calls itself", "failed", "95 %"]);
    for ((source, address, port), (count, backends)) in bad {
        let backends: Vec<String> = backends.into_iter().collect();
        let to = address.map_or_else(String::new, |address| match port {
            0 => address.to_string(),
            port => SocketAddr::from((address, port)).to_string(),
        });
        let from = source.map_or_else(String::new, |source| source.to_string());
        table.row([from, to, ink.text(&backends.join(", ")), String::new(), count.interval()]);
        if let Some(cell) = table.rows.last_mut().and_then(|row| row.get_mut(3)) {
            *cell = Cell::counted(count.failed, count.tried);
        }
    }
    let mut blocks = table.blocks("pairs with failures");
    let passed: u64 = good.iter().map(|(_, (count, _))| count.tried).sum();
    let pairs = good.iter().filter(|(_, (count, _))| count.tried > 0).count();
    if passed > 0 {
        let (pairs, rate) = (if pairs == 1 { "1 pair" } else { &*format!("{pairs} pairs") }, could_have_missed(passed));
        blocks.push(Block::Text(format!(
            "{pairs} of source and address without a failure, in {}: one that hits fewer than {:.1} % of sessions \
             could have been missed (95 %)",
            sessions(passed),
            rate * 100.0
        )));
    }
    if past.is_some() && recording.sessions.is_empty() {
        let left = if forgotten.is_some() { "; these are counts by the hour, without ports and words" } else { "" };
        blocks.insert(0, Block::Text(format!("Its sessions are not on record, or no longer{left}.")));
    }
    let tally = recording.tally();
    if tally.sessions() > 0 {
        blocks.push(Block::Text(format!(
            "{}: {} completed, {} failed, {} not tried for a reason of ours, {} skipped",
            sessions(tally.sessions()),
            tally.completed,
            tally.failed,
            tally.local,
            tally.skipped
        )));
    }
    if let Some(left_out) = past.map(|past| past.left_out).filter(|&left_out| left_out > 0) {
        blocks.push(Block::Text(format!("{left_out} later sessions are counted in what was found and not told here")));
    }
    let counted: u64 = recording.passed.iter().map(|passed| passed.count).sum();
    if counted > 0 {
        blocks.push(Block::Text(format!("besides, {counted} deliveries went through in the same time (from logs)")));
    }
    blocks
}
