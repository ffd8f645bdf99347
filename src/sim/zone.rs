//! The simulated provider's DNS: one zone that holds everything, and answers that go wrong on
//! demand.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{MX, NS, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use serde::Deserialize;
use tokio::net::{TcpListener, UdpSocket};

use crate::address::Host;

/// An answer that is not the zone's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DnsAnswer {
    Servfail,
    Refused,
    Nxdomain,
    /// The name exists and has nothing of the kind.
    Nodata,
    /// No answer at all.
    Timeout,
    /// Over UDP nothing but the TC bit (RFC 1035, section 4.1.1); over TCP the truth.
    Truncate,
}

const SERVER: &str = "ns.sim.invalid";

/// A name whose answers go wrong.
#[derive(Clone, Debug)]
pub(super) struct DnsFault {
    pub(super) name: Name,
    /// None: whatever is asked about the name.
    pub(super) rtype: Option<RecordType>,
    pub(super) answer: DnsAnswer,
}

/// What answers.
pub(super) struct Zone {
    catalog: Catalog,
    faults: Vec<DnsFault>,
    soa: [Record; 1],
}

/// Answers on UDP and TCP of one port of 127.0.0.1; 0 takes a free one.
pub(super) async fn serve(
    records: Vec<Record>,
    faults: Vec<DnsFault>,
    port: u16,
) -> io::Result<(Server<Zone>, SocketAddr)> {
    let (udp, tcp) = bind(port).await?;
    let address = udp.local_addr()?;
    let mut catalog = Catalog::new();
    catalog.upsert(Name::root().into(), vec![std::sync::Arc::new(zone(records))]);
    let mut server = Server::new(Zone { catalog, faults, soa: [soa()] });
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(10), 64);
    Ok((server, address))
}

async fn bind(port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 1..=super::BIND_TRIES;
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(e) if port == 0 && e.kind() == io::ErrorKind::AddrInUse && tries.next().is_some() => {}
            Err(e) => return Err(e),
        }
    }
}

/// A root zone, so that every name is ours to answer for: a public one can never leak in.
fn zone(records: Vec<Record>) -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut zone = InMemoryZoneHandler::empty(Name::root(), ZoneType::Primary, AxfrPolicy::Deny);
    let server = Record::from_rdata(Name::root(), 300, RData::NS(NS(fixed(SERVER))));
    for record in [soa(), server].into_iter().chain(records) {
        zone.upsert_mut(record, 1);
    }
    zone
}

/// What negative answers carry (RFC 2308, section 3).
fn soa() -> Record {
    let soa = SOA::new(fixed(SERVER), fixed("hostmaster.sim.invalid"), 1, 3600, 600, 86400, 60);
    Record::from_rdata(Name::root(), 60, RData::SOA(soa))
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let plain = Metadata::response_from_request(&request.metadata);
        let nothing = ResponseInfo::from(Header { metadata: plain, counts: HeaderCounts::default() });
        let Some(answer) = self.fault(request) else {
            return self.catalog.handle_request::<R, T>(request, out).await;
        };
        let mut said = plain;
        said.authoritative = matches!(answer, DnsAnswer::Nxdomain | DnsAnswer::Nodata);
        said.truncation = answer == DnsAnswer::Truncate;
        said.response_code = match answer {
            DnsAnswer::Timeout => return nothing,
            DnsAnswer::Servfail => ResponseCode::ServFail,
            DnsAnswer::Refused => ResponseCode::Refused,
            DnsAnswer::Nxdomain => ResponseCode::NXDomain,
            DnsAnswer::Nodata | DnsAnswer::Truncate => ResponseCode::NoError,
        };
        let soa = self.soa.iter().filter(|_| said.authoritative);
        let response = MessageResponseBuilder::from_message_request(request).build(said, [], [], soa, []);
        out.send_response(response).await.unwrap_or(nothing)
    }
}

impl Zone {
    fn fault(&self, request: &Request) -> Option<DnsAnswer> {
        let asked = request.request_info().ok()?.query;
        let name = Name::from(asked.name());
        let is_it =
            |fault: &&DnsFault| fault.name == name && fault.rtype.is_none_or(|rtype| rtype == asked.query_type());
        let answer = self.faults.iter().find(is_it)?.answer;
        let whole = answer == DnsAnswer::Truncate && request.protocol() != Protocol::Udp;
        (!whole).then_some(answer)
    }
}

pub(super) fn name(host: &Host) -> Name {
    fixed(host.as_str())
}

/// A name that is known to be one: a [`Host`] has at most 253 bytes in labels of at most 63.
fn fixed(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|_| Name::root());
    name.set_fqdn(true);
    name
}

pub(super) fn mx(domain: &Host, preference: u16, exchanger: &Host, ttl: u32) -> Record {
    Record::from_rdata(name(domain), ttl, RData::MX(MX::new(preference, name(exchanger))))
}

/// RFC 7505: the domain takes no mail.
pub(super) fn null_mx(domain: &Host, ttl: u32) -> Record {
    Record::from_rdata(name(domain), ttl, RData::MX(MX::new(0, Name::root())))
}

pub(super) fn address(host: &Host, address: IpAddr, ttl: u32) -> Record {
    Record::from_rdata(name(host), ttl, RData::from(address))
}

pub(super) fn ptr(address: IpAddr, host: &Host, ttl: u32) -> Record {
    Record::from_rdata(Name::from(address), ttl, RData::PTR(PTR(name(host))))
}

pub(super) fn record(owner: &Host, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

/// Record data in presentation form; of a TXT record the values are its character strings. Names
/// in it are absolute, with or without a dot at the end.
///
/// # Errors
///
/// What was wanted.
pub(super) fn data(rtype: RecordType, values: &[String]) -> Result<RData, String> {
    let value = match values {
        strings if rtype == RecordType::TXT => {
            let sound = !strings.is_empty() && strings.iter().all(|string| string.len() <= 255);
            let error = || "wanted one or more strings of at most 255 bytes each".to_owned();
            return sound.then(|| RData::TXT(TXT::new(strings.to_vec()))).ok_or_else(error);
        }
        [value] => value,
        _ => return Err(format!("wanted one string for a record of type {rtype}")),
    };
    let mut data = RData::try_from_str(rtype, value)
        .map_err(|e| format!("{value:?} is no value of type {rtype}: {e}").replace('\n', " "))?;
    if let RData::CNAME(target) = &mut data {
        // The zone follows only absolute ones; on the wire all are.
        target.0.set_fqdn(true);
    }
    Ok(data)
}
