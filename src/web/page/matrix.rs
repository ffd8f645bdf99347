//! The matrix of now as a table: sources down, those that fail first; addresses across, by exchanger.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::ask::Ask;
use super::shown;
use super::times::Moment;
use crate::record::{Diagnosis, Role, Session};
use crate::sink::faults::what;
use crate::sink::grid::{Cell, Grid, Mark, suffixes};
use crate::sink::recording::Recording;
use crate::status::failed;

/// In a matrix with more cells only those that are not well can be reached by the tab key.
const ROOMY: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Matrix {
    /// What the heads of the columns leave out: `198.51.100.x`; empty where they are whole.
    pub(super) corner: String,
    /// Neighbouring columns of one exchanger.
    pub(super) groups: Vec<(String, usize)>,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// How many rows, of all, have no failure; they come last.
    pub(super) clean: usize,
    pub(super) total: String,
    pub(super) legend: Vec<(String, &'static str, String)>,
    pub(super) controlled: bool,
    /// When the first and the last of the sessions began.
    pub(super) times: Option<(Moment, Moment)>,
    pub(super) large: bool,
    /// Whether the heads of the columns stand upright.
    pub(super) upright: bool,
    /// Exchangers that have no address, and how that came.
    pub(super) nowhere: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) short: String,
    pub(super) whole: String,
    pub(super) count: String,
    /// How most of it went.
    pub(super) tone: &'static str,
    /// How the worst of it went.
    pub(super) failures: &'static str,
    pub(super) href: String,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) neutral: bool,
    pub(super) href: Option<String>,
    pub(super) count: String,
    pub(super) interval: String,
    pub(super) tone: &'static str,
    pub(super) cells: Vec<Drawn>,
    pub(super) control: String,
}

/// A cell as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) symbol: String,
    pub(super) tone: &'static str,
    /// What the symbol stands for, with the reply's code.
    pub(super) words: String,
    pub(super) href: Option<String>,
    /// Whether the tab key passes it by.
    pub(super) aside: bool,
}

type Place = (bool, Option<IpAddr>, IpAddr, u16);

impl Matrix {
    /// None where no session is among them that has an address.
    pub(super) fn of(
        sessions: &[Arc<Session>],
        diagnoses: &[Diagnosis],
        domain: Option<&str>,
        ask: &Ask,
    ) -> Option<Self> {
        let mut recording = Recording::default();
        let wanted = sessions.iter().filter(|session| is_wanted(session, ask));
        recording.sessions = wanted.map(|session| Session::clone(session)).collect();
        recording.diagnoses = diagnoses.to_vec();
        let grid = Grid::of(&recording, domain);
        let mut last: BTreeMap<Place, &Session> = BTreeMap::new();
        for session in recording.at(domain) {
            let Some(address) = session.address else { continue };
            let place = (session.role == Role::Neutral, session.source, address, session.port);
            let known = last.entry(place).or_insert(session);
            // Of several attempts one that failed is shown.
            if (failed(session), session.at) > (failed(known), known.at) {
                *known = session;
            }
        }
        let large = grid.rows.len() * grid.columns.len() > ROOMY;
        let mut rows: Vec<(u64, Row)> = grid
            .rows
            .iter()
            .zip(&grid.cells)
            .map(|(row, cells)| {
                let source = row.sources.first().copied();
                let drawn = cells.iter().zip(&grid.columns).map(|(cell, column)| {
                    let end = column.ends.first();
                    let session = end.and_then(|&(ip, port)| last.get(&(row.neutral, source, ip, port)));
                    drawn(cell, session.copied(), large)
                });
                let href = source.map(|source| Ask { source: Some(source), ..ask.clone() }.to_string());
                let name = source.map_or_else(|| "unknown source".to_owned(), |ip| ip.to_string());
                let control = control(&row.control);
                let total = &row.total;
                let (count, interval, tone) = (count(total), total.interval(), mostly(total));
                let row =
                    Row { name, neutral: row.neutral, href, count, interval, tone, cells: drawn.collect(), control };
                (well(total), row)
            })
            .collect();
        rows.sort_by_key(|(well, _)| *well);
        let clean = rows.iter().filter(|(well, _)| *well >= WHOLLY).count();
        let (corner, heads) = heads(&grid);
        let columns = grid.columns.iter().zip(heads).map(|(column, short)| {
            let (address, port) = column.ends.first().copied().unwrap_or((IpAddr::from([0, 0, 0, 0]), 0));
            Column {
                short,
                whole: whole(address, port),
                failures: tone(&column.total),
                count: count(&column.total),
                tone: mostly(&column.total),
                href: Ask { address: Some(address), ..ask.clone() }.to_string(),
            }
        });
        let groups = grid.columns.iter().map(|column| {
            let names: Vec<&str> = column.names.iter().map(String::as_str).collect();
            shown(names.join(", "))
        });
        let mut grouped: Vec<(String, usize)> = Vec::new();
        for name in groups {
            match grouped.last_mut().filter(|(last, _)| *last == name) {
                Some((_, span)) => *span += 1,
                None => grouped.push((name, 1)),
            }
        }
        let upright = grid.columns.len() > 4 && corner.is_empty();
        let times = recording.at(domain).map(|session| session.at);
        let times = times.clone().min().zip(times.max()).map(|(from, to)| (Moment::of(from), Moment::of(to)));
        let nowhere = recording.at(domain).filter(|session| session.address.is_none());
        let nowhere = nowhere.map(|session| {
            let name = session.mx.as_deref().or(session.domain.as_deref()).unwrap_or("a host");
            format!("{}: {}", shown(name), shown(session.detail.as_deref().unwrap_or(&what(session))))
        });
        let nowhere: Vec<String> = nowhere.collect();
        let matrix = Self {
            corner,
            groups: grouped,
            columns: columns.collect(),
            controlled: rows.iter().any(|(_, row)| !row.control.is_empty()),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            clean,
            total: count(&grid.total()),
            legend: grid.legend().into_iter().map(|(symbol, meaning)| key(&symbol, meaning)).collect(),
            times,
            large,
            upright,
            nowhere,
        };
        (!matrix.rows.is_empty() || !matrix.nowhere.is_empty()).then_some(matrix)
    }

    /// How many rows have a failure.
    pub(super) fn rows_failing(&self) -> usize {
        self.rows.len() - self.clean
    }
}

/// Controls are wanted with their sources; of failures those at the stage asked for.
fn is_wanted(session: &Session, ask: &Ask) -> bool {
    ask.source.is_none_or(|source| session.source == Some(source))
        && (session.role == Role::Control || ask.address.is_none_or(|address| session.address == Some(address)))
        && (!failed(session) || ask.stage.is_none_or(|stage| session.stage == Some(stage)))
}

fn drawn(cell: &Cell, session: Option<&Session>, large: bool) -> Drawn {
    let tone = tone(cell);
    let words = match (cell.mark().map(Mark::meaning), session) {
        (Some(meaning), Some(session)) if cell.tried > 1 => {
            format!("{}: {meaning}, {} of {}", what(session), cell.failed, cell.tried)
        }
        (Some(_), Some(session)) => what(session),
        (Some(meaning), None) => meaning,
        (None, Some(session)) if cell.tried > 0 && cell.expected > 0 => format!("{}, as expected", what(session)),
        (None, _) if cell.tried > 0 => "passed".to_owned(),
        (None, Some(session)) => session.detail.clone().unwrap_or_else(|| what(session)),
        (None, None) => "not tried".to_owned(),
    };
    Drawn {
        symbol: symbol(&cell.symbol()),
        tone,
        words: shown(words),
        href: session.map(|session| format!("/session/{}/{}", session.run, session.seq)),
        aside: large && matches!(tone, "good" | "none"),
    }
}

/// A dot is hard to see in a table with lines.
fn symbol(symbol: &str) -> String {
    if symbol == "." { "\u{b7}".to_owned() } else { symbol.to_owned() }
}

fn key(drawn: &str, meaning: String) -> (String, &'static str, String) {
    let tone = match drawn.chars().next() {
        Some('.' | '=') => "good",
        Some('D') => "warn",
        Some('-' | 's' | '+' | '0'..='9') => "none",
        _ => "bad",
    };
    (symbol(drawn), tone, meaning)
}

/// Deferred is no refusal for good.
fn tone(cell: &Cell) -> &'static str {
    match (cell.mark(), cell.tried) {
        (Some(mark), _) if mark.symbol().starts_with('D') => "warn",
        (Some(_), _) => "bad",
        (None, 0) => "none",
        (None, _) => "good",
    }
}

/// A tone for a row or column: that of its failures where most of it failed.
fn mostly(cell: &Cell) -> &'static str {
    match tone(cell) {
        "bad" | "warn" if cell.failed * 2 <= cell.tried => "part",
        tone => tone,
    }
}

/// No failure at all.
const WHOLLY: u64 = 1000;

/// How much of it passed, in thousandths.
fn well(cell: &Cell) -> u64 {
    if cell.failed == 0 { WHOLLY } else { ((cell.tried - cell.failed) * WHOLLY / cell.tried).min(WHOLLY - 1) }
}

fn count(cell: &Cell) -> String {
    if cell.tried == 0 { "-".to_owned() } else { format!("{}/{}", cell.failed, cell.tried) }
}

fn control(cell: &Cell) -> String {
    match (cell.failed, cell.tried) {
        (_, 0) => symbol(&cell.symbol()),
        (0, _) => "ok".to_owned(),
        _ => format!("failed {}", cell.symbol()),
    }
}

fn heads(grid: &Grid) -> (String, Vec<String>) {
    let ends: Vec<(IpAddr, u16)> = grid.columns.iter().filter_map(|column| column.ends.first().copied()).collect();
    if ends.len() > 1
        && let Some(found) = suffixes(&ends)
    {
        return found;
    }
    (String::new(), ends.into_iter().map(|(address, port)| whole(address, port)).collect())
}

fn whole(address: IpAddr, port: u16) -> String {
    if port == 25 { address.to_string() } else { std::net::SocketAddr::from((address, port)).to_string() }
}
