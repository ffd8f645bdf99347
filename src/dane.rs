//! DANE for SMTP as values (RFC 7672): what a host's TLSA records ask of its certificate.
//!
//! Apart from DNS, which finds the records and whether they are signed, and from TLS, which holds a
//! certificate against them.

use std::fmt;
use std::str::FromStr;

use crate::address::Host;
use crate::smtp::fault::LookupError;

/// Records quoted in a text.
const MOST_QUOTED: usize = 5;

/// One TLSA record (RFC 6698, section 2.1), fit for use or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tlsa {
    /// 2 = a trust anchor of the server's, 3 = its own certificate; 0 and 1 are not for SMTP.
    pub usage: u8,
    /// 0 = the whole certificate, 1 = its public key.
    pub selector: u8,
    /// 0 = as it is, 1 = its SHA-256, 2 = its SHA-512.
    pub matching: u8,
    pub data: Vec<u8>,
}

impl Tlsa {
    /// Bytes of data that are shown.
    const SHOWN: usize = 64;

    /// Why a sender must pass the record over (RFC 7672, section 3.1); `None` where it must not.
    #[must_use]
    pub fn unusable(&self) -> Option<&'static str> {
        let Self { usage, selector, matching, data } = self;
        match (usage, selector, matching, data.len()) {
            (0 | 1, ..) => Some("usages 0 and 1 are not for SMTP"),
            (4.., ..) => Some("unknown usage"),
            (_, 2.., ..) => Some("unknown selector"),
            (_, _, 3.., _) => Some("unknown matching type"),
            (_, _, 1, length) if length != 32 => Some("no SHA-256: wanted 32 bytes"),
            (_, _, 2, length) if length != 64 => Some("no SHA-512: wanted 64 bytes"),
            (.., 0) => Some("no data"),
            _ => None,
        }
    }
}

/// As a zone file has it, what is longer than a hash cut.
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { usage, selector, matching, data } = self;
        write!(f, "{usage} {selector} {matching} ")?;
        data.iter().take(Self::SHOWN).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if data.len() > Self::SHOWN { f.write_str("...") } else { Ok(()) }
    }
}

impl FromStr for Tlsa {
    type Err = InvalidTlsa;

    fn from_str(text: &str) -> Result<Self, InvalidTlsa> {
        let error = || InvalidTlsa(text.chars().take(120).collect());
        let mut words = text.split_ascii_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok()).ok_or_else(error);
        let (usage, selector, matching) = (number()?, number()?, number()?);
        let hex: String = words.collect();
        let data = hex.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        Ok(Self { usage, selector, matching, data: data.collect::<Option<_>>().ok_or_else(error)? })
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}

/// A text that is no TLSA record.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no TLSA record: wanted usage, selector, matching type and hexadecimal data, such as 3 1 1 0a1b2c")]
pub struct InvalidTlsa(String);

/// What DANE asks of sessions with one host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dane {
    /// TLS, and a certificate that one of the records is of.
    Wanted(Records),
    /// TLS and any certificate: there are signed records, and none that is usable (RFC 7672,
    /// section 2.2). The text says why.
    AnyCertificate(String),
    /// Nothing: no signed records. The text says what is missing.
    Absent(String),
    /// Nothing may be sent: whether there are records could not be told, or what was told is forged.
    /// The text names what was asked.
    Unknown(LookupError, String),
}

/// The usable TLSA records of a host; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Records {
    /// The name they were found under, without port and protocol: what TLS asks for (RFC 7672,
    /// section 8.1).
    pub base: Host,
    pub port: u16,
    pub records: Vec<Tlsa>,
    /// Names of which one must be in a certificate that usage 2 vouches for (RFC 7672, section
    /// 3.2.2), the base first.
    pub names: Vec<Host>,
}

impl Dane {
    /// What signed records come to. `names` beside the base are acceptable in a certificate too.
    #[must_use]
    pub fn of(all: Vec<Tlsa>, base: Host, port: u16, names: impl IntoIterator<Item = Host>) -> Self {
        let unusable = all.iter().filter_map(|record| Some(format!("{record}: {}", record.unusable()?)));
        let unusable: Vec<String> = unusable.take(MOST_QUOTED).collect();
        let records = strongest(all.into_iter().filter(|record| record.unusable().is_none()).collect());
        if records.is_empty() {
            return Self::AnyCertificate(format!(
                "no usable TLSA record for {base}, so any certificate will do: {}",
                unusable.join("; ")
            ));
        }
        let mut all_names = vec![base.clone()];
        all_names.extend(names.into_iter().filter(|name| *name != base));
        Self::Wanted(Records { base, port, records, names: all_names })
    }
}

/// Of records that differ in the hash alone, those with the stronger one (RFC 7671, section 9).
fn strongest(mut records: Vec<Tlsa>) -> Vec<Tlsa> {
    let kind = |record: &Tlsa| (record.usage, record.selector);
    let better: Vec<_> = records.iter().filter(|record| record.matching == 2).map(kind).collect();
    records.retain(|record| record.matching != 1 || !better.contains(&kind(record)));
    records
}

impl Records {
    /// Where the records stand in DNS.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("_{}._tcp.{}", self.port, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Vec<Tlsa> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn usable(texts: &[&str]) -> Vec<String> {
        match Dane::of(read(texts), "mx.example".parse().unwrap(), 25, []) {
            Dane::Wanted(records) => records.records.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_records_that_a_sender_goes_by() {
        let [sha256, sha512] = ["ab".repeat(32), "cd".repeat(64)];
        let r = |head: &str, data: &str| format!("{head} {data}");
        for (head, data) in [
            ("0 1 1", &*sha256),
            ("1 1 1", &sha256),
            ("4 1 1", &sha256),
            ("255 1 1", &sha256),
            ("3 2 1", &sha256),
            ("3 1 3", &sha256),
            ("3 1 1", &sha512),
            ("3 1 2", &sha256),
            ("3 1 1", ""),
            ("2 0 0", ""),
        ] {
            assert_eq!(usable(&[&r(head, data)]), [""; 0], "{head} {data}");
        }
        for (head, data) in [("2 0 1", &*sha256), ("2 1 2", &sha512), ("3 0 0", "3082"), ("3 1 1", &sha256)] {
            assert_eq!(usable(&[&r(head, data)]), [r(head, data)]);
        }
        // The weaker hash falls, of the same usage and selector only.
        let all = [r("3 1 1", &sha256), r("3 1 2", &sha512), r("3 0 1", &sha256), r("2 1 1", &sha256)];
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(usable(&all), all[1..]);
    }

    #[test]
    fn a_record_is_read_as_written_and_what_is_none_is_refused() {
        for bad in ["", "3 1 1 abc", "3 1 1 xy", "3 1", "256 1 1 ab", "three one one ab", "3 1 1 é"] {
            assert!(bad.parse::<Tlsa>().is_err(), "{bad:?}");
        }
        assert_eq!("3 1 1 AB cd".parse::<Tlsa>().unwrap().to_string(), "3 1 1 abcd");
        assert!(read(&[&format!("3 0 0 {}", "ab".repeat(2000))])[0].to_string().len() < 200);
    }
}
