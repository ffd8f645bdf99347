//! When the sessions of a plan start at the earliest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Attempt, Plan};

impl Plan {
    /// When each session will start at the earliest, counted from the run's begin, under the rate
    /// and the pace alone: sessions that last longer push the later ones back.
    #[must_use]
    pub fn starts(&self) -> Starts {
        let mut windows: HashMap<Arc<str>, Vec<Window>> = HashMap::new();
        let mut sessions: HashMap<Arc<str>, u64> = HashMap::new();
        for (attempt, count) in self.counted().filter(|(attempt, _)| attempt.fault.is_none()) {
            *sessions.entry(Arc::clone(&attempt.provider)).or_default() += count;
            let (windows, starts) = (windows.entry(Arc::clone(&attempt.provider)).or_default(), rate(attempt));
            if windows.iter().all(|window| window.starts != starts) {
                windows.push(Window { starts, latest: BinaryHeap::new() });
            }
        }
        for (provider, windows) in &mut windows {
            let all = sessions.get(provider).copied().unwrap_or_default();
            // One that holds them all keeps nobody waiting.
            windows.retain(|window| (window.starts as u64) < all);
        }
        Starts { windows }
    }

    /// When the last session will start at the earliest.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        let mut starts = self.starts();
        if starts.windows.values().all(Vec::is_empty) {
            // Nothing but the pace holds them up, and that by their numbers alone.
            return self.counted().map(|(attempt, count)| paced(attempt, count)).max().unwrap_or_default();
        }
        self.attempts().map(|attempt| starts.start(&attempt)).max().unwrap_or_default()
    }
}

/// The starts so far, as far as the next ones depend on them.
#[derive(Debug)]
pub struct Starts {
    windows: HashMap<Arc<str>, Vec<Window>>,
}

/// The latest starts at a provider, as many as a rate lets go in one window.
#[derive(Debug)]
struct Window {
    starts: usize,
    latest: BinaryHeap<Reverse<Duration>>,
}

impl Starts {
    /// When the next session in the plan's order starts.
    pub fn start(&mut self, attempt: &Attempt) -> Duration {
        let paced = paced(attempt, 1);
        let Some(windows) = self.windows.get_mut(&attempt.provider) else { return paced };
        let own = windows.iter().find(|window| window.starts == rate(attempt));
        let full = own.filter(|window| window.latest.len() == window.starts);
        let rated = full.and_then(|window| window.latest.peek()).map(|Reverse(at)| *at + attempt.probe.limits.rate.per);
        let start = paced.max(rated.unwrap_or_default());
        if attempt.fault.is_none() {
            for window in windows {
                window.latest.push(Reverse(start));
                if window.latest.len() > window.starts {
                    window.latest.pop();
                }
            }
        }
        start
    }
}

fn rate(attempt: &Attempt) -> usize {
    attempt.probe.limits.rate.starts as usize
}

/// When the last of so many attempts at a cell, of which this is the first, starts by the pace alone.
fn paced(attempt: &Attempt, count: u64) -> Duration {
    let before = u64::from(attempt.number.saturating_sub(1)) + count.saturating_sub(1);
    let pace = attempt.probe.limits.pace.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
    pace.max(attempt.not_before)
}
