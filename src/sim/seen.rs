//! What a simulated provider saw: one entry per connection, and how many were open at once.
//!
//! An entry is there from the moment a connection is accepted, and a command is in it before it is
//! answered, so that a client which has its answer finds its command here. A connection counts as
//! over before the provider's last words go out: a client that has read them can open the next one
//! without being counted twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::rule::Counts;
use crate::address::Host;
use crate::words::words;

/// One connection, as the provider saw it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// How long the provider had been up when it was accepted.
    pub at: Duration,
    pub source: IpAddr,
    pub address: IpAddr,
    /// The exchanger's name.
    pub host: Host,
    /// The backend that answered; the exchanger's name where there is no balancer.
    pub backend: String,
    /// Counts the connections from this source to this address from 1.
    pub attempt: u32,
    /// The behaviour that it met.
    pub behaviour: String,
    /// Whether a handshake succeeded.
    pub tls: bool,
    /// The lines that the client said, without line ends, lossy; the first 100, each up to 1,000
    /// bytes. A message is the line `.`.
    pub commands: Vec<String>,
    /// The first 4,096 bytes of what came behind DATA, as on the wire.
    pub message: Vec<u8>,
    /// How many bytes came behind DATA.
    pub message_bytes: u64,
    /// None: it is still open.
    pub ended: Option<Ended>,
    /// How long the provider had been up when it ended.
    pub until: Option<Duration>,
}

words! {
    /// How a connection ended.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Ended ("ending") {
        /// The client said QUIT and was answered.
        Quit = "quit",
        /// The dialog closed it.
        Closed = "closed",
        /// The dialog reset it.
        Reset = "reset",
        /// The client closed or reset it.
        ClientGone = "client-gone",
        /// No handshake came about.
        TlsFailed = "tls-failed",
        /// The client sent a line that was too long.
        TooLong = "too-long",
        /// The client said nothing for five minutes.
        Idle = "idle",
        /// The provider was stopped.
        Stopped = "stopped",
    }
}

/// How many connections were open at the same time, at most.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Peaks {
    pub all: u32,
    pub by_address: BTreeMap<IpAddr, u32>,
    pub by_source: BTreeMap<IpAddr, u32>,
}

/// The book in which connections are entered.
#[derive(Debug)]
pub(super) struct Book {
    started: Instant,
    pages: Mutex<Pages>,
    ended: broadcast::Sender<Seen>,
}

#[derive(Debug, Default)]
struct Pages {
    entries: VecDeque<Arc<Mutex<Seen>>>,
    counts: HashMap<(Option<IpAddr>, Option<IpAddr>), u32>,
    open: Peaks,
    peaks: Peaks,
}

impl Book {
    /// How many connections are remembered; the oldest are forgotten first.
    const CAPACITY: usize = 10_000;

    pub(super) fn new() -> Self {
        Self { started: Instant::now(), pages: Mutex::default(), ended: broadcast::channel(256).0 }
    }

    /// How long the provider has been up.
    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a connection; rules are asked before it is entered.
    pub(super) fn count(&self, source: IpAddr, address: IpAddr) -> Counts {
        let mut pages = held(&self.pages);
        let mut count = |source, address| {
            let count = pages.counts.entry((source, address)).or_default();
            *count = count.saturating_add(1);
            *count
        };
        Counts {
            cell: count(Some(source), Some(address)),
            source: count(Some(source), None),
            address: count(None, Some(address)),
            all: count(None, None),
        }
    }

    /// Enters a connection.
    pub(super) fn enter(self: &Arc<Self>, seen: Seen, room: OwnedSemaphorePermit) -> Entry {
        let mut pages = held(&self.pages);
        pages.open(&seen);
        let seen = Arc::new(Mutex::new(seen));
        if pages.entries.len() == Self::CAPACITY {
            pages.entries.pop_front();
        }
        pages.entries.push_back(Arc::clone(&seen));
        Entry { book: Arc::clone(self), seen, _room: room }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        held(&self.pages).entries.iter().map(|seen| held(seen).clone()).collect()
    }

    pub(super) fn peaks(&self) -> Peaks {
        held(&self.pages).peaks.clone()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Seen> {
        self.ended.subscribe()
    }
}

impl Pages {
    fn open(&mut self, seen: &Seen) {
        let raise = |open: &mut u32, peak: &mut u32| {
            *open += 1;
            *peak = (*peak).max(*open);
        };
        let Self { open, peaks, .. } = self;
        raise(&mut open.all, &mut peaks.all);
        for (open, peaks, of) in [
            (&mut open.by_address, &mut peaks.by_address, seen.address),
            (&mut open.by_source, &mut peaks.by_source, seen.source),
        ] {
            raise(open.entry(of).or_default(), peaks.entry(of).or_default());
        }
    }

    fn close(&mut self, seen: &Seen) {
        self.open.all -= 1;
        for (open, of) in [(&mut self.open.by_address, seen.address), (&mut self.open.by_source, seen.source)] {
            if let Some(open) = open.get_mut(&of) {
                *open -= 1;
            }
        }
    }
}

/// One connection's entry. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Entry {
    book: Arc<Book>,
    seen: Arc<Mutex<Seen>>,
    /// Given back when the entry has ended.
    _room: OwnedSemaphorePermit,
}

impl Entry {
    const COMMANDS: usize = 100;
    const LINE: usize = 1000;
    const MESSAGE: usize = 4096;

    pub(super) fn heard(&self, line: &[u8]) {
        let mut seen = held(&self.seen);
        if seen.commands.len() < Self::COMMANDS {
            let line = String::from_utf8_lossy(&line[..line.len().min(Self::LINE)]).into_owned();
            seen.commands.push(line);
        }
    }

    pub(super) fn took(&self, message: &[u8]) {
        let mut seen = held(&self.seen);
        let room = Self::MESSAGE - seen.message.len();
        seen.message.extend_from_slice(&message[..message.len().min(room)]);
        seen.message_bytes += message.len() as u64;
    }

    pub(super) fn upgraded(&self) {
        held(&self.seen).tls = true;
    }

    /// Ends the connection, as far as counting goes. Only the first ending counts.
    pub(super) fn end(&self, ended: Ended) {
        let mut pages = held(&self.book.pages);
        let mut seen = held(&self.seen);
        if seen.ended.is_none() {
            seen.ended = Some(ended);
            seen.until = Some(self.book.uptime());
            pages.close(&seen);
            if self.book.ended.receiver_count() > 0 {
                // The last listener may leave meanwhile.
                let _ = self.book.ended.send(seen.clone());
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end(Ended::Stopped);
    }
}

/// A panic elsewhere leaves no entry half written.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
