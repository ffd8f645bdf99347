//! How long each stage may take, as a map by stage.

use std::time::Duration;

use crate::stage::Stage;

/// The total time that each stage may take, from its first byte sent to its reply.
///
/// The defaults are RFC 5321, section 4.5.3.2's where it speaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timeouts([Duration; Stage::ALL.len()]);

impl Timeouts {
    /// The same time for every stage.
    #[must_use]
    pub fn all(duration: Duration) -> Self {
        Self([duration; Stage::ALL.len()])
    }

    /// How long `stage` may take in total.
    #[must_use]
    pub fn get(&self, stage: Stage) -> Duration {
        self.0[stage as usize]
    }

    /// Gives `stage` another time.
    pub fn set(&mut self, stage: Stage, duration: Duration) {
        self.0[stage as usize] = duration;
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let mut timeouts = Self::all(Duration::from_mins(5));
        for (stage, seconds) in [
            (Stage::Resolve, 10),
            (Stage::Connect, 30),
            (Stage::StartTls, 120),
            (Stage::Tls, 30),
            (Stage::Data, 120),
            (Stage::EndOfData, 600),
            (Stage::Quit, 5),
        ] {
            timeouts.set(stage, Duration::from_secs(seconds));
        }
        timeouts
    }
}
