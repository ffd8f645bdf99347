//! The matrix: sources by addresses, what happened in each cell, and how it is spelled in two
//! letters.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::recording::{Recording, ranges};
use crate::judge::statistics::{could_have_missed, wilson};
use crate::record::{DiagnosisKind, Kind, Role, Session};
use crate::smtp::reply::Class;
use crate::stage::Stage;
use crate::status::failed;

/// One target's matrix.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) rows: Vec<Row>,
    pub(crate) columns: Vec<Column>,
    /// By row, then column.
    pub(crate) cells: Vec<Vec<Cell>>,
}

/// A source, or several whose cells are all alike.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Empty where imported evidence does not name any.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) neutral: bool,
    /// What the source's sessions at controls came to.
    pub(crate) control: Cell,
    /// All cells of the row as one.
    pub(crate) total: Cell,
    /// The ranks of the diagnoses that name the source.
    pub(crate) ranks: BTreeSet<u32>,
}

/// An address, or several whose cells are all alike.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) ends: Vec<(IpAddr, u16)>,
    /// The exchangers that have these addresses.
    pub(crate) names: BTreeSet<String>,
    /// All cells of the column as one.
    pub(crate) total: Cell,
    pub(crate) ranks: BTreeSet<u32>,
}

/// What the sessions of a cell came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cell {
    /// Sessions that say something about the other side.
    pub(crate) tried: u64,
    pub(crate) failed: u64,
    /// Sessions that ended in a rejection that was wanted.
    pub(crate) expected: u64,
    pub(crate) local: u64,
    pub(crate) skipped: u64,
    /// How the failures look, each with its count.
    pub(crate) marks: BTreeMap<Mark, u64>,
}

/// A failure in two letters: what happened, and where.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Mark {
    kind: Kind,
    transient: bool,
    stage: Option<Stage>,
}

impl Grid {
    /// The matrix of a domain's sessions and counted deliveries.
    pub(crate) fn of(recording: &Recording, domain: Option<&str>) -> Self {
        let mut rows: BTreeMap<(bool, Option<IpAddr>), Row> = BTreeMap::new();
        let mut columns: BTreeMap<(Option<u16>, IpAddr, u16), BTreeSet<String>> = BTreeMap::new();
        let mut preference: BTreeMap<(IpAddr, u16), Option<u16>> = BTreeMap::new();
        let mut cells: BTreeMap<(bool, Option<IpAddr>, IpAddr, u16), Cell> = BTreeMap::new();
        for session in recording.at(domain) {
            let Some(address) = session.address else { continue };
            let neutral = session.role == Role::Neutral;
            let end = (address, session.port);
            // An address that serves two exchangers is one column, under the first of them.
            let preference = *preference.entry(end).or_insert(session.preference);
            columns.entry((preference, address, session.port)).or_default().extend(session.mx.clone());
            rows.entry((neutral, session.source)).or_insert_with(|| Row::new(session.source, neutral));
            cells.entry((neutral, session.source, address, session.port)).or_default().add(session);
        }
        for passed in recording.passed.iter().filter(|p| p.domain.as_deref() == domain) {
            let Some(address) = passed.address else { continue };
            let preference = *preference.entry((address, 25)).or_insert(None);
            columns.entry((preference, address, 25)).or_default().extend(passed.mx.clone());
            rows.entry((false, passed.source)).or_insert_with(|| Row::new(passed.source, false));
            cells.entry((false, passed.source, address, 25)).or_default().tried += passed.count;
        }
        for session in recording.sessions.iter().filter(|s| s.role == Role::Control) {
            let of_source = rows.iter_mut().filter(|((_, source), _)| *source == session.source);
            of_source.for_each(|(_, row)| row.control.add(session));
        }
        let ranks = |names: &dyn Fn(&crate::record::Diagnosis) -> bool| {
            let said = recording.diagnoses.iter().filter(|d| d.kind != DiagnosisKind::Undecided && names(d));
            said.map(|d| d.rank).collect::<BTreeSet<_>>()
        };
        for ((_, source), row) in &mut rows {
            row.ranks = ranks(&|d| source.is_some_and(|s| d.sources.contains(&s)));
        }
        let cells: Vec<Vec<Cell>> = rows
            .keys()
            .map(|&(neutral, source)| {
                let cell = |&(_, address, port): &(_, _, _)| {
                    cells.get(&(neutral, source, address, port)).cloned().unwrap_or_default()
                };
                columns.keys().map(cell).collect()
            })
            .collect();
        rows.values_mut().zip(&cells).for_each(|(row, cells)| row.total = total(cells));
        let column = |(index, ((_, address, port), names)): (usize, ((_, IpAddr, u16), _))| Column {
            ends: vec![(address, port)],
            names,
            total: total(cells.iter().map(|row| &row[index])),
            ranks: ranks(&|d| d.addresses.contains(&address)),
        };
        let columns = columns.into_iter().enumerate().map(column).collect();
        Self { rows: rows.into_values().collect(), columns, cells }
    }

    /// The same matrix with rows that are alike drawn as one, then columns likewise. The cells are
    /// those of each group's first, the totals are of all.
    pub(crate) fn collapsed(&self) -> Self {
        let row_groups = alike(self.rows.len(), |r| {
            let row = &self.rows[r];
            let cells: Vec<String> = self.cells[r].iter().map(Cell::symbol).collect();
            (cells, row.neutral, row.control.symbol(), row.ranks.clone(), row.sources.is_empty())
        });
        let column_groups = alike(self.columns.len(), |c| {
            let column = &self.columns[c];
            let cells: Vec<String> = self.cells.iter().map(|row| row[c].symbol()).collect();
            (cells, column.names.clone(), column.ranks.clone())
        });
        let row = |group: &Vec<usize>| {
            let mut row = self.rows[group[0]].clone();
            for other in group[1..].iter().map(|&other| &self.rows[other]) {
                row.sources.extend(&other.sources);
                row.control.merge(&other.control);
                row.total.merge(&other.total);
            }
            row
        };
        let column = |group: &Vec<usize>| {
            let mut column = self.columns[group[0]].clone();
            for other in group[1..].iter().map(|&other| &self.columns[other]) {
                column.ends.extend(&other.ends);
                column.total.merge(&other.total);
            }
            column
        };
        let cells = |row: &Vec<usize>| column_groups.iter().map(|c| self.cells[row[0]][c[0]].clone()).collect();
        Self {
            rows: row_groups.iter().map(row).collect(),
            columns: column_groups.iter().map(column).collect(),
            cells: row_groups.iter().map(cells).collect(),
        }
    }

    /// All cells as one.
    pub(crate) fn total(&self) -> Cell {
        total(self.rows.iter().map(|row| &row.total))
    }

    /// Every symbol drawn and what it means, the harmless first.
    pub(crate) fn legend(&self) -> Vec<(String, String)> {
        let cells = || self.cells.iter().flatten();
        let drawn = |symbol: &str| cells().any(|cell| cell.symbol() == symbol);
        let plain = [(".", "passed"), ("=", "rejected as expected"), ("-", "our own fault"), ("s", "skipped")];
        let mut legend: Vec<_> = plain
            .into_iter()
            .filter(|(symbol, _)| drawn(symbol))
            .map(|(symbol, meaning)| (symbol.to_owned(), meaning.to_owned()))
            .collect();
        let marks: BTreeSet<Mark> = cells().filter_map(Cell::mark).collect();
        legend.extend(marks.into_iter().map(|mark| (mark.symbol(), mark.meaning())));
        if cells().any(|cell| cell.marks.len() > 1) {
            legend.push(("+".to_owned(), "and failures of another kind".to_owned()));
        }
        if cells().any(|cell| cell.symbol().contains('/')) {
            legend.push(("2/3".to_owned(), "2 of 3 sessions failed".to_owned()));
        }
        legend
    }
}

impl Row {
    fn new(source: Option<IpAddr>, neutral: bool) -> Self {
        let (control, total) = (Cell::default(), Cell::default());
        Self { sources: source.into_iter().collect(), neutral, control, total, ranks: BTreeSet::new() }
    }
}

impl Cell {
    fn add(&mut self, session: &Session) {
        match session.kind {
            Kind::Local => self.local += 1,
            Kind::Skipped => self.skipped += 1,
            _ => {
                self.tried += 1;
                if failed(session) {
                    self.failed += 1;
                    *self.marks.entry(Mark::of(session)).or_default() += 1;
                } else if session.kind != Kind::Completed {
                    self.expected += 1;
                }
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.tried += other.tried;
        self.failed += other.failed;
        self.expected += other.expected;
        self.local += other.local;
        self.skipped += other.skipped;
        other.marks.iter().for_each(|(mark, count)| *self.marks.entry(*mark).or_default() += count);
    }

    /// The most frequent failure; of equals, the worse.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.marks.iter().max_by_key(|(mark, count)| (**count, std::cmp::Reverse(**mark))).map(|(mark, _)| *mark)
    }

    /// What the failures say of the rate behind them, at 95 %: Wilson's interval, or where there
    /// are none, the bound up to which a fault could have been missed. Empty without sessions.
    pub(crate) fn interval(&self) -> String {
        let percent = |rate: f64| match rate * 100.0 {
            percent if percent < 9.95 => format!("{percent:.1}"),
            percent => format!("{percent:.0}"),
        };
        match (self.failed, self.tried) {
            (_, 0) => String::new(),
            (0, tried) => format!("<{}%", percent(could_have_missed(tried))),
            (failed, tried) => {
                let (low, high) = wilson(failed.min(tried), tried);
                format!("{}-{}%", percent(low), percent(high))
            }
        }
    }

    /// What is drawn: `.`, `Dm`, `Dm 2/3`, `Dm+ 2/3`; nothing where nothing was planned.
    pub(crate) fn symbol(&self) -> String {
        match self.mark() {
            None if self.tried > 0 && self.expected > 0 => "=".to_owned(),
            None if self.tried > 0 => ".".to_owned(),
            None if self.local > 0 => "-".to_owned(),
            None if self.skipped > 0 => "s".to_owned(),
            None => String::new(),
            Some(mark) => {
                let more = if self.marks.len() > 1 { "+" } else { "" };
                let count = if self.tried > 1 { format!(" {}/{}", self.failed, self.tried) } else { String::new() };
                format!("{}{more}{count}", mark.symbol())
            }
        }
    }
}

impl Mark {
    pub(crate) fn of(session: &Session) -> Self {
        let transient = session.class.or_else(|| session.code.map(crate::smtp::reply::Code::class));
        Self { kind: session.kind, transient: transient == Some(Class::Transient), stage: session.stage }
    }

    /// Two letters, or one where the ending says the stage.
    pub(crate) fn symbol(self) -> String {
        let what = match self.kind {
            Kind::Rejected if self.transient => 'D',
            Kind::Rejected => 'R',
            Kind::Dropped => 'X',
            Kind::TimedOut => 'T',
            Kind::Malformed => 'M',
            Kind::Refused => return "x".to_owned(),
            Kind::Unreachable => return "u".to_owned(),
            Kind::TlsFailed => return "t".to_owned(),
            Kind::DnsFailed => return "n".to_owned(),
            Kind::Completed | Kind::Local | Kind::Skipped => return "?".to_owned(),
        };
        self.stage.map_or_else(|| what.to_string(), |stage| format!("{what}{}", letter(stage)))
    }

    /// What the symbol means.
    pub(crate) fn meaning(self) -> String {
        let what = match self.kind {
            Kind::Rejected if self.transient => "4xx",
            Kind::Rejected => "5xx",
            Kind::Dropped => "dropped without a reply",
            Kind::TimedOut => "timed out",
            Kind::Malformed => "no SMTP",
            Kind::Refused => return "connection refused".to_owned(),
            Kind::Unreachable => return "unreachable".to_owned(),
            Kind::TlsFailed => return "TLS handshake failed".to_owned(),
            Kind::DnsFailed => return "name did not resolve".to_owned(),
            Kind::Completed | Kind::Local | Kind::Skipped => return "unknown".to_owned(),
        };
        self.stage.map_or_else(|| what.to_owned(), |stage| format!("{what} at {stage}"))
    }
}

/// One letter per stage.
const fn letter(stage: Stage) -> char {
    match stage {
        Stage::Resolve => 'n',
        Stage::Connect => 'c',
        Stage::Banner => 'b',
        Stage::Ehlo => 'e',
        Stage::StartTls => 's',
        Stage::Tls => 't',
        Stage::EhloTls => 'E',
        Stage::Auth => 'a',
        Stage::Mail => 'm',
        Stage::Rcpt => 'r',
        Stage::Data => 'd',
        Stage::EndOfData => 'f',
        Stage::Quit => 'q',
    }
}

fn total<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Cell {
    cells.into_iter().fold(Cell::default(), |mut sum, cell| {
        sum.merge(cell);
        sum
    })
}

/// Indices with the same key, grouped, in the order of each group's first.
fn alike<K: Ord>(count: usize, key: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    for index in 0..count {
        let place = *places.entry(key(index)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// `198.51.100.x` and `.21 .22 …` where all addresses are of one /24 and one port.
pub(crate) fn suffixes(ends: &[(IpAddr, u16)]) -> Option<(String, Vec<String>)> {
    let mut octets = Vec::new();
    for &(address, port) in ends {
        let IpAddr::V4(address) = address else { return None };
        octets.push((address.octets(), port));
    }
    let &([a, b, c, _], port) = octets.first()?;
    let same = octets.iter().all(|(o, p)| o[..3] == [a, b, c] && *p == port);
    let port = if port == 25 { String::new() } else { format!(":{port}") };
    same.then(|| (format!("{a}.{b}.{c}.x{port}"), octets.iter().map(|(o, _)| format!(".{}", o[3])).collect()))
}

/// Addresses, with their port where it is not 25.
pub(crate) fn shown(ends: &[(IpAddr, u16)]) -> String {
    if ends.iter().all(|(_, port)| *port == 25) {
        return ranges(ends.iter().map(|(address, _)| *address));
    }
    let ends: Vec<_> = ends.iter().map(|&end| SocketAddr::from(end).to_string()).collect();
    ends.join(", ")
}
