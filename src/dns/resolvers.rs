//! The servers that are asked, in order, and the record of what they answered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::config::NameServerConfig;
use hickory_resolver::system_conf::read_system_conf;
use jiff::Timestamp;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::ask::{self, Answer, Question};
use super::name::shown_name;
use crate::ledger::later;
use crate::record::{self, Lookup, LookupError};
use crate::wire::descriptors;

/// Questions under way at once. Each holds a socket, and so a descriptor: where those are few, half.
const AT_ONCE: usize = 256;

/// CNAMEs followed from one name.
pub(super) const MOST_ALIASES: usize = 8;

/// See [`super::Dns`].
pub(super) struct Resolvers {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) missing: Option<String>,
    permits: Semaphore,
    /// The time on record is counted from here, so that a clock that jumps reorders nothing.
    begun: (Timestamp, Instant),
    asked: Mutex<Vec<Lookup>>,
    under_way: Mutex<HashMap<(Name, RecordType), UnderWay>>,
}

/// A question being put, and whoever waits for its answer.
type UnderWay = Arc<OnceCell<Answer>>;

impl Resolvers {
    /// None = the host's own.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        let (servers, missing) = if servers.is_empty() {
            match read_system_conf() {
                Ok((config, _)) => (config.name_servers().iter().map(plain_server).collect(), None),
                Err(e) => (Vec::new(), Some(format!("/etc/resolv.conf: {e}"))),
            }
        } else {
            (servers.to_vec(), None)
        };
        Self {
            servers,
            missing,
            permits: Semaphore::new(descriptors().map_or(AT_ONCE, |left| (left / 2).clamp(1, AT_ONCE))),
            begun: (Timestamp::now(), Instant::now()),
            asked: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    pub(super) fn take_lookups(&self) -> Vec<Lookup> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether something was answered at first, and the last question to end was one that timed out.
    /// What an address is called is no such question: nothing hangs on it.
    pub(super) fn fell_silent(&self) -> bool {
        // In the order of their ends.
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |lookup: &Lookup| lookup.error == Some(LookupError::Timeout);
        let heard = asked.iter().rposition(|lookup| !silent(lookup));
        let unheard = asked.iter().rposition(|lookup| silent(lookup) && lookup.rtype != "PTR");
        heard.is_some() && heard < unheard
    }

    /// One question, put once however many ask it at the same time.
    pub(super) async fn lookup(&self, name: &Name, rtype: RecordType, deadline: Instant) -> Answer {
        let key = (name.to_lowercase(), rtype);
        let cell = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(under_way.entry(key.clone()).or_default())
        };
        let answer = cell.get_or_init(|| self.follow(name, rtype, deadline)).await.clone();
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&key).is_some_and(|current| Arc::ptr_eq(current, &cell)) {
            under_way.remove(&key);
        }
        answer
    }

    /// Asks, and asks again where an answer ends in an alias that the server did not follow.
    async fn follow(&self, name: &Name, rtype: RecordType, deadline: Instant) -> Answer {
        let mut name = name.clone();
        let mut alias = false;
        for _ in 0..=MOST_ALIASES {
            let question = Question { name: &name, rtype, signed: false };
            let (answer, _) = self.put(question, deadline).await;
            alias |= answer.alias;
            let Some(next) = answer.ends_in else {
                return Answer { alias, ..answer };
            };
            name = next;
        }
        Answer { records: Err(LookupError::Servfail), alias, ends_in: None }
    }

    /// One question to one server after the other, until one of them knows. The message comes with
    /// the answer that was read off it.
    pub(super) async fn put(&self, question: Question<'_>, deadline: Instant) -> (Answer, Option<Message>) {
        let Question { name, rtype, .. } = question;
        let mut failed = Vec::new();
        for (i, &server) in self.servers.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(self.servers.len() - i).unwrap_or(u32::MAX);
            let until = now + deadline.saturating_duration_since(now) / left;
            let permit = timeout_at(until, self.permits.acquire()).await;
            let (at, now) = (self.now(), Instant::now());
            let answer = match permit {
                Ok(_permit) => ask::exchange(server, question, until).await,
                Err(_) => Err(LookupError::Timeout),
            };
            let (shown, answer, message) = match answer {
                Ok(message) => (ask::presented(&message), Answer::read(&message, name, rtype), Some(message)),
                Err(error) => (Vec::new(), Answer::failed(error), None),
            };
            self.note(Lookup {
                run: String::new(),
                at,
                name: shown_name(name),
                rtype: rtype.to_string(),
                resolver: server.to_string(),
                answers: shown,
                error: answer.records.as_ref().err().copied().filter(|_| answer.ends_in.is_none()),
                ms: record::ms(now.elapsed()),
            });
            match answer.records {
                Err(error) if !error.is_denial() => failed.push(error),
                _ => return (answer, message),
            }
        }
        if self.servers.is_empty() {
            self.note(Lookup {
                run: String::new(),
                at: self.now(),
                name: shown_name(name),
                rtype: rtype.to_string(),
                resolver: "none".to_owned(),
                answers: Vec::new(),
                error: Some(LookupError::Unreachable),
                ms: 0.0,
            });
        }
        (Answer::failed(weightiest(&failed)), None)
    }

    /// Writes down that what was answered to a question last does not hold.
    pub(super) fn note_bogus(&self, name: &Name, rtype: RecordType) {
        let (name, rtype) = (shown_name(name), rtype.to_string());
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = asked.iter_mut().rev().find(|lookup| lookup.name == name && lookup.rtype == rtype);
        if let Some(lookup) = answered.filter(|lookup| lookup.error.is_none_or(LookupError::is_denial)) {
            lookup.error = Some(LookupError::Bogus);
        }
    }

    fn now(&self) -> Timestamp {
        let (wall, begun) = self.begun;
        record::stamp(later(wall, begun.elapsed()))
    }

    fn note(&self, lookup: Lookup) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(lookup);
    }
}

fn plain_server(server: &NameServerConfig) -> SocketAddr {
    SocketAddr::new(server.ip, server.connections.first().map_or(53, |connection| connection.port))
}

/// What several failures come to: a name that does not exist, else the failure of whoever came
/// nearest to an answer, else that there is nothing.
pub(super) fn weightiest(failed: &[LookupError]) -> LookupError {
    const ORDER: [LookupError; 7] = [
        LookupError::Nxdomain,
        LookupError::Bogus,
        LookupError::Servfail,
        LookupError::Refused,
        LookupError::Timeout,
        LookupError::Unreachable,
        LookupError::Nodata,
    ];
    ORDER.into_iter().find(|error| failed.contains(error)).unwrap_or(LookupError::Unreachable)
}
