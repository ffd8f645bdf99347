//! Whether a session ended as a report says.

use crate::catalog::{Words, normalise};
use crate::record::{Kind, Report, Role, Session, Variant};
use crate::smtp::reply::{Class, Code, tag};
use crate::stage::Stage;

/// What a session says about a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The reported failure.
    Same,
    /// A failure, but not this one.
    Different,
    /// No failure, and deep enough that the reported one would have shown.
    Passed,
    /// Nothing: it was not held, is not about the target, or did not come as far.
    NoTrial,
}

/// Compares a session with a report.
///
/// The same failure is the same kind at the same stage with the same class of code and the same
/// provider's code, as far as the report states them, and the same normalised reply where it gives
/// one. A reply that came unasked behind the one that ended the session counts as well: MTAs report
/// whichever they read last. A name that does not resolve is no trial, unless that is the report.
#[must_use]
pub fn compare(report: &Report, session: &Session) -> Verdict {
    let ours = session.role != Role::Target || session.variant != Variant::Plain;
    if ours || !session.kind.is_trial() {
        return Verdict::NoTrial;
    }
    match session.kind {
        Kind::Completed => passed(report, session),
        Kind::DnsFailed if !of_names(report) => Verdict::NoTrial,
        _ if same(report, session) => Verdict::Same,
        _ => Verdict::Different,
    }
}

/// Whether a session's failure lies so early that the reported one had no chance to show.
#[must_use]
pub fn fell_short(report: &Report, session: &Session) -> bool {
    let earliest = stages(report).min();
    session.kind != Kind::Completed && session.stage.zip(earliest).is_some_and(|(at, earliest)| at < earliest)
}

/// Whether the report is about a name that does not resolve.
fn of_names(report: &Report) -> bool {
    report.kind == Some(Kind::DnsFailed) || report.stage == Some(Stage::Resolve)
}

fn passed(report: &Report, session: &Session) -> Verdict {
    let deepest = stages(report).max();
    let reached = deepest.is_none_or(|stage| stage <= session.until);
    if reached { Verdict::Passed } else { Verdict::NoTrial }
}

/// The stages that the report allows; none: any.
fn stages(report: &Report) -> impl Iterator<Item = Stage> + '_ {
    report.stage.into_iter().chain(report.candidates.iter().copied())
}

fn same(report: &Report, session: &Session) -> bool {
    let at = session.stage;
    let here = stages(report).next().is_none() || stages(report).any(|stage| Some(stage) == at);
    if !here {
        return false;
    }
    let kind = report.kind.or_else(|| report.reply.as_ref().map(|_| Kind::Rejected));
    let whole: Vec<&str> = session.reply.iter().flatten().map(String::as_str).collect();
    let ended = kind.is_none_or(|kind| kind == session.kind)
        && says(report, session.class, session.tag.as_deref(), &whole.join(" "));
    let unasked = kind == Some(Kind::Rejected)
        && replies(&session.also).iter().any(|reply| {
            let words = Words::parse(reply);
            says(report, words.code.map(Code::class), tag(words.text), reply)
        });
    ended || unasked
}

/// Puts the lines of replies together that belong to one.
fn replies(lines: &[String]) -> Vec<String> {
    let mut replies: Vec<String> = Vec::new();
    let mut open = false;
    for line in lines {
        match replies.last_mut().filter(|_| open) {
            Some(reply) => {
                reply.push(' ');
                reply.push_str(line);
            }
            None => replies.push(line.clone()),
        }
        open = line.as_bytes().get(3) == Some(&b'-');
    }
    replies
}

/// Whether a reply is the report's, as far as that says.
fn says(report: &Report, class: Option<Class>, own: Option<&str>, reply: &str) -> bool {
    let stated = report.code.map(Code::class).or(report.class);
    if stated.is_some() && stated != class || report.tag.is_some() && report.tag.as_deref() != own {
        return false;
    }
    let Some(wanted) = report.inner_reply.as_deref().or(report.reply.as_deref()) else { return true };
    let (wanted, found) = (normalise(wanted), normalise(reply));
    if wanted == found {
        return true;
    }
    // Reports lose the code, or quote the text alone.
    Words::parse(&wanted).code.is_none() && bare(&found) == bare(&wanted)
}

/// The text of a normalised reply, without code and enhanced code.
fn bare(reply: &str) -> &str {
    let words = Words::parse(reply);
    match words.enhanced {
        Some(_) => words.text.split_once(' ').map_or("", |(_, text)| text),
        None => words.text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: serde_json::Value) -> Report {
        serde_json::from_value(json).unwrap()
    }

    fn session(until: &str, ended: &str, also: &[&str]) -> Session {
        let mut words = ended.splitn(3, ' ');
        let (stage, kind, reply) = (words.next(), words.next(), words.next());
        let parsed = reply.map(Words::parse).unwrap_or_default();
        serde_json::from_value(serde_json::json!({
            "seq": 1, "at": "2026-11-24T10:02:11Z", "until": until, "stage": stage, "kind": kind,
            "code": parsed.code, "class": parsed.code.map(Code::class), "tag": parsed.tag,
            "reply": reply.map(|reply| vec![reply]), "also": also,
        }))
        .unwrap()
    }

    #[test]
    fn same_is_as_far_as_the_report_states() {
        use Verdict::{Different, NoTrial, Passed, Same};
        let greeting = serde_json::json!({"stage": "banner", "kind": "rejected", "code": 554, "class": "permanent", "reply": "554 ESMTP not accepting connections"});
        let lost =
            serde_json::json!({"stage": "banner", "kind": "rejected", "reply": "ESMTP not accepting connections"});
        let errors = serde_json::json!({"kind": "rejected", "code": 421, "class": "transient", "reply": "421 4.7.0 Error: too many errors"});
        let tagged = serde_json::json!({"stage": "mail", "kind": "rejected", "class": "transient", "tag": "TSS04"});
        let timed = serde_json::json!({"stage": "connect", "kind": "timed-out"});
        let late = serde_json::json!({"stage": "banner", "candidates": ["banner", "ehlo"], "kind": "rejected", "code": 421, "class": "transient", "reply": "421 Service unavailable - try again later"});
        let names = serde_json::json!({"stage": "resolve", "kind": "dns-failed"});
        for (stated, until, ended, also, wanted) in [
            (
                &greeting,
                "banner",
                "banner rejected 554 mtain-dc03.mx.aol.com ESMTP not accepting connections",
                &[][..],
                Same,
            ),
            (&greeting, "banner", "banner rejected 421 mtain-dc03.mx.aol.com Service unavailable", &[], Different),
            (&greeting, "banner", "banner rejected 554 5.7.1 blocked", &[], Different),
            (&greeting, "mail", "ehlo rejected 554 ESMTP not accepting connections", &[], Different),
            (&greeting, "banner", "banner dropped", &[], Different),
            (&greeting, "banner", "banner completed", &[], Passed),
            (&greeting, "connect", "connect completed", &[], NoTrial),
            (&greeting, "banner", "connect timed-out", &[], Different),
            (&greeting, "banner", "connect local", &[], NoTrial),
            (&greeting, "banner", "resolve dns-failed", &[], NoTrial),
            (&names, "connect", "resolve dns-failed", &[], Same),
            (&lost, "banner", "banner rejected 554 ESMTP not accepting connections", &[], Same),
            (&lost, "banner", "banner rejected 554 5.7.1 ESMTP not accepting connections", &[], Same),
            (&errors, "mail", "mail rejected 421 4.7.0 mx7.example.org Error: too many errors", &[], Same),
            (&errors, "mail", "banner rejected 554 ESMTP not accepting", &["421 4.7.0 Error: too many errors"], Same),
            (&errors, "mail", "banner rejected 554 ESMTP not accepting", &["221 bye"], Different),
            (&errors, "mail", "mail completed", &[], Passed),
            (&tagged, "mail", "mail rejected 421 4.7.0 [TSS04] Messages from 192.0.2.10 deferred", &[], Same),
            (&tagged, "mail", "mail rejected 421 4.7.0 [TSS05] Messages from 192.0.2.10 deferred", &[], Different),
            (&tagged, "mail", "mail rejected 553 5.7.2 [TSS04] deferred for good", &[], Different),
            (&timed, "connect", "connect timed-out", &[], Same),
            (&timed, "connect", "connect refused", &[], Different),
            (&late, "ehlo", "ehlo rejected 421 mx.example.org Service unavailable – try again later", &[], Same),
            (&late, "banner", "banner completed", &[], NoTrial),
        ] {
            let found = compare(&report(stated.clone()), &session(until, ended, also));
            assert_eq!(found, wanted, "{stated} {ended}");
        }
        let early = session("mail", "connect timed-out", &[]);
        assert!(fell_short(&report(greeting), &early) && !fell_short(&report(timed), &early));
    }

    #[test]
    fn controls_neutral_sources_and_pairs_are_no_trials() {
        let ended = session("banner", "banner rejected 554 no", &[]);
        for change in [
            |s: &mut Session| s.role = Role::Control,
            |s: &mut Session| s.role = Role::Neutral,
            |s: &mut Session| s.variant = Variant::Plaintext,
        ] {
            let mut session = ended.clone();
            change(&mut session);
            assert_eq!(compare(&report(serde_json::json!({"kind": "rejected"})), &session), Verdict::NoTrial);
        }
    }
}
