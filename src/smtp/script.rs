//! What a session is to say, and how far it is to go.

use std::sync::Arc;

use crate::address::{EhloName, Mailbox, Sender};
use crate::stage::Stage;
use crate::timeouts::Timeouts;
use crate::words::words;

/// What a session is to say, and how far it is to go.
#[derive(Clone, Debug)]
pub struct Script {
    /// The name given in `EHLO`.
    pub ehlo: EhloName,
    /// When to use `STARTTLS`, and what to ask of the certificate.
    pub tls: TlsLevel,
    /// The envelope sender.
    pub from: Sender,
    /// The envelope recipient; without one the session ends after `MAIL`.
    pub to: Option<Mailbox>,
    /// The message; only sent when `until` is [`Stage::EndOfData`].
    pub message: Arc<[u8]>,
    /// The last stage to enter; after it comes `QUIT`.
    pub until: Stage,
    /// How long each stage may take.
    pub timeouts: Arc<Timeouts>,
}

words! {
    /// When to use `STARTTLS`, and what to ask of the certificate.
    #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum TlsLevel ("TLS level") {
        /// Stay in the clear.
        Off = "off",
        /// Use it where it is offered; a refusal or a bad certificate is no hindrance.
        #[default]
        Opportunistic = "opportunistic",
        /// Refuse to go on in the clear; any certificate will do.
        Require = "require",
        /// The certificate must hold: chain, dates and name.
        Verify = "verify",
        /// Where signed TLSA records ask for it, the certificate must be one of theirs; elsewhere as
        /// opportunistic (RFC 7672). The plan knows which holds and says so in the script.
        Dane = "dane",
    }
}
