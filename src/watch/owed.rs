//! What is to go on record and is not there yet: nothing, as long as the history can be written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::log::Log;
use crate::history::archive::{Archive, NewNotice};
use crate::record::{Incident, Line};

#[cfg(test)]
mod tests;

/// How long a history that failed is left alone.
const AWAY: Duration = Duration::from_secs(30);

/// So many lines wait in memory; before there are more, the oldest are given up, and counted.
const MOST: usize = 10_000;

/// Something to put on record.
pub(super) enum Entry {
    Lines {
        run: String,
        probe: Arc<str>,
        lines: Vec<Line>,
    },
    Incident {
        probe: Arc<str>,
        /// The tracker's.
        key: u64,
        incident: Box<Incident>,
        notices: Vec<NewNotice>,
    },
}

pub(super) struct Owed {
    archive: Option<Box<dyn Archive>>,
    log: Log,
    entries: VecDeque<Entry>,
    lines: usize,
    dropped: usize,
    /// It failed, and is left alone until then.
    away: Option<Instant>,
    /// Under which number an incident is on record, by probe and key.
    numbers: BTreeMap<(Arc<str>, u64), u64>,
}

impl Owed {
    pub(super) fn new(archive: Option<Box<dyn Archive>>, log: Log) -> Self {
        let (entries, numbers) = (VecDeque::new(), BTreeMap::new());
        Self { archive, log, entries, lines: 0, dropped: 0, away: None, numbers }
    }

    pub(super) fn archive(&mut self) -> Option<&mut (dyn Archive + 'static)> {
        self.archive.as_deref_mut()
    }

    /// An incident that is on record.
    pub(super) fn is_known(&mut self, probe: &Arc<str>, key: u64, number: u64) {
        self.numbers.insert((Arc::clone(probe), key), number);
    }

    /// The number of an incident; 0 before it has one.
    pub(super) fn number(&self, probe: &Arc<str>, key: u64) -> u64 {
        self.numbers.get(&(Arc::clone(probe), key)).copied().unwrap_or(0)
    }

    pub(super) fn is_written(&self) -> bool {
        self.away.is_none()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.archive.is_none() {
            return;
        }
        match (entry, self.entries.back_mut()) {
            (Entry::Lines { run, lines, .. }, Some(Entry::Lines { run: last, lines: more, .. })) if run == *last => {
                self.lines += lines.len();
                more.extend(lines);
            }
            (entry, _) => {
                self.lines += lines_of(&entry);
                self.entries.push_back(entry);
            }
        }
        while self.lines > MOST {
            let Some(at) = self.entries.iter().position(|entry| lines_of(entry) > 0) else { return };
            let gone = self.entries.remove(at).as_ref().map_or(0, lines_of);
            (self.lines, self.dropped) = (self.lines - gone, self.dropped + gone);
        }
    }

    /// Writes what it can, in order. That the history fails, and that it is back, is said once.
    pub(super) fn settle(&mut self) {
        let Some(archive) = &mut self.archive else { return };
        if self.away.is_some_and(|until| Instant::now() < until) {
            return;
        }
        while let Some(entry) = self.entries.front_mut() {
            let done = match entry {
                Entry::Lines { run, probe, lines } => archive.keep(run, Some(probe), lines),
                Entry::Incident { probe, key, incident, notices } => {
                    let place = (Arc::clone(probe), *key);
                    incident.id = self.numbers.get(&place).copied().unwrap_or(0);
                    archive
                        .put_incident(Some(probe), incident, notices)
                        .map(|()| _ = self.numbers.insert(place, incident.id))
                }
            };
            if let Err(error) = done {
                if self.away.is_none() {
                    let what = format!("{error}; the rounds go on, and what they find is written when it can be");
                    self.log.tell(&what);
                }
                self.away = Some(Instant::now() + AWAY);
                return;
            }
            self.lines -= lines_of(entry);
            self.entries.pop_front();
        }
        if self.away.take().is_some() {
            let missing = match std::mem::take(&mut self.dropped) {
                0 => "with all that it missed".to_owned(),
                dropped => format!("without {dropped} lines, the oldest ones, for which there was no room"),
            };
            self.log.tell(&format!("the history is written again, {missing}"));
        }
    }

    /// Tries once more, and says what stays unwritten.
    pub(super) fn close(&mut self) {
        if self.away.is_some() {
            self.away = Some(Instant::now());
        }
        self.settle();
        let left = self.lines + self.dropped;
        if left > 0 {
            self.log.tell(&format!("{left} lines are not on record: the history could not be written"));
        }
    }

    /// An incident that is over is not asked for again.
    pub(super) fn forget(&mut self, probe: &Arc<str>, key: u64) {
        let waits =
            |entry: &Entry| matches!(entry, Entry::Incident { probe: p, key: k, .. } if p == probe && *k == key);
        if !self.entries.iter().any(waits) {
            self.numbers.remove(&(Arc::clone(probe), key));
        }
    }
}

fn lines_of(entry: &Entry) -> usize {
    match entry {
        Entry::Lines { lines, .. } => lines.len(),
        Entry::Incident { .. } => 0,
    }
}
