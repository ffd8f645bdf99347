//! What it all comes to: the diagnoses in rank order, with their proof.

use std::io;

use super::paper::{BAD, BOLD, DIM, GOOD, PLAIN, Paper, WARN, piece};
use crate::record::{Diagnosis, DiagnosisKind};
use crate::sink::faults::called;
use crate::sink::recording::{Recording, ranges};

/// The diagnoses, the first rank first.
pub(super) fn diagnoses<W: io::Write>(paper: &mut Paper<W>, recording: &Recording) -> io::Result<()> {
    recording.diagnoses.iter().try_for_each(|d| diagnosis(paper, d))
}

fn diagnosis<W: io::Write>(paper: &mut Paper<W>, d: &Diagnosis) -> io::Result<()> {
    paper.blank()?;
    let style = match d.kind {
        DiagnosisKind::Healthy => GOOD,
        DiagnosisKind::Undecided => WARN,
        _ => BAD,
    };
    let what = d.code.map_or_else(String::new, |code| format!(" ({code})"));
    let at = d.stage.map(|stage| format!("at {stage}{what}"));
    let mut who = vec![ranges(d.sources.iter().copied()), ranges(d.addresses.iter().copied()), d.backends.join(", ")];
    who.extend(at);
    who.push(format!("confidence {}", d.confidence));
    who.retain(|names| !names.is_empty());
    let head = piece(style.bold(), format!("{}  {}  ", d.rank, called(d.kind)));
    paper.items(head, who.into_iter().map(|fact| vec![piece(BOLD, fact)]))?;
    field(paper, "whose", &[side(d.kind).to_owned()])?;
    field(paper, "because", &d.because)?;
    if !d.candidates.is_empty() {
        let candidates: Vec<String> = d.candidates.iter().map(|&kind| called(kind).to_lowercase()).collect();
        field(paper, "could be", &[candidates.join(", ")])?;
    }
    if let Some(leaning) = d.leaning {
        field(paper, "leaning", &[called(leaning).to_lowercase()])?;
    }
    field(paper, "not", &d.ruled_out)?;
    field(paper, "to settle", &d.would_raise)?;
    field(paper, "do", std::slice::from_ref(&d.advice))?;
    field(paper, "notes", &d.notes)
}

/// Them or us: with whom the trouble lies; empty where the kind leaves it open.
const fn side(kind: DiagnosisKind) -> &'static str {
    match kind {
        DiagnosisKind::LocalConfig | DiagnosisKind::LocalDns => "yours: this host's set-up",
        DiagnosisKind::EgressBlocked | DiagnosisKind::EgressMismatch => {
            "yours: the network between this host and all others"
        }
        DiagnosisKind::Port25Interception => "neither's: somebody on the way answers in their stead",
        DiagnosisKind::BadTarget => "the target's: there is no mail server to speak to",
        DiagnosisKind::ReceiverDnsFault
        | DiagnosisKind::ReceiverOutage
        | DiagnosisKind::ReceiverPartialOutage
        | DiagnosisKind::ReceiverIntermittent => "theirs",
        DiagnosisKind::SenderIpBlock | DiagnosisKind::SenderPoolBlock => {
            "yours: they refuse your addresses and take others'"
        }
        DiagnosisKind::EnvelopeDomain => "yours: they refuse the sender's domain",
        DiagnosisKind::ContentPolicy => "yours: they refuse the message",
        DiagnosisKind::AuthOrFcrdns => "yours: what your DNS says of you",
        DiagnosisKind::Recipient => "the recipient's",
        DiagnosisKind::Greylisting => "nobody's: it is their way, and passes",
        DiagnosisKind::RateLimited | DiagnosisKind::PerConnectionCap => "yours: they want it slower",
        DiagnosisKind::TlsFault | DiagnosisKind::Ipv6Only | DiagnosisKind::Undecided | DiagnosisKind::Healthy => "",
    }
}

fn field<W: io::Write>(paper: &mut Paper<W>, name: &str, texts: &[String]) -> io::Result<()> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let told = texts.iter().filter(|text| !text.is_empty()).zip(names);
    told.into_iter().try_for_each(|(text, name)| paper.flow(piece(DIM, format!("   {name:11}")), PLAIN, text))
}
