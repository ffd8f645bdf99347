//! One session, stage by stage.

use std::io;
use std::net::SocketAddr;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, WARN, piece};
use super::refusals::lines;
use super::timing::{expiry, ms, protocol, seconds};
use crate::record::{Kind, Role, Session, Step};
use crate::sink::faults::what;
use crate::smtp::reply::{Class, Code};
use crate::stage::Stage;
use crate::status::failed;

/// A session as it went: each stage with its time and what was said, then where it stopped.
pub(super) fn session<W: io::Write>(paper: &mut Paper<W>, session: &Session) -> io::Result<()> {
    paper.blank()?;
    let to = match (session.address, &session.mx) {
        (Some(address), _) => SocketAddr::from((address, session.port)).to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "nowhere".to_owned(),
    };
    let from = session.source.map_or_else(String::new, |source| format!("from {source}"));
    let role = if session.role == Role::Target { "" } else { session.role.as_str() };
    let name = session.mx.as_deref().filter(|_| session.address.is_some()).unwrap_or_default();
    let facts = [from.as_str(), name, role].join(" ");
    paper.flow(piece(BOLD, format!("{to}  ")), PLAIN, &facts)?;
    let facts = [
        ("backend", session.backend.as_deref()),
        ("EHLO", session.ehlo.as_deref()),
        ("from", session.from.as_deref()),
        ("to", session.to.as_deref()),
    ];
    let facts =
        facts.into_iter().filter_map(|(name, value)| Some(vec![piece(DIM, format!("{name} ")), piece(PLAIN, value?)]));
    let facts: Vec<_> = facts.collect();
    if !facts.is_empty() {
        paper.items(piece(PLAIN, "  "), facts)?;
    }
    session.steps.iter().try_for_each(|step| stage(paper, session, step))?;
    stopped(paper, session)
}

fn stage<W: io::Write>(paper: &mut Paper<W>, session: &Session, step: &Step) -> io::Result<()> {
    let ended = session.stage == Some(step.stage) && session.kind != Kind::Completed;
    let head = format!("  {:11}{} ms  ", step.stage, ms(step.ms));
    let code = step.code.map_or_else(String::new, |code| format!("{code} "));
    let greeted = |s: &Stage| session.steps.iter().any(|step| step.stage == *s);
    let last_ehlo = [Stage::EhloTls, Stage::Ehlo].into_iter().find(greeted);
    let said = match step.stage {
        _ if ended && step.code.is_none() => what(session),
        _ if ended => return refused(paper, &head, session),
        Stage::Banner => session.banner.as_ref().map_or(code, |banner| banner.join(" / ")),
        Stage::Tls => session.tls.as_ref().map_or(code, protocol),
        s if Some(s) == last_ehlo => format!("{code} {}", session.extensions.as_deref().unwrap_or_default().join(" ")),
        _ if step.code.is_none() => "ok".to_owned(),
        _ => code,
    };
    paper.flow(piece(DIM, head), if ended { BAD } else { PLAIN }, &said)?;
    let Some(tls) = session.tls.as_ref().filter(|_| step.stage == Stage::Tls && !ended) else { return Ok(()) };
    let until = tls.not_after.map_or_else(String::new, |end| format!("; expires {}", expiry(end, session.at)));
    let (style, facts) = match (&tls.problem, tls.verified) {
        (Some(problem), _) => (WARN, format!("certificate NOT verified: {problem}{until}")),
        (None, true) => (GOOD, format!("certificate verified{until}")),
        (None, false) => (WARN, format!("certificate not verified{until}")),
    };
    paper.flow(piece(PLAIN, " ".repeat(27)), style, &facts)?;
    let dane = tls.dane.as_ref().map(|record| (GOOD, format!("vouched for by the TLSA record {record}")));
    let dane = dane.or_else(|| tls.dane_problem.as_ref().map(|why| (WARN, format!("DANE: {why}"))));
    dane.map_or(Ok(()), |(style, facts)| paper.flow(piece(PLAIN, " ".repeat(27)), style, &facts))
}

/// The reply that ended the session, beside its stage where it is one short line.
fn refused<W: io::Write>(paper: &mut Paper<W>, head: &str, session: &Session) -> io::Result<()> {
    let style = if failed(session) { BAD } else { WARN };
    match session.reply.as_deref() {
        Some([line]) if head.len() + line.len() <= paper.width() => paper.line([piece(DIM, head), piece(style, line)]),
        Some(reply) => {
            paper.line([piece(DIM, head), piece(style, session.code.map_or_else(String::new, |c| c.to_string()))])?;
            lines(paper, reply)
        }
        None => paper.line([piece(DIM, head), piece(style, what(session))]),
    }
}

fn stopped<W: io::Write>(paper: &mut Paper<W>, session: &Session) -> io::Result<()> {
    let total = session.total_ms.map_or_else(String::new, |total| format!("; total {}", seconds(total)));
    let shown = session.steps.iter().any(|step| Some(step.stage) == session.stage);
    if session.kind == Kind::Completed {
        paper.flow(
            piece(GOOD.bold(), format!("PASSED every stage up to {}; ", session.until)),
            PLAIN,
            total.trim_start_matches("; "),
        )?;
    } else {
        let stage = session.stage.map_or_else(|| session.kind.to_string(), |stage| format!("AT {stage}"));
        let expected = if session.expected { ", as expected" } else { "" };
        let class = class(session).map_or_else(|| what(session), ToOwned::to_owned);
        let tag = session.tag.as_deref().map_or_else(String::new, |tag| format!(", tag {tag}"));
        let style = if failed(session) { BAD } else { WARN };
        paper.flow(
            piece(style.bold(), format!("STOPPED {stage}: ")),
            PLAIN,
            &format!("{class}{tag}{expected}{total}"),
        )?;
        if let Some(reply) = session.reply.as_ref().filter(|_| !shown) {
            lines(paper, reply)?;
        }
    }
    if !session.also.is_empty() {
        paper.flow(piece(DIM, "  and then, unasked:"), DIM, "")?;
        lines(paper, &session.also)?;
    }
    if let Some(detail) = &session.detail {
        paper.flow(piece(DIM, "  detail  "), PLAIN, detail)?;
    }
    if !session.notes.is_empty() {
        paper.flow(piece(DIM, "  notes   "), PLAIN, &session.notes.join(", "))?;
    }
    Ok(())
}

/// What kind of refusal it is by its code, and whether its words agree.
fn class(session: &Session) -> Option<&'static str> {
    Some(match (session.class.or_else(|| session.code.map(Code::class))?, session.text_class) {
        (Class::Transient, Some(Class::Permanent)) => "temporary by its code, for good by its words",
        (Class::Transient, Some(_)) => "temporary, by code and words",
        (Class::Transient, None) => "temporary, by its code",
        (Class::Permanent, Some(Class::Transient)) => "for good by its code, temporary by its words",
        (Class::Permanent, Some(_)) => "for good, by code and words",
        (Class::Permanent, None) => "for good, by its code",
        _ => return None,
    })
}
