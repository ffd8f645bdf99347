//! A simulated mailbox provider: DNS and SMTP on loopback, as a scenario file says.
//!
//! It knows nothing of the prober. What it does is real as far as sockets go: real connections,
//! real DNS messages, real handshakes; only who refuses whom, when and why is made up. It binds
//! loopback addresses alone and takes no privileges. What it cannot do is what only a packet
//! filter can: a blackhole that does not even answer the SYN. A behaviour of `SILENCE` accepts
//! and says nothing; `closed` addresses refuse the connection.
//!
//! # Scenario files
//!
//! ```toml
//! description = "One source is refused, one address is down, the rest is well"
//! seed = 1                                  # what chance comes from
//!
//! [probe]                                   # how to look at it; all optional
//! targets = ["mail.example"]
//! sources = ["127.0.0.11", "127.0.0.12"]
//! until = "mail"
//!
//! [[truth]]                                 # what the judge should say, in rank order
//! kind = "sender-ip-block"
//! confidence = "high"
//! sources = ["127.0.0.12"]
//!
//! [domains."mail.example"]                  # or null-mx = true, or only addresses = […]
//! mx = [{ preference = 10, host = "mx.mail.example", addresses = ["127.1.0.1", "127.1.0.2"] }]
//!
//! [hosts]                                   # further A and AAAA records
//! "out2.example.net" = "127.0.0.12"
//! [ptr]                                     # exchangers have theirs without saying
//! "127.0.0.12" = "out2.example.net"
//! [[record]]                                # any other; a TXT value can be a list of strings
//! name = "out2.example.net"
//! type = "TXT"
//! value = "v=spf1 a -all"
//!
//! [[dns-fault]]                             # servfail refused nxdomain nodata timeout truncate
//! name = "broken.example"
//! rtype = "MX"
//! answer = "servfail"
//!
//! [tls]                                     # none valid self-signed expired not-yet-valid wrong-name
//! certificate = "self-signed"
//!
//! [[balancer]]                              # turn (the default), source or chance
//! address = "127.1.0.1"
//! backends = ["be1.mail.example", "be2.mail.example"]
//!
//! [behaviour.blocked]                       # only what is special; see `mxprobe::smtp::dialog`
//! dialog = '''
//! C: MAIL FROM:*
//! S: 421 4.7.0 [TSS04] Messages from {source} temporarily deferred
//! CLOSE
//! '''
//!
//! [[rule]]                                  # the first that holds decides; without one: "accept"
//! source = "127.0.0.12"                     # also address, mx, backend, attempts = "1-2",
//! behaviour = "blocked"                     # count, chance = 0.3, from = "10s", until = "20s"
//! ```
//!
//! In dialogs `{source}`, `{address}`, `{host}` and `{backend}` stand for the client's address,
//! the server's, and its names. `attempts` counts connections of the source to the address, or,
//! by `count = "source"`, `"address"` or `"all"`, more of them. `chance` depends on the seed, the
//! source, the address and the attempt, and on nothing else.

mod certificate;
mod error;
mod file;
mod line;
mod play;
mod replies;
mod rule;
mod scenario;
mod seen;
mod values;
mod zone;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::certificate::Certificate;
use self::play::Part;
use self::replies::Manners;
use self::rule::Visit;
use self::scenario::{ACCEPT, Exchanger};
use self::seen::{Book, Entry};
use crate::address::Host;

pub use self::error::ScenarioError;
pub use self::scenario::{Scenario, Suggestion, Truth};
pub use self::seen::{Ended, Peaks, Seen};

/// How often a free port is looked for that is free at all addresses.
const BIND_TRIES: u32 = 32;

/// The ports to serve on; 0 takes a free one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ports {
    pub dns: u16,
    pub smtp: u16,
}

/// A provider that is up. Dropping it takes it down.
pub struct Provider {
    stage: Arc<Stage>,
    dns: SocketAddr,
    names: Server<zone::Zone>,
    port: u16,
    authority: Option<String>,
    /// Hold the port at addresses where nobody listens, so that nobody else does.
    _closed: Vec<TcpSocket>,
    listening: JoinSet<()>,
}

/// What every connection of a provider shares.
struct Stage {
    scenario: Scenario,
    acceptors: BTreeMap<Host, TlsAcceptor>,
    book: Arc<Book>,
    /// How many connections may be open at once; more wait to be accepted.
    room: Arc<Semaphore>,
}

impl Provider {
    /// How many connections may be open at once; more wait to be accepted.
    pub const CONNECTIONS: u32 = 4096;

    /// Takes the provider up: DNS on UDP and TCP of a port of 127.0.0.1, SMTP on one port of every
    /// exchanger's address.
    ///
    /// # Errors
    ///
    /// A port that is taken, an address that this host does not have.
    pub async fn start(scenario: Scenario, ports: Ports) -> io::Result<Self> {
        let (acceptors, authority) = if scenario.speaks_tls() {
            let hosts = scenario.exchangers.values().map(|exchanger| &exchanger.host);
            let made = certificate::issue(scenario.certificate, hosts)?;
            (made.acceptors, Some(made.authority))
        } else {
            (BTreeMap::new(), None)
        };
        let (names, dns) = zone::serve(scenario.records.clone(), scenario.faults.clone(), ports.dns).await?;
        let doors = open(&scenario.exchangers, ports.smtp)?;
        let room = Arc::new(Semaphore::new(Self::CONNECTIONS as usize));
        let stage = Arc::new(Stage { scenario, acceptors, book: Arc::new(Book::new()), room });
        let mut listening = JoinSet::new();
        for (address, listener) in doors.open {
            listening.spawn(listen(Arc::clone(&stage), address, listener));
        }
        Ok(Self { stage, dns, names, port: doors.port, authority, _closed: doors.closed, listening })
    }

    /// Where DNS is served.
    #[must_use]
    pub const fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// The port on which SMTP is served, at every exchanger's address.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The addresses at which SMTP is served, and the exchanger's name at each.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, &Host)> {
        let listening = self.stage.scenario.exchangers.iter().filter(|(_, exchanger)| exchanger.listens);
        listening.map(|(address, exchanger)| (*address, &exchanger.host))
    }

    /// What it plays.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.stage.scenario
    }

    /// The certificate, PEM, that signed the exchangers' where they are signed.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The connections so far, in the order in which they were accepted; the last 10,000.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.stage.book.seen()
    }

    /// How many connections were open at the same time.
    #[must_use]
    pub fn peaks(&self) -> Peaks {
        self.stage.book.peaks()
    }

    /// Connections as they end from now on. A listener that is 256 behind misses some.
    #[must_use]
    pub fn ended(&self) -> broadcast::Receiver<Seen> {
        self.stage.book.subscribe()
    }

    /// Takes the provider down, open connections included, and says what it saw.
    pub async fn stop(mut self) -> Vec<Seen> {
        self.listening.shutdown().await;
        // How its tasks ended is of no interest, only that they have.
        let _ = self.names.shutdown_gracefully().await;
        // All the room is free again when the last connection is dropped.
        let _ = self.stage.room.acquire_many(Self::CONNECTIONS).await;
        self.stage.book.seen()
    }
}

/// The sockets at the exchangers' addresses.
struct Doors {
    port: u16,
    open: Vec<(IpAddr, TcpListener)>,
    closed: Vec<TcpSocket>,
}

/// Binds one port at all addresses.
fn open(exchangers: &BTreeMap<IpAddr, Exchanger>, port: u16) -> io::Result<Doors> {
    let mut tries = 1..=BIND_TRIES;
    loop {
        match open_all(exchangers, port) {
            Err(e) if port == 0 && e.kind() == io::ErrorKind::AddrInUse && tries.next().is_some() => {}
            doors => return doors,
        }
    }
}

fn open_all(exchangers: &BTreeMap<IpAddr, Exchanger>, port: u16) -> io::Result<Doors> {
    let mut doors = Doors { port, open: Vec::new(), closed: Vec::new() };
    for (&address, exchanger) in exchangers {
        let socket = bind(address, doors.port, port != 0)?;
        doors.port = socket.local_addr()?.port();
        if exchanger.listens {
            doors.open.push((address, socket.listen(1024)?));
        } else {
            doors.closed.push(socket);
        }
    }
    if exchangers.is_empty() {
        let socket = bind(Ipv4Addr::LOCALHOST.into(), port, false)?;
        doors.port = socket.local_addr()?.port();
        doors.closed.push(socket);
    }
    Ok(doors)
}

fn bind(address: IpAddr, port: u16, again: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A fixed port is taken up again while connections of the last provider still fade.
    socket.set_reuseaddr(again)?;
    let address = SocketAddr::new(address, port);
    socket.bind(address).map_err(|e| io::Error::new(e.kind(), format!("cannot bind {address}: {e}")))?;
    Ok(socket)
}

/// Accepts connections at one address until it is aborted, and drops them then.
async fn listen(stage: Arc<Stage>, address: IpAddr, listener: TcpListener) {
    let mut open = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&stage.room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Counted here, so that attempts are counted in the order of arrival.
                if let Some((part, entry)) = stage.cast(peer.ip(), address, permit) {
                    open.spawn(play::play(part, stream, entry));
                }
            }
            // Out of descriptors, most likely: some come back when connections end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while open.try_join_next().is_some() {}
    }
}

impl Stage {
    /// Decides what a connection is to meet, and enters it.
    fn cast(&self, source: IpAddr, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<(Part, Entry)> {
        let exchanger = self.scenario.exchangers.get(&address)?;
        let Scenario { seed, rules, behaviours, .. } = &self.scenario;
        let counts = self.book.count(source, address);
        let host = exchanger.host.clone();
        let backend = match &exchanger.balancer {
            Some(balancer) => balancer.backend(*seed, source, address, counts.cell).to_owned(),
            None => host.as_str().to_owned(),
        };
        let visit = Visit { source, address, host, backend, counts, at: self.book.uptime() };
        let behaviour = rule::behaviour(rules, &visit, *seed).unwrap_or(ACCEPT);
        let seen = Seen {
            at: visit.at,
            source,
            address,
            host: visit.host.clone(),
            backend: visit.backend.clone(),
            attempt: counts.cell,
            behaviour: behaviour.to_owned(),
            tls: false,
            commands: Vec::new(),
            message: Vec::new(),
            message_bytes: 0,
            ended: None,
            until: None,
        };
        let entry = self.book.enter(seen, permit);
        let queue_id = rule::draw(&[*seed, rule::bits(source), rule::bits(address), counts.cell.into()]);
        let acceptor = self.acceptors.get(&visit.host).cloned();
        let manners = Manners {
            name: visit.backend,
            extensions: Arc::clone(&self.scenario.extensions),
            starttls: self.scenario.certificate != Certificate::None,
            queue_id: format!("{:012X}", queue_id >> 16),
        };
        let dialog = behaviours.get(behaviour).cloned().unwrap_or_default();
        let part = Part { dialog, manners, acceptor, source, address, host: visit.host.as_str().to_owned() };
        Some((part, entry))
    }
}
