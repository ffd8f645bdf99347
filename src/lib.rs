//! An SMTP delivery prober: from which of your addresses, at which of theirs, at which stage does
//! a mailbox provider refuse, and is it them or you?
//!
//! # The flow
//!
//! ```text
//! flags, probes/*.toml ─► Probe ─dns─► Route ─plan()─► [Attempt] ─Session over Wire─► Outcome ─► record::Line ─┬─► judge() ─► [Diagnosis] ─► Sinks
//! bounce, log, pasted text ─Reader─► Report ─reproduce─► Probe                                                 │
//! MTA logs ─Import───────────────────────────────────────────────────────────────────────► record::Line ───────┤
//! recordings ──────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | arrow | function |
//! |---|---|
//! | words to a probe | [`probe::layer::ProbeLayer::settle`] |
//! | a domain to its addresses | [`dns::Dns::route`] |
//! | a probe to all its work | [`plan::plan`] |
//! | a session to its steps | [`drive::drive`] over [`smtp::session::Session`] |
//! | what happened to its record | [`outcome::Outcome::record`] |
//! | all of these in one run | [`run::run`] |
//! | evidence to diagnoses | [`judge::judge`] |
//! | a schedule to its rounds | [`schedule::Timetable`] |
//! | rounds to incidents | [`incident::Tracker`] |
//! | an incident to those it concerns | [`alert::Notice`], [`alert::deliver`] |
//! | a bounce, a log, a sentence to reports | [`report::Reader`], [`report::import::Import`] |
//! | lines to what people and programs read | [`sink::open`] |
//! | lines to what is on record, and back | [`history::archive::Archive`] |
//! | a watch to whoever asks | [`web::router`] |
//!
//! A refusal, a timeout, a broken handshake is a value; an `Err` means that *we* could not do our
//! part. Everything but `auth`, `dns`, `wire`, `drive`, `preflight`, `run`, `history`, `alert`, `sim`
//! and the faces is pure: no socket, no clock, no chance.
//!
//! # The levels
//!
//! A module imports its own level and lower ones (a test holds them to it):
//!
//! 0. words: `words`, `stage`, `address`, `source`, `duration`, `timeouts`, `visible`
//! 1. the protocol, without a socket: `smtp`
//! 2. probing as values: `dane`, `policy`, `probe`, `limits`, `plan`, `outcome`, `record`,
//!    `catalog`, `report`, `explain`, `gate`, `reproduce`, `judge`, `diff`, `ledger`, `status`,
//!    `schedule`, `incident`
//! 3. the world: `auth`, `dns`, `wire`, `drive`, `preflight`, `run`, `history`, `alert`, `sim`
//! 4. the faces: `cli`, `commands`, `sink`, `watch`, `web`
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod address;
#[expect(clippy::disallowed_methods, reason = "it has the time, and draws lots for when to try again")]
pub mod alert;
pub mod auth;
pub mod catalog;
#[expect(clippy::disallowed_methods, reason = "it reads the environment")]
pub mod cli;
#[expect(clippy::disallowed_methods, reason = "they read the clock and the environment where a command begins")]
pub mod commands;
pub mod dane;
pub mod diff;
#[expect(clippy::disallowed_methods, reason = "it asks over the network and takes the time")]
pub mod dns;
#[expect(clippy::disallowed_methods, reason = "it hands the session the time")]
pub mod drive;
pub mod duration;
pub mod explain;
pub mod gate;
pub mod history;
pub mod incident;
pub mod judge;
pub mod ledger;
pub mod limits;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod preflight;
pub mod probe;
pub mod record;
pub mod report;
pub mod reproduce;
#[expect(clippy::disallowed_methods, reason = "it holds the clock of a run")]
pub mod run;
pub mod schedule;
#[expect(clippy::disallowed_methods, reason = "it serves on loopback")]
pub mod sim;
pub mod sink;
pub mod smtp;
pub mod source;
pub mod stage;
pub mod status;
pub mod timeouts;
pub mod visible;
#[expect(clippy::disallowed_methods, reason = "it holds the clock of the rounds")]
pub mod watch;
#[expect(clippy::disallowed_methods, reason = "it listens, and answers with the time")]
pub mod web;
pub mod wire;
mod words;
