//! Single record sets, for the checks: what a name has of one kind, and nothing followed from it.

use std::net::IpAddr;

use hickory_proto::rr::{RData, RecordType};

use super::name::{dns_name, shown_name};
use super::{Dns, ExchangerName, address, exchanger_name, exchangers};
use crate::address::Host;
use crate::record::LookupError;

impl Dns {
    /// The texts of a name's TXT records, in the order of the answer: each record's character
    /// strings in one, with nothing between them (RFC 7208, section 3.3). Never `Ok` and empty.
    ///
    /// # Errors
    ///
    /// How the lookup failed.
    pub async fn txt(&self, name: &Host) -> Result<Vec<Vec<u8>>, LookupError> {
        let records = self.resolvers.lookup(&dns_name(name), RecordType::TXT, self.deadline()).await.records?;
        let text = |record: &RData| match record {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        };
        Ok(records.iter().filter_map(text).collect())
    }

    /// The addresses of one family that a name has, in the order of the answer. Never `Ok` and
    /// empty.
    ///
    /// # Errors
    ///
    /// How the lookup failed.
    pub async fn ips(&self, name: &Host, v4: bool) -> Result<Vec<IpAddr>, LookupError> {
        let rtype = if v4 { RecordType::A } else { RecordType::AAAA };
        let records = self.resolvers.lookup(&dns_name(name), rtype, self.deadline()).await.records?;
        Ok(records.iter().filter_map(address).collect())
    }

    /// A name's exchangers by preference, without their addresses; `.` (RFC 7505) is among them.
    /// Never `Ok` and empty.
    ///
    /// # Errors
    ///
    /// How the lookup failed.
    pub async fn mx(&self, name: &Host) -> Result<Vec<(u16, ExchangerName)>, LookupError> {
        let records = self.resolvers.lookup(&dns_name(name), RecordType::MX, self.deadline()).await.records?;
        let found = exchangers(&records).into_iter().map(|(preference, name)| {
            let root = ExchangerName::Odd(shown_name(&name));
            (preference, if name.is_root() { root } else { exchanger_name(&name) })
        });
        Ok(found.collect())
    }
}
