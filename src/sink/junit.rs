//! A test report that CI systems read: each target a suite, each session and each check a case.

use std::borrow::Cow;
use std::net::IpAddr;
use std::{fmt, io};

use super::faults::{called, what};
use super::recording::Recording;
use super::verdicts::weighed;
use crate::record::{Check, CheckResult, Gate, Kind, Role, Session, Verdict};
use crate::status::{Tally, failed};
use crate::visible::visible;

/// Writes a recording as a test report.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W) -> io::Result<()> {
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, "<testsuites name=\"mxprobe\" {}>", Counts::of(recording.sessions.iter()).and(&checked(recording)))?;
    for domain in recording.domains() {
        let name = domain.unwrap_or("hosts");
        suite(out, recording, name, recording.at(domain))?;
    }
    let controls = || recording.sessions.iter().filter(|s| s.role == Role::Control);
    if controls().next().is_some() {
        suite(out, recording, "control", controls())?;
    }
    checks(out, recording)?;
    writeln!(out, "</testsuites>")
}

fn suite<'a, W: io::Write>(
    out: &mut W,
    recording: &Recording,
    name: &str,
    sessions: impl Iterator<Item = &'a Session> + Clone,
) -> io::Result<()> {
    let begun = sessions.clone().map(|s| s.at).min();
    let timestamp = begun.map_or_else(String::new, |at| format!(" timestamp=\"{at:.0}\""));
    writeln!(out, "  <testsuite name=\"{}\" {}{timestamp}>", xml(name), Counts::of(sessions.clone()))?;
    if !recording.runs.is_empty() {
        writeln!(out, "    <properties>")?;
        for run in &recording.runs {
            let facts =
                [("run", run.run.clone()), ("seed", run.seed.to_string()), ("simulated", run.simulated.to_string())];
            for (name, value) in facts {
                writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", xml(&value))?;
            }
        }
        writeln!(out, "    </properties>")?;
    }
    sessions.into_iter().try_for_each(|session| case(out, name, session))?;
    if !recording.diagnoses.is_empty() {
        writeln!(out, "    <system-out>")?;
        for d in &recording.diagnoses {
            writeln!(out, "{} {} (confidence {})", d.rank, called(d.kind), d.confidence)?;
            d.because.iter().try_for_each(|why| writeln!(out, "  {}", xml(why)))?;
        }
        writeln!(out, "    </system-out>")?;
    }
    writeln!(out, "  </testsuite>")
}

fn case<W: io::Write>(out: &mut W, suite: &str, session: &Session) -> io::Result<()> {
    let from = session.source.map_or_else(|| "any source".to_owned(), |source| source.to_string());
    let to = match (session.address, session.mx.as_deref()) {
        (Some(address), Some(mx)) => format!("{mx} {address} port {}", session.port),
        (Some(address), None) => format!("{address} port {}", session.port),
        (None, mx) => mx.unwrap_or(suite).to_owned(),
    };
    let name = format!("{from} to {to}, up to {}, session {} attempt {}", session.until, session.seq, session.attempt);
    let time = session.total_ms.map_or_else(String::new, |ms| format!(" time=\"{:.3}\"", ms / 1000.0));
    write!(out, "    <testcase classname=\"{}\" name=\"{}\"{time}", xml(suite), xml(&name))?;
    let element = match session.kind {
        Kind::Local => "error",
        Kind::Skipped => "skipped",
        _ if failed(session) => "failure",
        _ => return writeln!(out, "/>"),
    };
    writeln!(out, ">")?;
    // The schema gives a skipped case a message and no type.
    let kind = if element == "skipped" { String::new() } else { format!(" type=\"{}\"", session.kind) };
    let detail = session.detail.as_deref();
    let message = detail.map_or_else(|| what(session), |detail| format!("{}: {detail}", what(session)));
    write!(out, "      <{element} message=\"{}\"{kind}>", xml(&message))?;
    let said = session.reply.iter().flatten().chain(&session.also);
    writeln!(out, "{}</{element}>", said.map(|line| xml(line).into_owned()).collect::<Vec<_>>().join("\n"))?;
    writeln!(out, "    </testcase>")
}

/// The checks and verdicts of a smoke test: each a case of its own.
fn checks<W: io::Write>(out: &mut W, recording: &Recording) -> io::Result<()> {
    let cases = checked(recording);
    if cases.is_empty() {
        return Ok(());
    }
    writeln!(out, "  <testsuite name=\"checks\" {}>", Counts::default().and(&cases))?;
    for Checked { class, name, element, message, fix } in cases {
        write!(out, "    <testcase classname=\"{}\" name=\"{}\"", xml(&class), xml(&name))?;
        match element {
            None if message.is_empty() => writeln!(out, "/>")?,
            None => writeln!(out, "><system-out>{}</system-out></testcase>", xml(&message))?,
            Some(element) => {
                writeln!(out, ">")?;
                let kind = name.rsplit(' ').next().unwrap_or_default();
                let (message, fix) = (xml(&message), xml(&fix));
                writeln!(out, "      <{element} message=\"{message}\" type=\"{}\">{fix}</{element}>", xml(kind))?;
                writeln!(out, "    </testcase>")?;
            }
        }
    }
    writeln!(out, "  </testsuite>")
}

/// A check, or a verdict, as a case.
struct Checked {
    class: String,
    name: String,
    /// None: it passed.
    element: Option<&'static str>,
    message: String,
    fix: String,
}

fn checked(recording: &Recording) -> Vec<Checked> {
    if recording.gates.is_empty() {
        return Vec::new();
    }
    let of = |source: Option<IpAddr>| source.map_or_else(|| "all".to_owned(), |source| source.to_string());
    let check = |check: &Check| {
        let whole = recording.gates.iter().find(|gate| gate.source.is_none() && gate.domain == check.domain);
        Checked {
            class: check.domain.clone().unwrap_or_else(|| "checks".to_owned()),
            name: format!("{} {}", of(check.source), check.check),
            element: match weighed(check, whole) {
                CheckResult::Pass | CheckResult::Warn => None,
                CheckResult::Fail => Some("failure"),
                CheckResult::Unknown => Some("error"),
            },
            message: check.detail.clone().unwrap_or_default(),
            fix: check.fix.clone().unwrap_or_default(),
        }
    };
    let gate = |gate: &Gate| Checked {
        class: gate.domain.clone().unwrap_or_else(|| "checks".to_owned()),
        name: format!("{} verdict", of(gate.source)),
        element: match (gate.verdict, gate.unknown) {
            (Verdict::Go, _) => None,
            (_, true) => Some("error"),
            (_, false) => Some("failure"),
        },
        message: format!("{}: {}", gate.verdict.called(), gate.reason.as_deref().unwrap_or("nothing is in the way")),
        fix: gate.fix.clone().unwrap_or_default(),
    };
    recording.checks.iter().map(check).chain(recording.gates.iter().map(gate)).collect()
}

/// How many cases there are, and of which kinds.
#[derive(Clone, Copy, Default)]
struct Counts {
    tests: u64,
    failures: u64,
    errors: u64,
    skipped: u64,
    ms: f64,
}

impl Counts {
    fn of<'a>(sessions: impl Iterator<Item = &'a Session> + Clone) -> Self {
        let tally: Tally = sessions.clone().collect();
        let ms = sessions.filter_map(|s| s.total_ms).sum();
        let (tests, failures, errors, skipped) = (tally.sessions(), tally.failed, tally.local, tally.skipped);
        Self { tests, failures, errors, skipped, ms }
    }

    fn and(self, cases: &[Checked]) -> Self {
        let count = |element| cases.iter().filter(|case| case.element == Some(element)).count() as u64;
        let (failures, errors) = (self.failures + count("failure"), self.errors + count("error"));
        Self { tests: self.tests + cases.len() as u64, failures, errors, ..self }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tests, failures, errors, skipped, ms } = self;
        write!(
            f,
            "tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.3}\"",
            ms / 1000.0
        )
    }
}

/// Text for an element or an attribute. What XML 1.0 cannot hold at all, section 2.2, is made
/// visible before.
fn xml(text: &str) -> Cow<'_, str> {
    let text = visible(text);
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}
