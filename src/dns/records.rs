//! Single record sets, for the checks: what a name has of one kind, and nothing followed from it.
//! The checks of many sources ask the same, so that here an answer can be kept for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::rr::{Name, RData, RecordType};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::ask::Answer;
use super::name::{dns_name, shown_name};
use super::{Dns, ExchangerName, address, exchanger_name, exchangers};
use crate::address::Host;
use crate::record::LookupError;

/// What was asked, and what came of it.
pub(super) type Kept = Mutex<HashMap<(Name, RecordType), Arc<OnceCell<Answer>>>>;

impl Dns {
    /// The same resolvers, which this clone and its clones ask each question once.
    #[must_use]
    pub fn keeping(&self) -> Self {
        Self { kept: Some(Arc::default()), ..self.clone() }
    }

    pub(super) async fn ask(&self, name: &Name, rtype: RecordType, deadline: Instant) -> Answer {
        let Some(kept) = &self.kept else { return self.resolvers.lookup(name, rtype, deadline).await };
        let cell = {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(kept.entry((name.to_lowercase(), rtype)).or_default())
        };
        cell.get_or_init(|| self.resolvers.lookup(name, rtype, deadline)).await.clone()
    }

    /// The texts of a name's TXT records, in the order of the answer: each record's character
    /// strings in one, with nothing between them (RFC 7208, section 3.3). Never `Ok` and empty.
    ///
    /// # Errors
    ///
    /// How the lookup failed.
    pub async fn txt(&self, name: &Host) -> Result<Vec<Vec<u8>>, LookupError> {
        let records = self.ask(&dns_name(name), RecordType::TXT, self.deadline()).await.records?;
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
        let records = self.ask(&dns_name(name), rtype, self.deadline()).await.records?;
        Ok(records.iter().filter_map(address).collect())
    }

    /// A name's exchangers by preference, without their addresses; `.` (RFC 7505) is among them.
    /// Never `Ok` and empty.
    ///
    /// # Errors
    ///
    /// How the lookup failed.
    pub async fn mx(&self, name: &Host) -> Result<Vec<(u16, ExchangerName)>, LookupError> {
        let records = self.ask(&dns_name(name), RecordType::MX, self.deadline()).await.records?;
        let found = exchangers(&records).into_iter().map(|(preference, name)| {
            let root = ExchangerName::Odd(shown_name(&name));
            (preference, if name.is_root() { root } else { exchanger_name(&name) })
        });
        Ok(found.collect())
    }
}
