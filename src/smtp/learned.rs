//! What a session learned, step by step.
//!
//! Apart from [`session`](super::session), which is how it learns it: most of the house reads this
//! and never meets the machine.

use std::time::Duration;

use super::decoder::Decoder;
use super::fault::Fault;
use super::reply::Reply;
use crate::stage::Stage;

/// One stage as it went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Which stage.
    pub stage: Stage,
    /// How it ended.
    pub answer: Answer,
    /// Whether the session went on from here as planned.
    pub passed: bool,
    /// From the first byte sent to the last received.
    pub took: Duration,
}

/// How a stage ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A connection or a handshake succeeded: the successes without a reply.
    Established,
    /// The server replied.
    Reply(Reply),
    /// The server did not reply.
    Fault(Fault),
}

/// What stands out in a session beside its steps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// EHLO was refused with this reply, and HELO followed (RFC 5321, section 3.2).
    HeloFallback(Reply),
    /// `STARTTLS` was refused with this reply, and the session went on in the clear.
    StartTlsRefused(Reply),
    /// The server closed the connection right after it refused, before `QUIT` was answered.
    CloseAfterReply,
    /// The server gave more replies than it was asked for, the last of them before `QUIT`'s: any
    /// reply on record may be the answer to what was asked before.
    OutOfStep,
}

/// Everything that a session learned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Learned {
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Replies nobody asked for, in order.
    pub also: Vec<Reply>,
    pub notes: Vec<Note>,
    /// The first bytes of a reply that never ended, where waiting for it ended the session.
    pub unfinished: Option<Vec<u8>>,
}

impl Learned {
    /// How many replies that nobody asked for are kept, and how many bytes of them.
    const MOST_ALSO: (usize, usize) = (100, Decoder::LIMIT);

    /// The last accepted reply to EHLO, or to HELO where that came to be said.
    #[must_use]
    pub fn ehlo(&self) -> Option<&Reply> {
        self.steps.iter().rev().find_map(|step| match (step.stage, &step.answer) {
            (Stage::Ehlo | Stage::EhloTls, Answer::Reply(reply)) if step.passed => Some(reply),
            _ => None,
        })
    }

    /// Keeps a reply that nobody asked for, unless there are too many: then no more will tell more.
    pub(super) fn set_aside(&mut self, reply: Reply) -> bool {
        let size: usize = self.also.iter().chain([&reply]).flat_map(|reply| &reply.lines).map(Vec::len).sum();
        let room = self.also.len() < Self::MOST_ALSO.0 && size <= Self::MOST_ALSO.1;
        if room {
            self.also.push(reply);
        }
        room
    }
}
