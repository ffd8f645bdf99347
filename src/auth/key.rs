//! The private key that messages are signed with.

use std::fmt;
use std::path::Path;

use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

/// A private key for DKIM: RSA of 2048 to 8192 bits, or Ed25519 (RFC 8301, RFC 8463).
pub struct Key {
    pub(super) inner: DkimKey,
    is_rsa: bool,
}

const WANTED: &str = "wanted an RSA or Ed25519 private key in PEM (PKCS#8 or PKCS#1), without a passphrase";

impl Key {
    /// Reads the key in a PEM file.
    ///
    /// # Errors
    ///
    /// Names the file, what was found in it and what was wanted.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let error = |problem: String| KeyError { path: path.display().to_string(), problem };
        let pem = std::fs::read(path).map_err(|e| error(format!("{e}: {WANTED}")))?;
        Self::parse(&pem).map_err(error)
    }

    /// Reads a key in PEM, PKCS#8 or PKCS#1.
    ///
    /// # Errors
    ///
    /// What was found and what was wanted.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("ENCRYPTED") {
            return Err(format!("a key under a passphrase: {WANTED}"));
        }
        let Ok(der) = PrivateKeyDer::from_pem_slice(pem) else {
            let found = if text.contains("PUBLIC KEY") { "a public key" } else { "no private key" };
            return Err(format!("{found}: {WANTED}"));
        };
        if matches!(der, PrivateKeyDer::Sec1(_)) {
            return Err(format!("a key for elliptic curves (ECDSA), which DKIM does not know: {WANTED}"));
        }
        let pkcs8 = der.secret_der().to_vec();
        match RsaKey::<Sha256>::from_key_der(der) {
            Ok(rsa) => Ok(Self { inner: DkimKey::Rsa(rsa), is_rsa: true }),
            Err(error) if error.to_string().contains("TooSmall") => {
                Err("an RSA key of less than 2048 bits: wanted 2048 at least (RFC 8301, section 3.2)".to_owned())
            }
            Err(_) => match Ed25519Key::from_pkcs8_maybe_unchecked_der(&pkcs8) {
                Ok(key) => Ok(Self { inner: DkimKey::Ed25519(key), is_rsa: false }),
                Err(_) => Err(format!("a key of another type: {WANTED}")),
            },
        }
    }

    /// How a key record names its type, `rsa` or `ed25519`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        if self.is_rsa { "rsa" } else { "ed25519" }
    }

    /// The public half: of RSA an `RSAPublicKey` (RFC 8017), of Ed25519 the 32 bytes.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        match &self.inner {
            DkimKey::Rsa(key) => key.public_key(),
            DkimKey::Ed25519(key) => key.public_key(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Key").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

/// A file that holds no key to sign with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("dkim key {path:?}: {problem}")]
pub struct KeyError {
    path: String,
    problem: String,
}
