//! Plays every `tests/cli/*.toml`: command lines, with environment and files, and what becomes of
//! them. The expected text stands in `NAME.expected` beside it; `BLESS=1` writes it anew.

#[path = "support/facts.rs"]
mod facts;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

use mxprobe::cli::args::{Output, RunOptions};
use mxprobe::cli::{self, Command, Usage};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// One command line; `{dir}` in it is the directory where `files` are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    argv: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

#[test]
fn every_command_line_becomes_what_is_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut played = 0;
    for path in facts::files(&directory, "toml") {
        let cases: Cases = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut found = String::new();
        for case in &cases.case {
            writeln!(found, "{}", play(case)).unwrap();
            played += 1;
        }
        facts::compare(&path.with_extension("expected"), &found);
    }
    assert!(played >= 50, "only {played} cases in {}", directory.display());
}

fn play(case: &Case) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let directory = temporary.path().to_str().unwrap();
    for (name, text) in &case.files {
        std::fs::write(temporary.path().join(name), text).unwrap();
    }
    let env: Vec<String> = case.env.iter().map(|(name, value)| format!("{name}={value:?} ")).collect();
    let words: Vec<String> = case.argv.iter().map(|word| word.escape_debug().to_string()).collect();
    let argv = case.argv.iter().map(|word| word.replace("{dir}", directory));
    let outcome = parse(argv, &case.env);
    format!("$ {}mxprobe {}\n{}", env.concat(), words.join(" "), shown(outcome).replace(directory, "{dir}"))
}

fn parse(argv: impl Iterator<Item = String>, env: &BTreeMap<String, String>) -> Result<Command, Usage> {
    let argv = std::iter::once("mxprobe".to_owned()).chain(argv).map(OsString::from);
    cli::parse_with(argv, &|name| env.get(name).map(OsString::from))
}

fn shown(outcome: Result<Command, Usage>) -> String {
    match outcome {
        Ok(Command::Run(args)) => {
            let probes: Vec<String> = args.probes.iter().map(facts::of).collect();
            format!("{}{}", probes.join("and\n"), options(&args.options))
        }
        Ok(Command::Smoke(args)) => {
            let probes: Vec<String> = args.probes.iter().map(facts::of).collect();
            let mut pool = facts::Facts::default();
            pool.say("write-pool", args.write_pool.iter().map(|path| path.display().to_string()));
            format!("{}{}{}", probes.join("and\n"), options(&args.options), pool.0)
        }
        Ok(command) => format!("{command:?}\n"),
        Err(Usage { message, status, to_stdout }) => {
            let head = message.lines().next().unwrap_or_default();
            // Help has a snapshot of its own.
            let message = if message.contains("Usage:") { format!("{head} ...\n") } else { message };
            format!("{message}[{status}, {}]\n", if to_stdout { "stdout" } else { "stderr" })
        }
    }
}

/// One line per option that is not the default.
fn options(options: &RunOptions) -> String {
    let RunOptions { dns, trust_anchor, seed, catalogue, dry_run, transcript, record, history, output } = options;
    let mut facts = facts::Facts::default();
    facts.say("dns", dns.iter().map(ToString::to_string));
    facts.unless("trust-anchor", trust_anchor, &None);
    facts.unless("seed", seed, &None);
    facts.unless("catalogue", catalogue, &Vec::new());
    facts.unless("dry-run", dry_run, &false);
    facts.unless("transcript", transcript, &false);
    facts.unless("record", record, &None);
    facts.unless("history", history, &cli::args::History::Default);
    facts.unless("output", output, &Output { color: true, ..Output::default() });
    facts.0
}

#[test]
fn help_is_what_it_was() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/help");
    let help = |words: &[&str]| {
        let argv = std::iter::once("mxprobe").chain(words.iter().copied()).chain(["--help"]);
        cli::command().term_width(100).try_get_matches_from(argv).unwrap_err().to_string()
    };
    facts::compare(&directory.join("mxprobe.expected"), &help(&[]));
    for verb in cli::command().get_subcommands() {
        let help = help(&[verb.get_name()]);
        assert!(help.contains("Examples:"), "{help}");
        facts::compare(&directory.join(verb.get_name()).with_extension("expected"), &help);
    }
    cli::command().debug_assert();
}

#[test]
fn help_names_only_what_is_there() {
    let help = cli::command().render_long_help().to_string();
    assert!(!help.contains("\n  report"), "{help}");
}

#[test]
fn the_man_page_and_the_completions_know_every_flag_of_run() {
    let man = String::from_utf8(cli::completions::man()).unwrap();
    let bash = String::from_utf8(cli::completions::completions(clap_complete::Shell::Bash)).unwrap();
    let grammar = cli::command();
    for verb in ["run", "smoke"].map(|verb| grammar.find_subcommand(verb).unwrap()) {
        for flag in verb.get_arguments().filter_map(|arg| arg.get_long()) {
            assert!(bash.contains(&format!("--{flag}")), "--{flag} in the completions");
            assert!(man.contains(&format!("\\-\\-{}", flag.replace('-', "\\-"))), "--{flag} in the man page");
        }
    }
}

/// What no flag may take: it would end a command on the wire, or obey on a terminal.
const EVIL: [&str; 5] = ["a\r\nRCPT TO:<x@y.example>", "a\nb", "a@b.example>\r\nDATA", "a\0b", "\u{1b}]0;x\u{7}"];

#[test]
fn no_flag_lets_a_line_end_through() {
    let grammar = cli::command();
    // `smoke` has all the flags of `run`, and its own.
    let smoke = grammar.find_subcommand("smoke").unwrap();
    let none = BTreeMap::new();
    let mut tried = 0;
    for arg in smoke.get_arguments().filter(|arg| arg.get_action().takes_values()) {
        // Files have the names that they have; they never reach the wire.
        let is_path = ["owned", "body", "catalogue", "history", "record", "trust_anchor", "write_pool"]
            .contains(&arg.get_id().as_str());
        for evil in EVIL {
            let flag = arg.get_long().map(|long| format!("--{long}={evil}"));
            let argv = ["smoke", "aol.com"].map(str::to_owned).into_iter().chain(flag.clone());
            let argv = argv.chain(flag.is_none().then(|| evil.to_owned()));
            let env = arg
                .get_long()
                .map(|long| (format!("MXPROBE_{}", long.to_uppercase().replace('-', "_")), evil.to_owned()));
            for outcome in [
                parse(argv, &none),
                parse(["smoke", "aol.com"].map(str::to_owned).into_iter(), &env.into_iter().collect()),
            ] {
                match outcome {
                    Ok(_) => assert!(is_path || flag.is_none(), "{flag:?}"),
                    Err(usage) => {
                        assert_eq!((usage.status, usage.to_stdout), (2, false));
                        let body = usage.message.strip_suffix('\n').unwrap();
                        assert!(!body.contains(char::is_control), "{body:?}");
                    }
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "only {tried}");
}

proptest! {
    #[test]
    fn any_words_are_understood_or_refused(words in prop::collection::vec(
        prop_oneof![
            any::<String>(),
            prop::sample::select(vec![
                "run", "judge", "diff", "explain", "import", "sim", "demo", "man", "completions", "help", "--help", "-V", "--", "-",
                "aol.com", "--source", "192.0.2.1", "-li", "-tls", "-q", "HELO", "--until", "rcpt", "-t", "a@aol.com", "--format", "nagios",
                "--timeout", "mail=3s", "-4", "-6", "-v", "--quiet", "--public=1.2.3.4=5.6.7.8",
            ]).prop_map(str::to_owned),
        ],
        0..8,
    )) {
        if let Err(usage) = parse(words.into_iter(), &BTreeMap::new()) {
            prop_assert!(matches!(usage.status, 0 | 2 | 3));
            prop_assert!(usage.message.ends_with('\n'), "{:?}", usage.message);
            prop_assert!(!usage.message.chars().any(|c| c.is_control() && c != '\n'), "{:?}", usage.message);
        }
    }
}
