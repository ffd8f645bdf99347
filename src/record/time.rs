//! How the records write times and durations.

use std::time::Duration;

use jiff::Timestamp;

/// A duration in milliseconds, to the microsecond.
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a duration of 2^52 us is 142 years")]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}

/// A time as the lines have it, to the millisecond: what is judged while a run goes on must be what
/// is on record of it, or the record would be judged otherwise.
#[must_use]
pub fn stamp(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Timestamps to the millisecond.
pub(super) mod millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{at:.3}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }
}

/// The same where there may be none.
pub(super) mod maybe_millis {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::millis::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(deserializer)
    }
}
