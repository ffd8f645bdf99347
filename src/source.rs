//! The addresses to probe from, as they are written: an address, a block, an interface.
//!
//! Apart from [`crate::wire`] because nothing here looks at this host: its interfaces are an
//! argument.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The largest block that is expanded, in addresses.
pub const LARGEST_BLOCK: u32 = 1024;

/// One `--source`, as written.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum SourceSpec {
    /// `192.0.2.10`, `2001:db8::10`.
    Address(IpAddr),
    /// `192.0.2.16/28`: a CIDR block of at most [`LARGEST_BLOCK`] addresses, named by any of them.
    Block(Block),
    /// `eth0`: every address of an interface, link-local IPv6 ones left out.
    Interface(Box<str>),
}

/// A CIDR block, small enough to be expanded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Block {
    first: IpAddr,
    prefix: u8,
}

impl Block {
    /// Every address, the network's and the broadcast address included.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        (0..self.size()).map(move |i| match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | i)),
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | u128::from(i))),
        })
    }

    /// How many addresses there are, 1 to [`LARGEST_BLOCK`].
    #[must_use]
    pub fn size(self) -> u32 {
        1 << (width(self.first) - self.prefix)
    }
}

/// All the addresses that the specs name, in the order written and each once. `interfaces` are this
/// host's, one pair per address.
///
/// # Errors
///
/// An interface that is none of `interfaces`.
pub fn expand(specs: &[SourceSpec], interfaces: &[(String, IpAddr)]) -> Result<Vec<IpAddr>, InvalidSource> {
    let mut all = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for spec in specs {
        let named: Vec<IpAddr> = match spec {
            SourceSpec::Address(ip) => vec![*ip],
            SourceSpec::Block(block) => block.addresses().collect(),
            SourceSpec::Interface(name) => {
                let of_it: Vec<IpAddr> =
                    interfaces.iter().filter(|(there, _)| there.as_str() == &**name).map(|&(_, ip)| ip).collect();
                if of_it.is_empty() {
                    let there: BTreeSet<&str> = interfaces.iter().map(|(there, _)| there.as_str()).collect();
                    let there: Vec<&str> = there.into_iter().collect();
                    return Err(InvalidSource {
                        found: name.to_string(),
                        wanted: format!("an interface with an address, one of {}", there.join(", ")),
                    });
                }
                of_it
            }
        };
        all.extend(named.into_iter().filter(|&ip| seen.insert(ip)));
    }
    Ok(all)
}

impl FromStr for SourceSpec {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let error = |wanted: &str| InvalidSource::new(text, wanted);
        if let Ok(ip) = text.parse() {
            return Ok(Self::Address(ip));
        }
        if let Some((first, prefix)) = text.split_once('/') {
            let first: IpAddr = first.parse().map_err(|_| error("an address before the slash"))?;
            let longest = width(first);
            let prefix = Some(prefix)
                .filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|p| p.parse().ok())
                .filter(|&p: &u8| p <= longest)
                .ok_or_else(|| error(&format!("a prefix length of 0 to {longest} after the slash")))?;
            let shortest = longest - 10;
            if prefix < shortest {
                return Err(error(&format!("a block of at most {LARGEST_BLOCK} addresses, /{shortest} or longer")));
            }
            let host = longest - prefix;
            let first = match first {
                IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() >> host << host)),
                IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> host << host)),
            };
            return Ok(Self::Block(Block { first, prefix }));
        }
        // What cannot be a name is a mistyped address: say so, instead of looking for such an interface.
        let like_four = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let like_six = text.contains(':') && text.bytes().all(|b| b.is_ascii_hexdigit() || b":.%".contains(&b));
        // IFNAMSIZ of Linux is 16, with the final NUL.
        let name = (1..16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if like_four || like_six || !name {
            return Err(error("an address, a block such as 192.0.2.16/28, or an interface"));
        }
        Ok(Self::Interface(text.into()))
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "{ip}"),
            Self::Block(Block { first, prefix }) => write!(f, "{first}/{prefix}"),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// A text that names no source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidSource {
    found: String,
    wanted: String,
}

impl InvalidSource {
    fn new(found: &str, wanted: &str) -> Self {
        Self { found: found.chars().take(80).collect(), wanted: wanted.to_owned() }
    }
}

impl fmt::Display for InvalidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no source: wanted {}", self.found, self.wanted)
    }
}

impl std::error::Error for InvalidSource {}

/// Bits in an address.
const fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Result<Vec<String>, String> {
        let interfaces = [("lo", "127.0.0.1"), ("eth0", "192.0.2.1"), ("lo", "::1"), ("eth0", "2001:db8::1")];
        let interfaces: Vec<(String, IpAddr)> =
            interfaces.iter().map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap())).collect();
        let specs: Result<Vec<SourceSpec>, InvalidSource> = texts.iter().map(|text| text.parse()).collect();
        let addresses = expand(&specs.map_err(|e| e.to_string())?, &interfaces).map_err(|e| e.to_string())?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_written_is_expanded_whole_in_order_and_once() {
        let block = ["192.0.2.16", "192.0.2.17", "192.0.2.18", "192.0.2.19"].map(String::from).to_vec();
        assert_eq!(all(&["192.0.2.16/30"]).unwrap(), block);
        assert_eq!(all(&["192.0.2.18/30"]).unwrap(), block, "named by an address inside");
        assert_eq!(all(&["2001:db8::fe/127"]).unwrap(), ["2001:db8::fe", "2001:db8::ff"]);
        assert_eq!(all(&["255.255.255.255/32", "::/128"]).unwrap(), ["255.255.255.255", "::"]);
        assert_eq!(
            all(&["192.0.2.9", "eth0", "192.0.2.0/31"]).unwrap(),
            ["192.0.2.9", "192.0.2.1", "2001:db8::1", "192.0.2.0"]
        );
        for (largest, last) in [("10.0.3.9/22", "10.0.3.255"), ("2001:db8::/118", "2001:db8::3ff")] {
            let addresses = all(&[largest]).unwrap();
            assert_eq!((addresses.len(), addresses.last().map(String::as_str)), (1024, Some(last)));
        }
    }

    #[test]
    fn what_names_no_source_is_told_what_was_wanted() {
        for (text, wanted) in [
            ("10.0.0.0/21", "at most 1024 addresses, /22 or longer"),
            ("0.0.0.0/0", "at most 1024 addresses"),
            ("2001:db8::/64", "at most 1024 addresses, /118 or longer"),
            ("10.0.0.0/33", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("eth0/24", "an address before the slash"),
            ("192.0.2.300", "an address, a block"),
            ("2001:db8:::1", "an address, a block"),
            ("", "an address, a block"),
            ("a\nb", "an address, a block"),
            ("an-interface-too-long", "an address, a block"),
            ("wg7", "with an address, one of eth0, lo"),
        ] {
            let error = all(&[text]).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
