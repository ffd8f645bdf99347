//! Trend Micro ``InterScan``: `Sent <<< CMD`, `Received >>> R`, the arrows the other way round.

use super::sentence::{self, Hit};
use super::squeeze::Squeezed;
use super::wording::{self, by};
use crate::record::{Kind, Report};
use crate::stage::Stage;

pub(crate) const NAME: &str = "interscan";

pub(crate) fn sentences(s: &Squeezed<'_>, hits: &mut Vec<Hit>) {
    for phrase in s.all("Received") {
        let rest = &s.text[phrase.end..];
        let Some(reply) = rest.trim_start().strip_prefix(">>>") else { continue };
        if !reply.trim_start().starts_with(['4', '5']) {
            continue;
        }
        let before = &s.text[sentence::floor(s.text, phrase.start.saturating_sub(1500))..phrase.start];
        let sent = before.rfind("Sent <<<").map(|at| &before[at + 8..]);
        let stage = sent.map_or(Some(Stage::Banner), wording::command_stage);
        let end = s.text.len() - reply.len();
        hits.push(Hit::new(
            phrase.start..end,
            Report { stage, kind: Some(Kind::Rejected), ..by(NAME) },
            |report, rest| {
                sentence::quote(report, rest.trim_start().lines().next().unwrap_or_default());
            },
        ));
    }
}
