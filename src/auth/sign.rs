//! Signs messages (RFC 6376).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use mail_auth::common::crypto::DkimKey;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{DkimSigner, Done};

use super::key::{Key, KeyError};
use crate::address::Host;
use crate::probe::{Dkim, Probe};
use crate::smtp::command::crlf;

/// The fields that are signed where the message has them (RFC 6376, section 5.4.1; the last two
/// must be, RFC 8058, section 4).
const SIGNED: [&str; 15] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// Signs for one domain with one key.
pub struct Signer {
    inner: DkimSigner<DkimKey, Done>,
    settings: Dkim,
    kind: &'static str,
    public: Vec<u8>,
}

impl Signer {
    /// A signer with the key that the settings name.
    ///
    /// # Errors
    ///
    /// The key cannot be used.
    pub fn open(settings: &Dkim) -> Result<Self, KeyError> {
        let key = Key::read(&settings.key)?;
        let (kind, public) = (key.kind(), key.public());
        let inner = DkimSigner::from_key(key.inner)
            .domain(settings.domain.as_str())
            .selector(settings.selector.as_str())
            .headers(SIGNED);
        Ok(Self { inner, settings: settings.clone(), kind, public })
    }

    /// The message with its signature in front, every line of it ending in CRLF; as it was where
    /// it has no field to sign.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let message = crlf(message);
        match self.inner.sign(&message) {
            Ok(signature) => [unbroken(&signature.to_header()).as_bytes(), &message].concat(),
            Err(_) => message,
        }
    }

    #[must_use]
    pub fn domain(&self) -> &Host {
        &self.settings.domain
    }

    /// Where the public half should be: `s1._domainkey.example.net`.
    #[must_use]
    pub fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.settings.selector, self.settings.domain)
    }

    /// The file of the private half.
    #[must_use]
    pub fn key_file(&self) -> String {
        self.settings.key.display().to_string()
    }

    /// `rsa` or `ed25519`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The public half, as [`Key::public`] has it.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }
}

/// The field without a fold between the signature and its semicolon. RFC 6376, section 3.5 has that
/// blank deleted with the signature; there are verifiers that keep it, and find the field changed.
fn unbroken(field: &str) -> String {
    match field.trim_end().strip_suffix(';') {
        Some(rest) => format!("{};\r\n", rest.trim_end()),
        None => field.to_owned(),
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("settings", &self.settings).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A signer for every key that the probes name.
///
/// # Errors
///
/// The first key that cannot be used.
pub fn signers<'a>(probes: impl IntoIterator<Item = &'a Probe>) -> Result<HashMap<Dkim, Arc<Signer>>, KeyError> {
    let mut signers = HashMap::new();
    for settings in probes.into_iter().filter_map(|probe| probe.message.dkim.as_ref()) {
        if !signers.contains_key(settings) {
            signers.insert(settings.clone(), Arc::new(Signer::open(settings)?));
        }
    }
    Ok(signers)
}
