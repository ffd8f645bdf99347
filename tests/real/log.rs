//! What Postfix wrote down of its clients.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// What it calls a client that speaks out of turn.
const OUT_OF_TURN: [&str; 5] =
    ["PREGREET", "COMMAND PIPELINING", "NON-SMTP COMMAND", "BARE NEWLINE", "improper command pipelining"];

pub(crate) struct Log(pub(crate) PathBuf);

impl Log {
    pub(crate) fn size(&self) -> usize {
        self.text().len()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    /// How many connections Postfix had from each source since the log was of that size, those that
    /// the tarpit hands on counted once, and what it wrote about clients that spoke out of turn. The
    /// log is written by a process of its own, so this waits until that many sessions are over.
    pub(crate) fn since(&self, size: usize, sessions: usize) -> (BTreeMap<String, usize>, Vec<String>) {
        let end = Instant::now() + Duration::from_secs(3);
        loop {
            let text = self.text();
            let new = text[size..].lines();
            let over = |line: &&str| line.contains(": disconnect from ") || line.contains(": DISCONNECT [");
            if new.clone().filter(over).count() < sessions && Instant::now() < end {
                thread::park_timeout(Duration::from_millis(2));
                continue;
            }
            let mut seen = BTreeMap::new();
            for line in new.clone().filter(|line| !line.contains(" postfix/behind/")) {
                let client = line.split_once(": connect from unknown[").or(line.split_once(": CONNECT from ["));
                if let Some((address, _)) = client.and_then(|(_, client)| client.split_once(']')) {
                    *seen.entry(address.to_owned()).or_default() += 1;
                }
            }
            let out_of_turn = new.filter(|line| OUT_OF_TURN.iter().any(|name| line.contains(name)));
            return (seen, out_of_turn.map(str::to_owned).collect());
        }
    }
}
