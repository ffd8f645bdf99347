//! Times as the pages write them: UTC, and how long ago.

use jiff::Timestamp;

use crate::record::Between;

/// A moment, for people and for programs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Moment {
    /// RFC 3339.
    pub(super) exact: String,
    /// `24 Nov 2026, 10:02 UTC`.
    pub(super) shown: String,
    /// `24 Nov, 10:02`.
    pub(super) short: String,
}

impl Moment {
    pub(super) fn of(at: Timestamp) -> Self {
        Self {
            exact: format!("{at:.3}"),
            shown: at.strftime("%-d %b %Y, %H:%M UTC").to_string(),
            short: at.strftime("%-d %b, %H:%M").to_string(),
        }
    }
}

/// `40 s`, `3 min`, `2 h 14 min`, `5 days`.
pub(super) fn long(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match (seconds, seconds / 60, seconds / 3600) {
        (..90, ..) => format!("{seconds} s"),
        (_, minutes @ ..90, _) => format!("{minutes} min"),
        (_, minutes, hours @ ..24) => match minutes % 60 {
            0 => format!("{hours} h"),
            left => format!("{hours} h {left} min"),
        },
        (_, _, hours @ ..72) => format!("{hours} h"),
        (_, _, hours) => format!("{} days", hours / 24),
    }
}

/// `between 09:55 and 10:00 UTC on 24 Nov 2026`: the rounds between which it was, where there was one
/// before.
pub(super) fn between(moment: Between) -> String {
    let Between { after, by } = moment;
    let day = |at: Timestamp| at.strftime("%-d %b %Y").to_string();
    let Some(after) = after else {
        return format!("nothing is on record from before {} UTC on {}", by.strftime("%H:%M"), day(by));
    };
    let minute = |at: Timestamp| at.as_second().div_euclid(60);
    let clock = |at: Timestamp| {
        let form = if minute(after) == minute(by) { "%H:%M:%S" } else { "%H:%M" };
        at.strftime(form).to_string()
    };
    if day(after) == day(by) {
        format!("between {} and {} UTC on {}", clock(after), clock(by), day(by))
    } else {
        format!("between {} on {} and {} UTC on {}", clock(after), day(after), clock(by), day(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let from: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        for (to, want) in [
            ("2026-11-23T00:00:00Z", "0 s"),
            ("2026-11-24T00:01:29Z", "89 s"),
            ("2026-11-24T00:02:59Z", "2 min"),
            ("2026-11-24T02:00:59Z", "2 h"),
            ("2026-11-24T02:14:00Z", "2 h 14 min"),
            ("2026-11-26T23:00:00Z", "71 h"),
            ("2026-11-29T23:00:00Z", "5 days"),
        ] {
            assert_eq!(long(from, to.parse().unwrap()), want);
        }
        let by = "2026-11-24T00:15:00Z".parse().unwrap();
        for (after, want) in [
            (None, "nothing is on record from before 00:15 UTC on 24 Nov 2026"),
            (Some(from), "between 00:00 and 00:15 UTC on 24 Nov 2026"),
            ("2026-11-23T23:59:00Z".parse().ok(), "between 23:59 on 23 Nov 2026 and 00:15 UTC on 24 Nov 2026"),
            ("2026-11-24T00:15:00Z".parse().ok(), "between 00:15:00 and 00:15:00 UTC on 24 Nov 2026"),
        ] {
            assert_eq!(between(Between { after, by }), want);
        }
    }
}
