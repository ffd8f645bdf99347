//! How deep the sessions go: as far as the reported stage, and no deeper than is allowed.

use crate::record::Report;
use crate::stage::Stage;

/// What the operator allows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leave {
    /// There is a recipient of the operator's own.
    pub(super) recipient: bool,
    /// Real messages may be sent.
    pub(super) send: bool,
    /// STARTTLS may be used.
    pub(super) tls: bool,
    /// The stage that the operator says to stop after.
    pub(super) until: Option<Stage>,
}

/// How deep, and why not deeper.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Depth {
    pub(super) until: Stage,
    /// The deepest stage that the report allows, as a session meets it; none where it leaves the
    /// stage open altogether.
    pub(super) wanted: Option<Stage>,
    /// Why the sessions cannot come as far as the reported stage.
    pub(super) short: Option<String>,
}

/// Plans the least intrusive depth that reaches the reported stage.
pub(super) fn depth(report: &Report, leave: Leave) -> Depth {
    let stated = report.stage.into_iter().chain(report.candidates.iter().copied()).max();
    let wanted = stated.map(|stage| if stage == Stage::Resolve { Stage::Connect } else { stage });
    let (until, short) = match (leave.until, wanted) {
        (Some(until), Some(wanted)) if until < wanted => (until, Some(format!("--until {until}"))),
        (Some(until), _) => (until, None),
        (None, None) => (deepest(leave), None),
        (None, Some(wanted)) => reach(wanted, leave),
    };
    Depth { until, wanted, short }
}

/// As deep as goes, where the report does not say how deep.
const fn deepest(leave: Leave) -> Stage {
    match (leave.recipient, leave.send) {
        (true, true) => Stage::EndOfData,
        (true, false) => Stage::Rcpt,
        (false, _) => Stage::Mail,
    }
}

fn reach(wanted: Stage, leave: Leave) -> (Stage, Option<String>) {
    let short = |until, why: &str| (until, Some(why.to_owned()));
    match wanted {
        Stage::StartTls | Stage::Tls | Stage::EhloTls if !leave.tls => short(Stage::Ehlo, "--tls off"),
        Stage::Auth => short(Stage::EhloTls, "mxprobe does not authenticate"),
        Stage::Quit => short(Stage::Mail, "how QUIT ends is not looked at"),
        Stage::Rcpt | Stage::Data | Stage::EndOfData if !leave.recipient => {
            short(Stage::Mail, "it takes a recipient of your own: --to ADDR, listed in --owned FILE")
        }
        Stage::EndOfData if !leave.send => short(Stage::Data, "it takes a real message: --send"),
        wanted => (wanted, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_deeper_than_the_stage_and_than_is_allowed() {
        let (nothing, to) =
            (Leave { tls: true, ..Leave::default() }, Leave { recipient: true, tls: true, ..Leave::default() });
        let (send, off) = (Leave { send: true, ..to }, Leave::default());
        let shallow = Leave { until: Some(Stage::Banner), ..nothing };
        let deep = Leave { until: Some(Stage::Mail), ..nothing };
        for (stage, candidates, leave, until, reaches) in [
            ("resolve", "", nothing, "connect", true),
            ("connect", "", nothing, "connect", true),
            ("banner", "", nothing, "banner", true),
            ("banner", "", send, "banner", true),
            ("banner", "banner ehlo", nothing, "ehlo", true),
            ("banner", "", deep, "mail", true),
            ("mail", "", shallow, "banner", false),
            ("ehlo-tls", "", nothing, "ehlo-tls", true),
            ("tls", "", off, "ehlo", false),
            ("auth", "", to, "ehlo-tls", false),
            ("mail", "", nothing, "mail", true),
            ("rcpt", "", nothing, "mail", false),
            ("rcpt", "", to, "rcpt", true),
            ("data", "", to, "data", true),
            ("end-of-data", "", nothing, "mail", false),
            ("end-of-data", "", to, "data", false),
            ("end-of-data", "", send, "end-of-data", true),
            ("quit", "", send, "mail", false),
            ("", "", nothing, "mail", true),
            ("", "", to, "rcpt", true),
            ("", "", send, "end-of-data", true),
            ("", "mail end-of-data", nothing, "mail", false),
        ] {
            let candidates = candidates.split_whitespace().map(|stage| stage.parse().unwrap()).collect();
            let report = Report { stage: stage.parse().ok(), candidates, ..Report::default() };
            let found = depth(&report, leave);
            let wanted = (until.parse().unwrap(), reaches);
            assert_eq!((found.until, found.short.is_none()), wanted, "{stage} {leave:?}");
        }
    }
}
