//! Settings that cannot go together, in the words of a command line and in those of a file.

use std::fmt;

use super::layer::ProbeLayer;
use crate::words::words;

words! {
    /// A setting that others can stand in the way of.
    #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
    pub enum Setting ("setting") {
        Body = "body",
        Domain = "domain",
        Expect = "expect",
        Hosts = "hosts",
        PairPlaintext = "pair-plaintext",
        Send = "send",
        To = "to",
        Until = "until",
    }
}

impl Setting {
    /// Whether a layer speaks of it.
    #[must_use]
    pub fn is_said_in(self, layer: &ProbeLayer) -> bool {
        match self {
            Self::Body => layer.body.is_some(),
            Self::Domain => layer.domain.is_some(),
            Self::Expect => layer.expect.is_some(),
            Self::Hosts => !layer.hosts.is_empty(),
            Self::PairPlaintext => layer.pair_plaintext.is_some(),
            Self::Send => layer.send.is_some(),
            Self::To => !layer.to.is_empty(),
            Self::Until => layer.until.is_some(),
        }
    }
}

/// Settings that cannot go together: which one to point at, and what was wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    pub setting: Setting,
    message: String,
}

impl Conflict {
    pub(super) fn new(setting: Setting, message: impl Into<String>) -> Self {
        Self { setting, message: message.into() }
    }

    /// The message in the words of a probe file: its keys are the flags' names without the dashes.
    #[must_use]
    pub fn in_file(&self) -> String {
        if self.setting == Setting::Domain {
            return "no target: wanted `domain` or `hosts` in [target]".to_owned();
        }
        let word = |word: &str| match word.strip_prefix("--") {
            Some("host") => "`hosts`".to_owned(),
            Some(flag) => {
                let name = flag.trim_end_matches([':', ',']);
                format!("`{name}`{}", &flag[name.len()..])
            }
            None => word.to_owned(),
        };
        self.message.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

/// In the words of a command line.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Conflict {}
