//! An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does
//! a mailbox provider refuse, and is it them or you?
#![forbid(unsafe_code)]

pub mod address;
pub mod cli;
pub mod dns;
pub mod duration;
pub mod limits;
pub mod probe;
pub mod record;
pub mod smtp;
pub mod source;
pub mod stage;
pub mod timeouts;
pub mod wire;
mod words;
