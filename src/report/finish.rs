//! What every report gets at the end, whoever read it: what follows from its reply alone.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{postfix, text};
use crate::catalog;
use crate::record::{Kind, Report};
use crate::smtp::reply as smtp;

/// Longest reply and evidence kept, in bytes.
const MOST: usize = 4096;

/// What the words of replies say, remembered: the same few are quoted over and over in a log.
#[derive(Default)]
pub(crate) struct Words {
    known: HashMap<String, Told>,
}

#[derive(Default)]
struct Told {
    class: Option<smtp::Class>,
    tag: Option<String>,
    named: Vec<IpAddr>,
}

impl Words {
    fn of(&mut self, told: &str) -> &Told {
        if self.known.len() > 4096 {
            self.known.clear();
        }
        if !self.known.contains_key(told) {
            let tag = smtp::tag(told).map(str::to_owned);
            let fresh = Told { class: catalog::text_class(told), tag, named: catalog::addresses_named(told) };
            self.known.insert(told.to_owned(), fresh);
        }
        &self.known[told]
    }
}

/// Fills in class, provider's code, domain and notes.
pub(crate) fn finish(report: &mut Report) {
    finish_with(&mut Words::default(), report);
}

/// The same, with a memory.
pub(crate) fn finish_with(words: &mut Words, report: &mut Report) {
    for text in [&mut report.reply, &mut report.evidence, &mut report.inner_reply].into_iter().flatten() {
        text.truncate(super::sentence::floor(text, MOST));
    }
    if report.format == "dsn" && matches!(report.mta.as_deref(), None | Some(postfix::NAME)) {
        text::delayed(report);
    }
    report.class = report.code.map(smtp::Code::class).or(report.enhanced.and_then(|e| match e.class {
        4 => Some(smtp::Class::Transient),
        5 => Some(smtp::Class::Permanent),
        _ => None,
    }));
    judge(words, report);
    report.domain = report
        .recipient
        .as_deref()
        .and_then(|to| to.rsplit_once('@'))
        .and_then(|(_, domain)| domain.parse::<crate::address::Host>().ok())
        .map(|d| d.to_string());
}

/// What the words of the reply say, whether they contradict its numbers, and the client it names.
fn judge(words: &mut Words, report: &mut Report) {
    let Some(reply) = report.reply.as_deref() else { return };
    // The text behind the code, which the reply begins with where it has one.
    let told = if report.code.is_some() { reply.get(4..).unwrap_or_default() } else { reply };
    let told = words.of(told);
    report.tag.clone_from(&told.tag);
    report.text_class = told.class;
    let mut named = told.named.iter().filter(|ip| Some(**ip) != report.address);
    if let (Some(source), None) = (named.next(), named.next()) {
        report.quoted_source = Some(*source);
    }
    if report.origin.is_none() && report.kind == Some(Kind::Rejected) {
        report.origin = Some("remote".to_owned());
    }
    let kept = report.status.as_deref().is_some_and(|status| status.starts_with('4'));
    let permanent = report.code.is_some_and(|code| code.class() == smtp::Class::Permanent);
    if kept && permanent
        || catalog::contradicts(report.code, report.enhanced, report.text_class, report.action.as_deref())
    {
        report.notes.push("inconsistent-reply".to_owned());
    }
}
