//! An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does
//! a mailbox provider refuse, and is it them or you?
#![forbid(unsafe_code)]

pub mod address;
pub mod limits;
pub mod record;
pub mod sim;
pub mod smtp;
pub mod stage;
pub mod timeouts;
mod words;
