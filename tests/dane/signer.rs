//! A server of signed zones, and of some that are signed wrong: it answers for all of them, and
//! proves of every name that it has no more than it has (RFC 9824).

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_proto::dnssec::crypto::EcdsaSigningKey;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, DnssecSigner, SigningKey, TBS};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber};
use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// How a zone is signed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    Signed,
    /// And its parent says so.
    Unsigned,
    /// Its parent knows another key.
    WrongDs,
    /// Its signatures are of another text.
    Forged,
    /// Its signatures were good once.
    Expired,
    /// Its parent says that it is signed, and it is not.
    Stripped,
}

/// What goes wrong with one question.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    Servfail,
    Silent,
    /// The signatures of the answer are of another text.
    Forged,
}

pub(crate) struct Signer {
    zones: BTreeMap<Name, (How, DnssecSigner)>,
    records: Vec<Record>,
    faults: HashMap<String, Fault>,
}

impl Signer {
    /// `zone` are `NAME TYPE RDATA` lines, `faults` are by `NAME TYPE`.
    pub(crate) fn new(zones: &BTreeMap<String, How>, zone: &str, faults: &HashMap<String, Fault>) -> Self {
        let root = (".".to_owned(), How::Signed);
        let zones = std::iter::once(root).chain(zones.iter().map(|(name, how)| (name.clone(), *how)));
        Self {
            zones: zones.map(|(name, how)| (self::name(&name), (how, signer(self::name(&name))))).collect(),
            records: zone.lines().filter(|line| !line.trim().is_empty()).map(record).collect(),
            faults: faults.clone(),
        }
    }

    /// The root's key as a file of trust anchors has it.
    pub(crate) fn anchor(&self) -> String {
        format!(". 3600 IN DNSKEY {}\n", self.zones[&Name::root()].1.to_dnskey())
    }

    pub(crate) async fn serve(self) -> (SocketAddr, JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let signer = Arc::new(self);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if let Some(answer) = signer.answer(&Message::from_vec(&buffer[..length]).unwrap()) {
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        (address, task)
    }

    fn answer(&self, question: &Message) -> Option<Message> {
        let query = &question.queries[0];
        let (name, rtype) = (query.name(), query.query_type());
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_dnssec_ok(true);
        answer.set_edns(edns);
        let fault = self.faults.get(&format!("{} {rtype}", name.to_ascii().trim_end_matches('.')));
        match fault {
            Some(Fault::Servfail) => {
                answer.metadata.response_code = ResponseCode::ServFail;
                return Some(answer);
            }
            Some(Fault::Silent) => return None,
            Some(Fault::Forged) | None => {}
        }
        // A delegation's DS is the parent's.
        let (zone, how, signer) =
            if rtype == RecordType::DS { self.zone_of(&name.base_name()) } else { self.zone_of(name) };
        let how = if fault == Some(&Fault::Forged) { How::Forged } else { how };
        let with_proof = |rrset: &[Record]| -> Vec<Record> {
            let signature = (how != How::Unsigned && how != How::Stripped).then(|| sign(rrset, signer, how));
            rrset.iter().cloned().chain(signature).collect()
        };
        let here = self.here(name, zone);
        let of = |rtype| here.iter().filter(move |r: &&Record| r.record_type() == rtype).cloned().collect::<Vec<_>>();
        let (found, alias) = (of(rtype), of(RecordType::CNAME));
        if !found.is_empty() {
            answer.add_answers(with_proof(&found));
        } else if !alias.is_empty() {
            answer.add_answers(with_proof(&alias));
        } else {
            let apex = self.here(zone, zone);
            let soa: Vec<Record> = apex.into_iter().filter(|record| record.record_type() == RecordType::SOA).collect();
            answer.add_authorities(with_proof(&soa));
            if how != How::Unsigned && how != How::Stripped {
                let types = here.iter().map(Record::record_type);
                let next = Name::from_labels([&b"\0"[..]]).unwrap().append_domain(name).unwrap();
                let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, types)));
                answer.add_authorities(with_proof(&[Record::from_rdata(name.clone(), 60, nsec)]));
            }
        }
        Some(answer)
    }

    fn zone_of(&self, name: &Name) -> (&Name, How, &DnssecSigner) {
        let zones = self.zones.iter().filter(|(zone, _)| zone.zone_of(name));
        let (zone, (how, signer)) = zones.max_by_key(|(zone, _)| zone.num_labels()).unwrap();
        (zone, *how, signer)
    }

    /// All records of a name as one zone has them.
    fn here(&self, name: &Name, zone: &Name) -> Vec<Record> {
        let mut here: Vec<Record> = self.records.iter().filter(|record| record.name == *name).cloned().collect();
        let mut add = |data| here.push(Record::from_rdata(name.clone(), 60, data));
        let Some((how, signer)) = self.zones.get(name) else { return here };
        add(RData::NS(NS(self::name("ns.example"))));
        if name == zone {
            add(RData::SOA(SOA::new(self::name("ns.example"), self::name("hostmaster.example"), 1, 60, 60, 60, 60)));
        }
        if name == zone && *how != How::Unsigned {
            add(RData::DNSSEC(DNSSECRData::DNSKEY(signer.to_dnskey())));
        } else if name != zone && *how != How::Unsigned {
            let key = if *how == How::WrongDs { self::signer(name.clone()).to_dnskey() } else { signer.to_dnskey() };
            let digest = key.to_digest(name, DigestType::SHA256).unwrap().as_ref().to_vec();
            let ds = DS::new(key.calculate_key_tag().unwrap(), Algorithm::ECDSAP256SHA256, DigestType::SHA256, digest);
            add(RData::DNSSEC(DNSSECRData::DS(ds)));
        }
        here
    }
}

fn signer(zone: Name) -> DnssecSigner {
    let der = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
    let key = EcdsaSigningKey::from_pkcs8(&der, Algorithm::ECDSAP256SHA256).unwrap();
    let dnskey = DNSKEY::with_flags(257, key.to_public_key().unwrap());
    DnssecSigner::new(dnskey, Box::new(key), zone, Duration::from_hours(1))
}

fn sign(rrset: &[Record], signer: &DnssecSigner, how: How) -> Record {
    let Record { name, ttl, .. } = &rrset[0];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let end = if how == How::Expired { now - 60 } else { now + 3600 };
    let input = SigInput {
        type_covered: rrset[0].record_type(),
        algorithm: Algorithm::ECDSAP256SHA256,
        num_labels: name.num_labels(),
        original_ttl: *ttl,
        sig_expiration: SerialNumber::new(end.try_into().unwrap()),
        sig_inception: SerialNumber::new((now - 7200).try_into().unwrap()),
        key_tag: signer.calculate_key_tag().unwrap(),
        signer_name: signer.signer_name().clone(),
    };
    let tbs = TBS::from_input(name, DNSClass::IN, &input, rrset.iter()).unwrap();
    let mut signature = signer.sign(&tbs).unwrap();
    // The key itself stays sound, so that it is the records that are found forged.
    if how == How::Forged && rrset[0].record_type() != RecordType::DNSKEY {
        signature[10] ^= 1;
    }
    Record::from_rdata(name.clone(), *ttl, RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature))))
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let data = match words[1..] {
        // The rest of the line, to the letter.
        ["TXT", ..] => RData::TXT(TXT::new(vec![line.split_once(" TXT ").unwrap().1.to_owned()])),
        ["MX", preference, exchange] => RData::MX(MX::new(preference.parse().unwrap(), name(exchange))),
        ["A", ip] => RData::A(A(ip.parse().unwrap())),
        ["AAAA", ip] => RData::AAAA(AAAA(ip.parse().unwrap())),
        ["CNAME", target] => RData::CNAME(CNAME(name(target))),
        ["TLSA", usage, selector, matching, hex] => {
            let number = |text: &str| text.parse::<u8>().unwrap();
            let data = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            RData::TLSA(TLSA::new(number(usage).into(), number(selector).into(), number(matching).into(), data))
        }
        _ => panic!("zone line {line:?}"),
    };
    Record::from_rdata(name(words[0]), 60, data)
}
