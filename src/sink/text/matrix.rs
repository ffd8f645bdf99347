//! The matrix as a table: sources down, addresses across.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use anstyle::Style;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, Piece, WARN, piece};
use crate::sink::grid::{Cell, Column, Grid, Row, shown, suffixes};
use crate::sink::recording::{Recording, ranges};
use crate::status::failed;

/// More cells than this, and rows and columns that are alike are drawn as one.
const ROOMY: usize = 64;

/// A row's name is no wider.
const NAME: usize = 26;

/// A target's matrix, its legend and what its shorter names stand for.
pub(super) fn matrix<W: io::Write>(paper: &mut Paper<W>, domain: Option<&str>, grid: &Grid) -> io::Result<()> {
    let collapsed;
    let drawn = if grid.rows.len() * grid.columns.len() > ROOMY {
        collapsed = grid.collapsed();
        &collapsed
    } else {
        grid
    };
    let names = row_names(&drawn.rows);
    let (corner, heads, key) = column_names(&drawn.columns, paper.width());
    let corner = if corner.is_empty() { domain.unwrap_or_default().chars().take(NAME).collect() } else { corner };
    paper.blank()?;
    paper.table(&table(grid, drawn, &names, corner, heads), 2 + usize::from(controlled(drawn)))?;
    paper.blank()?;
    let legend = drawn
        .legend()
        .into_iter()
        .map(|(symbol, meaning)| vec![piece(BOLD, symbol), piece(PLAIN, " "), piece(DIM, meaning)]);
    let ranked =
        drawn.rows.iter().map(|r| &r.ranks).chain(drawn.columns.iter().map(|c| &c.ranks)).any(|r| !r.is_empty());
    let pointer = vec![piece(BOLD, "[1]"), piece(PLAIN, " "), piece(DIM, "see diagnosis 1")];
    let rate = vec![piece(BOLD, "95 %"), piece(DIM, " interval of the failure rate")];
    paper.items(piece(PLAIN, ""), legend.chain(ranked.then_some(pointer)).chain([rate]))?;
    for (name, text) in key.into_iter().chain(row_key(&drawn.rows, &names)) {
        paper.flow(piece(BOLD, format!("{name:4}")), DIM, &text)?;
    }
    Ok(())
}

/// The backends of addresses that show several, each with its failures.
pub(super) fn backends<W: io::Write>(
    paper: &mut Paper<W>,
    recording: &Recording,
    domain: Option<&str>,
) -> io::Result<()> {
    let mut found: BTreeMap<IpAddr, BTreeMap<&str, Cell>> = BTreeMap::new();
    for session in recording.at(domain) {
        if let (Some(address), Some(backend)) = (session.address, &session.backend) {
            let cell = found.entry(address).or_default().entry(backend).or_default();
            cell.tried += 1;
            cell.failed += u64::from(failed(session));
        }
    }
    found.retain(|_, backends| backends.len() > 1);
    if found.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["address", "failed", "95 %", "backend"].map(|name| piece(DIM, name)).to_vec()];
    for (address, backends) in found {
        for (backend, cell) in backends {
            let [failed, rate] = totals(&cell);
            rows.push(vec![piece(PLAIN, address.to_string()), failed, rate, piece(PLAIN, backend)]);
        }
    }
    paper.blank()?;
    paper.table(&rows, 0)
}

fn table(grid: &Grid, drawn: &Grid, names: &[String], corner: String, heads: Vec<String>) -> Vec<Vec<Piece>> {
    let controlled = controlled(drawn);
    let mut head = vec![piece(DIM, corner)];
    head.extend(heads.into_iter().map(|head| piece(DIM, head)));
    head.extend(["failed", "95 %"].map(|name| piece(DIM, name)));
    if controlled {
        head.push(piece(DIM, "control"));
    }
    let mut rows = vec![head];
    for ((row, cells), name) in drawn.rows.iter().zip(&drawn.cells).zip(names) {
        let mut line = vec![piece(if row.ranks.is_empty() { PLAIN } else { BOLD }, name)];
        line.extend(cells.iter().map(|cell| piece(style(cell), cell.symbol())));
        line.extend(totals(&row.total));
        if controlled {
            line.push(control(&row.control));
        }
        rows.push(line);
    }
    let mut foot = vec![piece(DIM, "failed")];
    foot.extend(drawn.columns.iter().map(|column| count(&column.total)));
    foot.push(count(&grid.total()));
    rows.push(foot);
    if drawn.columns.iter().any(|column| !column.ranks.is_empty()) {
        let mut pointers = vec![piece(DIM, "diagnosis")];
        pointers.extend(drawn.columns.iter().map(|column| piece(BOLD, mark(&column.ranks))));
        rows.push(pointers);
    }
    rows
}

/// Whether there were controls.
fn controlled(grid: &Grid) -> bool {
    grid.rows.iter().any(|row| !row.control.symbol().is_empty())
}

/// What is said of a whole row: failures of trials, and what they say of the rate.
fn totals(cell: &Cell) -> [Piece; 2] {
    [count(cell), piece(DIM, cell.interval())]
}

fn count(cell: &Cell) -> Piece {
    match (cell.failed, cell.tried) {
        (_, 0) => piece(DIM, "-"),
        (0, tried) => piece(DIM, format!("0/{tried}")),
        (failed, tried) => piece(BAD, format!("{failed}/{tried}")),
    }
}

fn control(cell: &Cell) -> Piece {
    let symbol = cell.symbol();
    match (cell.failed, cell.tried) {
        (0, 0) => piece(DIM, symbol),
        (0, _) => piece(GOOD, "ok"),
        _ => piece(BAD, format!("failed {symbol}")),
    }
}

/// The diagnoses that name a row or column: `[1]`.
fn mark(ranks: &BTreeSet<u32>) -> String {
    let ranks: Vec<_> = ranks.iter().map(ToString::to_string).collect();
    if ranks.is_empty() { String::new() } else { format!("[{}]", ranks.join(",")) }
}

fn style(cell: &Cell) -> Style {
    match (cell.mark(), cell.tried) {
        (Some(mark), _) if mark.symbol().starts_with('D') => WARN,
        (Some(_), _) => BAD,
        (None, 0) => DIM,
        (None, _) => GOOD,
    }
}

/// A name for each row that is short enough for the table.
fn row_names(rows: &[Row]) -> Vec<String> {
    let mut listed = 0;
    let name = |row: &Row| {
        let neutral = if row.neutral { " neutral" } else { "" };
        let neutral = format!("{neutral} {}", mark(&row.ranks));
        let neutral = neutral.trim_end();
        let short = match &row.sources[..] {
            [] => return "unknown source".to_owned(),
            [source] => format!("{source}{neutral}"),
            several => format!("{} ({}){neutral}", ranges(several.iter().copied()), several.len()),
        };
        if row.sources.len() == 1 || short.len() <= NAME {
            return short;
        }
        listed += 1;
        format!("s{listed}: {} sources{neutral}", row.sources.len())
    };
    rows.iter().map(name).collect()
}

/// What rows stand for that list their sources elsewhere.
fn row_key(rows: &[Row], names: &[String]) -> Vec<(String, String)> {
    let listed = rows.iter().zip(names).filter(|(row, name)| row.sources.len() > 1 && name.contains(" sources"));
    let short = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    listed.map(|(row, name)| (short(name), ranges(row.sources.iter().copied()))).collect()
}

/// A corner, a head for each column, and what the heads stand for where they do not say it.
fn column_names(columns: &[Column], width: usize) -> (String, Vec<String>, Vec<(String, String)>) {
    let ends: Option<Vec<(IpAddr, u16)>> =
        columns.iter().map(|c| if let [end] = c.ends[..] { Some(end) } else { None }).collect();
    if let Some(ends) = &ends {
        let full: Vec<String> = ends.iter().map(|&end| shown(&[end])).collect();
        if full.iter().map(|name| name.len() + 2).sum::<usize>() + NAME + 20 <= width {
            return (String::new(), full, Vec::new());
        }
        if let Some((prefix, heads)) = suffixes(ends) {
            return (prefix, heads, Vec::new());
        }
    }
    let heads: Vec<String> = (1..=columns.len()).map(|n| n.to_string()).collect();
    let key = columns.iter().zip(&heads).map(|(column, head)| {
        let names: Vec<&str> = column.names.iter().map(String::as_str).collect();
        let many = if column.ends.len() > 1 { format!(" ({} addresses)", column.ends.len()) } else { String::new() };
        (head.clone(), format!("{}{many} {}", shown(&column.ends), names.join(", ")))
    });
    (String::new(), heads.clone(), key.collect())
}
