//! The protocol, apart from the world: no socket, clock, resolver or randomness.
//!
//! [`decoder`] turns bytes into replies, [`command`] types into bytes, [`ehlo`] reads what a server
//! offers, [`session`] is the state machine between a [`script`] and what was [`learned`], and
//! [`dialog`] the notation in which tests, simulated providers and transcripts write all of it down.

pub mod command;
pub mod decoder;
pub mod dialog;
pub mod ehlo;
pub mod fault;
pub mod learned;
pub mod reply;
pub mod script;
pub mod session;
