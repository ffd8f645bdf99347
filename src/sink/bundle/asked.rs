//! The subject line, and what the other side is asked to do.

use std::net::IpAddr;

use super::{Block, Ink, Past};
use crate::record::{Diagnosis, DiagnosisKind};
use crate::sink::faults::called;
use crate::sink::recording::{Recording, ranges};
use crate::smtp::reply::Code;
use crate::stage::Stage;

/// What a subject and a request are made of.
pub(super) struct About<'a> {
    pub(super) kind: DiagnosisKind,
    pub(super) sources: &'a [IpAddr],
    pub(super) addresses: &'a [IpAddr],
    pub(super) stage: Option<Stage>,
    pub(super) code: Option<Code>,
}

/// `aol.com: 421 at banner from 192.0.2.11 (sender ip block)`.
pub(super) fn title(recording: &Recording, ink: &Ink) -> String {
    let names: Vec<&str> = recording.domains().into_iter().flatten().collect();
    let name = if names.is_empty() { "SMTP".to_owned() } else { ink.word(&names.join(", ")) };
    match recording.diagnoses.first() {
        Some(first) => About::of(first).title(&name),
        None => name,
    }
}

pub(super) fn asked(recording: &Recording, past: Option<&Past>, ink: &Ink) -> Vec<Block> {
    let mut asked: Vec<String> = match past {
        Some(past) => super::incident::about(&past.incident).asked().into_iter().collect(),
        None => recording.diagnoses.iter().filter_map(|d| About::of(d).asked()).collect(),
    };
    let told = past.is_some() || !recording.diagnoses.is_empty();
    asked.dedup();
    if asked.is_empty() && told {
        asked.push("Nothing: what was found is nothing for the other side to mend.".to_owned());
    }
    asked = asked.iter().map(|text| ink.text(text)).collect();
    Block::list(asked).into_iter().collect()
}

impl<'a> About<'a> {
    fn of(d: &'a Diagnosis) -> Self {
        let Diagnosis { kind, sources, addresses, stage, code, .. } = d;
        Self { kind: *kind, sources, addresses, stage: *stage, code: *code }
    }

    pub(super) fn title(&self, name: &str) -> String {
        let code = self.code.map_or_else(String::new, |code| format!("{code} "));
        let at = self.stage.map_or_else(String::new, |stage| format!("{code}at {stage}"));
        let from = list("from", self.sources);
        let to = list("to", self.addresses);
        let what = [called(self.kind), at, from, to];
        let what: Vec<&str> = what.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        format!("{name}: {}", what.join(" "))
    }

    /// What the other side is asked; none where it is nothing of theirs.
    pub(super) fn asked(&self) -> Option<String> {
        let ours =
            if self.sources.is_empty() { "our addresses".to_owned() } else { ranges(self.sources.iter().copied()) };
        let theirs = if self.addresses.is_empty() {
            "your mail exchangers".to_owned()
        } else {
            ranges(self.addresses.iter().copied())
        };
        let at = self.stage.map_or_else(String::new, |stage| format!(" at {stage}"));
        Some(match self.kind {
            DiagnosisKind::SenderIpBlock | DiagnosisKind::SenderPoolBlock => format!(
                "You refuse mail from {ours}{at}. Please lift that; or say what it is for, and what is to change on our \
                 side first."
            ),
            DiagnosisKind::ReceiverOutage
            | DiagnosisKind::ReceiverPartialOutage
            | DiagnosisKind::ReceiverIntermittent => {
                format!(
                    "Connections to {theirs} fail{at} for whoever asks, as far as we can see. Please have a look at \
                     them, and say when we may look again."
                )
            }
            DiagnosisKind::ReceiverDnsFault => {
                "The names of your mail exchangers do not resolve. Please have a look at your name servers.".to_owned()
            }
            DiagnosisKind::TlsFault => {
                format!("TLS with {theirs} fails. Please have a look at the certificate and the set-up.")
            }
            DiagnosisKind::Ipv6Only => {
                format!("Over IPv6 {theirs} fail{at}, over IPv4 they do not. Please have a look at what differs.")
            }
            DiagnosisKind::RateLimited | DiagnosisKind::PerConnectionCap => {
                format!("You take mail from {ours} more slowly than it comes. Please say which limits hold for them.")
            }
            DiagnosisKind::Undecided => format!(
                "Sessions with {theirs} fail{at}, and from here it cannot be told why. Please say whether you refuse \
                 {ours}, or have trouble of your own."
            ),
            DiagnosisKind::EnvelopeDomain | DiagnosisKind::ContentPolicy => {
                format!("You refuse our mail{at} for its sender or its content. Please say what it is that you refuse.")
            }
            DiagnosisKind::AuthOrFcrdns
            | DiagnosisKind::BadTarget
            | DiagnosisKind::EgressBlocked
            | DiagnosisKind::EgressMismatch
            | DiagnosisKind::Greylisting
            | DiagnosisKind::Healthy
            | DiagnosisKind::LocalConfig
            | DiagnosisKind::LocalDns
            | DiagnosisKind::Port25Interception
            | DiagnosisKind::Recipient => return None,
        })
    }
}

fn list(word: &str, addresses: &[IpAddr]) -> String {
    match addresses {
        [] => String::new(),
        addresses => format!("{word} {}", ranges(addresses.iter().copied())),
    }
}
