//! What the address of the page asks for, and addresses that ask for more or less.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use jiff::{SignedDuration, Timestamp};

use crate::stage::Stage;

/// The filters; everything where nothing is said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ask {
    /// The domain of one probe, or its hosts.
    pub(super) target: Option<String>,
    pub(super) source: Option<IpAddr>,
    pub(super) address: Option<IpAddr>,
    /// Only failures at this stage count.
    pub(super) stage: Option<Stage>,
    pub(super) range: Range,
}

/// How far back the heat strips go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Range {
    #[default]
    Day,
    Week,
    Month,
}

impl Range {
    pub(super) const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// Hours of one stretch of a strip, and how many there are.
    pub(super) const fn stretches(self) -> (u32, usize) {
        match self {
            Self::Day => (1, 24),
            Self::Week => (3, 56),
            Self::Month => (12, 60),
        }
    }

    /// When the strips begin, such that the last stretch is that of now.
    pub(super) fn since(self, now: Timestamp) -> Timestamp {
        let (hours, count) = self.stretches();
        let seconds = i64::from(hours) * 3600;
        let last = now.as_second().div_euclid(seconds);
        let first = last - i64::try_from(count).unwrap_or(0) + 1;
        Timestamp::from_second(first * seconds).unwrap_or(now)
    }

    pub(super) fn stretch(self) -> SignedDuration {
        SignedDuration::from_hours(i64::from(self.stretches().0))
    }
}

impl Ask {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// What is wrong with it: a key that does not exist or stands there twice, a value that is none.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let uri = format!("/?{query}").parse::<Uri>().map_err(|e| e.to_string())?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|e| e.to_string())?;
        let (mut ask, mut seen) = (Self::default(), Vec::new());
        for (key, value) in pairs {
            if seen.contains(&key) {
                return Err(format!("{} stands there twice: wanted it once", clipped(&key)));
            }
            match &*key {
                // A form sends what is left open as an empty value.
                "target" | "source" | "address" | "stage" | "range" if value.is_empty() => {}
                "target" => ask.target = Some(value),
                "source" => ask.source = Some(read(&key, &value, "an IP address")?),
                "address" => ask.address = Some(read(&key, &value, "an IP address")?),
                "stage" => ask.stage = Some(read(&key, &value, "a stage, as in banner or mail")?),
                "range" => {
                    let range = Range::ALL.into_iter().find(|range| range.as_str() == value);
                    ask.range = range.ok_or_else(|| none(&key, &value, "24h, 7d or 30d"))?;
                }
                other => {
                    let wanted = "wanted target, source, address, stage or range";
                    return Err(format!("{} is no filter: {wanted}", clipped(other)));
                }
            }
            seen.push(key);
        }
        Ok(ask)
    }
}

fn read<T: FromStr>(key: &str, value: &str, wanted: &str) -> Result<T, String> {
    value.parse().map_err(|_| none(key, value, wanted))
}

fn none(key: &str, value: &str, wanted: &str) -> String {
    format!("{key}={} is none: wanted {wanted}", clipped(value))
}

fn clipped(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

impl fmt::Display for Ask {
    /// The address of the page that shows this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = Some(self.range).filter(|range| *range != Range::default());
        let pairs = [
            ("target", self.target.as_deref().map(escaped)),
            ("source", self.source.map(|ip| escaped(&ip.to_string()))),
            ("address", self.address.map(|ip| escaped(&ip.to_string()))),
            ("stage", self.stage.map(|stage| stage.to_string())),
            ("range", range.map(|range| range.as_str().to_owned())),
        ];
        let pairs: Vec<_> = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))).collect();
        f.write_str("/")?;
        if pairs.is_empty() { Ok(()) } else { write!(f, "?{}", pairs.join("&")) }
    }
}

/// A value of a query, with everything spelled in hexadecimals that may mean something there.
fn escaped(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    let spell = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    value.bytes().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_back_as_an_address() {
        for (query, want) in [
            ("", Ok("/")),
            ("target=&source=&address=&stage=&range=", Ok("/")),
            ("range=24h", Ok("/")),
            (
                "target=aol.com&source=192.0.2.1&address=2001:db8::1&stage=mail&range=7d",
                Ok("/?target=aol.com&source=192.0.2.1&address=2001:db8::1&stage=mail&range=7d"),
            ),
            ("target=a%26b%22%3C%20%E2%82%AC", Ok("/?target=a%26b%22%3C%20%E2%82%AC")),
            ("stage=end-of-data", Ok("/?stage=end-of-data")),
            ("source=192.0.2", Err("source=\"192.0.2\" is none: wanted an IP address")),
            ("address=<script>", Err("invalid uri")),
            ("address=%3Cscript%3E", Err("address=\"<script>\" is none: wanted an IP address")),
            ("stage=Mail", Err("wanted a stage")),
            ("range=8d", Err("wanted 24h, 7d or 30d")),
            ("range=7d&range=7d", Err("\"range\" stands there twice")),
            ("colour=red", Err("\"colour\" is no filter: wanted target")),
        ] {
            match (Ask::read(query), want) {
                (Ok(ask), Ok(want)) => assert_eq!(ask.to_string(), want, "{query}"),
                (Err(why), Err(want)) => assert!(why.contains(want), "{query}: {why}"),
                (found, want) => panic!("{query}: {found:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn the_last_stretch_is_that_of_now() {
        let now: Timestamp = "2026-11-24T10:59:59Z".parse().unwrap();
        for (range, want) in [
            (Range::Day, "2026-11-23T11:00:00Z"),
            (Range::Week, "2026-11-17T12:00:00Z"),
            (Range::Month, "2026-10-25T12:00:00Z"),
        ] {
            assert_eq!(range.since(now).to_string(), want);
            let end = range.since(now) + range.stretch() * i32::try_from(range.stretches().1).unwrap();
            assert!(end > now && end - range.stretch() <= now, "{range:?}");
        }
    }
}
