//! Them or us.

use crate::record::DiagnosisKind;

/// Them or us: with whom the trouble lies; empty where the kind leaves it open.
pub(crate) const fn side(kind: DiagnosisKind) -> &'static str {
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
