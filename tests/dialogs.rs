//! Every dialog under `tests/dialogs` is played against the session machine, with no socket and
//! no clock, at several sizes of read.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mxprobe::outcome::Ending;
use mxprobe::smtp::dialog::{Act, Dialog, Line};
use mxprobe::smtp::fault::Fault;
use mxprobe::smtp::reply::Reply;
use mxprobe::smtp::session::{Action, Answer, Event, Learned, Note, Script, Session};
use mxprobe::stage::Stage;
use mxprobe::timeouts::Timeouts;

#[test]
fn dialogs() {
    let mut played = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs")).unwrap() {
        let path = entry.unwrap().path();
        let dialog: Dialog = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        for chunk in [1, 2, 7, 4096] {
            let (learned, until) = Player::new(&dialog, chunk, &path).play();
            let expected = dialog.ending.as_deref();
            assert_eq!(Some(&*summary(&learned, until)), expected, "{} in chunks of {chunk}", path.display());
        }
        played += 1;
    }
    assert!(played > 40, "only {played} dialogs were found");
}

struct Player<'a> {
    lines: std::collections::VecDeque<Line>,
    chunk: usize,
    path: &'a Path,
    now: Instant,
    session: Session,
    until: Stage,
    /// What has arrived and was not read yet, and whether it is one packet.
    arrived: Vec<u8>,
    whole: bool,
}

impl<'a> Player<'a> {
    fn new(dialog: &Dialog, chunk: usize, path: &'a Path) -> Self {
        let setting = |key, default| dialog.setting(key).unwrap_or(default).to_owned();
        let (now, until) = (Instant::now(), setting("until", "mail").parse().unwrap());
        let script = Script {
            ehlo: "probe.example".parse().unwrap(),
            tls: setting("tls", "opportunistic").parse().unwrap(),
            from: setting("from", "a@probe.example").parse().unwrap(),
            to: Some(setting("to", "nobody@mx.example").parse().unwrap()),
            message: Arc::from(&b"Subject: probe\r\n\r\n.dot\r\n"[..]),
            until,
            timeouts: Arc::new(Timeouts::all(Duration::from_secs(30))),
        };
        let session = Session::new(script, now);
        let lines = dialog.lines.clone().into();
        Self { lines, chunk, path, now, session, until, arrived: Vec::new(), whole: false }
    }

    fn play(mut self) -> (Learned, Stage) {
        for _ in 0..200_000 {
            self.now += Duration::from_micros(1);
            match self.session.poll() {
                Action::Close => {
                    self.lines.retain(|line| !matches!(line.act, Act::Silence));
                    let left = self.lines.iter().find(|line| matches!(line.act, Act::Client(_) | Act::Tls));
                    assert_eq!(left, None, "{}: unplayed", self.path.display());
                    return (self.session.finish(), self.until);
                }
                Action::Write(bytes, _) => {
                    let bytes = bytes.to_vec();
                    self.write(&bytes);
                }
                Action::Upgrade(until) => self.upgrade(until),
                Action::Read(until) => self.read(until),
            }
        }
        panic!("{}: runs on", self.path.display());
    }

    /// A write fails when the server is gone before the client's next line.
    fn write(&mut self, bytes: &[u8]) {
        let next = self.lines.iter().position(|line| !matches!(line.act, Act::Server { .. }));
        if next.is_some_and(|at| matches!(self.lines[at].act, Act::Close | Act::Reset)) {
            return self.session.handle(Event::Failed(Fault::Reset), self.now);
        }
        for said in bytes.split_inclusive(|&b| b == b'\n') {
            let next = self.lines.iter().position(|line| matches!(line.act, Act::Client(_)));
            let wanted = next.and_then(|at| self.lines.remove(at)).map(|line| line.act);
            let said = Act::Client(said.to_vec());
            assert_eq!(Some(&said), wanted.as_ref(), "{}", self.path.display());
        }
        self.session.handle(Event::Wrote, self.now);
    }

    fn upgrade(&mut self, until: Instant) {
        let event = match self.lines.pop_front().map(|line| line.act) {
            Some(Act::Tls) => Event::Upgraded,
            Some(Act::TlsFails) => Event::Failed(Fault::Tls("no".to_owned())),
            Some(Act::Close) => Event::Failed(Fault::Closed),
            Some(Act::Reset) => Event::Failed(Fault::Reset),
            _ => {
                self.now = until;
                Event::Failed(Fault::TimedOut)
            }
        };
        self.session.handle(event, self.now);
    }

    fn read(&mut self, until: Instant) {
        if self.arrived.is_empty() {
            let due = self.now + self.lines.front().map_or(Duration::ZERO, |line| line.after);
            match self.lines.front().map(|line| line.act.clone()) {
                Some(Act::Server { .. }) if due <= until => {
                    self.now = due;
                    self.arrive();
                }
                Some(Act::Close) if due <= until => {
                    self.lines.pop_front();
                    return self.session.handle(Event::Received(&[]), due);
                }
                Some(Act::Reset) if due <= until => {
                    self.lines.pop_front();
                    return self.session.handle(Event::Failed(Fault::Reset), due);
                }
                _ => {
                    if let Some(line) = self.lines.front_mut() {
                        line.after = line.after.saturating_sub(until.saturating_duration_since(self.now));
                    }
                    self.now = self.now.max(until);
                    return self.session.handle(Event::Failed(Fault::TimedOut), self.now);
                }
            }
        }
        let size = if self.whole { self.arrived.len() } else { self.chunk.min(self.arrived.len()) };
        let bytes: Vec<u8> = self.arrived.drain(..size).collect();
        self.session.handle(Event::Received(&bytes), self.now);
    }

    /// One packet: a line of the server's and those joined to it.
    fn arrive(&mut self) {
        self.whole = false;
        while let Some(Line { act: Act::Server { bytes, joined, times }, .. }) = self.lines.front_mut() {
            if *joined && self.arrived.is_empty() || !*joined && !self.arrived.is_empty() {
                break;
            }
            self.whole |= *joined;
            self.arrived.extend_from_slice(bytes);
            match times {
                1 => {
                    self.lines.pop_front();
                }
                &mut u32::MAX => return,
                more => {
                    *more -= 1;
                    return;
                }
            }
        }
    }
}

/// How the session ended, what came unasked, what stands out.
fn summary(learned: &Learned, until: Stage) -> String {
    let mut text = Ending::of(&learned.steps, until).to_string();
    let replies = learned.steps.iter().filter_map(|step| match &step.answer {
        Answer::Reply(reply) => Some(reply),
        _ => None,
    });
    let bare_lf = replies.into_iter().any(|reply: &Reply| reply.bare_lf);
    let mut notes: Vec<_> = learned
        .notes
        .iter()
        .map(|note| match note {
            Note::HeloFallback(_) => "helo-fallback",
            Note::StartTlsRefused(_) => "starttls-refused",
            Note::CloseAfterReply => "close-after-reply",
            Note::OutOfStep => "out-of-step",
        })
        .collect();
    notes.extend(bare_lf.then_some("bare-lf"));
    if !learned.also.is_empty() {
        text.push_str(" also");
    }
    for reply in &learned.also {
        let _ = write!(text, " {}", reply.code);
    }
    if !notes.is_empty() {
        let _ = write!(text, " note {}", notes.join(" "));
    }
    text
}

/// Whatever bytes arrive and whatever breaks, the session neither panics nor runs on.
#[test]
fn noise() {
    let alphabet = b"2345-0 \r\n\r\n.x";
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap()
    };
    let mut endings = std::collections::BTreeSet::new();
    for _ in 0..20_000 {
        let dialog: Dialog = "@ until=end-of-data".parse().unwrap();
        let mut session = Player::new(&dialog, 1, Path::new("noise")).session;
        let now = Instant::now();
        for turn in 0.. {
            assert!(turn < 400, "runs on");
            let bytes: Vec<u8>;
            let event = match session.poll() {
                Action::Close => break,
                Action::Write(..) if random() % 50 == 0 => Event::Failed(Fault::Reset),
                Action::Write(..) => Event::Wrote,
                Action::Upgrade(_) => Event::Upgraded,
                Action::Read(_) if turn > 200 => Event::Received(&[]),
                Action::Read(_) if random() % 30 == 0 => Event::Failed(Fault::TimedOut),
                Action::Read(_) if random() % 3 == 0 => Event::Received(b"250 ok\r\n"),
                Action::Read(_) => {
                    bytes = (0..8).map(|_| alphabet[random() % alphabet.len()]).collect();
                    Event::Received(&bytes)
                }
            };
            session.handle(event, now);
        }
        let ending = Ending::of(&session.finish().steps, Stage::EndOfData).to_string();
        endings.insert(ending.split(' ').take(2).collect::<Vec<_>>().join(" "));
    }
    assert!(endings.len() > 8, "{endings:?}");
}
