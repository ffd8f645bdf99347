//! A session's dialog, told again from its record.
//!
//! The record has every stage's duration and code, the whole greeting and the whole last reply, and
//! of what lies between no words. Those that are not on record stand as `…`; nothing is made up.

use std::time::Duration;

use super::redact::{LEFT_OUT, Redaction};
use crate::record::{Kind, Session, Step};
use crate::smtp::dialog::{Act, Dialog, Line};
use crate::stage::Stage;

/// No more lines of one reply than this, and no more characters of a line.
const LINES: usize = 40;
const LONGEST: usize = 1000;

/// The dialog in its notation, line by line; none where nothing was said.
pub(super) fn retold(session: &Session, redaction: &Redaction) -> Option<Vec<String>> {
    let said = |step: &&Step| step.stage > Stage::Connect && step.stage != Stage::Quit;
    session.steps.iter().find(said)?;
    let mut telling = Telling { session, redaction, lines: Vec::new() };
    let asked = session.steps.iter().filter(|step| step.stage > Stage::Connect);
    let (before, quit): (Vec<&Step>, Vec<&Step>) = asked.partition(|step| step.stage != Stage::Quit);
    for step in before {
        telling.step(step);
    }
    session.also.iter().take(LINES).for_each(|line| telling.server(Duration::ZERO, line));
    if session.notes.iter().any(|note| note == "close-after-reply") {
        telling.act(Duration::ZERO, Act::Close);
    } else {
        for step in quit {
            telling.step(step);
        }
    }
    let lines = telling.lines;
    let dialog = Dialog { about: about(session), settings: settings(session), lines, ending: Some(ending(session)) };
    // The notation spells out what is neither letter nor ASCII, and so our own mark.
    let text = dialog.to_string().replace(r"\xe2\x80\xa6", "…");
    Some(text.lines().map(str::to_owned).collect())
}

fn about(session: &Session) -> Vec<String> {
    let or = |text: Option<String>, other: &str| text.unwrap_or_else(|| other.to_owned());
    let from = or(session.source.map(|source| source.to_string()), "a source not on record");
    let to = session.address.map(|address| std::net::SocketAddr::from((address, session.port)).to_string());
    let host = session.mx.as_deref().unwrap_or("no name");
    let mut about = vec![
        format!("session {} at {:.0}: {from} to {host} at {}", session.seq, session.at, or(to, "?")),
        "told from its record: words that are not on record are …".to_owned(),
    ];
    if !session.also.is_empty() {
        about.push("replies that nobody asked for stand behind the last one that was".to_owned());
    }
    if noted(session, "helo-fallback") {
        about.push("EHLO was refused before; what with, see the detail".to_owned());
    }
    if noted(session, "starttls-refused") {
        about.push("STARTTLS was refused before; what with, see the detail".to_owned());
    }
    about
}

fn settings(session: &Session) -> Vec<(String, String)> {
    vec![("until".to_owned(), session.until.to_string())]
}

/// The `=` line: `rejected rcpt 550 5.1.1`.
fn ending(session: &Session) -> String {
    let mut words = vec![session.kind.to_string()];
    words.extend(session.stage.map(|stage| stage.to_string()));
    if session.kind == Kind::Rejected {
        words.extend(session.code.map(|code| code.to_string()));
        words.extend(session.enhanced.map(|enhanced| enhanced.to_string()));
    }
    words.join(" ")
}

fn noted(session: &Session, name: &str) -> bool {
    session.notes.iter().any(|note| note == name)
}

struct Telling<'a> {
    session: &'a Session,
    redaction: &'a Redaction,
    lines: Vec<Line>,
}

impl Telling<'_> {
    /// What was asked at a stage, and what came back.
    fn step(&mut self, step: &Step) {
        let session = self.session;
        let after = Duration::try_from_secs_f64((step.ms / 1000.0).max(0.0)).unwrap_or_default();
        let after = Duration::from_millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let is_last = session.stage == Some(step.stage);
        let commands =
            self.command(step.stage).into_iter().chain((step.stage == Stage::EndOfData).then(|| ".".to_owned()));
        commands.for_each(|command| self.act(Duration::ZERO, Act::Client(format!("{command}\r\n").into_bytes())));
        let words = match step.stage {
            Stage::Banner => session.banner.as_ref(),
            _ if is_last => session.reply.as_ref(),
            _ => None,
        };
        match (words, step.code) {
            (Some(lines), Some(_)) if !lines.is_empty() => {
                let times = std::iter::once(after).chain(std::iter::repeat(Duration::ZERO));
                lines.iter().take(LINES).zip(times).for_each(|(line, after)| self.server(after, line));
                if lines.len() > LINES {
                    self.server(Duration::ZERO, &format!("… ({} lines more)", lines.len() - LINES));
                }
            }
            (_, Some(code)) => self.server(after, &format!("{code} {LEFT_OUT}")),
            (_, None) if step.stage == Stage::Tls && !(is_last && self.shook_hands_in_vain()) => {
                self.act(after, Act::Tls);
            }
            (_, None) => self.broken(after),
        }
    }

    /// A certificate that does not hold comes out of a handshake that does.
    fn shook_hands_in_vain(&self) -> bool {
        let version = self.session.tls.as_ref().and_then(|tls| tls.version.as_ref());
        self.session.kind != Kind::Completed && version.is_none()
    }

    fn broken(&mut self, after: Duration) {
        let reset = self.session.detail.as_deref().is_some_and(|detail| detail.contains("reset"));
        let act = match self.session.kind {
            Kind::Dropped if reset => Act::Reset,
            Kind::Dropped => Act::Close,
            Kind::TimedOut => Act::Silence,
            Kind::TlsFailed => Act::TlsFails,
            // What came, where anything did, is in the detail.
            _ => return,
        };
        self.act(after, act);
    }

    fn command(&self, stage: Stage) -> Option<String> {
        let session = self.session;
        let said = |text: Option<String>| text.unwrap_or_else(|| LEFT_OUT.to_string());
        let hello = if noted(session, "helo-fallback") && stage == Stage::Ehlo { "HELO" } else { "EHLO" };
        Some(match stage {
            Stage::Ehlo | Stage::EhloTls => format!("{hello} {}", said(session.ehlo.clone())),
            Stage::StartTls => "STARTTLS".to_owned(),
            Stage::Mail => {
                let from = said(session.from.as_deref().map(|from| self.redaction.sender(from)));
                // RFC 6531, section 3.4.
                let to = session.to.as_deref().filter(|_| session.until >= Stage::Rcpt);
                let smtputf8 = session.from.as_deref().into_iter().chain(to).any(|mailbox| !mailbox.is_ascii());
                format!("MAIL FROM:<{}>{}", from.trim_matches(['<', '>']), if smtputf8 { " SMTPUTF8" } else { "" })
            }
            Stage::Rcpt => format!("RCPT TO:<{}>", said(session.to.as_deref().map(Redaction::recipient))),
            Stage::Data => "DATA".to_owned(),
            Stage::EndOfData => LEFT_OUT.to_string(),
            Stage::Quit => "QUIT".to_owned(),
            Stage::Resolve | Stage::Connect | Stage::Banner | Stage::Tls | Stage::Auth => return None,
        })
    }

    fn server(&mut self, after: Duration, line: &str) {
        let line = self.redaction.text(line);
        let (shown, more) = match line.char_indices().nth(LONGEST) {
            Some((at, _)) => (&line[..at], format!("… ({} bytes more)", line.len() - at)),
            None => (&line[..], String::new()),
        };
        let bytes = format!("{shown}{more}\r\n").into_bytes();
        self.act(after, Act::Server { bytes, joined: false, times: 1 });
    }

    fn act(&mut self, after: Duration, act: Act) {
        self.lines.push(Line { after, act });
    }
}
