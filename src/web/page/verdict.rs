//! What it all comes to, in words: who is refused where, since when, them or us, how sure.

use std::net::IpAddr;

use jiff::Timestamp;

use super::times::{between, long};
use super::{all_shown, shown};
use crate::record::{Confidence, Diagnosis, DiagnosisKind, Incident};
use crate::sink::faults::called;
use crate::sink::recording::ranges;
use crate::sink::redact::Redaction;
use crate::sink::side::side;
use crate::smtp::reply::Code;
use crate::stage::Stage;

/// An incident or a diagnosis.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The class: `bad`, `warn` or `good`.
    pub(super) tone: &'static str,
    /// The kind as it is called out.
    pub(super) called: String,
    pub(super) headline: String,
    /// What a postmaster asks, each with its answer.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The refusal that is met most often.
    pub(super) reply: Option<String>,
    pub(super) because: Vec<String>,
    pub(super) ruled_out: Vec<String>,
    pub(super) advice: String,
    /// The page of the incident.
    pub(super) href: Option<String>,
}

/// What an incident and a diagnosis have in common.
struct About<'a> {
    kind: DiagnosisKind,
    domain: &'a str,
    sources: &'a [IpAddr],
    addresses: &'a [IpAddr],
    backends: &'a [String],
    stage: Option<Stage>,
    code: Option<Code>,
    confidence: Confidence,
    tried: u64,
    failed: u64,
}

impl Verdict {
    pub(super) fn of_incident(incident: &Incident, now: Timestamp) -> Self {
        let about = About::incident(incident);
        let mut since = vec![between(incident.opened)];
        if incident.closed.is_none() {
            let least = if incident.opened.after.is_none() { "at least " } else { "" };
            since.insert(0, format!("{least}{} ago", long(incident.opened.by, now)));
        }
        if incident.episodes > 1 {
            since.push(format!("in {} episodes", incident.episodes));
        }
        let since = since.join(", ");
        let mut facts = about.facts(since);
        if let Some(closed) = incident.closed {
            let lasted = long(incident.opened.by, closed.by);
            facts.insert(3, ("Until", format!("{}; it lasted {lasted}", between(closed))));
        }
        Self {
            tone: if incident.closed.is_some() { "past" } else { tone(incident.kind) },
            called: called(incident.kind),
            headline: about.headline(),
            facts,
            reply: said(incident.reply.as_slice(), &incident.domain).pop(),
            because: said(&incident.because, &incident.domain),
            ruled_out: all_shown(&incident.ruled_out),
            advice: shown(&incident.advice),
            href: (incident.id != 0).then(|| format!("/incident/{}", incident.id)),
        }
    }

    /// Of a round; `since` says when that was.
    pub(super) fn of_diagnosis(diagnosis: &Diagnosis, domain: &str, since: String) -> Self {
        let about = About::diagnosis(diagnosis, domain);
        let mut because = said(&diagnosis.because, domain);
        if let Some(leaning) = diagnosis.leaning {
            because.push(format!("leaning to {}", called(leaning).to_lowercase()));
        }
        Self {
            tone: tone(diagnosis.kind),
            called: called(diagnosis.kind),
            headline: about.headline(),
            facts: if diagnosis.kind == DiagnosisKind::Healthy { about.passed(since) } else { about.facts(since) },
            reply: None,
            because,
            ruled_out: all_shown(&diagnosis.ruled_out),
            // Nothing is to be done where nothing is wrong.
            advice: if diagnosis.kind == DiagnosisKind::Healthy { String::new() } else { shown(&diagnosis.advice) },
            href: None,
        }
    }
}

/// What may hold words of the other side, in which nobody is named who has a mailbox there.
fn said(texts: &[String], domain: &str) -> Vec<String> {
    if !texts.iter().any(|text| text.contains('@')) {
        return all_shown(texts);
    }
    let redaction = Redaction::default().at(Some(domain));
    texts.iter().map(|text| shown(redaction.text(text))).collect()
}

/// An incident in one sentence.
pub(super) fn headline(incident: &Incident) -> String {
    About::incident(incident).headline()
}

const fn tone(kind: DiagnosisKind) -> &'static str {
    match kind {
        DiagnosisKind::Healthy => "good",
        DiagnosisKind::Undecided | DiagnosisKind::Greylisting | DiagnosisKind::RateLimited => "warn",
        _ => "bad",
    }
}

impl<'a> About<'a> {
    fn incident(incident: &'a Incident) -> Self {
        let Incident { kind, domain, sources, addresses, backends, stage, code, confidence, .. } = incident;
        Self {
            kind: *kind,
            domain,
            sources,
            addresses,
            backends,
            stage: *stage,
            code: *code,
            confidence: *confidence,
            tried: incident.sessions,
            failed: incident.failed,
        }
    }

    fn diagnosis(diagnosis: &'a Diagnosis, domain: &'a str) -> Self {
        let Diagnosis { kind, sources, addresses, backends, stage, code, confidence, tried, failed, .. } = diagnosis;
        Self {
            kind: *kind,
            domain,
            sources,
            addresses,
            backends,
            stage: *stage,
            code: *code,
            confidence: *confidence,
            tried: *tried,
            failed: *failed,
        }
    }

    fn facts(&self, since: String) -> Vec<(&'static str, String)> {
        let sources = ranges(self.sources.iter().copied());
        let mut places = vec![ranges(self.addresses.iter().copied()), shown(self.backends.join(", "))];
        places.retain(|names| !names.is_empty());
        let code = self.code.map_or_else(String::new, |code| format!(", {code}"));
        let stage = self.stage.map_or_else(String::new, |stage| format!(", at {stage}{code}"));
        let place = if places.is_empty() { "every address".to_owned() } else { places.join("; ") };
        let mut facts = vec![
            ("Who", if sources.is_empty() { "every source".to_owned() } else { sources }),
            ("Where", format!("{place} of {}{stage}", shown(self.domain))),
            ("Since", since),
        ];
        let whose = side(self.kind);
        facts.push(("Them or us", if whose.is_empty() { "not settled" } else { whose }.to_owned()));
        let trials = match (self.failed, self.tried) {
            (_, 0) => String::new(),
            (failed, tried) => format!(": {failed} of {tried} sessions failed"),
        };
        facts.push(("How sure", format!("{}{trials}", self.confidence)));
        facts
    }

    /// The same where nothing is wrong.
    fn passed(&self, round: String) -> Vec<(&'static str, String)> {
        let passed = self.tried.saturating_sub(self.failed);
        vec![
            ("Sessions", format!("{passed} of {} passed", self.tried)),
            ("When", round),
            ("How sure", self.confidence.to_string()),
        ]
    }

    /// Who, what and where in one sentence.
    fn headline(&self) -> String {
        use DiagnosisKind::{
            AuthOrFcrdns, BadTarget, ContentPolicy, EgressBlocked, EgressMismatch, EnvelopeDomain, Greylisting,
            Healthy, Ipv6Only, LocalConfig, LocalDns, PerConnectionCap, Port25Interception, RateLimited,
            ReceiverDnsFault, ReceiverIntermittent, ReceiverOutage, ReceiverPartialOutage, Recipient, SenderIpBlock,
            SenderPoolBlock, TlsFault, Undecided,
        };
        let domain = shown(self.domain);
        let sources = few(&ranges(self.sources.iter().copied()), self.sources.len(), "sources");
        let us = if sources.is_empty() { "every source".to_owned() } else { sources.clone() };
        let addresses = few(&ranges(self.addresses.iter().copied()), self.addresses.len(), "addresses");
        let backends = few(&shown(self.backends.join(", ")), self.backends.len(), "backends");
        let part = if addresses.is_empty() { backends } else { addresses };
        let many = self.addresses.len() + self.backends.len() > 1;
        let at = if part.is_empty() { domain.clone() } else { format!("{part} of {domain}") };
        match self.kind {
            SenderIpBlock => format!("{domain} refuses {us}"),
            SenderPoolBlock => format!("{domain} refuses your whole pool"),
            ReceiverOutage => format!("{domain} takes mail from nobody"),
            ReceiverPartialOutage => format!("{at} {} for every source", if many { "fail" } else { "fails" }),
            ReceiverIntermittent => format!("{at} {} now and then", if many { "fail" } else { "fails" }),
            RateLimited => format!("{domain} wants {us} slower"),
            PerConnectionCap => format!("{domain} closes connections early"),
            Greylisting => format!("{domain} puts first attempts off"),
            Recipient => format!("{domain} refuses the recipient"),
            EnvelopeDomain => format!("{domain} refuses the sender's domain"),
            ContentPolicy => format!("{domain} refuses the message"),
            AuthOrFcrdns => format!("{domain} refuses {us} for what your DNS says"),
            TlsFault => format!("TLS with {at} fails"),
            Ipv6Only => format!("{domain} refuses over IPv6 alone"),
            BadTarget => format!("{domain} has no mail server to speak to"),
            ReceiverDnsFault => format!("the DNS of {domain} fails"),
            LocalConfig if sources.is_empty() => "this host's set-up is at fault".to_owned(),
            LocalConfig => format!("{sources} cannot be spoken from on this host"),
            LocalDns => "this host's resolvers fail".to_owned(),
            EgressBlocked if sources.is_empty() => "port 25 is closed on the way out".to_owned(),
            EgressBlocked => format!("port 25 is closed on the way out of {sources}"),
            Port25Interception => format!("somebody on the way answers for {domain}"),
            EgressMismatch => format!("{us} leaves the network as another address"),
            Undecided if !sources.is_empty() => format!("{sources} fails at {at}: them or us is not settled"),
            Undecided => format!("{at} fails: them or us is not settled"),
            Healthy => format!("{domain} lets every session through"),
        }
    }
}

/// Names, or how many there are where that is longer than a headline.
fn few(names: &str, count: usize, what: &str) -> String {
    if names.len() > 48 { format!("{count} {what}") } else { names.to_owned() }
}
