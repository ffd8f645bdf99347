//! What holds for every answer, and who may not ask: a page of another site, in a browser on this
//! host, could otherwise make it probe.

use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Turns away what a browser sends for another site's page. What is no browser says nothing of
/// sites, and is let through.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    if is_of_another_site(request.headers()) {
        return (StatusCode::FORBIDDEN, "asked by a page of another site\n").into_response();
    }
    next.run(request).await
}

fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let foreign = |origin: &[u8]| {
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_none() || authority != text(header::HOST)
    };
    site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) || text(header::ORIGIN).is_some_and(foreign)
}

/// Gives an answer the headers that it has not got: nothing in it is to be run, framed, guessed at
/// or kept. No other site may read it, which is what the absence of CORS says.
pub(super) async fn seal(mut response: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sites_are_told_from_this_one_and_from_no_browser() {
        for (headers, foreign) in [
            ("", false),
            ("host: 127.0.0.1:9", false),
            ("host: 127.0.0.1:9|origin: http://127.0.0.1:9", false),
            ("host: 127.0.0.1:9|origin: http://127.0.0.1:8", true),
            ("host: 127.0.0.1:9|origin: http://evil.example", true),
            ("host: 127.0.0.1:9|origin: null", true),
            ("origin: http://", true),
            ("sec-fetch-site: none", false),
            ("sec-fetch-site: same-origin", false),
            ("sec-fetch-site: same-site", true),
            ("sec-fetch-site: cross-site", true),
        ] {
            let pairs = headers.split('|').filter_map(|line| line.split_once(": "));
            let map = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(is_of_another_site(&map), foreign, "{headers}");
        }
    }
}
