//! Whatever the server does and whenever it does it, the session ends in time, in bounded memory and
//! with something to say; it never says more than one command at a time, nor what it was not to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mxprobe::outcome::Ending;
use mxprobe::smtp::decoder::{Decoder, Garbled, Malformed};
use mxprobe::smtp::fault::Fault;
use mxprobe::smtp::session::{Action, Answer, Event, Learned, Script, Session, TlsLevel};
use mxprobe::stage::Stage;
use mxprobe::timeouts::Timeouts;

use super::tape::Tape;

/// What servers say, so that one byte is enough to get on.
const SAID: [&str; 16] = [
    "220 mx.example ESMTP\r\n",
    "250 ok\r\n",
    "250-mx.example\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
    "250-mx.example\r\n250-STARTTLS\r\n250 SMTPUTF8\r\n",
    "354 go on\r\n",
    "221 bye\r\n",
    "421 4.7.0 later\r\n",
    "450 4.2.0 not now\r\n",
    "550 5.1.1 no\r\n",
    "502 what?\r\n",
    "554-no\r\n554 5.7.1 never\r\n",
    "250-mx",
    ".example\r\n",
    "25",
    "250 a\r\n250 b\r\n421 c\r\n",
    "\r\n",
];

/// Longer than any stage, all of them together.
const LINGERS: Duration = Duration::from_secs(3);

pub fn session(bytes: &[u8]) {
    let played = Play::new(bytes).play();
    assert_eq!(played, Play::new(bytes).play(), "the same events, another session");
}

struct Play<'a> {
    tape: Tape<'a>,
    script: Script,
    began: Instant,
    now: Instant,
    /// Everything the server said, as far as somebody read it.
    heard: Vec<u8>,
    /// The commands, in order.
    said: Vec<Vec<u8>>,
    upgraded: bool,
}

impl<'a> Play<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut tape = Tape(bytes);
        let mut timeouts = Timeouts::all(Duration::from_millis(1 + 300 * u64::from(tape.byte())));
        timeouts.set(tape.one_of(Stage::ALL), Duration::from_millis(u64::from(tape.byte())));
        let depths = &Stage::ALL[Stage::Connect as usize..=Stage::EndOfData as usize];
        let script = Script {
            ehlo: tape.one_of(&["probe.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"]).parse().unwrap(),
            tls: tape.one_of(TlsLevel::ALL),
            from: tape.one_of(&["a@probe.example", "<>", "ü@probe.example"]).parse().unwrap(),
            to: tape.one_of(&[None, Some("b@mx.example"), Some("ß@mx.example")]).map(|to| to.parse().unwrap()),
            message: Arc::from(tape.one_of(&[&b"Subject: x\r\n\r\n.\r\nQUIT\r\n"[..], b".", b""])),
            until: tape.one_of(depths),
            timeouts: Arc::new(timeouts),
        };
        let now = Instant::now();
        Self { tape, script, began: now, now, heard: Vec::new(), said: Vec::new(), upgraded: false }
    }

    fn play(mut self) -> (Learned, Duration, Vec<Vec<u8>>) {
        self.now = self.began;
        let mut session = Session::new(self.script.clone(), self.now);
        let most = self.tape.0.len() + 64;
        let mut turns = 0;
        loop {
            turns += 1;
            assert!(turns <= most, "runs on");
            if self.tape.0.first() == Some(&0xff) {
                self.tape.byte();
                session.cancel(self.now);
                continue;
            }
            let bytes;
            let event = match session.poll() {
                Action::Close => break,
                Action::Read(until) => {
                    let (event, heard) = self.read(until);
                    bytes = heard;
                    event.unwrap_or(Event::Received(&bytes))
                }
                Action::Write(said, until) => {
                    let said = said.to_vec();
                    let (event, heard) = self.write(&said, until);
                    bytes = heard;
                    event.unwrap_or(Event::Received(&bytes))
                }
                Action::Upgrade(until) => self.upgrade(until),
            };
            session.handle(event, self.now);
        }
        let longest: Duration = Stage::ALL.iter().map(|&stage| self.script.timeouts.get(stage)).sum();
        let took = self.now.duration_since(self.began);
        assert!(took <= longest + LINGERS, "{took:?} of {longest:?}");
        self.obeyed();
        let learned = session.finish();
        learned_enough(&learned, self.script.until);
        (learned, took, self.said)
    }

    /// Time goes by, never past `until`; true when it got there.
    fn wait(&mut self, until: Instant) -> bool {
        let wait = match self.tape.byte() {
            byte @ 0..=127 => Duration::from_millis(u64::from(byte)),
            byte @ 128..=250 => Duration::from_secs(u64::from(byte - 127)),
            _ => Duration::from_hours(1),
        };
        self.now = (self.now + wait).min(until.max(self.now));
        self.now >= until
    }

    fn read(&mut self, until: Instant) -> (Option<Event<'static>>, Vec<u8>) {
        if self.tape.is_over() {
            return (Some(Event::Received(&[])), Vec::new());
        }
        if self.wait(until) {
            return (Some(Event::Failed(Fault::TimedOut)), Vec::new());
        }
        let heard = match self.tape.byte() {
            0 => return (Some(Event::Received(&[])), Vec::new()),
            1 => return (Some(Event::Failed(Fault::Reset)), Vec::new()),
            2 => return (Some(Event::Failed(Fault::Local("no".to_owned()))), Vec::new()),
            3 => return (Some(Event::Failed(Fault::Unreachable("no".to_owned()))), Vec::new()),
            // Much of the same: an endless line, an endless reply.
            4 => self.tape.one_of(&["2", "250-a\r\n", "250 a\r\n", "\n"]).repeat(700).into_bytes(),
            byte @ 5..=63 => self.tape.take(usize::from(byte)).to_vec(),
            byte => SAID[usize::from(byte) % SAID.len()].as_bytes().to_vec(),
        };
        if heard.is_empty() {
            return (Some(Event::Received(&[])), Vec::new());
        }
        self.heard.extend_from_slice(&heard);
        (None, heard)
    }

    fn write(&mut self, said: &[u8], until: Instant) -> (Option<Event<'static>>, Vec<u8>) {
        let event = if self.tape.is_over() {
            Event::Wrote
        } else if self.wait(until) {
            Event::Failed(Fault::TimedOut)
        } else {
            match self.tape.byte() {
                0 => Event::Failed(Fault::Closed),
                1 => Event::Failed(Fault::Reset),
                2 => Event::Failed(Fault::Local("no".to_owned())),
                // It had something to say while it took nothing.
                3..=31 => return self.read(until),
                _ => Event::Wrote,
            }
        };
        if matches!(event, Event::Wrote) {
            self.says(said);
        }
        (Some(event), Vec::new())
    }

    fn upgrade(&mut self, until: Instant) -> Event<'static> {
        if self.wait(until) {
            return Event::Failed(Fault::TimedOut);
        }
        match self.tape.byte() % 8 {
            0 => Event::Failed(Fault::Tls("no".to_owned())),
            1 => Event::Failed(Fault::Unverified("no".to_owned())),
            2 => Event::Failed(Fault::Closed),
            3 => Event::Failed(Fault::TlsLimit("no".to_owned())),
            4 => Event::Failed(Fault::Malformed(Malformed { why: Garbled::NotAReply, line: Vec::new() })),
            _ => {
                self.upgraded = true;
                Event::Upgraded
            }
        }
    }

    /// One command is one line, and comes behind a whole reply.
    fn says(&mut self, said: &[u8]) {
        assert!(self.heard.contains(&b'\n'), "it spoke before the greeting: {}", said.escape_ascii());
        let verbs: [&[u8]; 7] =
            [b"EHLO ", b"HELO ", b"STARTTLS\r\n", b"MAIL FROM:<", b"RCPT TO:<", b"DATA\r\n", b"QUIT\r\n"];
        let in_message = self.said.last().is_some_and(|last| last == b"DATA\r\n") && said != b"QUIT\r\n";
        if in_message {
            assert!(said.ends_with(b".\r\n"), "a message without an end");
            let ends = said.windows(5).filter(|window| window == b"\r\n.\r\n").count();
            assert!(ends == 1 || said == b".\r\n", "a message with {ends} ends");
        } else {
            assert!(verbs.iter().any(|verb| said.starts_with(verb)), "{}", said.escape_ascii());
            let line = said.strip_suffix(b"\r\n").unwrap();
            assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "{}", said.escape_ascii());
        }
        self.said.push(said.to_vec());
    }

    /// Nothing was said that the script does not want.
    fn obeyed(&self) {
        let Script { until, to, tls, .. } = &self.script;
        for (verb, stage) in [
            ("EHLO", Stage::Ehlo),
            ("HELO", Stage::Ehlo),
            ("STARTTLS", Stage::StartTls),
            ("MAIL", Stage::Mail),
            ("RCPT", Stage::Rcpt),
            ("DATA", Stage::Data),
        ] {
            let times = self.said.iter().filter(|said| said.starts_with(verb.as_bytes())).count();
            let most = if *until < stage { 0 } else { 1 + usize::from(verb.ends_with("HLO") || verb == "HELO") };
            assert!(times <= most, "{verb} {times} times, up to {until}");
            assert!(times == 0 || to.is_some() || stage < Stage::Rcpt, "{verb} without a recipient");
        }
        let mailed = self.said.iter().any(|said| said.starts_with(b"MAIL"));
        let clear = !matches!(tls, TlsLevel::Off | TlsLevel::Opportunistic);
        assert!(!mailed || !clear || self.upgraded, "mail in the clear with {tls}");
        assert!(self.said.iter().filter(|said| **said == b"QUIT\r\n").count() <= 1);
    }
}

fn learned_enough(learned: &Learned, until: Stage) {
    let Learned { steps, also, unfinished, .. } = learned;
    assert!(!steps.is_empty() || until < Stage::Banner, "nothing to say");
    assert!(steps.windows(2).all(|pair| pair[0].stage < pair[1].stage), "{steps:?}");
    let stop = steps.iter().position(|step| !step.passed).unwrap_or(steps.len());
    assert!(steps.iter().skip(stop + 1).all(|step| step.stage == Stage::Quit), "{steps:?}");
    let size = |lines: &[Vec<u8>]| lines.iter().map(Vec::len).sum::<usize>();
    for step in steps {
        if let Answer::Reply(reply) = &step.answer {
            assert!(size(&reply.lines) <= Decoder::LIMIT);
        }
    }
    assert!(also.len() <= 100 && also.iter().map(|reply| size(&reply.lines)).sum::<usize>() <= Decoder::LIMIT);
    assert!(unfinished.as_ref().is_none_or(|bytes| bytes.len() <= 512));
    assert!(Ending::of(steps, until).stage() <= Stage::Quit);
}
