//! Reading recorded lines into trials of a few dozen bytes each, every text kept once.
//!
//! Apart from the judging because a month of logs is millions of lines: what is kept of each is
//! what some rule asks for, and a line's text is gone before the next one is read.

use std::borrow::Cow;
use std::io::{BufRead, Read};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use super::names::{Name, Names};
use super::trial::{COUNTED, Trial};
use crate::record::{Check, Kind, Line, Lookup, Passed, Role, Session, Variant};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;
use crate::status::Tally;

/// Everything the judge knows: sessions, lookups, checks and counts of deliveries, from one run
/// or many.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub(crate) names: Names,
    pub(crate) trials: Vec<Trial>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) checks: Vec<Check>,
    /// The run of the last `run` line.
    pub(crate) run: Option<String>,
    /// What the `run` lines say was probed.
    pub(crate) targets: Vec<Name>,
}

/// What is wrong with a file of lines.
#[derive(Debug, thiserror::Error)]
#[error("{name}:{line}: {problem}")]
pub struct ReadError {
    /// The name of the file, as given.
    pub name: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What was found.
    pub problem: String,
}

/// A count that no log of an hour comes near, and of which millions still add up.
const MOST_COUNTED: u64 = 1 << 40;

/// No line that this program writes comes near it.
const LONGEST_LINE: usize = 16 << 20;

impl Evidence {
    /// No evidence yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one line. Diagnoses, summaries and what repeats other lines are no evidence.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Run(run) => {
                self.targets.extend(run.targets.iter().filter_map(|t| self.names.host(t)));
                self.run = Some(run.run);
            }
            Line::Lookup(lookup) => {
                self.names.host(&lookup.name);
                self.lookups.push(lookup);
            }
            Line::Check(check) => self.checks.push(check),
            Line::Session(session) => self.session(&Lean::from(&*session)),
            Line::Passed(passed) => self.passed(&passed),
            Line::Planned(_)
            | Line::Report(_)
            | Line::Reproduction(_)
            | Line::Diagnosis(_)
            | Line::Gate(_)
            | Line::Summary(_)
            | Line::Incident(_) => {}
        }
    }

    /// Reads JSON lines, one at a time. `name` is what errors call the input. Empty lines and
    /// lines of an unknown type are passed over.
    ///
    /// # Errors
    ///
    /// Names the file, the line and what was found there. What was read before stays.
    pub fn read(&mut self, input: impl BufRead, name: &str) -> Result<(), ReadError> {
        self.read_with(input, name, &mut |_| ())
    }

    /// The same, and shows every line to `seen` as it is taken in.
    ///
    /// # Errors
    ///
    /// As [`Evidence::read`].
    pub fn read_with(
        &mut self,
        mut input: impl BufRead,
        name: &str,
        seen: &mut dyn FnMut(&str),
    ) -> Result<(), ReadError> {
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            number += 1;
            line.clear();
            let error = |problem: String| ReadError { name: name.to_owned(), line: number, problem };
            let mut limited = input.by_ref().take(LONGEST_LINE as u64 + 1);
            if limited.read_until(b'\n', &mut line).map_err(|e| error(e.to_string()))? == 0 {
                return Ok(());
            }
            if line.len() > LONGEST_LINE {
                return Err(error(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            let text = std::str::from_utf8(&line).map_err(|e| error(e.to_string()))?.trim();
            if text.is_empty() {
                continue;
            }
            self.line(text).map_err(|e| error(located(&e)))?;
            seen(text);
        }
    }

    /// The sessions, counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for trial in self.trials.iter().filter(|trial| trial.seq != COUNTED) {
            *match trial.kind {
                Kind::Local => &mut tally.local,
                Kind::Skipped => &mut tally.skipped,
                Kind::Completed => &mut tally.completed,
                _ if trial.expected => &mut tally.completed,
                _ => &mut tally.failed,
            } += 1;
        }
        tally
    }

    /// The last run: that of the last `run` line, else that of the latest session.
    pub(super) fn run(&self) -> String {
        let latest = || self.trials.iter().max_by_key(|t| (t.at, t.run.map(|r| self.names.text(r))));
        let of_session = || latest().and_then(|t| t.run).map(|r| self.names.text(r).to_owned());
        self.run.clone().or_else(of_session).unwrap_or_default()
    }

    fn line(&mut self, text: &str) -> Result<(), serde_json::Error> {
        if text.starts_with(r#"{"type":"session","#) {
            let session: Lean<'_> = serde_json::from_str(text)?;
            self.session(&session);
        } else if let Some(line) = Line::parse(text)? {
            self.add(line);
        }
        Ok(())
    }

    fn session(&mut self, s: &Lean<'_>) {
        let names = &mut self.names;
        let note = |wanted: &str| s.notes.iter().any(|n| n.0 == wanted);
        let (inconsistent, overload) = (note("inconsistent-reply"), note("overload"));
        let reply = s.reply.as_deref().filter(|lines| !lines.is_empty());
        let trial = Trial {
            at: s.at.as_millisecond(),
            run: names.name(&s.run.0),
            seq: s.seq,
            source: s.source.map(|a| names.addr(a)),
            address: s.address.map(|a| names.addr(a)),
            role: s.role,
            variant: s.variant,
            domain: s.domain.as_ref().and_then(|d| names.host(&d.0)),
            mx: s.mx.as_ref().and_then(|d| names.host(&d.0)),
            backend: s.backend.as_ref().and_then(|d| names.host(&d.0)),
            greeting: s.banner.as_ref().and_then(|b| b.first()).and_then(|line| names.host(greeting(&line.0))),
            certificate: s.tls.as_ref().filter(|t| !t.names.is_empty()).and_then(|t| names.list(&t.names)),
            seen_as: s.seen_as.map(|a| names.addr(a)),
            from: s.from.as_ref().and_then(|m| names.name(&m.0)),
            to: s.to.as_ref().and_then(|m| names.name(&m.0)),
            until: s.until,
            kind: s.kind,
            stage: s.stage,
            code: s.code,
            enhanced: s.enhanced,
            tag: s.tag.as_ref().and_then(|t| names.name(&t.0)),
            said: reply.map(|lines| names.said(lines)),
            detail: s.detail.as_ref().filter(|_| reply.is_none()).and_then(|t| names.name(&t.0)),
            tls: s.tls.is_some(),
            verified: s.tls.as_ref().is_some_and(|t| t.verified),
            expected: s.expected && s.kind != Kind::Completed,
            inconsistent,
            overload,
            weight: 1,
            spread: 0,
        };
        self.trials.push(trial);
    }

    fn passed(&mut self, p: &Passed) {
        let (from, to) = (p.from_time.as_millisecond(), p.to_time.as_millisecond());
        if p.count == 0 {
            return;
        }
        let names = &mut self.names;
        self.trials.push(Trial {
            at: from + (to - from) / 2,
            run: names.name(&p.run),
            seq: COUNTED,
            source: p.source.map(|a| names.addr(a)),
            address: p.address.map(|a| names.addr(a)),
            role: Role::Target,
            variant: Variant::Plain,
            domain: p.domain.as_ref().and_then(|d| names.host(d)),
            mx: p.mx.as_ref().and_then(|d| names.host(d)),
            backend: None,
            greeting: None,
            certificate: None,
            seen_as: None,
            from: None,
            to: None,
            // A delivery went all the way.
            until: Stage::EndOfData,
            kind: Kind::Completed,
            stage: Some(Stage::EndOfData),
            code: None,
            enhanced: None,
            tag: None,
            said: None,
            detail: None,
            tls: false,
            verified: false,
            expected: false,
            inconsistent: false,
            overload: false,
            weight: p.count.min(MOST_COUNTED),
            spread: (to - from).abs() / 2,
        });
    }
}

/// The host that a greeting names, else the greeting itself.
fn greeting(line: &str) -> &str {
    let text = line.get(4..).unwrap_or_default();
    let word = text.split_ascii_whitespace().next().unwrap_or_default();
    if word.contains('.') {
        return word;
    }
    let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&i| i <= 80).last().unwrap_or(0);
    &text[..end]
}

/// serde's message, with its "line 1" taken off: the line is ours to name.
fn located(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// What is read of a session line: [`Session`] without what no rule asks for, its texts borrowed.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lean<'a> {
    #[serde(borrow, default)]
    run: Text<'a>,
    seq: u64,
    at: Timestamp,
    #[serde(default)]
    role: Role,
    #[serde(borrow, default)]
    domain: Option<Text<'a>>,
    #[serde(borrow, default)]
    mx: Option<Text<'a>>,
    #[serde(default)]
    address: Option<IpAddr>,
    #[serde(borrow, default)]
    backend: Option<Text<'a>>,
    #[serde(borrow, default)]
    banner: Option<Vec<Text<'a>>>,
    #[serde(default)]
    variant: Variant,
    #[serde(default)]
    source: Option<IpAddr>,
    #[serde(default)]
    seen_as: Option<IpAddr>,
    #[serde(borrow, default)]
    from: Option<Text<'a>>,
    #[serde(borrow, default)]
    to: Option<Text<'a>>,
    #[serde(default = "mail")]
    until: Stage,
    #[serde(default)]
    stage: Option<Stage>,
    kind: Kind,
    #[serde(default)]
    code: Option<Code>,
    #[serde(default)]
    enhanced: Option<Enhanced>,
    #[serde(borrow, default)]
    tag: Option<Text<'a>>,
    #[serde(borrow, default)]
    reply: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    notes: Vec<Text<'a>>,
    #[serde(borrow, default)]
    detail: Option<Text<'a>>,
    #[serde(default)]
    expected: bool,
    #[serde(borrow, default)]
    tls: Option<LeanTls<'a>>,
}

/// A string, borrowed from the line where it has no escapes.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(Deserialize)]
struct LeanTls<'a> {
    #[serde(borrow, default)]
    names: Vec<Text<'a>>,
    #[serde(default)]
    verified: bool,
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Session> for Lean<'a> {
    fn from(s: &'a Session) -> Self {
        let text = |t: &'a Option<String>| t.as_deref().map(Text::from);
        let texts = |list: &'a [String]| list.iter().map(|t| Text::from(t.as_str())).collect();
        Self {
            run: Text::from(s.run.as_str()),
            seq: s.seq,
            at: s.at,
            role: s.role,
            domain: text(&s.domain),
            mx: text(&s.mx),
            address: s.address,
            backend: text(&s.backend),
            banner: s.banner.as_deref().map(texts),
            variant: s.variant,
            source: s.source,
            seen_as: s.seen_as,
            from: text(&s.from),
            to: text(&s.to),
            until: s.until,
            stage: s.stage,
            kind: s.kind,
            code: s.code,
            enhanced: s.enhanced,
            tag: text(&s.tag),
            reply: s.reply.as_deref().map(texts),
            notes: texts(&s.notes),
            detail: text(&s.detail),
            expected: s.expected && s.kind != Kind::Completed,
            tls: s.tls.as_ref().map(|t| LeanTls { names: texts(&t.names), verified: t.verified }),
        }
    }
}

const fn mail() -> Stage {
    Stage::Mail
}
