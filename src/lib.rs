//! An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does
//! a mailbox provider refuse, and is it them or you?
#![forbid(unsafe_code)]

pub mod address;
pub mod catalog;
pub mod cli;
pub mod commands;
pub mod dns;
pub mod drive;
pub mod duration;
pub mod explain;
pub mod judge;
pub mod ledger;
pub mod limits;
pub mod outcome;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod run;
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
