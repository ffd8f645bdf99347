//! What is known about the words of a refusal.
//!
//! Providers refuse in words of their own, and their meaning is a matter of record, not of logic:
//! it lives in data files, one a provider, one rule a line (`catalog/replies/`). This module finds
//! the rule that fits a reply best, and holds what can be read from a reply's words alone. The
//! words are only a prior: what a refusal means where others pass is the judge's to say.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::smtp::reply::{self, Code, Enhanced};

mod class;
mod normalise;
mod quoted;
mod rest;
mod rule;

pub use class::{contradicts, text_class};
pub use normalise::normalise;
pub use quoted::addresses_named;
pub use rule::{CatalogError, EnhancedPattern, Rule, Scope, Specificity, Status};

/// One reply, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// The reply code.
    pub code: Option<Code>,
    /// The enhanced status code; where it is `None`, one at the start of `text` counts.
    pub enhanced: Option<Enhanced>,
    /// The provider's own code, `TSS04`; where it is `None`, one in `text` counts.
    pub tag: Option<&'a str>,
    /// The text behind the code, which may begin with the enhanced code; lines joined by a space.
    pub text: &'a str,
}

impl<'a> Words<'a> {
    /// Reads one line, `521 5.2.1 :(CON:B1) …`; a line without a code is all text.
    #[must_use]
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim_start();
        let head = line.get(..3).filter(|head| head.bytes().all(|b| b.is_ascii_digit()));
        let code = head.and_then(|head| Code::new(head.parse().ok()?));
        let (code, text) = match (code, line.get(3..)) {
            (Some(code), Some("")) => (Some(code), ""),
            (Some(code), Some(rest)) if rest.starts_with([' ', '-']) => (Some(code), &rest[1..]),
            _ => (None, line),
        };
        Self { code, enhanced: Enhanced::leading(text.as_bytes()), tag: reply::tag(text), text }
    }

    fn refuses(&self) -> bool {
        self.code.is_none_or(|code| code.class().refuses())
    }

    fn enhanced(&self) -> Option<Enhanced> {
        self.enhanced.or_else(|| Enhanced::leading(self.text.as_bytes()))
    }

    fn tag(&self) -> Option<&'a str> {
        self.tag.or_else(|| reply::tag(head(self.text)))
    }
}

/// How long this reply rests its source at its provider: the longest time that its code, its tag
/// or its words ask for. `None` for a reply that rests nobody.
#[must_use]
pub fn rest(words: &Words<'_>) -> Option<Duration> {
    rest::rest(words)
}

/// Reply rules, and what finds the one that fits.
#[derive(Debug)]
pub struct Catalog {
    /// In the order in which they win over one another at equal specificity.
    rules: Vec<Arc<Rule>>,
    /// Compiled by the first search, because most runs of the program never come to one.
    patterns: OnceLock<Patterns>,
}

impl Catalog {
    /// The rules that come with the program.
    #[must_use]
    pub fn built_in() -> &'static Self {
        // Their patterns are compiled by a test instead of here, to keep the start of a run short.
        static BUILT_IN: LazyLock<Catalog> = LazyLock::new(|| {
            let mut rules = Vec::new();
            for (provider, jsonl) in SHIPPED {
                let file = rule::parse(provider, provider, jsonl, |_| Ok(())).expect("a test reads the shipped rules");
                rules.extend(file.into_iter().map(Arc::new));
            }
            Catalog { rules, patterns: OnceLock::new() }
        });
        &BUILT_IN
    }

    /// These rules and those of a file, one JSON object a line; `name` is the file's, for errors,
    /// and its stem is the provider of rules that name none. At equal specificity the file's rules
    /// win over those that were there before, and an earlier line over a later one.
    ///
    /// # Errors
    ///
    /// Names the file and the line, what was found there and what was wanted.
    pub fn with(&self, name: &str, jsonl: &str) -> Result<Self, CatalogError> {
        let file = std::path::Path::new(name);
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
        let mut rules: Vec<_> = rule::parse(name, stem, jsonl, rule::compiles)?.into_iter().map(Arc::new).collect();
        rules.extend(self.rules.iter().cloned());
        Ok(Self { rules, patterns: OnceLock::new() })
    }

    /// The rules, in the order in which they win over one another at equal specificity.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|rule| &**rule)
    }

    /// The rule that fits a refusal best: the most specific ([`Specificity`]) of those whose every
    /// condition holds. A condition on the code counts as held where the code is not known. Only
    /// the first 4 KiB of the text are looked at.
    #[must_use]
    pub fn find(&self, words: &Words<'_>) -> Option<&Rule> {
        if !words.refuses() {
            return None;
        }
        let held = self.patterns.get_or_init(|| Patterns::new(&self.rules)).held(words, self.rules.len());
        let enhanced = words.enhanced();
        let mut best: Option<(Specificity, &Rule)> = None;
        for (rule, held) in self.rules.iter().zip(held) {
            if let Some(found) = rule.fits(words.code, enhanced, held)
                && best.is_none_or(|(so_far, _)| found > so_far)
            {
                best = Some((found, rule));
            }
        }
        best.map(|(_, rule)| rule)
    }
}

/// The files of `catalog/replies/`, named for their providers. A provider's own texts come before
/// those of the server software, which many providers share.
const SHIPPED: &[(&str, &str)] = &[
    ("aol-historic", include_str!("catalog/replies/aol-historic.jsonl")),
    ("yahoo", include_str!("catalog/replies/yahoo.jsonl")),
    ("gmail", include_str!("catalog/replies/gmail.jsonl")),
    ("outlook.com", include_str!("catalog/replies/outlook.com.jsonl")),
    ("exchange-online", include_str!("catalog/replies/exchange-online.jsonl")),
    ("apple", include_str!("catalog/replies/apple.jsonl")),
    ("comcast", include_str!("catalog/replies/comcast.jsonl")),
    ("att", include_str!("catalog/replies/att.jsonl")),
    ("cox", include_str!("catalog/replies/cox.jsonl")),
    ("spectrum", include_str!("catalog/replies/spectrum.jsonl")),
    ("orange-laposte", include_str!("catalog/replies/orange-laposte.jsonl")),
    ("netease", include_str!("catalog/replies/netease.jsonl")),
    ("gmx-1und1", include_str!("catalog/replies/gmx-1und1.jsonl")),
    ("tencent", include_str!("catalog/replies/tencent.jsonl")),
    ("mimecast", include_str!("catalog/replies/mimecast.jsonl")),
    ("postfix-server", include_str!("catalog/replies/postfix-server.jsonl")),
    ("generic", include_str!("catalog/replies/generic.jsonl")),
    ("iana", include_str!("catalog/replies/iana.jsonl")),
    ("rfc", include_str!("catalog/replies/rfc.jsonl")),
];

/// The tags and patterns of all rules as one automaton, so that a search costs one pass.
#[derive(Debug)]
struct Patterns {
    set: RegexSet,
    /// The rule, by its index, and the condition that each member of the set belongs to.
    owners: Vec<(usize, Condition)>,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Tag,
    Pattern,
}

/// Which of a rule's two conditions on the words hold.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    tag: bool,
    pattern: bool,
}

impl Patterns {
    fn new(rules: &[Arc<Rule>]) -> Self {
        let (mut sources, mut owners) = (Vec::new(), Vec::new());
        for (index, rule) in rules.iter().enumerate() {
            if let Some(tag) = &rule.tag {
                sources.push(rule::whole_word(tag));
                owners.push((index, Condition::Tag));
            }
            if let Some(pattern) = &rule.pattern {
                sources.push(rule::words(pattern));
                owners.push((index, Condition::Pattern));
            }
        }
        let set = RegexSetBuilder::new(sources)
            .unicode(false)
            .size_limit(usize::MAX)
            .build()
            .expect("each of them was compiled when its file was read, or by a test");
        Self { set, owners }
    }

    fn held(&self, words: &Words<'_>, rules: usize) -> Vec<Held> {
        let mut held = vec![Held::default(); rules];
        let mut text = Cow::Borrowed(head(words.text));
        if let Some(tag) = words.tag.filter(|tag| !text.contains(tag)) {
            text = Cow::Owned(format!("{text} [{}]", head(tag)));
        }
        for found in &self.set.matches(text.as_bytes()) {
            let (rule, condition) = self.owners[found];
            match condition {
                Condition::Tag => held[rule].tag = true,
                Condition::Pattern => held[rule].pattern = true,
            }
        }
        held
    }
}

/// The part of a text that is looked at: the first 4 KiB, cut between words where there are any.
fn head(text: &str) -> &str {
    const LIMIT: usize = 4096;
    if text.len() <= LIMIT {
        return text;
    }
    let cut = &text[..text.floor_char_boundary(LIMIT)];
    cut.rfind(char::is_whitespace).map_or(cut, |end| &cut[..end])
}
