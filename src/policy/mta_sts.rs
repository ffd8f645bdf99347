//! MTA-STS (RFC 8461): the record that says there is a policy, and the policy.

use std::fmt;
use std::time::Duration;

use super::{BLANKS, Invalid, fields, is_name, quoted};
use crate::address::Host;
use crate::words::words;

/// The longest that a policy may be kept, in seconds (section 3.2).
const LONGEST: u64 = 31_557_600;
/// Patterns kept of one policy.
const MOST_PATTERNS: usize = 1000;

/// The policy's id, from the TXT records of `_mta-sts` and the domain (section 3.1); `None` where
/// there is no policy.
///
/// # Errors
///
/// Records that senders take for none, though somebody meant one.
pub fn id(texts: &[Vec<u8>]) -> Result<Option<String>, Invalid> {
    let Some(fields) = fields(texts, "STSv1")? else { return Ok(None) };
    let found = fields.iter().find(|(name, _)| *name == "id");
    let (_, id) = found.ok_or_else(|| Invalid("found no id, wanted id= and 1 to 32 letters and digits".to_owned()))?;
    if (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(Some((*id).to_owned()))
    } else {
        Err(Invalid(format!("id {}: wanted 1 to 32 letters and digits", quoted(id.as_bytes()))))
    }
}

words! {
    /// What a sender does about an exchanger that fails the policy (section 5).
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Mode ("mode") {
        /// It sends nothing there.
        Enforce = "enforce",
        /// It sends, and reports.
        Testing = "testing",
        /// There is no policy any more.
        None = "none",
    }
}

/// A domain's policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    pub mode: Mode,
    /// How long senders keep it.
    pub max_age: Duration,
    /// The exchangers it is about; empty with mode `none` alone.
    pub mx: Vec<Pattern>,
}

impl Policy {
    /// Reads a policy as it was served (section 3.2): `KEY: VALUE` lines, ended by LF or CRLF.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let invalid = |wanted: &str| Invalid(format!("line {}: {}: wanted {wanted}", at + 1, quoted(line)));
            let text = std::str::from_utf8(line).map_err(|_| invalid("UTF-8"))?.trim_end_matches(BLANKS);
            if text.chars().any(|c| c.is_control() && c != '\t') {
                return Err(invalid("lines ended by LF or CRLF, and no other control characters"));
            }
            if text.is_empty() {
                continue;
            }
            let (key, value) = text.split_once(':').ok_or_else(|| invalid("KEY: VALUE"))?;
            let (key, value) = (key.trim_end_matches(BLANKS), value.trim_start_matches(BLANKS));
            match key {
                "mx" if mx.len() < MOST_PATTERNS => {
                    let wanted = "an exchanger's name, or \"*.\" and a domain";
                    mx.push(Pattern::parse(value).ok_or_else(|| invalid(wanted))?);
                }
                "mx" => return Err(invalid(&format!("{MOST_PATTERNS} mx lines at most"))),
                // Of keys that do not repeat, the first counts.
                "version" if version.is_none() => {
                    version = Some(Some(value).filter(|value| *value == "STSv1").ok_or_else(|| invalid("STSv1"))?);
                }
                "mode" if mode.is_none() => {
                    mode = Some(value.parse().map_err(|_| invalid("enforce, testing or none"))?);
                }
                "max_age" if max_age.is_none() => {
                    let digits = (1..=10).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
                    let age = Some(value).filter(|_| digits).and_then(|value| value.parse().ok());
                    let age = age.filter(|age: &u64| *age <= LONGEST);
                    max_age = Some(age.ok_or_else(|| invalid(&format!("seconds up to {LONGEST}")))?);
                }
                _ if is_name(key) => {}
                _ => return Err(invalid("a key of up to 32 letters, digits, \"_\", \"-\" and \".\"")),
            }
        }
        let missing = |key: &str| Invalid(format!("found no {key}"));
        version.ok_or_else(|| missing("version, wanted version: STSv1"))?;
        let mode = mode.ok_or_else(|| missing("mode, wanted enforce, testing or none"))?;
        let max_age = Duration::from_secs(max_age.ok_or_else(|| missing("max_age, wanted seconds"))?);
        if mx.is_empty() && mode != Mode::None {
            return Err(missing("mx, wanted one line for each exchanger"));
        }
        Ok(Self { mode, max_age, mx })
    }

    /// Whether an exchanger is one that the policy is about (section 4.1).
    #[must_use]
    pub fn admits(&self, mx: &Host) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(mx))
    }
}

/// An exchanger's name, or those of one label more than a domain's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    wildcard: bool,
    name: Host,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (wildcard, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let name = Some(name).filter(|name| name.is_ascii())?.parse().ok()?;
        Some(Self { wildcard, name })
    }

    /// The wildcard stands for exactly one label.
    fn matches(&self, mx: &Host) -> bool {
        let mx = mx.as_str();
        let name = if self.wildcard { mx.split_once('.').map(|(_, rest)| rest) } else { Some(mx) };
        name.is_some_and(|name| name.eq_ignore_ascii_case(self.name.as_str()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}
