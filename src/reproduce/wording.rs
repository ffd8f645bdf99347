//! What a reproduction says in words.

use crate::record::Report;
use crate::smtp::reply::Class;
use crate::stage::Stage;

/// What sessions up to this stage do not do.
pub(super) const fn without(until: Stage) -> &'static str {
    match until {
        Stage::EndOfData | Stage::Quit => "a real message each",
        Stage::Data => "no message",
        Stage::Rcpt => "no DATA, no message",
        Stage::Mail => "no RCPT, no DATA",
        _ => "no MAIL, no RCPT, no DATA",
    }
}

/// Where the mail is now, as far as the report says.
pub(super) fn whereabouts(report: &Report) -> Option<String> {
    let queued = |why: &str| Some(format!("not lost: still queued at the reporting host ({why})"));
    let returned = |why: &str| Some(format!("returned to its sender ({why}): it has to be sent again"));
    match report.action.as_deref() {
        Some("delayed") => return queued("the report says delayed"),
        Some("failed") => return returned("the report says failed"),
        Some("delivered" | "relayed" | "expanded") => return Some("delivered, as the report says".to_owned()),
        _ => {}
    }
    if !report.attempt {
        return queued("its delivery is suspended");
    }
    match report.status.as_deref().and_then(|status| status.bytes().next()) {
        Some(b'4') => return queued("its status is 4.x.x"),
        Some(b'5') => return returned("its status is 5.x.x"),
        _ => {}
    }
    match report.class {
        Some(Class::Transient) => Some("the report does not say; a 4xx is usually tried again".to_owned()),
        Some(Class::Permanent) => Some("the report does not say; a 5xx is usually returned".to_owned()),
        _ => None,
    }
}

/// `1 session`, `29 sessions`.
pub(super) fn counted(n: u64, what: &str) -> String {
    let plural = match what.strip_suffix('s') {
        Some(stem) if n != 1 => format!("{stem}ses"),
        _ if n != 1 => format!("{what}s"),
        _ => what.to_owned(),
    };
    format!("{n} {plural}")
}

/// A rate in per cent, with as many digits as it needs: `10`, `0.3`, `9.8`.
pub(super) fn percent(rate: f64) -> String {
    let text = format!("{:.1}", rate * 100.0);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mail_is_where_the_report_says() {
        for (json, wanted) in [
            (r#"{"action":"delayed","status":"4.0.0","class":"permanent"}"#, "not lost: still queued"),
            (r#"{"action":"failed"}"#, "returned to its sender"),
            (r#"{"attempt":false,"class":"transient"}"#, "not lost: still queued"),
            (r#"{"attempt":true,"status":"4.7.0"}"#, "not lost: still queued"),
            (r#"{"attempt":true,"status":"5.7.1"}"#, "returned to its sender"),
            (r#"{"attempt":true,"class":"transient"}"#, "the report does not say; a 4xx"),
            (r#"{"attempt":true,"class":"permanent"}"#, "the report does not say; a 5xx"),
            (r#"{"attempt":true}"#, ""),
        ] {
            let found = whereabouts(&serde_json::from_str(json).unwrap()).unwrap_or_default();
            assert!(found.starts_with(wanted) && found.is_empty() == wanted.is_empty(), "{json}: {found}");
        }
    }

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!((counted(1, "address"), counted(2, "address")), ("1 address".into(), "2 addresses".into()));
        assert_eq!((counted(1, "session"), counted(0, "session")), ("1 session".into(), "0 sessions".into()));
        assert_eq!((percent(0.1), percent(0.003), percent(0.0981)), ("10".into(), "0.3".into(), "9.8".into()));
    }
}
