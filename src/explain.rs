//! What a reported error usually means: the reading of its words, and what the catalogue knows of
//! them. Pure, so that the same words always mean the same.

use crate::catalog::{Catalog, Words};
use crate::record::Report;

/// Adds to a report what the catalogue knows of its reply: whose words they are, whose matter it
/// is, what it means, what to do, where that is written. Where one reply quotes another, the inner
/// one is what the other side said.
pub fn explain(report: &mut Report, catalog: &Catalog) {
    let Some(reply) = report.inner_reply.as_deref().or(report.reply.as_deref()) else { return };
    let words = Words { code: report.code, enhanced: report.enhanced, tag: report.tag.as_deref(), text: text(reply) };
    let Some(rule) = catalog.find(&words) else { return };
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let scope = rule.scope.to_string();
    (report.provider, report.meaning) = (some(&rule.provider), some(&rule.meaning));
    (report.advice, report.reference) = (some(&rule.advice), some(&rule.source));
    report.scope = Some(scope);
}

/// What stands behind the code, where a code stands first.
fn text(reply: &str) -> &str {
    match reply.split_at_checked(3) {
        Some((code, rest)) if code.bytes().all(|b| b.is_ascii_digit()) => rest.trim_start_matches(['-', ' ', ':']),
        _ => reply,
    }
}
