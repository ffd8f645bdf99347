//! What real mail servers wrote when they delivered to the simulated provider, read again: every case
//! of `tests/real/senders/expected`, over the logs and bounces that `tests/real/senders/all` gathers.
//!
//! Every report in a log or a bounce must be one that the case lists, and each that it lists must be
//! there. Then the bounce's way: `reproduce` must have met the same failure while the provider refused,
//! and nothing once it had healed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sender {
    /// What every report says.
    every: toml::Table,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// By scenario.
    errors: Vec<String>,
    /// The reports: fields, `null` for those that must be so, `wordless` where no reply is quoted.
    log: Vec<toml::Table>,
    bounce: Vec<toml::Table>,
    /// How deep the bounce is reproduced.
    until: String,
}

/// What a reply says, and nothing where it does not.
const WORDS: [&str; 6] = ["reply", "code", "enhanced", "class", "text-class", "tag"];

#[test]
#[ignore = "needs what tests/real/senders/all gathers"]
fn every_error_is_read_and_reproduced() {
    let gathered = std::env::var("MXPROBE_SENDERS_DIR").expect("MXPROBE_SENDERS_DIR is not set: run tests/run");
    let gathered = Path::new(&gathered);
    let words: toml::Table = read(&here().join("words.toml"));
    let (mut played, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(here().join("expected")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let sender: Sender = read(&path);
        let mut missing: BTreeSet<_> = words.keys().collect();
        for case in &sender.case {
            for error in &case.errors {
                let file = |what: &str| gathered.join(name).join(format!("{error}.{what}"));
                let said = words[error].as_table().unwrap();
                let mut faults = Vec::new();
                faults.extend(unlike(&file("log"), &case.log, &sender.every, said));
                faults.extend(unlike(&file("bounce"), &case.bounce, &sender.every, said));
                faults.extend(unlike_now(&file("now.jsonl"), &case.until));
                faults.extend(unlike_healed(&file("healed.jsonl"), &case.until));
                println!("{} {name}: {error}", if faults.is_empty() { "as said " } else { "NOT SO  " });
                wrong.extend(faults.into_iter().map(|fault| format!("{name}: {error}: {fault}")));
                assert!(missing.remove(error), "{name}: {error} twice, or of no scenario");
                played += 1;
            }
        }
        assert!(missing.is_empty(), "{name}: nothing about {missing:?}");
    }
    assert!(played >= 36, "only {played} cases were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/senders")
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What in the reports of a file is not as listed.
fn unlike(path: &Path, wants: &[toml::Table], every: &toml::Table, words: &toml::Table) -> Vec<String> {
    let what = path.extension().unwrap().to_string_lossy();
    if !path.is_file() {
        return vec![format!("there is no {what}")];
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_mxprobe")).args(["explain", "--format", "jsonl"]).arg(path).output().unwrap();
    let reports = lines(&String::from_utf8(output.stdout).unwrap(), "report");
    let mut faults = Vec::new();
    if reports.is_empty() {
        faults.push(format!("no report in the {what}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    for report in &reports {
        let differences: Vec<_> = wants.iter().map(|want| differs(report, want, every, words)).collect();
        if let Some(least) = differences.iter().min_by_key(|faults| faults.len()).filter(|faults| !faults.is_empty()) {
            faults.push(format!("in the {what}: {}; {report}", least.join(", ")));
        }
    }
    for want in wants {
        if !reports.iter().any(|report| differs(report, want, every, words).is_empty()) {
            faults.push(format!("in the {what}: nothing like {want}"));
        }
    }
    faults
}

fn differs(report: &Value, want: &toml::Table, every: &toml::Table, words: &toml::Table) -> Vec<String> {
    let wordless = want.contains_key("wordless");
    let quoted = |field: &str| words.get(field).filter(|_| !wordless);
    let notes = want.get("notes").or_else(|| quoted("notes")).cloned().unwrap_or_else(|| toml::Value::Array(vec![]));
    let mut faults = Vec::new();
    let mut check = |field: &str, wanted: Option<&toml::Value>| {
        let wanted = wanted.map(|wanted| serde_json::to_value(wanted).unwrap()).unwrap_or_default();
        if !agrees(&report[field], &wanted) {
            faults.push(format!("{field} is {}, wanted {wanted}", report[field]));
        }
    };
    for field in WORDS {
        check(field, quoted(field));
    }
    check("notes", Some(&notes));
    for field in want.get("null").and_then(toml::Value::as_array).into_iter().flatten() {
        check(field.as_str().unwrap(), None);
    }
    let stated = want.iter().filter(|(field, _)| !["notes", "null", "wordless"].contains(&field.as_str()));
    let general = every.iter().filter(|(field, _)| !want.contains_key(*field));
    for (field, wanted) in stated.chain(general) {
        check(field, Some(wanted));
    }
    // Whichever it was, the name and the address are of one host.
    let last = |field: &str| report[field].as_str().map(|text| text.trim_end_matches(".mx.aol.com").as_bytes());
    if let (Some(mx), Some(address)) = (last("mx"), last("address"))
        && mx.last() != address.last()
    {
        faults.push(format!("{} is not the address of {}", report["address"], report["mx"]));
    }
    faults
}

/// A `*` at the end of a part stands for one character or more.
fn agrees(found: &Value, wanted: &Value) -> bool {
    match (found.as_str(), wanted.as_str().and_then(|text| text.split_once('*'))) {
        (Some(found), Some((start, end))) => {
            found.len() > start.len() + end.len() && found.starts_with(start) && found.ends_with(end)
        }
        _ => found == wanted,
    }
}

/// Both addresses refuse, so two sessions settle it.
fn unlike_now(path: &Path, until: &str) -> Vec<String> {
    let wanted = serde_json::json!({
        "result": "reproduced", "sessions": 2, "same": 2, "different": 0, "domain": "aol.com", "until": until,
        "sources": ["127.0.0.11"], "addresses": ["127.1.0.21", "127.1.0.22"], "because": "confirmed: in different cells",
    });
    unlike_result(path, &wanted, 1)
}

/// Nothing in 29 sessions: at most 1 - 0.05^(1/29) of them would fail.
fn unlike_healed(path: &Path, until: &str) -> Vec<String> {
    let wanted = serde_json::json!({
        "result": "not-reproduced", "sessions": 29, "same": 0, "different": 0, "domain": "aol.com", "until": until,
        "rate-low": 0.0, "rate-high": 1.0 - 0.05_f64.powf(1.0 / 29.0), "detectable-rate": 0.1,
    });
    unlike_result(path, &wanted, 0)
}

fn unlike_result(path: &Path, wanted: &Value, exit: u64) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(path) else { return vec![format!("there is no {}", path.display())] };
    let (results, summaries) = (lines(&text, "reproduction"), lines(&text, "summary"));
    let ([result], [summary]) = (&*results, &*summaries) else {
        return vec![format!("{} results: {results:?}", results.len())];
    };
    let near = |a: &Value, b: &Value| a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-6);
    let mut faults: Vec<String> = wanted
        .as_object()
        .unwrap()
        .iter()
        .filter(|(field, wanted)| result[*field] != **wanted && !near(&result[*field], wanted))
        .map(|(field, wanted)| format!("{field} {}, wanted {wanted}; {result}", result[field]))
        .collect();
    if summary["exit"] != exit {
        faults.push(format!("exit {}, wanted {exit}", summary["exit"]));
    }
    faults
}

fn lines(text: &str, of: &str) -> Vec<Value> {
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|line| line["type"] == of).collect()
}
