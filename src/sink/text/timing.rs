//! How long the stages took, and what the TLS handshakes showed.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;

use super::paper::{DIM, PLAIN, Paper, WARN, piece};
use crate::record::{Session, Tls};
use crate::sink::faults::sessions;
use crate::sink::recording::Recording;
use crate::sink::timing::timings;

/// Minimum, median and maximum of each stage that was answered.
pub(super) fn timing<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    let timings = timings(&recording.sessions);
    if timings.is_empty() {
        return Ok(());
    }
    let heads = ["stage", "answered", "   min ms", "   median", "      max"];
    let mut rows = vec![heads.map(|head| piece(DIM, head)).to_vec()];
    for timing in timings {
        rows.push(vec![
            piece(PLAIN, timing.stage.as_str()),
            piece(PLAIN, format!("{:8}", timing.count)),
            piece(PLAIN, ms(timing.min)),
            piece(PLAIN, ms(timing.median)),
            piece(PLAIN, ms(timing.max)),
        ]);
    }
    paper.blank()?;
    paper.table(&rows, 0)
}

/// Versions and ciphers, problems, and the first certificate to expire.
pub(super) fn tls<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    let mut spoken: BTreeMap<String, u64> = BTreeMap::new();
    let mut problems: BTreeMap<&str, u64> = BTreeMap::new();
    let mut first: Option<(Timestamp, &Tls)> = None;
    for session in &recording.sessions {
        let Some(tls) = &session.tls else { continue };
        *spoken.entry(protocol(tls)).or_default() += 1;
        if let Some(problem) = &tls.problem {
            *problems.entry(problem).or_default() += 1;
        }
        if let Some(end) = tls.not_after.filter(|&end| first.is_none_or(|(known, _)| end < known)) {
            first = Some((end, tls));
        }
    }
    if spoken.is_empty() {
        return Ok(());
    }
    paper.blank()?;
    for (protocol, count) in spoken {
        paper.flow(piece(DIM, "TLS       "), PLAIN, &format!("{protocol}: {}", sessions(count)))?;
    }
    for (problem, count) in problems {
        paper.flow(piece(DIM, "TLS       "), WARN, &format!("not verified: {problem} ({})", sessions(count)))?;
    }
    if let Some((end, tls)) = first {
        let now = recording.sessions.iter().map(|s| s.at).max().unwrap_or(end);
        let names = tls.names.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("first certificate to expire: {}, {names}", expiry(end, now));
        paper.flow(piece(DIM, "TLS       "), PLAIN, &text)?;
    }
    Ok(())
}

/// How many certificates TLSA records vouch for, and why others were asked for less.
pub(super) fn dane<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    let tls = || recording.sessions.iter().filter_map(|session| session.tls.as_ref());
    let vouched = tls().filter(|tls| tls.dane.is_some()).count();
    let mut problems: BTreeMap<&str, u64> = BTreeMap::new();
    for why in tls().filter_map(|tls| tls.dane_problem.as_deref()).chain(recording.sessions.iter().filter_map(no_dane))
    {
        *problems.entry(why).or_default() += 1;
    }
    if vouched == 0 && problems.is_empty() {
        return Ok(());
    }
    paper.blank()?;
    if vouched > 0 {
        let text = format!("a TLSA record vouches for the certificate: {}", sessions(vouched as u64));
        paper.flow(piece(DIM, "DANE      "), PLAIN, &text)?;
    }
    for (why, count) in problems {
        paper.flow(piece(DIM, "DANE      "), WARN, &format!("{why} ({})", sessions(count)))?;
    }
    Ok(())
}

/// Why a session that went by DANE found nothing to go by.
fn no_dane(session: &Session) -> Option<&str> {
    let detail = session.detail.as_deref().filter(|_| session.notes.iter().any(|note| note == "no-dane"))?;
    detail.split("; ").find_map(|part| part.strip_prefix("no DANE: "))
}

/// `TLSv1.3 TLS13_AES_256_GCM_SHA384`.
pub(super) fn protocol(tls: &Tls) -> String {
    let known: Vec<&str> = [&tls.version, &tls.cipher].into_iter().flatten().map(String::as_str).collect();
    if known.is_empty() { "handshake not finished".to_owned() } else { known.join(" ") }
}

/// `2027-01-24, in 61 days`, `2026-11-01, EXPIRED 23 days ago`.
pub(super) fn expiry(end: Timestamp, now: Timestamp) -> String {
    let days = (end.as_second() - now.as_second()).div_euclid(86_400);
    let day = end.strftime("%Y-%m-%d");
    match days {
        0.. => format!("{day}, in {days} days"),
        _ => format!("{day}, EXPIRED {} days ago", -days),
    }
}

/// Milliseconds, right-aligned: `     84.1`.
pub(super) fn ms(ms: f64) -> String {
    if ms.abs() < 1e7 { format!("{ms:9.1}") } else { format!("{ms:9.1e}") }
}

/// Milliseconds as seconds, or minutes where there are many.
pub(super) fn seconds(ms: f64) -> String {
    match ms / 1000.0 {
        s if s < 100.0 => format!("{s:.2} s"),
        s if s < 6_000.0 => format!("{:.1} min", s / 60.0),
        s if s < 1e9 => format!("{:.1} h", s / 3600.0),
        s => format!("{s:.1e} s"),
    }
}
