//! Plays every case of `tests/dns`: zones and faults served on loopback, asked through the
//! resolver, and what must come of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use mxprobe::address::Host;
use mxprobe::dns::{Dns, Exchanger, Note, Resolved, Route};
use mxprobe::record::{Lookup, LookupError};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// A case file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Case {
    /// What it shows.
    #[expect(dead_code, reason = "for the reader of the file")]
    description: String,
    /// `route NAME`, `addresses NAME` or `ptr ADDRESS`.
    ask: String,
    /// How often at the same time.
    #[serde(default = "once")]
    at_once: usize,
    #[serde(default = "five_seconds")]
    timeout_ms: u64,
    server: Vec<ServerSpec>,
    expect: Vec<String>,
    /// `SERVER NAME TYPE = ANSWERS`, sorted; the servers count from 1.
    lookups: Option<Vec<String>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct ServerSpec {
    /// Nobody listens.
    dead: bool,
    /// Aliases are answered alone, for the asker to follow.
    lone_aliases: bool,
    /// The largest answer over UDP, in bytes.
    udp_limit: Option<usize>,
    /// `NAME TYPE RDATA` lines.
    zone: String,
    /// What goes wrong, by `NAME TYPE`.
    faults: HashMap<String, Fault>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    Servfail,
    Refused,
    Notimp,
    /// A referral to other servers.
    Referral,
    Silent,
    /// The first datagram gets no answer.
    DropFirst,
    /// FORMERR for as long as the question has EDNS.
    NoEdns,
    /// The right header, and nothing after it that could be read.
    Garbage,
    /// Answers to other questions come first.
    Strangers,
    /// Cut over UDP, silent over TCP.
    TcpSilent,
    /// An alias of itself.
    Loop,
}

const fn once() -> usize {
    1
}

const fn five_seconds() -> u64 {
    5000
}

#[tokio::test]
async fn every_case_comes_out_as_written() {
    let mut played = 0;
    let mut wrong = String::new();
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dns"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let case: Case =
            toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (found, lookups) = play(&case).await;
        if found != case.expect {
            writeln!(wrong, "{name}: found {found:#?}, expected {:#?}", case.expect).unwrap();
        }
        if let Some(expected) = &case.lookups
            && lookups != *expected
        {
            writeln!(wrong, "{name}: lookups {lookups:#?}, expected {expected:#?}").unwrap();
        }
        played += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(played >= 20, "only {played} cases");
}

async fn play(case: &Case) -> (Vec<String>, Vec<String>) {
    let mut serving = JoinSet::new();
    let mut servers = Vec::new();
    for spec in &case.server {
        servers.push(serve(spec.clone(), &mut serving).await);
    }
    let dns = Dns::new(&servers, Duration::from_millis(case.timeout_ms));
    let mut asking = JoinSet::new();
    for _ in 0..case.at_once {
        let (dns, ask) = (dns.clone(), case.ask.clone());
        asking.spawn(async move {
            match ask.split_once(' ').unwrap() {
                ("route", name) => shown_route(&dns.route(&name.parse().unwrap()).await),
                ("addresses", name) => {
                    let Resolved { addresses, notes } = dns.addresses(&name.parse().unwrap()).await;
                    vec![shown(&addresses, &notes)]
                }
                ("ptr", ip) => vec![match dns.ptr(ip.parse().unwrap()).await {
                    Ok(names) => names.iter().map(Host::as_str).collect::<Vec<_>>().join(" "),
                    Err(error) => error.to_string(),
                }],
                _ => panic!("ask = {ask:?}"),
            }
        });
    }
    let mut found = asking.join_all().await;
    found.dedup();
    assert_eq!(found.len(), 1, "the same question, the same answer");
    let mut lookups: Vec<String> = dns.take_lookups().iter().map(|lookup| shown_lookup(lookup, &servers)).collect();
    lookups.sort();
    assert!(dns.take_lookups().is_empty(), "lookups are taken once");
    (found.remove(0), lookups)
}

fn shown_route(route: &Route) -> Vec<String> {
    match route {
        Route::Exchangers(exchangers) => exchangers
            .iter()
            .map(|Exchanger { name, preference, addresses, notes }| {
                let preference = preference.map_or_else(|| "-".to_owned(), |preference| preference.to_string());
                format!("{preference} {name} {}", shown(addresses, notes))
            })
            .collect(),
        Route::NullMx => vec!["null-mx".to_owned()],
        Route::NoSuchDomain => vec!["no-such-domain".to_owned()],
        Route::NoMail => vec!["no-mail".to_owned()],
        Route::Failed(error) => vec![format!("failed {error}")],
    }
}

fn shown(addresses: &Result<Vec<std::net::IpAddr>, LookupError>, notes: &[Note]) -> String {
    let mut words: Vec<String> = match addresses {
        Ok(addresses) => addresses.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    words.extend(notes.iter().map(|note| format!("({note})")));
    words.join(" ")
}

fn shown_lookup(lookup: &Lookup, servers: &[SocketAddr]) -> String {
    let server = servers.iter().position(|server| server.to_string() == lookup.resolver).unwrap() + 1;
    assert!(lookup.ms >= 0.0 && lookup.run.is_empty());
    let mut answers = lookup.answers.clone();
    answers.sort();
    answers.extend(lookup.error.map(|error| error.to_string()));
    format!("{server} {} {} = {}", lookup.name, lookup.rtype, answers.join(", "))
}

/// Serves a zone over UDP and TCP on one port of loopback.
async fn serve(spec: ServerSpec, serving: &mut JoinSet<()>) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The same port may be taken for TCP.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    if spec.dead {
        return address;
    }
    let server = Arc::new(Server::new(spec));
    let over_udp = Arc::clone(&server);
    serving.spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            for datagram in over_udp.datagrams(&buffer[..length]) {
                udp.send_to(&datagram, from).await.unwrap();
            }
        }
    });
    serving.spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await.unwrap();
            if let Some(answer) = server.message(&question) {
                let answer = answer.to_vec().unwrap();
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
            open.push(stream);
        }
    });
    address
}

struct Server {
    spec: ServerSpec,
    records: Vec<Record>,
    seen: Mutex<Vec<String>>,
}

impl Server {
    fn new(spec: ServerSpec) -> Self {
        let records = spec.zone.lines().filter(|line| !line.trim().is_empty()).map(record).collect();
        Self { spec, records, seen: Mutex::default() }
    }

    fn datagrams(&self, question: &[u8]) -> Vec<Vec<u8>> {
        let read = Message::from_vec(question).unwrap();
        let asked = asked(&read.queries[0]);
        let first = !self.seen.lock().unwrap().contains(&asked);
        self.seen.lock().unwrap().push(asked.clone());
        let fault = self.spec.faults.get(&asked);
        if fault == Some(&Fault::DropFirst) && first {
            return Vec::new();
        }
        if fault == Some(&Fault::Garbage) {
            return vec![[&question[..2], b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xff\xff\xff"].concat()];
        }
        let Some(message) =
            self.message(question).or_else(|| (fault == Some(&Fault::TcpSilent)).then(|| response(&read)))
        else {
            return Vec::new();
        };
        let mut datagrams = Vec::new();
        if fault == Some(&Fault::Strangers) {
            let mut other = message.clone();
            other.metadata.id ^= 1;
            other.metadata.response_code = ResponseCode::NXDomain;
            datagrams.push(other.to_vec().unwrap());
            let mut other = message.clone();
            other.queries = vec![Query::query(name("elsewhere.example"), RecordType::A)];
            datagrams.push(other.to_vec().unwrap());
        }
        let whole = message.to_vec().unwrap();
        let cut = self.spec.udp_limit.is_some_and(|limit| whole.len() > limit) || fault == Some(&Fault::TcpSilent);
        datagrams.push(if cut { message.truncate().to_vec().unwrap() } else { whole });
        datagrams
    }

    fn message(&self, question: &[u8]) -> Option<Message> {
        let question = Message::from_vec(question).unwrap();
        let query = &question.queries[0];
        let mut answer = response(&question);
        let mut failed = |code| {
            answer.metadata.response_code = code;
            Some(answer.clone())
        };
        let fault = self.spec.faults.get(&asked(query));
        match fault {
            Some(Fault::Servfail) => return failed(ResponseCode::ServFail),
            Some(Fault::Refused) => return failed(ResponseCode::Refused),
            Some(Fault::Notimp) => return failed(ResponseCode::NotImp),
            Some(Fault::NoEdns) if question.edns.is_some() => return failed(ResponseCode::FormErr),
            Some(Fault::Silent | Fault::TcpSilent) => return None,
            Some(Fault::Referral) => {
                answer.metadata.authoritative = false;
                answer.metadata.recursion_available = false;
                answer.add_authority(Record::from_rdata(name("example"), 60, RData::NS(NS(name("ns.example")))));
                return Some(answer);
            }
            Some(Fault::Loop) => {
                let alias = RData::CNAME(CNAME(query.name().clone()));
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, alias));
                return Some(answer);
            }
            _ => {}
        }
        let mut owner = query.name().clone();
        let mut found = false;
        loop {
            let here: Vec<&Record> = self.records.iter().filter(|record| record.name == owner).collect();
            let alias = here.iter().find(|record| record.record_type() == RecordType::CNAME);
            answer.add_answers(
                here.iter()
                    .filter(|r| [query.query_type(), RecordType::CNAME].contains(&r.record_type()))
                    .copied()
                    .cloned(),
            );
            found |= here.iter().any(|record| record.record_type() == query.query_type());
            match alias.map(|record| &record.data) {
                Some(RData::CNAME(target)) => owner = target.0.clone(),
                _ if here.is_empty() => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    break;
                }
                _ => break,
            }
            if self.spec.lone_aliases {
                return Some(answer);
            }
        }
        if !found {
            let soa = SOA::new(name("ns.example"), name("hostmaster.example"), 1, 60, 60, 60, 60);
            answer.add_authority(Record::from_rdata(name("example"), 60, RData::SOA(soa)));
        }
        Some(answer)
    }
}

fn response(question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.add_query(question.queries[0].clone());
    answer
}

fn asked(query: &Query) -> String {
    format!("{} {}", query.name().to_ascii().trim_end_matches('.'), query.query_type())
}

/// A name as a zone file writes it, `\DDD` in decimal.
fn name(text: &str) -> Name {
    let labels = text.trim_end_matches('.').split('.').filter(|label| !label.is_empty()).map(|label| {
        let mut pieces = label.split('\\');
        let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
        for piece in pieces {
            bytes.push(piece[..3].parse().unwrap());
            bytes.extend(piece[3..].bytes());
        }
        bytes
    });
    let labels: Vec<Vec<u8>> = labels.collect();
    Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap()
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let data = match words[1..] {
        ["MX", preference, exchange] => RData::MX(MX::new(preference.parse().unwrap(), name(exchange))),
        ["A", ip] => RData::A(A(ip.parse().unwrap())),
        ["AAAA", ip] => RData::AAAA(AAAA(ip.parse().unwrap())),
        ["CNAME", target] => RData::CNAME(CNAME(name(target))),
        ["PTR", target] => RData::PTR(PTR(name(target))),
        _ => panic!("zone line {line:?}"),
    };
    Record::from_rdata(name(words[0]), 60, data)
}
