//! From a mail exchanger to what DANE asks of sessions with it (RFC 7672, section 2.2).

use std::iter;

use futures_util::future::join_all;
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::{Name, RData, RecordType};

use super::Dns;
use super::dnssec::{Proven, Unproven, Validator};
use super::name::{dns_name, shown_name};
use crate::address::Host;
use crate::dane::{Dane, Tlsa};
use crate::record::LookupError;

impl Dns {
    /// What DANE asks of sessions with each of these hosts at this port, in their order.
    ///
    /// `by_mx` is the domain whose MX records name them, which must then be signed too (RFC 7672,
    /// section 2.2.1); none: they were named by the operator. The resolvers are believed in nothing:
    /// they must pass signatures on, and every answer is validated here.
    pub async fn dane(&self, by_mx: Option<&Host>, hosts: &[Host], port: u16) -> Vec<Dane> {
        let validator = Validator::new(&self.resolvers, &self.anchors, self.deadline());
        let (next_hops, mx) = match by_mx {
            None => (Vec::new(), Vec::new()),
            Some(domain) => match next_hop(&validator, domain).await {
                Ok(found) => found,
                Err(dane) => return vec![dane; hosts.len()],
            },
        };
        let of_host = async |host: &Host| match by_mx {
            Some(domain) if !mx.is_empty() && !names_host(&mx, host) => {
                Dane::Unknown(LookupError::Nodata, format!("MX records of {domain} that name {host}"))
            }
            _ => find(&validator, host, port, &next_hops).await.unwrap_or_else(unknown),
        };
        join_all(hosts.iter().map(of_host)).await
    }
}

/// The names of a domain that a certificate may bear, and its MX records: signed, or it is told why
/// DANE ends here.
async fn next_hop(validator: &Validator, domain: &Host) -> Result<(Vec<Host>, Vec<RData>), Dane> {
    let Proven { records, secure, alias, .. } =
        validator.look(&dns_name(domain), RecordType::MX).await.map_err(unknown)?;
    if !secure {
        return Err(Dane::Absent(format!("the MX records of {domain} are not signed")));
    }
    let alias = alias.and_then(|name| shown_name(&name).parse().ok());
    Ok((iter::once(domain.clone()).chain(alias).collect(), records))
}

fn unknown(Unproven { error, what }: Unproven) -> Dane {
    Dane::Unknown(error, what)
}

fn names_host(mx: &[RData], host: &Host) -> bool {
    let name = dns_name(host);
    mx.iter().any(|record| matches!(record, RData::MX(mx) if mx.exchange == name))
}

/// TLSA records are asked for only where the addresses are signed: servers that fail to answer for
/// TLSA are common where nobody signs (RFC 7672, section 2.2.2).
async fn find(validator: &Validator, host: &Host, port: u16, names: &[Host]) -> Result<Dane, Unproven> {
    let name = dns_name(host);
    let (four, six) = tokio::join!(validator.look(&name, RecordType::A), validator.look(&name, RecordType::AAAA));
    let (four, six) = (four?, six?);
    let Proven { secure, alias, alias_secure, .. } = if four.records.is_empty() { six } else { four };
    let expanded = alias.filter(|_| secure).and_then(|name| shown_name(&name).parse::<Host>().ok());
    if !secure && !alias_secure {
        return Ok(Dane::Absent(format!("the addresses of {host} are not signed")));
    }
    let mut missing = String::new();
    for base in expanded.iter().chain([host]) {
        let owner = format!("_{port}._tcp.{base}");
        let at = Name::from_labels(owner.split('.').map(str::as_bytes)).unwrap_or_default();
        let Proven { records, secure, .. } = validator.look(&at, RecordType::TLSA).await?;
        let records: Vec<Tlsa> = records.iter().filter_map(tlsa).collect();
        if secure && !records.is_empty() {
            return Ok(Dane::of(records, base.clone(), port, names.iter().cloned()));
        }
        missing = if records.is_empty() {
            format!("there are no TLSA records at {owner}")
        } else {
            format!("the TLSA records at {owner} are not signed")
        };
    }
    Ok(Dane::Absent(missing))
}

fn tlsa(record: &RData) -> Option<Tlsa> {
    let RData::TLSA(TLSA { cert_usage, selector, matching, cert_data, .. }) = record else { return None };
    Some(Tlsa {
        usage: (*cert_usage).into(),
        selector: (*selector).into(),
        matching: (*matching).into(),
        data: cert_data.clone(),
    })
}
