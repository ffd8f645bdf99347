//! Whether everything that should move does: what the service manager's watchdog asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// By when each of the watch's tasks is to be heard of again. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Mutex<BTreeMap<Arc<str>, Instant>>>);

impl Pulse {
    /// Says that `who` moves, and will be heard of again within `time`.
    pub(super) fn beat(&self, who: &Arc<str>, time: Duration) {
        let until = Instant::now() + time;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(who), until);
    }

    /// Says that `who` has come to its end.
    pub(super) fn rest(&self, who: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }

    /// Who should have been heard of and was not.
    pub(super) fn stuck(&self) -> Option<Arc<str>> {
        let now = Instant::now();
        let beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats.iter().find(|(_, until)| **until < now).map(|(who, _)| Arc::clone(who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_too_long_is_stuck() {
        let (pulse, one, two) = (Pulse::default(), Arc::from("one"), Arc::from("two"));
        pulse.beat(&one, Duration::from_secs(10));
        pulse.beat(&two, Duration::from_secs(30));
        assert_eq!(pulse.stuck(), None);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(pulse.stuck().as_deref(), Some("one"));
        pulse.beat(&one, Duration::from_secs(10));
        assert_eq!(pulse.stuck(), None);
        tokio::time::advance(Duration::from_secs(20)).await;
        pulse.rest("one");
        assert_eq!(pulse.stuck().as_deref(), Some("two"));
    }
}
