//! What stands in for a history that could not be opened, where the target allows it.

use std::net::IpAddr;

use jiff::Timestamp;

use super::ledger::Tell;
use crate::ledger::{Account, Admission, Ask, Ledger, Rest, RunLedger};

/// A ledger that knows why it lasts no longer than the run, and says so once.
pub struct Unkept {
    why: String,
    book: RunLedger,
    tell: Option<Tell>,
}

impl Unkept {
    #[must_use]
    pub fn new(why: &impl std::fmt::Display, tell: Tell) -> Self {
        Self { why: why.to_string(), book: RunLedger::default(), tell: Some(tell) }
    }
}

impl Ledger for Unkept {
    fn admit(&mut self, ask: &Ask<'_>) -> Admission {
        if let Some(tell) = self.tell.take() {
            tell(&format!("{}; rates and rests are counted by this run alone", self.why));
        }
        self.book.admit(ask)
    }

    fn rest(&mut self, run: &str, account: &Account, source: IpAddr, rest: Rest, now: Timestamp) {
        self.book.rest(run, account, source, rest, now);
    }

    fn starts(&self, account: &Account, since: Timestamp) -> u64 {
        self.book.starts(account, since)
    }

    fn unkept(&self) -> Option<&str> {
        Some(&self.why)
    }
}
