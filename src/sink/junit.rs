//! A test report that CI systems read: each target a suite, each session a case.

use std::borrow::Cow;
use std::io;

use super::faults::{called, what};
use super::recording::Recording;
use crate::record::{Kind, Role, Session};
use crate::status::{Tally, failed};
use crate::visible::visible;

/// Writes a recording as a test report.
pub(super) fn write<W: io::Write>(recording: &Recording, out: &mut W) -> io::Result<()> {
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(out, "<testsuites name=\"mxprobe\" {}>", counts(recording.sessions.iter()))?;
    for domain in recording.domains() {
        let name = domain.unwrap_or("hosts");
        suite(out, recording, name, recording.at(domain))?;
    }
    let controls = || recording.sessions.iter().filter(|s| s.role == Role::Control);
    if controls().next().is_some() {
        suite(out, recording, "control", controls())?;
    }
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
    writeln!(out, "  <testsuite name=\"{}\" {}{timestamp}>", xml(name), counts(sessions.clone()))?;
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

fn counts<'a>(sessions: impl Iterator<Item = &'a Session> + Clone) -> String {
    let tally: Tally = sessions.clone().collect();
    let ms: f64 = sessions.filter_map(|s| s.total_ms).sum();
    format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        tally.sessions(),
        tally.failed,
        tally.local,
        tally.skipped,
        ms / 1000.0
    )
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
