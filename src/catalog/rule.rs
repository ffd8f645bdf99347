//! One rule of the catalogue: its conditions, what it says, and how it is read from a line.

use std::fmt;

use regex::bytes::RegexBuilder;
use serde::{Deserialize, Deserializer};

use super::Held;
use crate::smtp::reply::{Code, Enhanced};
use crate::words::words;

/// What one kind of reply means. All of its conditions must hold; `codes` and `enhanced` hold when
/// one of their members does. Beside a `tag`, which says it all, they are what it usually comes
/// with, and another code is no hindrance.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, expecting = "a rule: a JSON object on one line")]
pub struct Rule {
    /// Who says it: a provider, or the server software in whose source the text stands.
    #[serde(default)]
    pub provider: String,
    /// Others that were seen to say the same.
    #[serde(default)]
    pub also: Vec<String>,
    /// The reply codes, `[421, 554]`.
    #[serde(default, rename = "code")]
    pub codes: Vec<Code>,
    /// The enhanced codes, `["4.7.0", "x.7.1", "5.7.606-649", "x.7.x"]`.
    #[serde(default)]
    pub enhanced: Vec<EnhancedPattern>,
    /// A regular expression for the provider's own code, `TSS0[45]`; case counts, and it matches
    /// whole words only.
    #[serde(default)]
    pub tag: Option<String>,
    /// A regular expression for the text behind the code; case does not count.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Whose matter it is.
    pub scope: Scope,
    /// What it means.
    pub meaning: String,
    /// What to do about it.
    #[serde(default)]
    pub advice: String,
    /// Where that is written.
    #[serde(default)]
    pub source: String,
    /// How sure it is.
    #[serde(default)]
    pub status: Option<Status>,
    /// A reply that this rule is the one for.
    #[serde(default)]
    pub example: Option<String>,
}

words! {
    /// Whose matter a refusal is.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Scope ("scope") {
        /// The sending address's reputation: complaints, spam, block lists.
        SenderIpReputation = "sender-ip-reputation",
        /// What kind of address it is: dynamic, bogon, open relay.
        SenderIpPolicy = "sender-ip-policy",
        /// The sending domain's reputation.
        SenderDomainReputation = "sender-domain-reputation",
        /// SPF, DKIM, DMARC, ARC.
        SenderAuth = "sender-auth",
        /// PTR, forward names, the sender domain's records.
        SenderDns = "sender-dns",
        /// The message.
        SenderContent = "sender-content",
        /// Whom it is sent to: unknown recipients.
        SenderList = "sender-list",
        /// How the sender is set up: TLS, names, syntax of the envelope.
        SenderConfig = "sender-config",
        /// Too many, too fast.
        Rate = "rate",
        /// This recipient.
        Recipient = "recipient",
        /// What the recipient's domain allows.
        RecipientPolicy = "recipient-policy",
        /// The receiver is at fault or overloaded.
        ReceiverOutage = "receiver-outage",
        /// The receiver as it is set up, for good.
        Receiver = "receiver",
        /// The way there.
        Network = "network",
        /// A loop or no route.
        Routing = "routing",
        /// The commands themselves.
        Protocol = "protocol",
        /// Follows from an earlier reply, which says more.
        Consequence = "consequence",
        /// A policy, and the words leave open which.
        Policy = "policy",
        /// One of several of these; the meaning says which.
        Mixed = "mixed",
        /// Not known.
        Unknown = "unknown",
    }
}

impl Scope {
    /// Whether the words blame the sender: the scopes `sender-*`.
    #[must_use]
    pub fn is_sender(self) -> bool {
        self.as_str().starts_with("sender-")
    }
}

words! {
    /// How sure a rule is.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Status ("status") {
        /// The provider or a standard says so.
        Documented = "documented",
        /// The text stands in the server's source.
        SourceCode = "source-code",
        /// Read off real bounces.
        SeenInWild = "seen-in-wild",
    }
}

/// How closely a rule fits, the least first. Between rules that fit equally closely, the one with
/// more conditions wins, then the one that [`super::Catalog::rules`] gives first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Specificity {
    by: By,
    words: bool,
    exact: bool,
    enhanced: bool,
    code: bool,
}

/// By what a rule was found.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum By {
    /// An enhanced code that tells no more than its class: subject 0.
    Class,
    Code,
    Enhanced,
    Words,
    CodeAndWords,
    EnhancedAndWords,
    Tag,
}

impl Rule {
    /// How closely the rule fits, if it does.
    pub(super) fn fits(&self, code: Option<Code>, enhanced: Option<Enhanced>, held: Held) -> Option<Specificity> {
        if self.tag.is_some() && !held.tag || self.pattern.is_some() && !held.pattern {
            return None;
        }
        let by_code = code.is_some_and(|code| self.codes.contains(&code));
        let matching = self.enhanced.iter().filter(|pattern| enhanced.is_some_and(|e| pattern.matches(e)));
        let by_enhanced = matching.max_by_key(|pattern| pattern.is_exact());
        if self.tag.is_none() {
            let other_code = code.is_some() && !by_code && !self.codes.is_empty();
            let other_enhanced = by_enhanced.is_none() && !self.enhanced.is_empty();
            if other_code || other_enhanced {
                return None;
            }
        }
        let by = match (self.tag.is_some(), self.pattern.is_some(), by_enhanced) {
            (true, _, _) => By::Tag,
            (false, true, Some(_)) => By::EnhancedAndWords,
            (false, true, None) if by_code => By::CodeAndWords,
            (false, true, None) => By::Words,
            (false, false, Some(pattern)) if pattern.subject == 0 => By::Class,
            (false, false, Some(_)) => By::Enhanced,
            (false, false, None) if by_code => By::Code,
            (false, false, None) => return None,
        };
        Some(Specificity {
            by,
            words: self.pattern.is_some(),
            exact: by_enhanced.is_some_and(EnhancedPattern::is_exact),
            enhanced: by_enhanced.is_some(),
            code: by_code,
        })
    }

    fn has_condition(&self) -> bool {
        self.tag.is_some() || self.pattern.is_some() || !self.codes.is_empty() || !self.enhanced.is_empty()
    }
}

/// Enhanced codes: one (`5.7.1`), a range of details (`5.7.606-649`), any class (`x.7.1`) or any
/// detail (`x.7.x`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EnhancedPattern {
    class: Option<u8>,
    subject: u16,
    detail: Option<(u16, u16)>,
}

impl EnhancedPattern {
    /// Whether the code is one of these.
    #[must_use]
    pub fn matches(&self, code: Enhanced) -> bool {
        self.class.is_none_or(|class| class == code.class)
            && self.subject == code.subject
            && self.detail.is_none_or(|(first, last)| (first..=last).contains(&code.detail))
    }

    const fn is_exact(&self) -> bool {
        self.detail.is_some()
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |part: &str| {
            let digits = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let mut parts = text.split('.');
        let class = match parts.next()? {
            "x" => None,
            "4" => Some(4),
            "5" => Some(5),
            _ => return None,
        };
        let subject = number(parts.next()?)?;
        let detail = match parts.next()? {
            "x" => None,
            part => {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                Some((number(first)?, number(last)?))
            }
        };
        let ordered = detail.is_none_or(|(first, last)| first <= last);
        (parts.next().is_none() && ordered).then_some(Self { class, subject, detail })
    }
}

impl<'de> Deserialize<'de> for EnhancedPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format_args!(
                "{text:?} is no enhanced code: wanted one such as 5.7.1, 5.7.606-649, x.7.1 or x.7.x"
            ))
        })
    }
}

/// Why a catalogue file could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CatalogError {
    file: String,
    line: usize,
    /// Where serde says one.
    column: Option<usize>,
    message: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.file, self.line)?;
        if let Some(column) = self.column {
            write!(f, "{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for CatalogError {}

/// Reads a file of rules, one JSON object a line; empty lines and lines that begin with `#` are
/// passed over.
pub(super) fn parse(
    file: &str,
    provider: &str,
    jsonl: &str,
    check: impl Fn(&Rule) -> Result<(), String>,
) -> Result<Vec<Rule>, CatalogError> {
    let mut rules = Vec::new();
    for (index, line) in jsonl.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error = |message| CatalogError { file: file.into(), line: index + 1, column: None, message };
        let mut rule: Rule = serde_json::from_str(line)
            .map_err(|e| CatalogError { column: Some(e.column()), ..error(without_place(&e)) })?;
        if !rule.has_condition() {
            return Err(error("the rule fits any reply: wanted `code`, `enhanced`, `tag` or `pattern`".into()));
        }
        check(&rule).map_err(error)?;
        if rule.provider.is_empty() {
            provider.clone_into(&mut rule.provider);
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// The expression that finds a tag wherever it stands as a word of its own.
pub(super) fn whole_word(tag: &str) -> String {
    format!(r"(?:^|[^A-Za-z0-9])(?:{tag})(?:$|[^A-Za-z0-9])")
}

/// The expression that finds a pattern.
pub(super) fn words(pattern: &str) -> String {
    format!("(?i:{pattern})")
}

/// Whether the rule's expressions are any.
pub(super) fn compiles(rule: &Rule) -> Result<(), String> {
    expression("tag", rule.tag.as_deref(), whole_word)?;
    expression("pattern", rule.pattern.as_deref(), words)
}

fn expression(field: &str, expression: Option<&str>, form: impl Fn(&str) -> String) -> Result<(), String> {
    let Some(expression) = expression else { return Ok(()) };
    // On its own first: `a)(b` is none, but would pass between the brackets of its form.
    for source in [expression.to_owned(), form(expression)] {
        if let Err(e) = RegexBuilder::new(&source).unicode(false).size_limit(1 << 20).build() {
            let text = e.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ").trim_end_matches('.');
            return Err(format!("`{field}` {expression:?}: {why}: wanted a regular expression"));
        }
    }
    Ok(())
}

/// The message without serde's place in it: each line is read on its own, its number is always 1.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]).to_owned()
}
