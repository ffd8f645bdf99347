//! What a domain asks to be done with mail that fails (DMARC, RFC 7489).

use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::dmarc::{self, Alignment, Dmarc};

use crate::words::words;

/// A DMARC record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// What is asked for mail from the domain itself.
    pub wish: Wish,
    /// And from domains below it.
    pub below: Wish,
    /// Whether the domains must be equal, and not only of one organisation: of DKIM, of SPF.
    pub strict_dkim: bool,
    pub strict_spf: bool,
    /// Whether anybody is told.
    pub reports: bool,
}

words! {
    /// What is to be done with mail that fails.
    #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
    pub enum Wish ("DMARC policy") {
        None = "none",
        Quarantine = "quarantine",
        Reject = "reject",
    }
}

impl Policy {
    /// Whether a text is meant to be a DMARC record.
    #[must_use]
    pub fn is_meant(record: &[u8]) -> bool {
        let text = String::from_utf8_lossy(record);
        text.split(';')
            .next()
            .and_then(|tag| tag.split_once('='))
            .is_some_and(|(v, one)| v.trim() == "v" && one.trim() == "DMARC1")
    }

    /// Reads a record. One with neither a valid `p` nor anyone to tell is none (RFC 7489, section
    /// 6.6.3).
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(record: &[u8]) -> Result<Self, String> {
        let shown = || String::from_utf8_lossy(record).chars().take(120).collect::<String>();
        let read =
            Dmarc::parse(record).map_err(|_| format!("{:?} breaks the syntax of RFC 7489, section 6.3", shown()))?;
        let reports = !read.rua.is_empty();
        let Some(wish) = wish(read.p).or(reports.then_some(Wish::None)) else {
            return Err(format!("{:?} asks for nothing: wanted p=none, quarantine or reject", shown()));
        };
        Ok(Self {
            wish,
            below: self::wish(read.sp).unwrap_or(wish),
            strict_dkim: read.adkim == Alignment::Strict,
            strict_spf: read.aspf == Alignment::Strict,
            reports,
        })
    }
}

const fn wish(policy: dmarc::Policy) -> Option<Wish> {
    match policy {
        dmarc::Policy::None => Some(Wish::None),
        dmarc::Policy::Quarantine => Some(Wish::Quarantine),
        dmarc::Policy::Reject => Some(Wish::Reject),
        dmarc::Policy::Unspecified => None,
    }
}
