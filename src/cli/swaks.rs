//! swaks's spellings, in the words of this program.
//!
//! Delivery engineers have swaks in their fingers. Its single-dash words mean something else to
//! clap (`-tls` is `-t ls`), so they are rewritten before it sees them: exactly these, nowhere but
//! before a `--`, and only whole arguments.

use std::ffi::{OsStr, OsString};

use crate::stage::Stage;

/// Rewrites `-li`, `-tls`, `-tlso` and swaks's stop-points behind `-q`, `--quit-after` and
/// `--until`; `-s`, `-p` and `-q` themselves, `--server`, `--helo` and `--local-interface` are
/// plain aliases.
///
/// A stage of our own spelling keeps its meaning: `ehlo` is the first EHLO, swaks's `EHLO` the one
/// after STARTTLS.
#[must_use]
pub fn rewrite(argv: Vec<OsString>) -> Vec<OsString> {
    let mut rewritten = Vec::with_capacity(argv.len());
    let mut argv = argv.into_iter();
    while let Some(argument) = argv.next() {
        match argument.to_str() {
            Some("--") => {
                rewritten.push(argument);
                break;
            }
            Some("-li") => rewritten.push("--source".into()),
            Some("-tls") => rewritten.push("--tls=require".into()),
            Some("-tlso") => rewritten.push("--tls=opportunistic".into()),
            Some("-q" | "--quit-after" | "--until") => {
                rewritten.push(argument);
                rewritten.extend(argv.next().map(|value| stop_point(&value).map_or(value, OsString::from)));
            }
            Some(text) => rewritten.push(with_value(text).unwrap_or(argument)),
            None => rewritten.push(argument),
        }
    }
    rewritten.extend(argv);
    rewritten
}

/// The same of arguments that have their value behind a `=`.
fn with_value(text: &str) -> Option<OsString> {
    let (name, value) = text.split_once('=')?;
    match name {
        "-li" => Some(format!("--source={value}").into()),
        "-q" | "--quit-after" | "--until" => Some(format!("--until={}", stop_point(OsStr::new(value))?).into()),
        _ => None,
    }
}

/// The stage that a stop-point of swaks's stands for, whatever its case.
fn stop_point(value: &OsStr) -> Option<&'static str> {
    let value = value.to_str()?;
    if value.parse::<Stage>().is_ok() {
        return None;
    }
    let stage = match value.to_ascii_uppercase().as_str() {
        "CONNECT" => Stage::Connect,
        "BANNER" => Stage::Banner,
        "FIRST-HELO" | "FIRST-EHLO" => Stage::Ehlo,
        "STARTTLS" | "TLS" => Stage::Tls,
        "HELO" | "EHLO" => Stage::EhloTls,
        "MAIL" | "FROM" => Stage::Mail,
        "RCPT" | "TO" => Stage::Rcpt,
        _ => return None,
    };
    Some(stage.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(line: &str) -> String {
        let argv = line.split(' ').map(OsString::from).collect();
        rewrite(argv).iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_swaks_and_what_is_not() {
        for (swaks, ours) in [
            ("run a -li 192.0.2.1", "run a --source 192.0.2.1"),
            ("run a -li=192.0.2.1", "run a --source=192.0.2.1"),
            ("run a -tls", "run a --tls=require"),
            ("run a -tlso", "run a --tls=opportunistic"),
            ("run a -q CONNECT", "run a -q connect"),
            ("run a -q banner", "run a -q banner"),
            ("run a --quit-after FIRST-HELO", "run a --quit-after ehlo"),
            ("run a --quit-after first-ehlo", "run a --quit-after ehlo"),
            ("run a -q HELO", "run a -q ehlo-tls"),
            ("run a -q helo", "run a -q ehlo-tls"),
            ("run a -q EHLO", "run a -q ehlo-tls"),
            ("run a -q ehlo", "run a -q ehlo"),
            ("run a -q STARTTLS", "run a -q tls"),
            ("run a -q Tls", "run a -q tls"),
            ("run a -q starttls", "run a -q starttls"),
            ("run a --until MAIL", "run a --until mail"),
            ("run a --until=FROM", "run a --until=mail"),
            ("run a -q=TO", "run a --until=rcpt"),
            ("run a --quit-after=Rcpt", "run a --until=rcpt"),
            ("run a -q AUTH", "run a -q AUTH"),
            ("run a -q", "run a -q"),
            ("run a -tlsx -lix -t ls -q", "run a -tlsx -lix -t ls -q"),
            ("run a --tls off --ehlo=EHLO", "run a --tls off --ehlo=EHLO"),
            ("run a -- -tls -li -q MAIL", "run a -- -tls -li -q MAIL"),
        ] {
            assert_eq!(rewritten(swaks), ours);
        }
    }

    proptest! {
        #[test]
        fn anything_is_rewritten_once_and_for_all(
            argv in prop::collection::vec(
                prop_oneof![
                    any::<String>(),
                    prop::sample::select(vec!["--", "-li", "-tls", "-tlso", "-q", "--until", "EHLO", "-q=HELO", "-li=", "TO"])
                        .prop_map(str::to_owned),
                ],
                0..8,
            ),
        ) {
            let argv: Vec<OsString> = argv.into_iter().map(OsString::from).collect();
            let once = rewrite(argv.clone());
            prop_assert_eq!(once.len(), argv.len());
            prop_assert_eq!(rewrite(once.clone()), once);
        }
    }
}
