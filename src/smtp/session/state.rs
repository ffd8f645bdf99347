//! The states of a session, and what moves it from one to the next.

use std::time::Instant;

use crate::smtp::fault::Fault;
use crate::smtp::reply::Reply;
use crate::stage::Stage;

/// What follows a reply.
pub(super) enum Next {
    Helo,
    OutOfPlace,
    Refused,
    Stage(Stage),
}

#[derive(Debug)]
pub(super) enum State {
    /// Only the connection was asked for; the greeting is awaited to say `QUIT` in turn.
    Greeting,
    /// A write failed; the server may have said why before.
    LastWords(Fault, Instant),
    /// The greeting was refused; a second reply may follow.
    Lingering(Instant),
    Over,
    Reading,
    Sending(Vec<u8>, Then),
    Upgrading,
}

impl State {
    pub(super) const fn listens(&self) -> bool {
        matches!(self, Self::Greeting | Self::LastWords(..) | Self::Lingering(_) | Self::Reading)
    }
}

/// What follows a write.
#[derive(Debug)]
pub(super) enum Then {
    Close,
    Read,
    /// This reply came before anything was asked, and answers it.
    Take(Reply),
}
