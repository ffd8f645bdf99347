//! Sender authentication: DKIM, SPF and DMARC. The only place that knows `mail-auth`, and none of
//! its types leaves it.
//!
//! Keys and policies are looked up through [`crate::dns`], so that every question is on record;
//! the library is handed what was found and asks nobody.

mod key;
mod policy;
mod published;
mod sign;
mod spf;
mod verify;

pub use key::{Key, KeyError};
pub use policy::{Policy, Wish};
pub use published::{KeyFault, KeyRecord};
pub use sign::{Signer, signers};
pub use spf::{Spf, SpfResult, check_host};
pub use verify::{Signature, signatures, verify};
