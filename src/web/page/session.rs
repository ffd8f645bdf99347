//! `/session/RUN/SEQ`: one session, stage by stage, with the words of the other side.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::times::Moment;
use super::{Web, all_shown, html, not_here, shown, unread};
use crate::history::archive::Filter;
use crate::record::{Kind, Session, Tls};
use crate::sink::faults::what;
use crate::sink::redact::Redaction;
use crate::status::failed;

/// So many lines of a reply are shown, and names of a certificate.
const LINES: usize = 100;

/// How far before and after a session others of its cell are looked for, and how many are listed.
const AROUND: SignedDuration = SignedDuration::from_hours(24);
const NEIGHBOURS: usize = 24;

#[derive(Template)]
#[template(path = "session.html")]
struct SessionPage {
    title: String,
    tone: &'static str,
    what: String,
    /// Both ends, with their names.
    from: String,
    to: String,
    at: Moment,
    facts: Vec<(&'static str, String)>,
    steps: Vec<Step>,
    total: String,
    banner: Vec<String>,
    reply: Vec<String>,
    also: Vec<String>,
    detail: Option<String>,
    notes: Vec<String>,
    tls: Vec<(&'static str, String)>,
    extensions: String,
    run: String,
    neighbours: Vec<Neighbour>,
}

/// A stage, its time, and a bar as long as the time.
struct Step {
    stage: &'static str,
    ms: String,
    code: String,
    bar: String,
    last: bool,
}

/// Another session of the same cell.
pub(super) struct Neighbour {
    pub(super) href: String,
    pub(super) at: Moment,
    pub(super) what: String,
    pub(super) tone: &'static str,
    pub(super) here: bool,
}

pub(super) async fn show(web: &Web, run: String, seq: u64) -> Response {
    let id = run.clone();
    let read = web.shelf.read(move |archive| {
        let Some(session) = archive.session(&id, seq)? else { return Ok(None) };
        let mut around = Vec::new();
        if session.address.is_some() {
            archive.sessions(&cell(&session), &mut |other| {
                around.push(neighbour(&other, &session));
                true
            })?;
        }
        Ok(Some((session, around)))
    });
    let read = read.await;
    // What was seen last is known without a history too.
    let known = || web.board.session(&run, seq).map(|session| (Session::clone(&session), Vec::new()));
    match (read, known()) {
        (Ok(Some(found)), _) | (Ok(None) | Err(_), Some(found)) => html(StatusCode::OK, &page(&found.0, found.1)),
        (Ok(None), None) => not_here("no such session is on record, or it is forgotten"),
        (Err(why), None) => unread(&why.to_string()),
    }
}

/// The sessions before and after this one.
fn cell(session: &Session) -> Filter {
    Filter {
        domain: Some(session.domain.clone().unwrap_or_default()),
        source: session.source,
        address: session.address,
        since: session.at.checked_sub(AROUND).ok(),
        until: session.at.checked_add(AROUND).ok(),
        limit: Some(2000),
        ..Filter::default()
    }
}

pub(super) fn neighbour(session: &Session, here: &Session) -> Neighbour {
    Neighbour {
        href: format!("/session/{}/{}", session.run, session.seq),
        at: Moment::of(session.at),
        what: shown(what(session)),
        tone: tone(session),
        here: session.run == here.run && session.seq == here.seq,
    }
}

/// Those nearest to this one, the newest first.
fn nearest(mut all: Vec<Neighbour>) -> Vec<Neighbour> {
    let here = all.iter().position(|one| one.here).unwrap_or(0);
    let from = here.saturating_sub(NEIGHBOURS / 2).min(all.len().saturating_sub(NEIGHBOURS));
    let mut near: Vec<_> = all.drain(from..).take(NEIGHBOURS).collect();
    near.reverse();
    near
}

pub(super) fn tone(session: &Session) -> &'static str {
    match session.kind {
        Kind::Local | Kind::Skipped => "none",
        _ if !failed(session) => "good",
        Kind::Rejected if session.code.is_some_and(|code| code.get() < 500) => "warn",
        _ => "bad",
    }
}

fn page(session: &Session, around: Vec<Neighbour>) -> SessionPage {
    let name = |ip: Option<std::net::IpAddr>| ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let target = session.domain.as_deref().or(session.mx.as_deref()).unwrap_or("a host");
    let what = what(session);
    let from = name(session.source);
    let to = session
        .address
        .map_or_else(|| "no address".to_owned(), |ip| std::net::SocketAddr::from((ip, session.port)).to_string());
    let to = match (&session.mx, &session.domain) {
        (Some(mx), Some(domain)) => format!("{to}, {mx} of {domain}"),
        (Some(name), None) | (None, Some(name)) => format!("{to}, {name}"),
        (None, None) => to,
    };
    let mut facts = vec![
        ("Backend", session.backend.clone().unwrap_or_default()),
        ("EHLO", session.ehlo.clone().unwrap_or_default()),
        ("MAIL FROM", session.from.clone().unwrap_or_default()),
        ("RCPT TO", session.to.as_deref().map(Redaction::recipient).unwrap_or_default()),
        ("Role", session.role.to_string()),
        ("Variant", session.variant.to_string()),
        ("Attempt", session.attempt.to_string()),
        ("Tag", session.tag.clone().unwrap_or_default()),
        ("By code", session.class.map(|class| class.to_string()).unwrap_or_default()),
        ("By words", session.text_class.map(|class| class.to_string()).unwrap_or_default()),
        ("Expected", if session.expected { "yes: the probe's author wants it".to_owned() } else { String::new() }),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    for (_, value) in &mut facts {
        *value = shown(&*value);
    }
    // A recipient's own part is nobody's business here, where a reply repeats it either.
    let redaction = Redaction::of(session.to.as_deref().into_iter());
    let lines = |lines: &[String]| lines.iter().take(LINES).map(|line| shown(redaction.text(line))).collect();
    SessionPage {
        title: shown(format!("{what}: {} at {target}", name(session.source))),
        tone: tone(session),
        what: shown(what),
        from: shown(from),
        to: shown(to),
        at: Moment::of(session.at),
        facts,
        steps: steps(session),
        total: session.total_ms.map(|ms| format!("{ms:.1}")).unwrap_or_default(),
        banner: lines(session.banner.as_deref().unwrap_or_default()),
        reply: lines(session.reply.as_deref().unwrap_or_default()),
        also: lines(&session.also),
        detail: session.detail.as_ref().map(|detail| shown(redaction.text(detail))),
        notes: all_shown(&session.notes),
        tls: session.tls.as_ref().map(tls).unwrap_or_default(),
        extensions: shown(session.extensions.as_deref().unwrap_or_default().join(", ")),
        run: session.run.clone(),
        neighbours: nearest(around),
    }
}

fn steps(session: &Session) -> Vec<Step> {
    let longest = session.steps.iter().map(|step| step.ms).fold(1.0_f64, f64::max);
    let step = |step: &crate::record::Step| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 100")]
        let wide = (step.ms / longest * 100.0).round().clamp(1.0, 100.0) as u32;
        Step {
            stage: step.stage.as_str(),
            ms: format!("{:.1}", step.ms),
            code: step.code.map(|code| code.to_string()).unwrap_or_default(),
            bar: format!("M0 0h{wide}v8h-{wide}z"),
            last: session.stage == Some(step.stage) && failed(session),
        }
    };
    session.steps.iter().map(step).collect()
}

fn tls(tls: &Tls) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let end = |end: &Option<Timestamp>| end.map(|end| Moment::of(end).shown).unwrap_or_default();
    let names = tls.names.iter().take(LINES).cloned().collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        ("Version", text(&tls.version)),
        ("Cipher", text(&tls.cipher)),
        (
            "Certificate",
            if tls.verified { "verified: chain, dates and name hold".to_owned() } else { "not verified".to_owned() },
        ),
        ("Problem", text(&tls.problem)),
        ("DANE", tls.dane.clone().or_else(|| tls.dane_problem.clone()).unwrap_or_default()),
        ("Names", names),
        ("Issuer", text(&tls.issuer)),
        ("Valid until", end(&tls.not_after)),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    for (_, value) in &mut facts {
        *value = shown(&*value);
    }
    facts
}
