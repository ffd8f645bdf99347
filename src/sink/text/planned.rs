//! What a dry run would open.

use std::io;
use std::net::SocketAddr;

use jiff::Timestamp;

use super::paper::{DIM, PLAIN, Paper, Piece, piece};
use super::timing::seconds;
use crate::record::{Role, Session, Variant};
use crate::sink::recording::Recording;

/// Every planned session, one a line.
pub(super) fn planned<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    let (Some(first), Some(last)) = (recording.planned.first(), recording.planned.last()) else { return Ok(()) };
    let mut rows = vec![["", "starts", "from", "to", ""].map(|head| piece(DIM, head)).to_vec()];
    rows.extend(recording.planned.iter().map(|session| row(session, first.at)));
    paper.blank()?;
    paper.table(0, &rows)?;
    let text = format!("nothing was opened; the last session would start {} after the first", after(last.at, first.at));
    paper.blank()?;
    paper.flow(piece(PLAIN, ""), PLAIN, &text)
}

fn after(at: Timestamp, first: Timestamp) -> String {
    seconds((at.as_duration() - first.as_duration()).as_secs_f64() * 1000.0)
}

fn row(session: &Session, first: Timestamp) -> Vec<Piece> {
    let to = match (session.address, session.mx.as_deref()) {
        (Some(address), _) => SocketAddr::from((address, session.port)).to_string(),
        (None, name) => name.unwrap_or("?").to_owned(),
    };
    let role = (session.role != Role::Target).then(|| session.role.as_str());
    let variant = (session.variant != Variant::Plain).then(|| session.variant.as_str());
    let further: Vec<&str> = [role, variant, session.to.as_deref()].into_iter().flatten().collect();
    vec![
        piece(DIM, format!("{:4}", session.seq)),
        piece(PLAIN, format!("+{:>9}", after(session.at, first))),
        piece(PLAIN, session.source.map_or_else(String::new, |source| source.to_string())),
        piece(PLAIN, to),
        piece(DIM, further.join(", ")),
    ]
}
