//! The kinds of value that stand in a probe file. Each refuses at its own place what it cannot be.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer};

use crate::duration;
use crate::probe::spelling;
use crate::stage::Stage;

/// A value written as a string, read by its own type.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Read<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Parsed inside the visitor: only errors from there get the place of an element in a list.
        struct Text<T>(PhantomData<T>);
        impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text(PhantomData)).map(Self)
    }
}

/// One or several values, each written as a string: never none.
#[derive(Clone, Debug)]
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
                Ok(vec![text.parse().map_err(E::custom)?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                let values = Vec::<Read<T>>::deserialize(SeqAccessDeserializer::new(list))?;
                if values.is_empty() {
                    Err(A::Error::custom("nothing in the list: wanted one at least"))
                } else {
                    Ok(values.into_iter().map(|Read(value)| value).collect())
                }
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// A whole number from 1 to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole<const MAX: u32>(pub(super) u32);

impl<'de, const MAX: u32> Deserialize<'de> for Whole<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MAX: u32>;
        impl<const MAX: u32> Visitor<'_> for Number<MAX> {
            type Value = u32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
                let fits = u32::try_from(number).ok().filter(|n| (1..=MAX).contains(n));
                fits.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_i64(Number::<MAX>).map(Self)
    }
}

/// A stage that a session can stop after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop(pub(super) Stage);

impl FromStr for Stop {
    type Err = spelling::InvalidStop;

    fn from_str(text: &str) -> Result<Self, spelling::InvalidStop> {
        spelling::stop(text).map(Self)
    }
}

/// A share: `5 %`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(pub(super) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        spelling::share(text).map(Self)
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Ip(pub(super) IpAddr);

impl FromStr for Ip {
    type Err = spelling::InvalidHost;

    fn from_str(text: &str) -> Result<Self, spelling::InvalidHost> {
        spelling::ip(text).map(Self)
    }
}

/// A duration that may be nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause(pub(super) Duration);

impl FromStr for Pause {
    type Err = duration::InvalidDuration;

    fn from_str(text: &str) -> Result<Self, duration::InvalidDuration> {
        duration::parse(text).map(Self)
    }
}

/// A duration that is more than nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period(pub(super) Duration);

impl FromStr for Period {
    type Err = duration::InvalidDuration;

    fn from_str(text: &str) -> Result<Self, duration::InvalidDuration> {
        duration::parse_positive(text).map(Self)
    }
}

/// Text for people and programs: one line.
#[derive(Clone, Debug)]
pub(super) struct Line(pub(super) String);

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 1000 {
            return Err(format!("a text of {} bytes: wanted 1 to 1000", text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(control) => Err(format!("{control:?} in a text: wanted a line without control characters")),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// So many rounds of one kind: `2 failing rounds`, `3 clean rounds`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing(pub(super) u32);

impl FromStr for Failing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        rounds(text, "failing").map(Self)
    }
}

/// The same of clean rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clean(pub(super) u32);

impl FromStr for Clean {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        rounds(text, "clean").map(Self)
    }
}

fn rounds(text: &str, kind: &str) -> Result<u32, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let number = match words[..] {
        [number, word, "round" | "rounds"] if word == kind => number.parse().ok().filter(|n| (1..=1000).contains(n)),
        _ => None,
    };
    let shown: String = text.chars().take(80).collect();
    number.ok_or_else(|| format!("{shown:?}: wanted a number of rounds from 1 to 1000, as in \"2 {kind} rounds\""))
}
