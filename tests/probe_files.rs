//! Plays every `tests/probe-files/*.toml`: what a probe file becomes, or what is said about it,
//! stands in `NAME.expected` beside it. `BLESS=1` writes the expected text anew.

#[path = "support/facts.rs"]
mod facts;

use std::path::Path;

use mxprobe::probe::file::ProbeFile;
use proptest::prelude::*;

/// The settled probe in words, or the error as a terminal shows it.
fn outcome(path: &Path, text: &str) -> String {
    let file = match ProbeFile::parse(path, text) {
        Ok(file) => file,
        Err(error) => return error.render(),
    };
    match file.layer.clone().settle(|path| Ok(format!("(message in {})", path.display()).into_bytes())) {
        Ok(probe) => {
            let mut shown = facts::of(&probe);
            shown.extend(file.schedule.iter().map(|schedule| format!("schedule: {schedule:?}\n")));
            shown.extend(file.alert.iter().map(|alert| format!("alert: {alert:?}\n")));
            shown
        }
        Err(conflict) => file.locate(&conflict).render(),
    }
}

#[test]
fn every_file_becomes_what_is_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe-files");
    let mut played = 0;
    for path in facts::files(&directory, "toml") {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap();
        facts::compare(&path.with_extension("expected"), &outcome(Path::new(name), &text));
        played += 1;
    }
    assert!(played >= 20, "only {played} files in {}", directory.display());
}

#[test]
fn the_shipped_probes_need_no_change_to_run() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    for path in facts::files(&directory, "toml") {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = ProbeFile::parse(&path, &text).unwrap_or_else(|e| panic!("{}", e.render()));
        assert!(file.layer.owned.is_empty(), "{}", path.display());
        file.layer.settle(|_| unreachable!("a shipped probe sends nothing")).unwrap();
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        outcome(Path::new("any.toml"), &text);
    }

    /// Closer to home: real keys with values of every kind, at odds with each other or not.
    #[test]
    fn any_values_are_read_or_refused(
        lines in prop::collection::vec((
            prop::sample::select(vec![
                "[target]", "[source]", "[envelope]", "[session]", "[message]", "[limits]", "[schedule]", "[expect]", "[alert]",
                "domain", "hosts", "control", "port", "own-mx", "addresses", "neutral", "ehlo", "public", "from", "to", "owned",
                "until", "tls", "timeout", "body", "send", "dkim", "attempts", "pace", "rate", "every", "cron", "stage", "code",
            ]),
            prop_oneof![
                Just("true".to_owned()),
                any::<i64>().prop_map(|n| n.to_string()),
                "[a-z0-9@./:*-]{0,12}".prop_map(|s| format!("{s:?}")),
                any::<String>().prop_map(|s| format!("[{s:?}]")),
                "[a-z-]{1,8}".prop_map(|s| format!("{{ {s} = {s:?} }}")),
                prop::sample::select(vec!["\"rcpt\"", "\"a@b.c\"", "[\"a@b.c\"]", "\"5m\"", "\"aol.com\"", "[\"192.0.2.1\"]"]).prop_map(str::to_owned),
            ],
        ), 0..12),
    ) {
        let text: String = lines.iter().map(|(key, value)| if key.starts_with('[') { format!("{key}\n") } else { format!("{key} = {value}\n") }).collect();
        let shown = outcome(Path::new("any.toml"), &text);
        prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{:?}", shown);
    }
}
