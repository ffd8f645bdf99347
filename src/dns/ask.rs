//! One question to one server: UDP, sent again while nothing comes, TCP where the answer is cut.
//!
//! Apart from [`super`] because this is all the wire there is: no policy, no record of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::name::shown_name;
use super::resolvers::MOST_ALIASES;
use crate::record::LookupError;

/// What a server may send in one datagram (RFC 9715, section 3: no fragments).
const PAYLOAD: u16 = 1232;

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The records of the type asked for; never `Ok` and empty, but where `ends_in` says on.
    pub(super) records: Result<Vec<RData>, LookupError>,
    /// Whether the name was an alias.
    pub(super) alias: bool,
    /// The alias's target that is still to be asked for.
    pub(super) ends_in: Option<Name>,
}

impl Answer {
    pub(super) const fn failed(error: LookupError) -> Self {
        Self { records: Err(error), alias: false, ends_in: None }
    }

    /// Reads what a message says about a name, along its aliases.
    pub(super) fn read(message: &Message, name: &Name, rtype: RecordType) -> Self {
        let mut owner = name;
        let mut hops = 0;
        // A chain longer than is followed reads as one that ends where we stopped.
        while hops < MOST_ALIASES
            && let Some(target) = message.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == *owner => Some(&target.0),
                _ => None,
            })
        {
            owner = target;
            hops += 1;
        }
        let alias = hops > 0;
        let failed = |error| Self { records: Err(error), alias, ends_in: None };
        match message.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return failed(LookupError::Nxdomain),
            ResponseCode::Refused | ResponseCode::NotAuth => return failed(LookupError::Refused),
            _ => return failed(LookupError::Servfail),
        }
        let records: Vec<RData> = message
            .answers
            .iter()
            .filter(|record| record.name == *owner && record.record_type() == rtype)
            .map(|record| record.data.clone())
            .collect();
        let said = |rtype| message.authorities.iter().any(|record| record.record_type() == rtype);
        if !records.is_empty() {
            Self { records: Ok(records), alias, ends_in: None }
        } else if alias && !said(RecordType::SOA) {
            Self { records: Ok(records), alias, ends_in: Some(owner.clone()) }
        } else if said(RecordType::NS) && !said(RecordType::SOA) && !recurses(message) {
            // A referral: this server is neither the domain's nor does it ask for us.
            failed(LookupError::Refused)
        } else {
            failed(LookupError::Nodata)
        }
    }
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) name: &'a Name,
    pub(super) rtype: RecordType,
    /// With signatures and proofs, and whatever the server makes of them (RFC 4035, section 3.2.2):
    /// we validate ourselves.
    pub(super) signed: bool,
}

/// Puts one question to one server. Whatever the server answers is `Ok`.
pub(super) async fn exchange(
    server: SocketAddr,
    question: Question<'_>,
    until: Instant,
) -> Result<Message, LookupError> {
    let signed = question.signed;
    let question = message(question);
    let answer = complete(server, &question, until).await?;
    // There are no signatures without EDNS.
    if signed || !dislikes_edns(&answer) {
        return Ok(answer);
    }
    // RFC 6891, section 6.2.2: once more, the way it was before EDNS.
    let mut plain = question;
    plain.edns = None;
    complete(server, &plain, until).await
}

/// The answers in presentation form, `10 mx.example`; an alias as `CNAME target.example`. Signatures
/// are left out.
pub(super) fn presented(message: &Message) -> Vec<String> {
    message
        .answers
        .iter()
        .filter(|record| record.record_type() != RecordType::RRSIG)
        .map(|record| match &record.data {
            RData::MX(mx) => format!("{} {}", mx.preference, shown_name(&mx.exchange)),
            RData::PTR(name) => shown_name(&name.0),
            RData::CNAME(name) => format!("CNAME {}", shown_name(&name.0)),
            other => other.to_string(),
        })
        .collect()
}

fn message(Question { name, rtype, signed }: Question<'_>) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = signed;
    message.add_query(Query::query(name.clone(), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    edns.set_dnssec_ok(signed);
    message.set_edns(edns);
    message
}

async fn complete(server: SocketAddr, question: &Message, until: Instant) -> Result<Message, LookupError> {
    let bytes = question.to_vec().map_err(|_| LookupError::Servfail)?;
    match over_udp(server, question, &bytes, until).await? {
        Some(message) => Ok(message),
        None => timeout_at(until, over_tcp(server, question, &bytes)).await.unwrap_or(Err(LookupError::Timeout)),
    }
}

/// `None` = cut, ask over TCP.
async fn over_udp(
    server: SocketAddr,
    question: &Message,
    bytes: &[u8],
    until: Instant,
) -> Result<Option<Message>, LookupError> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let unreachable = |_: io::Error| LookupError::Unreachable;
    let socket = UdpSocket::bind((any, 0)).await.map_err(unreachable)?;
    // A connected socket hears this server only, and learns at once that nobody is there.
    socket.connect(server).await.map_err(unreachable)?;
    let start = Instant::now();
    let whole = until.saturating_duration_since(start);
    let mut buffer = vec![0; 4096];
    for wait in [start + whole / 4, start + whole / 2, until] {
        socket.send(bytes).await.map_err(unreachable)?;
        while let Ok(received) = timeout_at(wait, socket.recv(&mut buffer)).await {
            let length = received.map_err(unreachable)?;
            let datagram = &buffer[..length];
            if !datagram.starts_with(&question.id.to_be_bytes()) {
                continue;
            }
            if length == buffer.len() || datagram.get(2).is_some_and(|flags| flags & 0x02 != 0) {
                return Ok(None);
            }
            match Message::from_vec(datagram) {
                Ok(answer) if answers(&answer, question) => return Ok(Some(answer)),
                Ok(_) => {}
                Err(_) => return Err(LookupError::Servfail),
            }
        }
    }
    Err(LookupError::Timeout)
}

async fn over_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> Result<Message, LookupError> {
    let mut stream = TcpStream::connect(server).await.map_err(|_| LookupError::Unreachable)?;
    let length = u16::try_from(bytes.len()).map_err(|_| LookupError::Servfail)?;
    let framed = [&length.to_be_bytes(), bytes].concat();
    let broken = |_: io::Error| LookupError::Servfail;
    stream.write_all(&framed).await.map_err(broken)?;
    loop {
        let length = stream.read_u16().await.map_err(broken)?;
        let mut buffer = vec![0; usize::from(length)];
        stream.read_exact(&mut buffer).await.map_err(broken)?;
        let answer = Message::from_vec(&buffer).map_err(|_| LookupError::Servfail)?;
        if answers(&answer, question) {
            return Ok(answer);
        }
    }
}

/// Whether a message is the answer to a question: a failing server may leave the question out.
fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query
        && (answer.queries == question.queries
            || (answer.queries.is_empty() && answer.metadata.response_code != ResponseCode::NoError))
}

fn dislikes_edns(answer: &Message) -> bool {
    answer.edns.is_none() && matches!(answer.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp)
        || answer.metadata.response_code == ResponseCode::BADVERS
}

fn recurses(message: &Message) -> bool {
    message.metadata.recursion_available || message.metadata.authoritative
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME, MX};

    use super::*;

    #[test]
    fn an_answer_with_any_byte_missing_or_changed_is_read_or_refused() {
        let name = Name::from_ascii("example.org.").unwrap();
        let question = message(Question { name: &name, rtype: RecordType::MX, signed: false });
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(question.queries[0].clone());
        for data in [
            RData::CNAME(CNAME(Name::from_ascii("other.example.").unwrap())),
            RData::MX(MX::new(10, Name::from_ascii("mx.example.").unwrap())),
            RData::A(A::new(192, 0, 2, 1)),
        ] {
            answer.add_answer(Record::from_rdata(name.clone(), 60, data));
        }
        let bytes = answer.to_vec().unwrap();
        let mut read = 0;
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 0x55;
            for datagram in [&bytes[..i], &changed[..]] {
                if let Ok(message) = Message::from_vec(datagram)
                    && answers(&message, &question)
                {
                    read += 1;
                    presented(&message);
                    let answer = Answer::read(&message, &name, RecordType::MX);
                    assert!(answer.ends_in.is_some() || !answer.records.is_ok_and(|records| records.is_empty()));
                }
            }
        }
        assert!(read > 0, "some of them can still be read");
    }
}
