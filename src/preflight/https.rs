//! Fetching a domain's MTA-STS policy over HTTPS (RFC 8461, section 3.3).
//!
//! Own connections rather than an HTTP client's: the address comes from the resolvers that were
//! named, the certificate must hold as one of an exchanger would, no redirect is followed, and
//! neither an endless body nor a silence holds anything up.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::address::Host;
use crate::dns::Dns;
use crate::policy::mta_sts::Policy;
use crate::visible::visible;
use crate::wire::{self, Expected, Must, Stream, Trust};

/// The longest policy that is read, in bytes (section 3.3 has it that a limit of 64 KB is one).
const LONGEST: usize = 64 * 1024;
/// Characters quoted of a header.
const QUOTED: usize = 200;

/// How policies are fetched.
#[derive(Clone, Copy, Debug)]
pub struct Https {
    pub port: u16,
    /// For all of it; section 3.3 suggests a minute at most.
    pub patience: Duration,
}

impl Default for Https {
    fn default() -> Self {
        Self { port: 443, patience: Duration::from_secs(20) }
    }
}

/// The policy of a domain, or why there is none to be had, in words.
pub(super) async fn fetch(domain: &Host, dns: &Dns, trust: &Trust, https: Https) -> Result<Policy, String> {
    let host: Host = format!("mta-sts.{domain}").parse().map_err(|_| "the domain is too long for a policy host")?;
    let url = format!("https://{host}/.well-known/mta-sts.txt");
    let late = format!("no answer in {} s", https.patience.as_secs_f32());
    let fetched = timeout(https.patience, get(&host, dns, trust, https.port)).await;
    let body = fetched.unwrap_or(Err(late)).map_err(|why| format!("{url}: {why}"))?;
    Policy::parse(&body).map_err(|e| format!("{url}: {e}"))
}

async fn get(host: &Host, dns: &Dns, trust: &Trust, port: u16) -> Result<Bytes, String> {
    let mut stream = connect(host, dns, port).await?;
    let expected = Expected { host: Some(host), must: Must::Hold, ..Expected::default() };
    stream.upgrade(&expected, trust).await.outcome.map_err(|fault| fault.to_string())?;
    let broken = |e: hyper::Error| format!("no HTTP: {e}");
    let builder = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request(host)?).await;
    let body = match answer {
        Ok(answer) => read(answer).await,
        Err(e) => Err(broken(e)),
    };
    connection.abort();
    body
}

/// The first of the host's addresses that can be reached.
async fn connect(host: &Host, dns: &Dns, port: u16) -> Result<Stream, String> {
    let addresses = dns.addresses(host).await.addresses.map_err(|e| format!("the host does not resolve: {e}"))?;
    let mut failed = String::new();
    for address in addresses {
        match wire::connect(None, SocketAddr::new(address, port)).await {
            Ok(tcp) => return Ok(Stream::plain(tcp)),
            Err(fault) => failed = format!("{address}: {fault}"),
        }
    }
    Err(failed)
}

fn request(host: &Host) -> Result<Request<Empty<Bytes>>, String> {
    Request::get("/.well-known/mta-sts.txt")
        .header(HOST, host.as_str())
        .header(USER_AGENT, concat!("mxprobe/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|e| e.to_string())
}

async fn read(answer: Response<Incoming>) -> Result<Bytes, String> {
    let header = |name| answer.headers().get(name).map_or_else(|| "none".to_owned(), shown);
    match answer.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => {
            let to = header(LOCATION);
            return Err(format!("status {}, a redirect to {to}, which senders must not follow", status.as_u16()));
        }
        status => return Err(format!("status {}, wanted 200", status.as_u16())),
    }
    let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(format!("media type {}, wanted text/plain", header(CONTENT_TYPE)));
    }
    match Limited::new(answer.into_body(), LONGEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(format!("longer than {LONGEST} bytes")),
        Err(e) => Err(format!("the body breaks off: {e}")),
    }
}

fn shown(value: &HeaderValue) -> String {
    let text: String = String::from_utf8_lossy(value.as_bytes()).chars().take(QUOTED).collect();
    format!("\"{}\"", visible(&text))
}
