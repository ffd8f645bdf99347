//! Reported errors as data: every file under `tests/reports/` is a list of texts and what they say.
//!
//! A case's `want` names the fields of each report that matter; `null = [..]` names those that must
//! not be filled. A case with `mangle = true` is read again in every form in which people paste it.

use std::fs;

use mxprobe::record::Report;
use mxprobe::report::{Reader, Reading};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    text: String,
    #[serde(default)]
    want: Vec<toml::Table>,
    skipped: Option<u64>,
    year: Option<i16>,
    #[serde(default)]
    mangle: bool,
}

fn cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    let mut files: Vec<_> = fs::read_dir("tests/reports").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml")) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let file: File = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        cases.extend(file.case.into_iter().map(|case| (format!("{name}: {}", case.name), case)));
    }
    cases
}

fn read(case: &Case, text: &str) -> Reading {
    let reader = Reader::new();
    let reader = case.year.map_or(reader, |year| reader.year(year).offset(jiff::tz::Offset::UTC));
    reader.read("-", text.as_bytes())
}

/// What is wrong with a reading; empty where all is as wanted.
fn faults(case: &Case, reading: &Reading, only: Option<&[&str]>) -> Vec<String> {
    let mut faults = Vec::new();
    if reading.reports.len() != case.want.len() {
        faults.push(format!(
            "{} reports, wanted {}: {}",
            reading.reports.len(),
            case.want.len(),
            told(&reading.reports)
        ));
        return faults;
    }
    for (report, want) in reading.reports.iter().zip(&case.want) {
        let said = serde_json::to_value(report).unwrap();
        for (field, wanted) in want {
            if only.is_some_and(|only| !only.contains(&field.as_str())) {
                continue;
            }
            if field == "null" {
                for field in wanted.as_array().unwrap().iter().map(|field| field.as_str().unwrap()) {
                    if said.get(field).is_some_and(|value| !value.is_null() && *value != serde_json::json!([])) {
                        faults.push(format!("{field} is {}, wanted null", said[field]));
                    }
                }
                continue;
            }
            let wanted: serde_json::Value = serde_json::to_value(wanted).unwrap();
            if said.get(field) != Some(&wanted) {
                faults.push(format!(
                    "{field} is {}, wanted {wanted}",
                    said.get(field).unwrap_or(&serde_json::Value::Null)
                ));
            }
        }
    }
    if let Some(skipped) = case.skipped.filter(|skipped| *skipped != reading.skipped && only.is_none()) {
        faults.push(format!("{} skipped, wanted {skipped}", reading.skipped));
    }
    faults
}

fn told(reports: &[Report]) -> String {
    let each: Vec<String> = reports.iter().map(|r| format!("{:?} {:?} {:?}", r.mta, r.stage, r.evidence)).collect();
    each.join("\n    ")
}

#[test]
fn every_case_is_read_as_it_says() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() > 20);
    for (name, case) in cases {
        let reading = read(&case, &case.text);
        wrong.extend(faults(&case, &reading, None).into_iter().map(|fault| format!("{name}: {fault}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

type Mangle = fn(&str) -> String;

/// What happens to a text on its way into a form, and which fields must survive it.
const MANGLES: [(&str, Mangle, &[&str]); 11] = [
    ("curly quotes and dashes", |text| curly(text), ALL),
    ("no brackets", |text| text.replace(['<', '>', '[', ']'], " "), ALL),
    ("brackets gone without a trace", |text| text.replace(['<', '>', '[', ']'], ""), ALL),
    (
        "HTML entities",
        |text| {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&#39;")
        },
        ALL,
    ),
    ("quoted", |text| format!("> {}", text.trim_end().replace('\n', "\n> ")), ALL),
    ("quoted twice", |text| format!("> > {}", text.trim_end().replace('\n', "\n> > ")), ALL),
    ("literal line ends", |text| text.trim_end().replace('\n', "\\n"), ALL),
    ("CR LF", |text| text.replace('\n', "\r\n"), ALL),
    ("hard spaces", |text| text.replace(' ', "\u{a0}"), ALL),
    ("wrapped at words", |text| wrapped(text, 48), ALL),
    ("cut inside words", |text| broken(text), &["stage", "code", "attempt"]),
];

const ALL: &[&str] = &["stage", "candidates", "kind", "code", "enhanced", "mx", "address", "class", "attempt", "tag"];

fn curly(text: &str) -> String {
    let mut open = false;
    text.chars()
        .map(|c| match c {
            '"' => {
                open = !open;
                if open { '\u{201c}' } else { '\u{201d}' }
            }
            '\'' => '\u{2019}',
            c => c,
        })
        .collect::<String>()
        .replace(" - ", " \u{2013} ")
}

fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut at = 0;
        for word in line.split(' ') {
            if at > 0 && at + word.len() > width {
                out.push('\n');
                at = 0;
            } else if at > 0 {
                out.push(' ');
            }
            out.push_str(word);
            at += word.len() + 1;
        }
        out.push('\n');
    }
    out
}

/// Breaks every fourth long word of letters in its middle.
fn broken(text: &str) -> String {
    let mut seen = 0;
    let words: Vec<String> = text
        .split(' ')
        .map(|word| {
            let letters = word.len() > 5 && word.bytes().all(|b| b.is_ascii_alphabetic());
            seen += usize::from(letters);
            if letters && seen % 4 == 0 { format!("{}\n{}", &word[..3], &word[3..]) } else { word.to_owned() }
        })
        .collect();
    words.join(" ")
}

#[test]
fn pasting_changes_nothing_that_is_said() {
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (name, case) in cases().into_iter().filter(|(_, case)| case.mangle) {
        for (how, mangle, fields) in MANGLES {
            let reading = read(&case, &mangle(&case.text));
            tried += 1;
            wrong.extend(
                faults(&case, &reading, Some(fields)).into_iter().map(|fault| format!("{name}, {how}: {fault}")),
            );
        }
    }
    assert!(tried > 100);
    assert!(wrong.is_empty(), "{} wrong of {tried}\n{}", wrong.len(), wrong.join("\n"));
}

/// What real mailers wrote when a scripted provider refused them: `expected.jsonl` is what the provider
/// did, `stated.txt` which of it each file states.
#[test]
fn real_logs_and_bounces_say_what_happened() {
    let dir = std::path::Path::new("tests/reports/mta");
    let (mut stated, mut wrong) = (Vec::new(), Vec::new());
    for line in fs::read_to_string(dir.join("expected.jsonl")).unwrap().lines() {
        let truth: serde_json::Value = serde_json::from_str(line).unwrap();
        let mails = truth["eml"].as_array().unwrap().iter();
        for file in mails.chain([&truth["log"]]).filter_map(|file| file.as_str()) {
            let reading = Reader::new().read(file, &fs::read(dir.join(file)).unwrap());
            let mut says = std::collections::BTreeSet::new();
            for report in &reading.reports {
                let said = serde_json::to_value(report).unwrap();
                let open = report.candidates.iter().any(|stage| stage.as_str() == truth["stage"]);
                for (field, name) in [
                    ("stage", "stage"),
                    ("code", "code"),
                    ("mx", "mx"),
                    ("address", "address"),
                    ("domain", "domain"),
                    ("source", "source"),
                ] {
                    let wanted = if field == "domain" {
                        truth["recipient"].as_str().unwrap().split('@').nth(1).unwrap().into()
                    } else {
                        truth[field].clone()
                    };
                    if said[field] == wanted && !wanted.is_null() {
                        says.insert(name);
                    } else if field == "stage" && open {
                        says.insert("stage?");
                    } else if !said[field].is_null() {
                        wrong.push(format!("{file}: {field} is {}, and was {wanted}", said[field]));
                    }
                }
            }
            stated.push(format!("{file}: {}\n", says.into_iter().collect::<Vec<_>>().join(" ")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let (stated, recorded) = (stated.concat(), fs::read_to_string(dir.join("stated.txt")).unwrap_or_default());
    let changed: Vec<&str> = stated.lines().filter(|line| !recorded.lines().any(|other| other == *line)).collect();
    assert!(stated == recorded, "{} lines are not as recorded:\n{}", changed.len(), changed.join("\n"));
}
