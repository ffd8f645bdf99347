//! The shape of the house, enforced: `tests/levels.toml` says which module is at which level and
//! what may be named where; this walks `src` and says what is not so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    level: Vec<Level>,
    apart: Vec<Apart>,
    only: Vec<Only>,
    files: Files,
}

/// Level 0 is the lowest, and first in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Level {
    #[serde(rename = "holds")]
    _holds: String,
    modules: Vec<String>,
    names_no: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apart {
    modules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Only {
    texts: Vec<String>,
    under: Vec<String>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Files {
    most_lines: usize,
    longer: BTreeMap<String, usize>,
}

#[test]
fn the_sources_keep_to_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules: Rules = toml::from_str(&fs::read_to_string(root.join("tests/levels.toml")).unwrap()).unwrap();
    let sources = sources(root);
    assert!(sources.len() > 30, "only {} sources were found", sources.len());
    let mut faults = Vec::new();
    for (path, text) in &sources {
        faults.extend(rules.broken_by(path, text));
    }
    for path in rules.files.longer.keys().filter(|path| !sources.contains_key(*path)) {
        faults.push(format!("{path} is in tests/levels.toml and nowhere else"));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Every rule is broken once, and each is noticed.
#[test]
fn what_breaks_the_rules_is_noticed() {
    let rules: Rules = toml::from_str(
        r#"
        level = [
            { holds = "", modules = ["low"], names-no = ["tokio"] },
            { holds = "", modules = ["high", "other"], names-no = [] },
        ]
        apart = [{ modules = ["high", "other"] }]
        only = [{ texts = ["SELECT "], under = ["src/other"], why = "it is" }]
        files = { most-lines = 3, longer = { "src/high.rs" = 4, "src/other.rs" = 4 } }
        "#,
    )
    .unwrap();
    let cases = [
        ("src/low.rs", "use crate::low::x;", ""),
        ("src/low.rs", "use crate::high::x;", "level 0 imports crate::high of level 1"),
        ("src/low/part.rs", "fn f() { crate::high::x() }", "level 0 imports crate::high of level 1"),
        ("src/low.rs", "use crate::{low::{a, high}, high};", "level 0 imports crate::high of level 1"),
        (
            "src/low.rs",
            "// crate::high\n/* crate::high /* */ crate::high */ \"crate::high\"; '\"'; 'a; r#\"\"crate::high\"#",
            "",
        ),
        ("src/low.rs", "let t: tokio::time::Instant;", "level 0 names tokio"),
        ("src/low.rs", "let protokio = 1;", ""),
        ("src/high.rs", "use crate::{low, other::x};\n\n\n\n", "crate::high and crate::other are to be apart"),
        ("src/high.rs", "\n\n\n\n\n", "5 lines, at most 4"),
        ("src/high.rs", "\n", "1 lines need no entry"),
        ("src/low.rs", "\n\n\n\n", "4 lines, at most 3"),
        ("src/new.rs", "", "at no level"),
        ("src/low.rs", "let sql = \"SELECT 1\";", "it is"),
        ("src/low.rs", "// SELECT 1", ""),
        ("src/other/sql.rs", "let sql = \"SELECT 1\";", ""),
    ];
    for (path, text, wanted) in cases {
        let found = rules.broken_by(path, text).join("; ");
        assert!(if wanted.is_empty() { found.is_empty() } else { found.contains(wanted) }, "{path}: {text}: {found:?}");
    }
}

impl Rules {
    /// What the source at `path` does against the rules.
    fn broken_by(&self, path: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let source = Source::read(text);

        let module = path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default();
        if !matches!(path, "src/lib.rs" | "src/main.rs") {
            match self.level_of(module) {
                Some(level) => {
                    for other in source.imports() {
                        if self.level_of(&other).is_some_and(|of| of > level) {
                            let of = self.level_of(&other).unwrap_or_default();
                            faults.push(format!("{path}: level {level} imports crate::{other} of level {of}"));
                        }
                        if other != module
                            && self
                                .apart
                                .iter()
                                .any(|pair| [module, &other].iter().all(|m| pair.modules.iter().any(|p| p == m)))
                        {
                            faults.push(format!("{path}: crate::{module} and crate::{other} are to be apart"));
                        }
                    }
                    for name in self.level[level].names_no.iter().filter(|name| source.names(name)) {
                        faults.push(format!("{path}: level {level} names {name}"));
                    }
                }
                None => faults.push(format!("{path}: {module} is at no level: add it to tests/levels.toml")),
            }
        }

        for only in self.only.iter().filter(|only| !only.under.iter().any(|under| path.starts_with(under))) {
            for text in only.texts.iter().filter(|text| source.code.contains(*text) || source.quoted.contains(*text)) {
                faults.push(format!("{path}: holds {text:?}, but {}", only.why));
            }
        }

        let (lines, most) = (text.lines().count(), self.files.most_lines);
        match self.files.longer.get(path) {
            Some(_) if lines <= most => {
                faults.push(format!("{path}: {lines} lines need no entry in tests/levels.toml"));
            }
            Some(&longer) if lines > longer => faults.push(format!("{path}: {lines} lines, at most {longer}")),
            None if lines > most => faults.push(format!("{path}: {lines} lines, at most {most}")),
            _ => {}
        }
        faults
    }

    fn level_of(&self, module: &str) -> Option<usize> {
        self.level.iter().position(|level| level.modules.iter().any(|name| name == module))
    }
}

/// Every source by its path from the root.
fn sources(root: &Path) -> BTreeMap<String, String> {
    let (mut all, mut folders) = (BTreeMap::new(), vec![root.join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                all.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    all
}

/// A source without its comments, the quoted texts apart.
#[derive(Default)]
struct Source {
    code: String,
    quoted: String,
}

impl Source {
    fn read(text: &str) -> Self {
        let mut source = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let taken = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else if let Some(quoted) = quoted(rest).filter(|_| !source.code.ends_with(is_word)) {
                source.quoted.push_str(&rest[..quoted]);
                source.quoted.push('\n');
                source.code.push_str("\"\"");
                quoted
            } else {
                source.code.push(first);
                first.len_utf8()
            };
            rest = &rest[taken..];
        }
        source
    }

    /// The modules of this crate that the code names.
    fn imports(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            let after = &self.code[at + "crate::".len()..];
            if let Some(group) = after.strip_prefix('{') {
                names.extend(heads(group));
            } else {
                names.push(word(after).to_owned());
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the code names it, as a whole word.
    fn names(&self, name: &str) -> bool {
        self.code.match_indices(name).any(|(at, _)| {
            let (before, after) = (&self.code[..at], &self.code[at + name.len()..]);
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    }
}

/// The first word of each member of a `{…}` group, its opening brace taken off.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut due) = (0, Vec::new(), true);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => due = true,
            _ if due && is_word(char) => {
                names.push(word(&group[at..]).to_owned());
                due = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> &str {
    &text[..text.find(|char| !is_word(char)).unwrap_or(text.len())]
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The length of the comment that the text begins with; comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        match text.get(at..at + 2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the string or character that the text begins with.
fn quoted(text: &str) -> Option<usize> {
    let bare = text.trim_start_matches(['b', 'c']);
    if text.len() - bare.len() > 1 {
        return None;
    }
    let prefix = text.len() - bare.len();
    if let Some(raw) = bare.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    if let Some(body) = bare.strip_prefix('"') {
        return Some(prefix + 1 + closing(body, '"'));
    }
    let body = bare.strip_prefix('\'')?;
    let mut chars = body.chars();
    // A lifetime has no closing quote after its first letter.
    let is_char = chars.next()? == '\\' || chars.next() == Some('\'');
    is_char.then(|| prefix + 1 + closing(body, '\''))
}

/// How far it is to the end of a text that may hold escapes, the quote included.
fn closing(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in body.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + 1,
            _ => {}
        }
    }
    body.len()
}
