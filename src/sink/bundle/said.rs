//! The other side's words: each distinct reply, and the dialogs that they ended.

use std::net::SocketAddr;

use super::{Block, Ink, LISTED, Table};
use crate::record::Session;
use crate::sink::faults::{Fault, faults, sessions};
use crate::sink::recording::Recording;
use crate::sink::redact::Redaction;
use crate::sink::retold::retold;
use crate::status::failed;

/// So many dialogs are told.
const DIALOGS: usize = 3;

pub(super) fn said(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let faults = faults(recording.sessions.iter());
    let mut blocks: Vec<Block> = faults.iter().take(LISTED).flat_map(|fault| told(fault, ink)).collect();
    if faults.len() > LISTED {
        blocks.push(Block::Text(format!("and {} more kinds of failure", faults.len() - LISTED)));
    }
    blocks
}

fn told(fault: &Fault<'_>, ink: &Ink) -> Vec<Block> {
    let first = fault.first();
    let expected = if first.expected { ", as expected" } else { "" };
    let count = sessions(fault.sessions.len() as u64);
    let mut blocks = vec![Block::Heading(format!("{}: {count}{expected}", ink.text(&fault.what())))];
    blocks.extend(first.reply.as_ref().map(|reply| ink.quoted(reply)));
    for also in fault.also().into_iter().take(LISTED) {
        blocks.push(Block::Text("and then, unasked:".to_owned()));
        blocks.push(ink.quoted(also));
    }
    blocks.extend(first.detail.as_ref().map(|detail| ink.quoted(std::slice::from_ref(detail))));
    let named = fault.sessions.iter().any(|s| s.to.is_some());
    let mut table = Table::new(["UTC", "from", "to", "server"]);
    table.heads.extend(named.then(|| "recipient".to_owned()));
    for session in fault.sessions.iter().take(LISTED) {
        let server = session.backend.as_deref().or(session.mx.as_deref()).unwrap_or_default();
        table.row([
            format!("{:.0}", session.at),
            session.source.map_or_else(String::new, |source| source.to_string()),
            end(session, ink),
            ink.text(server),
        ]);
        if let (true, Some(row)) = (named, table.rows.last_mut()) {
            let recipient = session.to.as_deref().map(Redaction::recipient).unwrap_or_default();
            row.push(super::Cell::plain(ink.word(&recipient)));
        }
    }
    blocks.extend(table.blocks("sessions"));
    if fault.sessions.len() > LISTED {
        blocks.push(Block::Text(format!("and {} more", fault.sessions.len() - LISTED)));
    }
    blocks
}

/// Where a session went; the exchanger's name where it had no address.
fn end(session: &Session, ink: &Ink) -> String {
    match session.address {
        Some(address) => SocketAddr::from((address, session.port)).to_string(),
        None => ink.word(session.mx.as_deref().unwrap_or_default()),
    }
}

/// The first dialog of each of the most frequent failures.
pub(super) fn dialogs(recording: &Recording, ink: &Ink) -> Vec<Block> {
    let faults = faults(recording.sessions.iter().filter(|session| failed(session)));
    let dialog = |fault: &Fault<'_>| fault.sessions.iter().find_map(|session| retold(session, &ink.redaction));
    let dialogs = faults.iter().filter_map(dialog).take(DIALOGS);
    dialogs
        .map(|lines| Block::Verbatim(lines.iter().map(|line| crate::visible::visible(line).into_owned()).collect()))
        .collect()
}
