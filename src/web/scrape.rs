//! `/metrics`, in the notation that the scraper asks for.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::Web;
use crate::sink::metrics::{Exposition, Notation};

pub(super) async fn metrics(State(web): State<Web>, headers: HeaderMap) -> Response {
    written(&web.board.expose(Timestamp::now()), &headers)
}

/// The samples as an answer to whoever sent these headers.
pub(super) fn written(exposition: &Exposition, headers: &HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let notation = wanted(accept);
    let mut body = Vec::new();
    match exposition.write(&mut body, notation) {
        Ok(()) => ([(CONTENT_TYPE, notation.media_type())], body).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

/// OpenMetrics where it is asked for by name and no less than text: `*/*` is what a person's tool
/// says, who wants to read it.
fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Notation {
    let (mut open, mut text) = (0.0, 0.0);
    for range in accept.flat_map(|header| header.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut weight, mut known) = (1.0_f64, true);
        for part in parts {
            match part.split_once('=').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim())) {
                Some((name, value)) if name == "q" => weight = value.parse().unwrap_or(0.0),
                // Of OpenMetrics there is version 1.0.0, and before it 0.0.1, which reads the same.
                Some((name, value)) if name == "version" && media == "application/openmetrics-text" => {
                    known = matches!(value, "1.0.0" | "0.0.1");
                }
                _ => {}
            }
        }
        match &*media {
            "application/openmetrics-text" if known => open = weight.max(open),
            "text/plain" | "text/*" => text = weight.max(text),
            _ => {}
        }
    }
    if open > 0.0 && open >= text { Notation::OpenMetrics } else { Notation::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_the_scrapers_choice() {
        for (accept, want) in [
            (vec![], Notation::Text),
            (vec!["*/*"], Notation::Text),
            (vec!["text/plain"], Notation::Text),
            (vec!["application/openmetrics-text"], Notation::OpenMetrics),
            // As Prometheus 2.42 and 3 ask.
            (
                vec![
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                Notation::OpenMetrics,
            ),
            (
                vec![
                    "application/vnd.google.protobuf;q=0.9, application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.3",
                ],
                Notation::OpenMetrics,
            ),
            (vec!["text/plain;q=1, application/openmetrics-text; q=0.5"], Notation::Text),
            (vec!["text/plain;q=0.2", "APPLICATION/OpenMetrics-Text; Q=0.3"], Notation::OpenMetrics),
            (vec!["application/openmetrics-text;version=2.0.0"], Notation::Text),
            (vec!["application/openmetrics-text;q=0"], Notation::Text),
            (vec!["application/openmetrics-text;q=\u{1}", ";;;,,,="], Notation::Text),
        ] {
            assert_eq!(wanted(accept.iter().copied()), want, "{accept:?}");
        }
    }
}
