//! The key that the world verifies with (RFC 6376, section 3.6.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;

use super::sign::Signer;

/// A key record that can be verified with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    /// Of RSA; None for Ed25519.
    pub bits: Option<usize>,
    /// `t=y`: verifiers are to treat signed mail as if it were not.
    pub testing: bool,
}

/// What is wrong with a key record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFault {
    pub found: String,
    pub fix: String,
}

impl KeyRecord {
    /// Reads the record that is to verify what `signer` signs.
    ///
    /// # Errors
    ///
    /// Why nothing can be verified with it.
    pub fn read(record: &[u8], signer: &Signer) -> Result<Self, KeyFault> {
        let (name, file, kind) = (signer.key_name(), signer.key_file(), signer.kind());
        let publish = format!("publish the public half of {file} at {name}: v=DKIM1; k={kind}; p=…");
        let fault = |found: String, fix: &str| KeyFault { found: format!("{name}: {found}"), fix: fix.to_owned() };
        let text = String::from_utf8_lossy(record);
        let tags: Vec<(&str, &str)> = text
            .split(';')
            .filter_map(|tag| tag.split_once('='))
            .map(|(tag, value)| (tag.trim(), value.trim()))
            .collect();
        let tag = |name: &str| tags.iter().find(|(tag, _)| *tag == name).map(|(_, value)| *value);

        if let Some(version) = tag("v").filter(|&version| version != "DKIM1") {
            return Err(fault(format!("v={} is no key record: wanted v=DKIM1", short(version)), &publish));
        }
        let Some(published) = tag("p") else {
            return Err(fault(format!("{:?} has no key (p=)", short(&text)), &publish));
        };
        if published.is_empty() {
            let fix = format!("sign with a key that is not revoked, under a new selector, or {publish}");
            return Err(fault("the key is revoked (p= is empty)".to_owned(), &fix));
        }
        let said = tag("k").unwrap_or("rsa");
        if !matches!(said, "rsa" | "ed25519") {
            return Err(fault(format!("k={} is no key type: wanted rsa or ed25519", short(said)), &publish));
        }
        if said != kind {
            return Err(fault(
                format!("the published key is of type {said}, the private one ({file}) {kind}"),
                &publish,
            ));
        }
        if let Some(hashes) = tag("h").filter(|h| !h.split(':').any(|hash| hash.trim() == "sha256")) {
            return Err(fault(
                format!("h={} excludes sha256, which we sign with", short(hashes)),
                "take h= out of the record",
            ));
        }
        if let Some(services) = tag("s").filter(|s| !s.split(':').any(|s| matches!(s.trim(), "*" | "email"))) {
            return Err(fault(
                format!("s={} is for other services than mail", short(services)),
                "take s= out of the record",
            ));
        }
        let bare: String = published.chars().filter(|c| !c.is_whitespace()).collect();
        let Ok(key) = STANDARD.decode(&bare) else {
            return Err(fault("p= is no Base64: cut, or mistyped".to_owned(), &publish));
        };
        // A SubjectPublicKeyInfo ends in the RSAPublicKey that it wraps.
        if !key.ends_with(signer.public()) {
            return Err(fault(format!("the published key is another one than {file}'s"), &publish));
        }
        let Ok(read) = DomainKey::parse(record) else {
            return Err(fault("no verifier can read the record".to_owned(), &publish));
        };
        let bits = (kind == "rsa").then(|| read.p.public_key_bits());
        Ok(Self { bits, testing: tag("t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y")) })
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
