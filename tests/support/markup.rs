//! Whether a page that stands alone can do nothing but be read.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The elements of a report, and the attributes that they may have.
const ELEMENTS: [(&str, &[&str]); 29] = [
    ("!doctype", &["html"]),
    ("html", &["lang"]),
    ("head", &[]),
    ("meta", &["charset", "http-equiv", "content", "name"]),
    ("title", &[]),
    ("style", &[]),
    ("body", &[]),
    ("main", &[]),
    ("section", &[]),
    ("h1", &[]),
    ("h2", &[]),
    ("h3", &[]),
    ("p", &["class"]),
    ("ul", &[]),
    ("li", &[]),
    ("div", &["class", "role", "aria-label", "tabindex"]),
    ("span", &["class"]),
    ("table", &[]),
    ("thead", &[]),
    ("tbody", &[]),
    ("tr", &[]),
    ("th", &["scope"]),
    ("td", &["class"]),
    ("pre", &[]),
    ("dl", &["class"]),
    ("dt", &[]),
    ("dd", &[]),
    ("svg", &["class", "viewBox", "preserveAspectRatio", "role", "aria-label"]),
    ("path", &["class", "d"]),
];

/// Panics with `name` where there is an element or an attribute that has no place in a report, where
/// elements are not closed in order, or where the policy lets anything in but the style.
pub(crate) fn is_only_to_be_read(name: &str, page: &str) {
    let style = between(page, "<style>", "</style>").unwrap_or_else(|| panic!("{name}: no style"));
    assert!(!style.contains("url(") && !style.contains("@import") && !style.contains('<'), "{name}: {style}");
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'");
    assert_eq!(between(page, "Content-Security-Policy\" content=\"", "\""), Some(&*policy), "{name}");
    let (mut open, mut rest) = (Vec::new(), page);
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').unwrap_or_else(|| panic!("{name}: an element without an end"));
        let tag = &rest[at + 1..at + end];
        rest = &rest[at + end + 1..];
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{name}: </{closed}>");
            continue;
        }
        let tag = tag.strip_suffix('/').unwrap_or(tag);
        let (element, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let known = ELEMENTS.iter().find(|(known, _)| *known == element);
        let (_, known) = known.unwrap_or_else(|| panic!("{name}: <{tag}>"));
        let mut attributes = attributes.trim();
        while !attributes.is_empty() {
            let (attribute, value) = attributes.split_once('=').unwrap_or((attributes, "\"\""));
            assert!(known.contains(&attribute), "{name}: {attribute} of <{tag}>");
            let value = value.strip_prefix('"').unwrap_or_else(|| panic!("{name}: <{tag}>"));
            attributes = value.split_once('"').map_or("", |(_, behind)| behind.trim_start());
        }
        if !["!doctype", "meta", "path"].contains(&element) {
            open.push(element);
        }
    }
    assert!(open.is_empty(), "{name}: {open:?} are not closed");
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    let (_, text) = text.split_once(before)?;
    text.split_once(behind).map(|(text, _)| text)
}
