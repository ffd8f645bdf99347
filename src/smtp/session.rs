//! One SMTP session as a state machine that does no I/O and reads no clock.
//!
//! The driver asks [`Session::poll`] what to do, does it, and says with [`Session::handle`] what
//! happened. A refusal, a silence, a broken handshake are [`Step`]s, never errors.

use std::time::{Duration, Instant};

use super::command;
use super::decoder::{Decoder, Malformed};
use super::ehlo;
use super::fault::Fault;
pub use super::learned::{Answer, Learned, Note, Step};
use super::reply::{Class, Reply};
pub use super::script::{Script, TlsLevel};
use crate::address::Sender;
use crate::stage::Stage;

mod leave;
mod state;

use state::{Next, State, Then};

/// What the driver must do next, and until when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action<'a> {
    /// The session is over: close the connection.
    Close,
    /// Read some bytes.
    Read(Instant),
    /// Perform the TLS handshake.
    Upgrade(Instant),
    /// Write all these bytes. What arrives while they find no room is told first, and then the rest of
    /// them is written if they are still asked for.
    Write(&'a [u8], Instant),
}

impl Action<'_> {
    /// Until when; `None` where there is nothing to do.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        match self {
            Self::Close => None,
            Self::Read(until) | Self::Upgrade(until) | Self::Write(_, until) => Some(*until),
        }
    }
}

/// What happened on the wire.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The action failed.
    Failed(Fault),
    /// Bytes arrived; none means that the server closed the connection.
    Received(&'a [u8]),
    /// The handshake succeeded.
    Upgraded,
    /// The bytes are written.
    Wrote,
}

/// An SMTP client session.
#[derive(Debug)]
pub struct Session {
    script: Script,
    state: State,
    stage: Stage,
    since: Instant,
    decoder: Decoder,
    learned: Learned,
    /// How many of `learned.also` had come when the stage was entered.
    also_before: usize,
    /// EHLO's refusal, while HELO is tried.
    refused_ehlo: Option<Reply>,
}

impl Session {
    /// How long to listen for a second reply behind a refused greeting.
    const LINGER: Duration = Duration::from_secs(1);

    /// Starts a session on a connection that has just opened.
    #[must_use]
    pub fn new(script: Script, now: Instant) -> Self {
        let only_connect = script.until < Stage::Banner;
        Self {
            state: if only_connect { State::Greeting } else { State::Reading },
            stage: if only_connect { Stage::Quit } else { Stage::Banner },
            script,
            since: now,
            decoder: Decoder::default(),
            learned: Learned::default(),
            also_before: 0,
            refused_ehlo: None,
        }
    }

    /// Says what the driver must do next.
    #[must_use]
    pub fn poll(&self) -> Action<'_> {
        let until = self.since + self.script.timeouts.get(self.stage);
        match &self.state {
            State::Greeting | State::Reading => Action::Read(until),
            State::LastWords(_, until) | State::Lingering(until) => Action::Read(*until),
            State::Over => Action::Close,
            State::Sending(bytes, _) => Action::Write(bytes, until),
            State::Upgrading => Action::Upgrade(until),
        }
    }

    /// Learns what happened on the wire.
    pub fn handle(&mut self, event: Event<'_>, now: Instant) {
        match event {
            Event::Failed(fault) => self.fail(fault, now),
            Event::Received([]) => self.fail(Fault::Closed, now),
            Event::Received(bytes) => {
                self.decoder.extend(bytes);
                match &self.state {
                    State::Sending(..) => self.overhear(now),
                    _ => self.read_on(now),
                }
            }
            Event::Upgraded => {
                self.record(Answer::Established, true, now);
                self.go(Stage::EhloTls, now);
            }
            Event::Wrote => self.wrote(now),
        }
    }

    /// Gives up on the operator's word: says `QUIT` where a command can be said.
    pub fn cancel(&mut self, now: Instant) {
        match self.state {
            State::Over => {}
            // The refusal is on record already.
            State::Lingering(_) => self.say_quit(now),
            _ if self.stage != Stage::Quit => self.give_up(Fault::Cancelled, now),
            _ => {}
        }
    }

    /// Everything that the session learned.
    #[must_use]
    pub fn finish(self) -> Learned {
        self.learned
    }

    /// Takes the replies that have come in full.
    fn read_on(&mut self, now: Instant) {
        while self.state.listens() {
            match self.decoder.decode() {
                Ok(None) => return,
                Ok(Some(reply)) => self.answer(reply, now),
                Err(malformed) => self.fail(Fault::Malformed(malformed), now),
            }
        }
    }

    /// Takes the replies that came before what is being said was said.
    ///
    /// A message is long enough to be refused on the way. A server that does so may take no more of
    /// it, and whatever it says at the end is said about a part: the refusal is the answer.
    fn overhear(&mut self, now: Instant) {
        let before = self.learned.also.len();
        let at_message = self.stage == Stage::EndOfData;
        let leave = match self.unasked() {
            Ok(leave) => leave,
            Err(malformed) if at_message => return self.stop(Fault::Malformed(malformed), now),
            // It is met again where the answer should be.
            Err(_) => None,
        };
        if at_message {
            let refusal = self.learned.also[before..].iter().position(Reply::refuses);
            let refusal = refusal.map(|at| self.learned.also.remove(before + at));
            if let Some(reply) = refusal.or(leave) {
                self.record(Answer::Reply(reply), false, now);
                self.state = State::Over;
            }
        } else if let (State::Sending(_, then @ Then::Read), Some(reply)) = (&mut self.state, leave) {
            *then = Then::Take(reply);
        }
    }

    /// Takes in a reply and moves on.
    fn answer(&mut self, reply: Reply, now: Instant) {
        match &self.state {
            State::Greeting => {
                if reply.refuses() {
                    self.learned.set_aside(reply);
                }
                return self.enter(Stage::Quit, now);
            }
            State::Lingering(_) => {
                if !self.learned.set_aside(reply) {
                    self.enter(Stage::Quit, now);
                }
                return;
            }
            State::LastWords(..) => return self.hear_last_words(reply, now),
            _ if self.stage == Stage::Quit => return self.answer_quit(reply, now),
            _ => {}
        }
        // A leave is no answer to HELO, and so no better word than EHLO's refusal.
        if let Some(refusal) = self.refused_ehlo.take_if(|_| reply.code.get() == 421) {
            self.learned.set_aside(reply);
            self.record(Answer::Reply(refusal), false, now);
            return self.enter(Stage::Quit, now);
        }
        match self.follows(&reply) {
            Next::Helo => {
                self.refused_ehlo = Some(reply);
                self.state = State::Sending(command::helo(&self.script.ehlo), Then::Read);
                self.overhear(now);
            }
            Next::Stage(next) => {
                self.note_detour(&reply);
                self.record(Answer::Reply(reply), true, now);
                self.go(next, now);
            }
            Next::Refused => {
                self.note_detour(&reply);
                let (at_banner, linger) = (self.stage == Stage::Banner, now + Self::LINGER);
                self.record(Answer::Reply(reply), false, now);
                if at_banner {
                    self.state = State::Lingering(linger);
                    self.read_on(now);
                } else {
                    self.enter(Stage::Quit, now);
                }
            }
            Next::OutOfPlace => self.part(Fault::OutOfPlace(reply), now),
        }
    }

    /// The whole protocol: what follows a reply.
    fn follows(&self, reply: &Reply) -> Next {
        match (self.stage, reply.class()) {
            (Stage::Banner, Class::Completed) => Next::Stage(Stage::Ehlo),
            (Stage::Ehlo, Class::Completed) if self.wants_tls(reply) => Next::Stage(Stage::StartTls),
            (Stage::Ehlo | Stage::EhloTls, Class::Completed) => Next::Stage(Stage::Mail),
            (Stage::Ehlo | Stage::EhloTls, _) if self.may_say_helo(reply) => Next::Helo,
            (Stage::StartTls, Class::Completed) => Next::Stage(Stage::Tls),
            (Stage::StartTls, _) if self.may_stay_clear(reply) => Next::Stage(Stage::Mail),
            (Stage::Mail, Class::Completed) => Next::Stage(Stage::Rcpt),
            (Stage::Rcpt, Class::Completed) => Next::Stage(Stage::Data),
            (Stage::Data, Class::Continue) => Next::Stage(Stage::EndOfData),
            (Stage::EndOfData, Class::Completed) => Next::Stage(Stage::Quit),
            (_, Class::Transient | Class::Permanent) => Next::Refused,
            (_, Class::Completed | Class::Continue) => Next::OutOfPlace,
        }
    }

    fn wants_tls(&self, ehlo: &Reply) -> bool {
        match self.script.tls {
            TlsLevel::Off => false,
            TlsLevel::Opportunistic => ehlo::offers(ehlo, "STARTTLS"),
            TlsLevel::Require | TlsLevel::Verify | TlsLevel::Dane => true,
        }
    }

    /// HELO follows EHLO only where the server may not know EHLO (RFC 5321, section 3.2).
    fn may_say_helo(&self, reply: &Reply) -> bool {
        self.refused_ehlo.is_none() && matches!(reply.code.get(), 500 | 501 | 502 | 504 | 550)
    }

    /// A 421 closes the session; any other refusal of `STARTTLS` leaves the clear channel.
    fn may_stay_clear(&self, reply: &Reply) -> bool {
        self.script.tls == TlsLevel::Opportunistic && reply.refuses() && reply.code.get() != 421
    }

    fn note_detour(&mut self, reply: &Reply) {
        if let Some(refused) = self.refused_ehlo.take() {
            self.learned.notes.push(Note::HeloFallback(refused));
        } else if self.stage == Stage::StartTls && self.may_stay_clear(reply) {
            self.learned.notes.push(Note::StartTlsRefused(reply.clone()));
        }
    }

    /// Enters the next stage, or takes leave where the session was to go no further.
    fn go(&mut self, next: Stage, now: Instant) {
        match next {
            // Behind a 354 everything is message, behind an accepted STARTTLS everything is TLS:
            // there is no way to say QUIT.
            Stage::EndOfData | Stage::Tls if self.script.until < next => self.state = State::Over,
            Stage::Rcpt if self.script.to.is_none() => self.enter(Stage::Quit, now),
            _ if self.script.until < next => self.enter(Stage::Quit, now),
            _ => self.enter(next, now),
        }
    }

    /// Enters a stage: prepares what it sends, and sets aside what came unasked.
    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.since = now;
        self.also_before = self.learned.also.len();
        let Script { ehlo, from, to, message, .. } = &self.script;
        let bytes = match (stage, to) {
            (Stage::Ehlo | Stage::EhloTls, _) => command::ehlo(ehlo),
            (Stage::StartTls, _) if !self.offered("STARTTLS") => return self.part(Fault::StartTlsNotOffered, now),
            (Stage::StartTls, _) => command::starttls(),
            (Stage::Tls, _) if self.decoder.has_leftover() => return self.stop(self.too_early(), now),
            (Stage::Tls, _) => {
                self.state = State::Upgrading;
                return;
            }
            (Stage::Mail, _) if self.needs_smtputf8() && !self.offered("SMTPUTF8") => {
                return self.part(Fault::NoSmtpUtf8, now);
            }
            (Stage::Mail, _) => command::mail(from, self.needs_smtputf8(), self.says_8bitmime()),
            (Stage::Rcpt, Some(to)) => command::rcpt(to),
            (Stage::Data, _) => command::data(),
            (Stage::EndOfData, _) => command::message(message),
            _ => command::quit(),
        };
        self.state = State::Sending(bytes, Then::Read);
        self.overhear(now);
    }

    /// What the server sent behind its reply to `STARTTLS`, before the handshake had begun. A TLS record
    /// begins with its content type, 20 to 24 (RFC 8446, section 5.1), which no reply holds.
    fn too_early(&self) -> Fault {
        let bytes = self.decoder.leftover();
        match bytes.first() {
            Some(20..=24) => {
                let shown = bytes[..bytes.len().min(32)].escape_ascii();
                Fault::Tls(format!("TLS came before the handshake had begun: {shown}"))
            }
            _ => Fault::PlaintextAfterStartTls,
        }
    }

    fn offered(&self, keyword: &str) -> bool {
        self.learned.ehlo().is_some_and(|reply| ehlo::offers(reply, keyword))
    }

    /// Whether an address of the envelope is beyond ASCII (RFC 6531).
    fn needs_smtputf8(&self) -> bool {
        let Script { from, to, until, .. } = &self.script;
        matches!(from, Sender::Mailbox(from) if from.needs_smtputf8())
            || to.as_ref().is_some_and(|to| to.needs_smtputf8() && *until >= Stage::Rcpt)
    }

    /// Whether the message has bytes beyond ASCII and the server may be told so. Where it may not, they
    /// are sent all the same, as mail servers do that do not encode.
    fn says_8bitmime(&self) -> bool {
        self.script.until >= Stage::EndOfData && !self.script.message.is_ascii() && self.offered("8BITMIME")
    }

    /// Sets aside the replies that came before anything was asked. A 421 among them is the
    /// server's leave (RFC 5321, section 3.8), and so the answer to whatever is asked next.
    fn unasked(&mut self) -> Result<Option<Reply>, Malformed> {
        while let Some(reply) = self.decoder.decode()? {
            if reply.code.get() == 421 && self.stage != Stage::Quit {
                return Ok(Some(reply));
            }
            self.learned.set_aside(reply);
        }
        Ok(None)
    }

    fn wrote(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, State::Reading) {
            State::Sending(_, Then::Close) => self.state = State::Over,
            State::Sending(_, Then::Read) => {
                if self.stage == Stage::Quit {
                    self.also_before = self.learned.also.len();
                }
                self.read_on(now);
            }
            State::Sending(_, Then::Take(reply)) => self.answer(reply, now),
            other => self.state = other,
        }
    }

    fn answer_quit(&mut self, reply: Reply, now: Instant) {
        if reply.code.get() == 221 {
            if self.learned.also[self.also_before..].iter().any(|reply| reply.code.get() != 421) {
                self.learned.notes.push(Note::OutOfStep);
            }
            self.record(Answer::Reply(reply), true, now);
            self.state = State::Over;
        } else if !self.learned.set_aside(reply) {
            self.state = State::Over;
        }
    }

    /// A write failed, and here is what the server had said before: the reason, if it refuses.
    fn hear_last_words(&mut self, reply: Reply, now: Instant) {
        if reply.refuses() {
            self.record(Answer::Reply(reply), false, now);
            self.state = State::Over;
        } else {
            self.learned.set_aside(reply);
        }
    }

    fn record(&mut self, answer: Answer, passed: bool, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        self.learned.steps.push(Step { stage: self.stage, answer, passed, took });
    }
}
