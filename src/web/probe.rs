//! `/probe?target=&module=`: one session, now, as the blackbox exporter does it.
//!
//! The module is a probe file of the watch, or `default`: the flags alone. The target takes the
//! place of the module's. What holds for a round holds here: rates, budgets, rests. What a module
//! says of its own target (that it is the operator's, whom to write to there) does not hold for
//! another one, and no probe by HTTP sends a message.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::Web;
use super::asked::{Answer, Busy, Deadline, LONGEST};
use super::scrape;
use crate::address::Host;
use crate::probe::{HostSpec, Probe, Target};
use crate::sink::metrics::{self, Exposition};
use crate::sink::prometheus;
use crate::stage::Stage;
use crate::visible::visible;

/// How long the server's leave is waited for: who asked is waiting too.
const QUIT: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
pub(super) struct Asks {
    target: Option<String>,
    #[serde(default = "default")]
    module: String,
}

fn default() -> String {
    "default".to_owned()
}

pub(super) async fn probe(State(web): State<Web>, Query(asks): Query<Asks>, headers: HeaderMap) -> Response {
    let say = |status, why: &str| (status, format!("{}\n", visible(why))).into_response();
    let Some(target) = asks.target.filter(|target| !target.is_empty()) else {
        return say(StatusCode::BAD_REQUEST, "no target: wanted /probe?target=DOMAIN, HOST or HOST:PORT");
    };
    let aim: Aim = match target.parse() {
        Ok(aim) => aim,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    if !web.any_target && !web.board.is_watched(&aim.name()) {
        let why = "not a target of a probe file: others can ask here, and no target of theirs is probed";
        return say(StatusCode::FORBIDDEN, why);
    }
    let mut module = match module(&web, &asks.module).and_then(|module| aimed(&module, &aim)) {
        Ok(probe) => probe,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    let now = Instant::now();
    let deadline = Deadline::within(patience(&headers), now);
    hurry(&mut module, deadline.leave - now);
    let joined = web.asked.join(&aim.to_string(), &asks.module, deadline, || web.daemon.setup(Arc::new(module)));
    let mut answer = match joined {
        Ok(answer) => answer,
        Err(Busy::Target(other)) => {
            return say(StatusCode::TOO_MANY_REQUESTS, &format!("{target} is being probed by module {other}"));
        }
        Err(Busy::TooMany) => return say(StatusCode::TOO_MANY_REQUESTS, "too many targets are being probed"),
        Err(Busy::Setup(why)) => return say(StatusCode::SERVICE_UNAVAILABLE, &why),
    };
    let answered = timeout_at(deadline.answer + QUIT, answer.wait_for(Option::is_some)).await;
    let known = answered.ok().and_then(Result::ok).and_then(|known| known.clone());
    match known.as_deref() {
        Some(Answer { refused: Some(why), .. }) => say(StatusCode::TOO_MANY_REQUESTS, why),
        Some(answer) => scrape::written(&exposed(answer), &headers),
        None => say(StatusCode::SERVICE_UNAVAILABLE, "the probe under way did not end in time"),
    }
}

/// What is to be probed.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Aim {
    /// The exchangers of a domain.
    Domain(Host),
    /// This host, at a port or the module's.
    Host(HostSpec, Option<u16>),
}

impl Aim {
    /// As a probe file names it.
    fn name(&self) -> String {
        match self {
            Self::Domain(domain) => domain.to_string(),
            Self::Host(host, _) => host.to_string(),
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(host, Some(port)) => write!(f, "{host} {port}"),
            other => f.write_str(&other.name()),
        }
    }
}

impl std::str::FromStr for Aim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(HostSpec::Name(domain)) => return Ok(Self::Domain(domain)),
            Ok(address) => return Ok(Self::Host(address, None)),
            Err(_) => {}
        }
        let parts = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let bare = host.contains(':') && !host.starts_with('[');
            Some(Self::Host(host.parse().ok().filter(|_| !bare)?, Some(port)))
        });
        parts.ok_or_else(|| {
            let found: String = text.chars().take(120).collect();
            format!("{found:?} is no target: wanted DOMAIN, HOST:PORT or an address, as in aol.com or [2001:db8::1]:25")
        })
    }
}

/// The probe of this name.
fn module(web: &Web, name: &str) -> Result<Arc<Probe>, String> {
    if let Some(probe) = web.board.probe(name) {
        return Ok(probe);
    }
    if name != "default" {
        let mut names = web.board.names();
        names.push(default());
        let found: String = name.chars().take(80).collect();
        return Err(format!("{found:?} is no module: wanted one of {}", names.join(", ")));
    }
    let mut flags = (*web.flags).clone();
    // Any domain: the target takes its place.
    (flags.domain, flags.hosts) = ("target.invalid".parse().ok(), Vec::new());
    let settled = flags.settle(|path| std::fs::read(path)).map_err(|e| e.to_string())?;
    Ok(Arc::new(settled))
}

/// The module's probe, aimed at this target.
fn aimed(module: &Probe, aim: &Aim) -> Result<Probe, String> {
    if module.until > Stage::Rcpt {
        let until = module.until;
        return Err(format!("the module goes to {until}: a probe by HTTP goes to rcpt at most"));
    }
    let mut probe = module.clone();
    let own = match aim {
        Aim::Domain(domain) => module.target.domain.as_ref() == Some(domain),
        Aim::Host(host, port) => {
            module.target.hosts.contains(host) && port.is_none_or(|port| port == module.target.port)
        }
    };
    if !own {
        (probe.target.own_mx, probe.ignore_rest) = (false, false);
        probe.envelope.to.clear();
        probe.until = probe.until.min(Stage::Mail);
    }
    let Target { port, family, own_mx, .. } = probe.target;
    probe.target = match aim {
        Aim::Domain(domain) if own => Target { domain: Some(domain.clone()), control: Vec::new(), ..probe.target },
        Aim::Domain(domain) => {
            Target { domain: Some(domain.clone()), hosts: Vec::new(), control: Vec::new(), port, family, own_mx }
        }
        Aim::Host(host, other) => Target {
            domain: None,
            hosts: vec![host.clone()],
            control: Vec::new(),
            port: other.unwrap_or(port),
            family,
            own_mx,
        },
    };
    probe.source.neutral.clear();
    probe.envelope.to.truncate(1);
    (probe.limits.attempts, probe.pair_plaintext) = (1, false);
    Ok(probe)
}

/// Lets no stage take more than nearly all the time there is, so that the one at which a server
/// falls silent is on record before the session has to go.
fn hurry(probe: &mut Probe, time: Duration) {
    let mut timeouts = (*probe.timeouts).clone();
    for stage in Stage::ALL {
        timeouts.set(*stage, timeouts.get(*stage).min(time.mul_f64(0.9)));
    }
    timeouts.set(Stage::Quit, timeouts.get(Stage::Quit).min(QUIT));
    probe.timeouts = Arc::new(timeouts);
}

/// How long whoever asks will wait.
fn patience(headers: &HeaderMap) -> Duration {
    let header = headers.get("x-prometheus-scrape-timeout-seconds").and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.parse::<f64>().ok()).filter(|seconds| *seconds > 0.0);
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(LONGEST).min(LONGEST)
}

fn exposed(answer: &Answer) -> Exposition {
    let mut out = Exposition::default();
    match &answer.session {
        Some(session) => prometheus::session(session, &mut out),
        None => out.set(&metrics::SUCCESS, &[], 0.0),
    }
    // What the probe took, its lookups too: what a scraper sees as the time of a probe.
    out.set(&metrics::DURATION, &[], answer.took.as_secs_f64());
    if let Some(ms) = answer.lookup {
        out.set(&metrics::DNS_LOOKUP, &[], ms / 1000.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::layer::ProbeLayer;

    #[test]
    fn a_target_is_a_domain_or_a_host() {
        for (text, want) in [
            ("AOL.com", Some("aol.com")),
            ("aol.com:25", Some("aol.com 25")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:2525", Some("192.0.2.1 2525")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]:25", Some("2001:db8::1 25")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("aol.com:0", None),
            ("aol.com:99999", None),
            ("http://aol.com", None),
            ("a b", None),
            ("aol.com\r\nX: y", None),
            ("1.2.3", None),
        ] {
            assert_eq!(text.parse::<Aim>().ok().map(|aim| aim.to_string()).as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn what_a_module_says_of_its_own_target_holds_for_that_alone() {
        let mailbox: crate::address::Mailbox = "mine@aol.com".parse().unwrap();
        let layer = ProbeLayer {
            domain: Some("aol.com".parse().unwrap()),
            own_mx: Some(true),
            control: vec!["example.org".parse().unwrap()],
            to: vec![mailbox.clone()],
            owned: vec![mailbox],
            until: Some(Stage::Rcpt),
            ..ProbeLayer::default()
        };
        let module = layer.settle(|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        for (target, own) in [("aol.com", true), ("aol.com:25", false), ("gmail.com", false), ("192.0.2.1", false)] {
            let probe = aimed(&module, &target.parse().unwrap()).unwrap();
            let found = (probe.target.own_mx, probe.envelope.to.len(), probe.until == Stage::Rcpt);
            assert_eq!(found, (own, usize::from(own), own), "{target}");
            assert!(probe.target.control.is_empty());
        }
        let sends = Probe { until: Stage::EndOfData, ..module };
        assert!(aimed(&sends, &"aol.com".parse().unwrap()).is_err());
    }

    #[test]
    fn the_answer_is_there_before_the_scraper_goes() {
        for (header, want) in [
            (None, LONGEST),
            (Some("10"), Duration::from_secs(10)),
            (Some("0.5"), Duration::from_millis(500)),
            (Some("1e9"), LONGEST),
            (Some("-1"), LONGEST),
            (Some("NaN"), LONGEST),
            (Some("inf"), LONGEST),
            (Some("soon"), LONGEST),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(text) = header {
                headers.insert("x-prometheus-scrape-timeout-seconds", text.parse().unwrap());
            }
            assert_eq!(patience(&headers), want, "{header:?}");
            let now = Instant::now();
            let Deadline { leave, answer } = Deadline::within(want, now);
            assert!(now < leave && leave < answer && answer < now + want, "{header:?}");
        }
    }
}
