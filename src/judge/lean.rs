//! What is read of a session line: what some rule asks for, borrowed where that is possible.
//!
//! Apart from [`super::Evidence`] because a session comes in two shapes, as a line and as a record,
//! and neither should cost a copy.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use crate::record::{Kind, Role, Session, Variant};
use crate::smtp::reply::{Code, Enhanced};
use crate::stage::Stage;

/// What is read of a session line: [`Session`] without what no rule asks for, its texts borrowed. `L`
/// is how it has a list of texts.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", bound(deserialize = "L: Default + Deserialize<'de>"))]
pub(super) struct Lean<'a, L> {
    #[serde(borrow, default)]
    pub(super) run: Text<'a>,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) role: Role,
    #[serde(borrow, default)]
    pub(super) domain: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) mx: Option<Text<'a>>,
    #[serde(default)]
    pub(super) address: Option<IpAddr>,
    #[serde(borrow, default)]
    pub(super) backend: Option<Text<'a>>,
    #[serde(default)]
    pub(super) banner: Option<L>,
    #[serde(default)]
    pub(super) variant: Variant,
    #[serde(default)]
    pub(super) source: Option<IpAddr>,
    #[serde(default)]
    pub(super) seen_as: Option<IpAddr>,
    #[serde(borrow, default)]
    pub(super) from: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) to: Option<Text<'a>>,
    #[serde(default = "mail")]
    pub(super) until: Stage,
    #[serde(default)]
    pub(super) stage: Option<Stage>,
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) code: Option<Code>,
    #[serde(default)]
    pub(super) enhanced: Option<Enhanced>,
    #[serde(borrow, default)]
    pub(super) tag: Option<Text<'a>>,
    #[serde(default)]
    pub(super) reply: Option<L>,
    #[serde(default)]
    pub(super) notes: L,
    #[serde(borrow, default)]
    pub(super) detail: Option<Text<'a>>,
    #[serde(default)]
    pub(super) expected: bool,
    #[serde(default)]
    pub(super) tls: Option<LeanTls<L>>,
}

/// A string, borrowed from the line where it has no escapes.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

#[derive(Deserialize)]
#[serde(bound(deserialize = "L: Default + Deserialize<'de>"))]
pub(super) struct LeanTls<L> {
    #[serde(default)]
    pub(super) names: L,
    #[serde(default)]
    pub(super) verified: bool,
}

impl Text<'_> {
    /// The text, if it says anything.
    pub(super) fn given(&self) -> Option<&str> {
        Some(&*self.0).filter(|text| !text.is_empty())
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a Session> for Lean<'a, &'a [String]> {
    fn from(s: &'a Session) -> Self {
        let text = |t: &'a Option<String>| t.as_deref().map(|t| Text(Cow::Borrowed(t)));
        Self {
            run: Text(Cow::Borrowed(&s.run)),
            seq: s.seq,
            at: s.at,
            role: s.role,
            domain: text(&s.domain),
            mx: text(&s.mx),
            address: s.address,
            backend: text(&s.backend),
            banner: s.banner.as_deref(),
            variant: s.variant,
            source: s.source,
            seen_as: s.seen_as,
            from: text(&s.from),
            to: text(&s.to),
            until: s.until,
            stage: s.stage,
            kind: s.kind,
            code: s.code,
            enhanced: s.enhanced,
            tag: text(&s.tag),
            reply: s.reply.as_deref(),
            notes: &s.notes,
            detail: text(&s.detail),
            expected: s.expected,
            tls: s.tls.as_ref().map(|t| LeanTls { names: t.names.as_slice(), verified: t.verified }),
        }
    }
}

const fn mail() -> Stage {
    Stage::Mail
}
