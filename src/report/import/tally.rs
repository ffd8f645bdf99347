//! Deliveries that went through, counted by source, address and hour.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::record::Passed;

/// The counts so far. It grows with hosts and hours, not with deliveries.
#[derive(Debug, Default)]
pub(super) struct Tally {
    cells: HashMap<(i64, Option<IpAddr>, IpAddr), Cell>,
}

#[derive(Debug)]
struct Cell {
    count: u64,
    from: Timestamp,
    to: Timestamp,
    mx: Name,
    domain: Name,
}

/// A name that all deliveries of a cell share.
#[derive(Debug)]
enum Name {
    Unknown,
    One(String),
    Several,
}

impl Name {
    fn new(name: Option<&str>) -> Self {
        name.map_or(Self::Unknown, |name| Self::One(name.to_owned()))
    }

    fn meet(&mut self, name: Option<&str>) {
        match (&*self, name) {
            (Self::Unknown, Some(name)) => *self = Self::One(name.to_owned()),
            (Self::One(one), Some(name)) if !one.eq_ignore_ascii_case(name) => *self = Self::Several,
            _ => {}
        }
    }

    fn one(self) -> Option<String> {
        if let Self::One(name) = self { Some(name) } else { None }
    }
}

impl Tally {
    /// Counts one delivery.
    pub(super) fn one(
        &mut self,
        source: Option<IpAddr>,
        address: IpAddr,
        at: Timestamp,
        mx: Option<&str>,
        domain: Option<&str>,
    ) {
        let key = (at.as_second().div_euclid(3600), source, address);
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.count += 1;
            cell.from = cell.from.min(at);
            cell.to = cell.to.max(at);
            cell.mx.meet(mx);
            cell.domain.meet(domain);
        } else {
            self.cells.insert(key, Cell { count: 1, from: at, to: at, mx: Name::new(mx), domain: Name::new(domain) });
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.cells.values().map(|cell| cell.count).sum()
    }

    pub(super) fn add(&mut self, other: Self) {
        for (key, theirs) in other.cells {
            let Some(ours) = self.cells.get_mut(&key) else {
                self.cells.insert(key, theirs);
                continue;
            };
            ours.count += theirs.count;
            ours.from = ours.from.min(theirs.from);
            ours.to = ours.to.max(theirs.to);
            for (ours, theirs) in [(&mut ours.mx, theirs.mx), (&mut ours.domain, theirs.domain)] {
                match theirs {
                    Name::Several => *ours = Name::Several,
                    Name::One(name) => ours.meet(Some(&name)),
                    Name::Unknown => {}
                }
            }
        }
    }

    /// The `passed` lines, by hour, source and address.
    pub(super) fn lines(self) -> impl Iterator<Item = Passed> {
        let mut cells: Vec<_> = self.cells.into_iter().collect();
        cells.sort_by_key(|(key, _)| *key);
        cells.into_iter().map(|((_, source, address), cell)| Passed {
            run: String::new(),
            source,
            address: Some(address),
            domain: cell.domain.one(),
            mx: cell.mx.one(),
            from_time: cell.from,
            to_time: cell.to,
            count: cell.count,
        })
    }
}
