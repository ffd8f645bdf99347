//! One ledger for several runs of a process that go on at the same time.
//!
//! A run keeps its own sessions to its limits and a ledger in a file keeps processes apart; what
//! neither knows of is the other runs of the same process. That is here.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{Account, Admission, Ask, Ledger, Rest, later};

/// After how long a run looks again whether another one has ended a session.
const AGAIN: Duration = Duration::from_millis(250);

/// A share in a ledger: one for each run.
pub struct Shared {
    pool: Arc<Mutex<Pool>>,
    /// Whose share it is.
    number: u64,
    unkept: Option<Arc<str>>,
}

struct Pool {
    ledger: Box<dyn Ledger>,
    /// The open sessions, and through whose share they were admitted.
    open: Vec<(u64, Account, IpAddr)>,
    shares: u64,
}

impl Shared {
    #[must_use]
    pub fn new(ledger: Box<dyn Ledger>) -> Self {
        let unkept = ledger.unkept().map(Arc::from);
        let pool = Pool { ledger, open: Vec::new(), shares: 1 };
        Self { pool: Arc::new(Mutex::new(pool)), number: 0, unkept }
    }

    /// Another share in the same ledger.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut pool = self.pool();
        let number = pool.shares;
        pool.shares += 1;
        Self { pool: Arc::clone(&self.pool), number, unkept: self.unkept.clone() }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Whoever panicked has at worst left a session in it that is over, and holds others up.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Shared {
    fn admit(&mut self, ask: &Ask<'_>) -> Admission {
        let number = self.number;
        let mut pool = self.pool();
        let here = pool.open.iter().filter(|(_, account, _)| account == ask.account);
        let at_address = here.clone().filter(|(_, _, address)| *address == ask.address).count();
        let is_full = here.clone().count() >= ask.limits.per_provider || at_address >= ask.limits.per_address;
        // What is full by its own sessions the run knows itself, and when there is room again.
        if is_full && here.clone().any(|(share, _, _)| *share != number) {
            return Admission::Wait(later(ask.now, AGAIN));
        }
        let admission = pool.ledger.admit(ask);
        if admission == Admission::Go {
            pool.open.push((number, ask.account.clone(), ask.address));
        }
        admission
    }

    fn ended(&mut self, account: &Account, address: IpAddr, now: Timestamp) {
        let number = self.number;
        let mut pool = self.pool();
        let is_it = |open: &(u64, Account, IpAddr)| open.0 == number && open.1 == *account && open.2 == address;
        if let Some(at) = pool.open.iter().position(is_it) {
            pool.open.swap_remove(at);
        }
        pool.ledger.ended(account, address, now);
    }

    fn renew(&mut self, now: Timestamp) {
        self.pool().ledger.renew(now);
    }

    fn rest(&mut self, run: &str, account: &Account, source: IpAddr, rest: Rest, now: Timestamp) {
        self.pool().ledger.rest(run, account, source, rest, now);
    }

    fn starts(&self, account: &Account, since: Timestamp) -> u64 {
        self.pool().ledger.starts(account, since)
    }

    fn unkept(&self) -> Option<&str> {
        self.unkept.as_deref()
    }
}

impl Drop for Shared {
    /// A run that broke off has no sessions any more.
    fn drop(&mut self) {
        let number = self.number;
        self.pool().open.retain(|(share, _, _)| *share != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ground, RunLedger};
    use crate::limits::Limits;

    #[test]
    fn runs_of_one_process_keep_to_the_limits_together() {
        let account = Account { provider: "example.org".into(), loopback: None };
        let limits = Limits { per_hour: 4, ..Limits::default() };
        let now = Timestamp::UNIX_EPOCH;
        let ask = |last: u8| Ask {
            run: "a",
            account: &account,
            ground: Ground::Foreign,
            address: IpAddr::from([198, 51, 100, last]),
            source: None,
            first: true,
            ignore_rest: false,
            limits: &limits,
            now,
        };
        let mut one = Shared::new(Box::new(RunLedger::default()));
        let (mut two, mut three) = (one.another(), one.another());
        assert_eq!(one.admit(&ask(1)), Admission::Go);
        // The address is taken, then the provider is full, then there is room again.
        assert!(matches!(two.admit(&ask(1)), Admission::Wait(until) if until > now));
        assert_eq!(two.admit(&ask(2)), Admission::Go);
        assert!(matches!(three.admit(&ask(3)), Admission::Wait(_)));
        one.ended(&account, IpAddr::from([198, 51, 100, 1]), now);
        assert_eq!(three.admit(&ask(3)), Admission::Go);
        // A run that broke off holds nobody up, and what it started still counts.
        drop(two);
        assert_eq!(one.admit(&ask(2)), Admission::Go);
        one.ended(&account, IpAddr::from([198, 51, 100, 2]), now);
        assert!(matches!(one.admit(&ask(1)), Admission::Skip(why) if why.contains("the budget of 4 sessions an hour")));
        assert_eq!(one.starts(&account, now - jiff::SignedDuration::from_secs(1)), 4);
    }
}
