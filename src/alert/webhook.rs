//! A notice over HTTP: to an Alertmanager in its own terms, to anything else as it is.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::courier::{Courier, Undelivered};
use super::notice::{Change, Notice, short};
use crate::probe::alert::Webhook;
use crate::record::Incident;

/// As much of a response as is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// A part of a path that is shorter is no secret.
const GUESSABLE: usize = 8;

/// What is posted of a notice.
pub(super) fn body(notice: &Notice, webhook: &Webhook, courier: &Courier, now: Timestamp) -> Vec<u8> {
    if webhook.is_alertmanager() {
        return alerts(std::slice::from_ref(notice), courier, now);
    }
    json!(notice).to_string().into_bytes()
}

/// What an Alertmanager is posted.
pub(super) fn alerts(notices: &[Notice], courier: &Courier, now: Timestamp) -> Vec<u8> {
    let alerts: Vec<Value> = notices.iter().map(|notice| alert(notice, courier, now)).collect();
    json!(alerts).to_string().into_bytes()
}

/// An alert of the Alertmanager's API, version 2. What makes it that alert, its labels, never
/// changes while the incident lasts: all that does is an annotation, the diagnosis too.
fn alert(notice: &Notice, courier: &Courier, now: Timestamp) -> Value {
    let Incident { id, domain, kind, confidence, opened, closed, stage, code, reply, .. } = &notice.incident;
    let ends = match closed.filter(|_| notice.change == Change::Closed) {
        Some(closed) => closed.by.max(opened.by),
        None => now.saturating_add(courier.pace.burns()).unwrap_or(Timestamp::MAX),
    };
    let mut annotations = json!({
        "summary": notice.summary(),
        "description": short_lines(&notice.lines()),
        "kind": kind,
        "confidence": confidence,
        "change": notice.change,
        "notice": notice.id,
    });
    for (name, value) in [
        ("stage", stage.map(|stage| stage.to_string())),
        ("code", code.map(|code| code.to_string())),
        ("reply", reply.as_deref().map(|reply| short(reply, 500))),
    ] {
        if let Some(value) = value {
            annotations[name] = value.into();
        }
    }
    let labels = json!({
        "alertname": "MxprobeIncident",
        "instance": courier.name.as_str(),
        "domain": short(domain, 200),
        "incident": id.to_string(),
    });
    let mut alert = json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": opened.by.to_string(),
        "endsAt": ends.to_string(),
    });
    if let Some(page) = &courier.page {
        alert["generatorURL"] = page.as_str().into();
    }
    alert
}

fn short_lines(lines: &[String]) -> String {
    let mut text = lines.iter().take(40).map(|line| short(line, 300)).collect::<Vec<_>>().join("\n");
    text.truncate(text.floor_char_boundary(6000));
    text
}

/// Posts a body; the receiver has it when it says 2xx. Redirects are not followed: they would lead
/// where nobody has configured.
pub(super) async fn post(webhook: &Webhook, id: &str, body: Vec<u8>, courier: &Courier) -> Result<(), Undelivered> {
    let later = |e: &dyn std::fmt::Display| Undelivered::Later(short(&e.to_string(), 300));
    let stream = courier.connect(&webhook.host, webhook.port, webhook.secure).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| later(&e))?;
    let request = Request::post(&webhook.path)
        .header(HOST, webhook.origin().split_once("://").map_or("", |(_, authority)| authority))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("mxprobe/", env!("CARGO_PKG_VERSION")))
        .header("Idempotency-Key", id)
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| later(&e))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| later(&e))?;
        let status = response.status();
        // What it says beside is worth a line in a log, and no more of it is read.
        let said = Limited::new(response.into_body(), LONGEST).collect().await;
        let said = said.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        verdict(status, &without_path(&said, &webhook.path))
    };
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        // The connection is over; the answer may have come before.
        _ = connection => exchange.await,
    }
}

/// What a receiver says, without the path that it was asked for: servers like to repeat it, and it
/// is as good as a password.
fn without_path(said: &str, path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts = path.split('/').chain(query.split(['&', '=']));
    parts.filter(|part| part.len() >= GUESSABLE).fold(said.to_owned(), |said, part| said.replace(part, "…"))
}

fn verdict(status: StatusCode, said: &str) -> Result<(), Undelivered> {
    if status.is_success() {
        return Ok(());
    }
    let said = said.trim();
    let why = if said.is_empty() { status.to_string() } else { format!("{status}: {}", short(said, 200)) };
    Err(match status {
        // It has read the notice and will never have it otherwise.
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Undelivered::Never(why)
        }
        status if status.is_redirection() => {
            Undelivered::Later(format!("{why}; redirects are not followed: the webhook is to name where they lead"))
        }
        _ => Undelivered::Later(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notice::tests::hostile;

    #[test]
    fn an_alert_keeps_its_labels_and_says_when_it_ends() {
        let courier = Courier::for_tests("probe.example");
        let now: Timestamp = "2026-11-24T11:00:00Z".parse().unwrap();
        let mut opened = hostile("opened");
        let first = alert(&opened, &courier, now);
        assert_eq!(first["startsAt"], "2026-11-24T10:00:00Z");
        assert_eq!(first["endsAt"], "2026-11-24T11:04:00Z");
        opened.incident.kind = crate::record::DiagnosisKind::SenderIpBlock;
        let (other, last) = (alert(&opened, &courier, now), alert(&hostile("closed"), &courier, now));
        assert_eq!((&first["labels"], &first["labels"]), (&other["labels"], &last["labels"]));
        assert_ne!(first["annotations"]["kind"], other["annotations"]["kind"]);
        assert_eq!(last["endsAt"], "2026-11-24T12:00:00Z");
        for text in first["annotations"].as_object().unwrap().values().filter_map(Value::as_str) {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }

    #[test]
    fn a_receiver_that_repeats_its_path_gives_nothing_away() {
        for (path, said, want) in [
            ("/services/T0123456/s3cret-t0ken", "Cannot POST /services/T0123456/s3cret-t0ken", "Cannot POST /…/…/…"),
            ("/hook?token=s3cret-t0ken&x=1", "no such token: \"s3cret-t0ken\"", "no such token: \"…\""),
            ("/api/v2/alerts", "bad labels in alerts", "bad labels in alerts"),
            ("/", "404 page not found", "404 page not found"),
        ] {
            assert_eq!(without_path(said, path), want, "{path}");
        }
    }

    #[test]
    fn a_status_decides_whether_to_try_again() {
        for (status, said, want) in [
            (200, "", Ok(())),
            (202, "x", Ok(())),
            (204, "", Ok(())),
            (302, "", Err("later")),
            (400, "bad \u{1b}[2J", Err("never")),
            (401, "", Err("later")),
            (404, "", Err("later")),
            (422, "", Err("never")),
            (429, "", Err("later")),
            (503, "", Err("later")),
        ] {
            let found = verdict(StatusCode::from_u16(status).unwrap(), said);
            let short = found.as_ref().map_err(|e| match e {
                Undelivered::Later(_) => "later",
                Undelivered::Never(_) => "never",
            });
            assert_eq!(short.copied(), want, "{status}");
            assert!(!format!("{found:?}").contains('\u{1b}'));
        }
    }
}
