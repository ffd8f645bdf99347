//! The values of a scenario file: read from strings by their own types, so that an error knows the
//! place of the value and says what was wanted there.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// A value that is written as a string.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Text<T>(pub(super) T);

/// One string or a list of strings.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

/// An address of this host's loopback interface.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Loopback(pub(super) IpAddr);

/// Addresses that agree in their first bits: `127.0.0.8/29`, or one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Net {
    base: IpAddr,
    bits: u8,
}

/// Which attempts: `2`, `1-3`, `4-`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Attempts {
    first: u32,
    last: u32,
}

/// A span of time: `90s`, `2m`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span(pub(super) Duration);

/// A probability, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chance(pub(super) f64);

impl Net {
    pub(super) fn holds(self, address: IpAddr) -> bool {
        let masked = |bytes: u128, width: u8| {
            let dropped = u32::from(width - self.bits);
            bytes.checked_shr(dropped).unwrap_or(0)
        };
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                masked(base.to_bits().into(), 32) == masked(address.to_bits().into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => masked(base.to_bits(), 128) == masked(address.to_bits(), 128),
            _ => false,
        }
    }
}

impl Attempts {
    pub(super) fn hold(self, attempt: u32) -> bool {
        (self.first..=self.last).contains(&attempt)
    }
}

impl FromStr for Loopback {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => Ok(Self(address)),
            _ => Err(format!("{text:?} is no loopback address: wanted one of 127.0.0.0/8, or ::1")),
        }
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no address or block: wanted 127.0.0.8 or 127.0.0.8/29");
        let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().map_err(|_| error())?;
        let width = match base {
            IpAddr::V4(_) => u8::try_from(Ipv4Addr::BITS).unwrap_or(32),
            IpAddr::V6(_) => u8::try_from(Ipv6Addr::BITS).unwrap_or(128),
        };
        let bits = bits.map_or(Ok(width), str::parse).map_err(|_| error())?;
        if bits > width { Err(error()) } else { Ok(Self { base, bits }) }
    }
}

impl FromStr for Attempts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} names no attempts: wanted 2, 1-3 or 4-, counted from 1");
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| error());
        let (first, last) = match text.split_once('-') {
            None => (number(text)?, number(text)?),
            Some((first, "")) => (number(first)?, u32::MAX),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        if first == 0 || last < first { Err(error()) } else { Ok(Self { first, last }) }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("{text:?} is no span of time: wanted a number and a unit, such as 90s or 2m"))
    }
}

impl<'de> Deserialize<'de> for Chance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let chance = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&chance) {
            Ok(Self(chance))
        } else {
            Err(D::Error::custom(format_args!("{chance} is no chance: wanted a number from 0 to 1")))
        }
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                text.parse().map(Text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Reader(PhantomData))
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Reader<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<List<T>, E> {
                text.parse().map(|one| List(vec![one])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(Text(one)) = seq.next_element()? {
                    list.push(one);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_what_agrees_in_the_first_bits() {
        for (block, address, holds) in [
            ("127.0.0.8/29", "127.0.0.15", true),
            ("127.0.0.8/29", "127.0.0.16", false),
            ("127.0.0.8", "127.0.0.8", true),
            ("127.0.0.8", "127.0.0.9", false),
            ("0.0.0.0/0", "127.0.0.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::1/128", "::1", true),
            ("::2/128", "::1", false),
        ] {
            assert_eq!(block.parse::<Net>().unwrap().holds(address.parse().unwrap()), holds, "{block} {address}");
        }
        for bad in ["127.0.0.1/33", "127.0.0.1/", "localhost", "::1/129", "127.0.0.1/-1"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }

    #[test]
    fn attempts_are_counted_from_one() {
        let hold = |text: &str| -> Vec<u32> {
            let attempts: Attempts = text.parse().unwrap();
            (1..=5).filter(|&n| attempts.hold(n)).collect()
        };
        assert_eq!(hold("2"), [2]);
        assert_eq!(hold("1-3"), [1, 2, 3]);
        assert_eq!(hold("4-"), [4, 5]);
        for bad in ["", "0", "-2", "3-2", "a", "1-b"] {
            assert!(bad.parse::<Attempts>().is_err(), "{bad}");
        }
    }
}
