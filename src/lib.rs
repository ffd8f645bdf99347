//! An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does
//! a mailbox provider refuse, and is it them or you?
#![forbid(unsafe_code)]

pub mod address;
pub mod catalog;
pub mod diff;
pub mod judge;
pub mod record;
pub mod smtp;
pub mod stage;
mod words;
