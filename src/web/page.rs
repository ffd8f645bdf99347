//! The status page: who is refused where, since when, them or us, and how sure that is.
//!
//! Whatever comes from a network or from the history goes through [`visible`] into a view, and from
//! there through the templates, which escape it. The pages run nothing, load nothing but one style
//! sheet from here, and say in their headers that they may not.
//!
//! | path | shows |
//! |---|---|
//! | `/` | every target: what is wrong, the matrix now, a heat strip per source and address, incidents |
//! | `/session/RUN/SEQ` | one session, stage by stage, with its words |
//! | `/incident/ID` | one incident with its proof, what happened to it, and sessions of it |
//! | `/run/RUN` | one round or run: its matrix, its diagnoses, its lookups |

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;

use super::Web;
use crate::visible::visible;

mod ask;
mod incident;
mod matrix;
mod overview;
mod run;
mod session;
pub(super) mod shelf;
mod timeline;
mod times;
mod verdict;

use ask::Ask;

/// No script, no picture, no frame, nothing from elsewhere; the form asks here alone.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("../../templates/style.css");

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(overview))
        .route("/session/{run}/{seq}", get(session))
        .route("/incident/{id}", get(incident))
        .route("/run/{run}", get(run))
        .route("/style.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
}

async fn overview(State(web): State<Web>, uri: Uri) -> Response {
    match Ask::read(uri.query().unwrap_or_default()) {
        Ok(ask) => overview::show(&web, ask, Timestamp::now()).await,
        Err(why) => fault(StatusCode::BAD_REQUEST, "This cannot be asked for", &why),
    }
}

async fn session(State(web): State<Web>, Path((run, seq)): Path<(String, String)>) -> Response {
    match seq.parse() {
        Ok(seq) if is_id(&run) => session::show(&web, run, seq).await,
        _ => not_here("a session is asked for by its run's id and its number in it, as in /session/RUN/7"),
    }
}

async fn incident(State(web): State<Web>, Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(id) => incident::show(&web, id, Timestamp::now()).await,
        Err(_) => not_here("an incident is asked for by its number, as in /incident/12"),
    }
}

async fn run(State(web): State<Web>, Path(run): Path<String>) -> Response {
    if is_id(&run) { run::show(&web, run).await } else { not_here("a run is asked for by its whole id") }
}

/// Whether a text could be a run's id.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// A page that says why there is none.
#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage {
    title: &'static str,
    why: String,
}

fn fault(status: StatusCode, title: &'static str, why: &str) -> Response {
    html(status, &FaultPage { title, why: shown(why) })
}

fn not_here(why: &str) -> Response {
    fault(StatusCode::NOT_FOUND, "Nothing is here", why)
}

/// What the history could not be asked for.
fn unread(why: &str) -> Response {
    fault(StatusCode::SERVICE_UNAVAILABLE, "The history cannot be read", why)
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(body) => {
            let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
            (status, headers, body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// A text for a page: nothing in it acts, whatever sent it. The template escapes it.
fn shown(text: impl AsRef<str>) -> String {
    visible(text.as_ref()).into_owned()
}

fn all_shown<T: AsRef<str>>(texts: &[T]) -> Vec<String> {
    texts.iter().map(shown).collect()
}
