//! What a plan is made from beside the probe: where the mail goes, and where we speak from.

use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{EhloName, Host};
use crate::dane::Dane;
use crate::record::Role;
use crate::smtp::fault::Fault;

/// Where we speak from, and as whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    pub address: IpAddr,
    /// The address that the other side sees (NAT), else the same.
    pub seen_as: IpAddr,
    pub ehlo: EhloName,
    pub neutral: bool,
}

/// What DNS says about one domain's mail, or the hosts given in its place.
#[derive(Clone, Debug)]
pub struct Route {
    pub role: Role,
    /// None when hosts were given instead of a domain.
    pub domain: Option<Host>,
    /// Why there is nothing to probe, where the domain itself is at fault.
    pub fault: Option<Fault>,
    pub notes: Vec<String>,
    /// In the order of preference.
    pub exchangers: Vec<Exchanger>,
}

/// One mail exchanger.
#[derive(Clone, Debug)]
pub struct Exchanger {
    /// As the MX record has it; None when an address was given.
    pub name: Option<String>,
    /// None without an MX record.
    pub preference: Option<u16>,
    pub addresses: Vec<IpAddr>,
    /// Why it has no addresses.
    pub fault: Option<Fault>,
    pub notes: Vec<String>,
    /// What DANE asks of sessions with it; None where it was not looked up.
    pub dane: Option<Arc<Dane>>,
}
