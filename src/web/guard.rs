//! What holds for every answer, and who may not ask: a page of another site, in a browser on this
//! host, could otherwise make it probe, or read what is here.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::address::Host;

/// Turns away whoever asks for a name that is not ours (RFC 9110 section 15.5.20). A browser names
/// the site of the page that asks: a site whose name leads to this listener for a moment, which is
/// all that it takes, could read everything in the name of the people here. An address is no site's
/// name, and what is no browser may leave the name out.
pub(super) async fn by_our_name(State(names): State<Arc<[Host]>>, request: Request, next: Next) -> Response {
    let asked = request.headers().get_all(header::HOST).iter().map(|value| value.to_str().ok());
    let asked = asked.chain(request.uri().authority().map(|authority| Some(authority.as_str())));
    if asked.into_iter().all(|host| host.is_some_and(|host| is_ours(host, &names))) {
        return next.run(request).await;
    }
    let why = "this is known by its address, as localhost, and by the names of --listen-name\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Whether `HOST` or `HOST:PORT` is a name that nobody else can have, or one of these.
fn is_ours(host: &str, names: &[Host]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is = |ours: &str| ours.eq_ignore_ascii_case(name);
    !host.contains('@')
        && (address.parse::<IpAddr>().is_ok() || is("localhost") || names.iter().any(|n| is(n.as_str())))
}

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
    fn a_name_is_ours_or_somebody_elses() {
        let names = ["probe.example".parse().unwrap()];
        for (host, ours) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9125", true),
            ("192.0.2.1:80", true),
            ("[::1]", true),
            ("[2001:db8::1]:9125", true),
            ("localhost", true),
            ("LOCALHOST:9125", true),
            ("localhost.:9125", true),
            ("probe.example:9125", true),
            ("Probe.Example.", true),
            ("", false),
            (":9125", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example:9125", false),
            ("localhost.evil.example", false),
            ("x.probe.example", false),
            ("probe.example.evil.example", false),
            ("evil.example@127.0.0.1", false),
            ("127.0.0.1@evil.example", false),
            ("127.0.0.1, evil.example", false),
            ("127.1", false),
            ("0x7f000001", false),
            ("[::1", false),
            ("\u{fc}.example", false),
        ] {
            assert_eq!(is_ours(host, &names), ours, "{host}");
        }
    }

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
