//! An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does
//! a mailbox provider refuse, and is it them or you?
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod address;
pub mod catalog;
#[expect(clippy::disallowed_methods, reason = "it reads the environment")]
pub mod cli;
#[expect(clippy::disallowed_methods, reason = "they read the clock and the environment where a command begins")]
pub mod commands;
pub mod diff;
#[expect(clippy::disallowed_methods, reason = "it asks over the network and takes the time")]
pub mod dns;
#[expect(clippy::disallowed_methods, reason = "it hands the session the time")]
pub mod drive;
pub mod duration;
pub mod explain;
pub mod history;
pub mod judge;
pub mod ledger;
pub mod limits;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod reproduce;
#[expect(clippy::disallowed_methods, reason = "it holds the clock of a run")]
pub mod run;
#[expect(clippy::disallowed_methods, reason = "it serves on loopback")]
pub mod sim;
pub mod sink;
pub mod smtp;
pub mod source;
pub mod stage;
pub mod status;
pub mod timeouts;
pub mod visible;
pub mod wire;
mod words;
