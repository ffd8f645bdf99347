//! How a session ends that does not go on as planned: what a fault makes of the stage, and how leave
//! is taken of a server that may still listen.

use std::time::Instant;

use super::Session;
use super::state::{State, Then};
use crate::smtp::command;
use crate::smtp::fault::Fault;
use crate::smtp::learned::{Answer, Note};
use crate::smtp::reply::Reply;
use crate::stage::Stage;

impl Session {
    /// Takes in that something did not happen.
    pub(super) fn fail(&mut self, fault: Fault, now: Instant) {
        let broken = matches!(fault, Fault::Closed | Fault::Reset);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Lingering(_) if fault == Fault::TimedOut => self.enter(Stage::Quit, now),
            State::Lingering(_) => self.note_close(broken),
            _ if self.stage == Stage::Quit => self.note_close(broken),
            State::Sending(_, Then::Take(reply)) => {
                self.record(Answer::Reply(reply), false, now);
            }
            // The reply that explains why the server takes no more is often waiting (RFC 5321,
            // section 4.2.1 has it sent before the close).
            State::Sending(..) if broken => self.state = State::LastWords(fault, now + Self::LINGER),
            State::Sending(..) if fault == Fault::TimedOut => self.state = State::LastWords(fault, now),
            State::LastWords(first, _) => self.stop(first, now),
            State::Reading if broken => self.stop(fault, now),
            State::Upgrading => match fault {
                Fault::Unverified(_) => self.part(fault, now),
                _ => self.stop(fault, now),
            },
            state => {
                self.state = state;
                self.give_up(fault, now);
            }
        }
    }

    fn note_close(&mut self, broken: bool) {
        if broken
            && self.learned.steps.last().is_some_and(|step| matches!(step.answer, Answer::Reply(_)) && !step.passed)
        {
            self.learned.notes.push(Note::CloseAfterReply);
        }
    }

    /// Ends the stage with a fault and the connection with it.
    pub(super) fn stop(&mut self, fault: Fault, now: Instant) {
        self.end_stage(fault, now);
        self.state = State::Over;
    }

    /// Ends the stage with a fault and takes leave of a server that still listens.
    pub(super) fn part(&mut self, fault: Fault, now: Instant) {
        self.end_stage(fault, now);
        self.enter(Stage::Quit, now);
    }

    /// Ends the stage with a fault and says `QUIT` without waiting for its reply, where the server
    /// has greeted and would take it for a command.
    pub(super) fn give_up(&mut self, fault: Fault, now: Instant) {
        let greeted = self.stage > Stage::Banner;
        let speaks = match self.state {
            State::Reading => true,
            State::Sending(..) => self.stage != Stage::EndOfData,
            _ => false,
        };
        self.end_stage(fault, now);
        self.state = State::Over;
        if greeted && speaks {
            self.say_quit(now);
        }
    }

    /// Says `QUIT` and does not wait for its reply.
    pub(super) fn say_quit(&mut self, now: Instant) {
        self.stage = Stage::Quit;
        self.since = now;
        self.state = State::Sending(command::quit(), Then::Close);
    }

    /// Records how a stage ended that got no answer to what was asked. A refusal that came
    /// unasked in its place, or EHLO's where HELO got none, says more than the fault.
    fn end_stage(&mut self, fault: Fault, now: Instant) {
        let gone = matches!(fault, Fault::Closed | Fault::Reset);
        let unasked = self.learned.also[self.also_before..].iter().position(Reply::refuses);
        let answer = match (self.refused_ehlo.take(), unasked) {
            (Some(refusal), _) => Answer::Reply(refusal),
            (None, Some(at)) if gone => Answer::Reply(self.learned.also.remove(self.also_before + at)),
            _ => {
                let leftover = self.decoder.leftover();
                self.learned.unfinished =
                    (matches!(fault, Fault::TimedOut) || gone).then_some(leftover).filter(|bytes| !bytes.is_empty());
                Answer::Fault(fault)
            }
        };
        self.record(answer, false, now);
    }
}
