//! How well reports are read: reads every file that a directory's `expected.jsonl` names and counts,
//! per dialect and field, what is right, open, silent and wrong.
//!
//! ```text
//! cargo run --example accuracy -- DIR [--half tune|held-out] [--list]
//! ```
//!
//! - right: the field says what the truth says;
//! - open: no stage is said, the words allow several, and the truth is among these candidates;
//! - unsaid: null, and the file does not hold the value either (a stage that no report of the file names);
//! - silent: null although the file holds the value;
//! - wrong: the field says something else.
//!
//! The cases are split in two by a hash of their name: one half is for tuning, the other for the figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use mxprobe::record::Report;
use mxprobe::report::Reader;
use serde_json::Value;

const FIELDS: [&str; 10] =
    ["stage", "code", "enhanced", "host", "address", "recipient", "source", "action", "status", "mta"];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut dir, mut half, mut list) = (None, None, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--half" => half = args.next(),
            "--list" => list = true,
            _ => dir = Some(arg),
        }
    }
    let Some(dir) = dir else {
        eprintln!("usage: accuracy DIR [--half tune|held-out] [--list]");
        return ExitCode::from(2);
    };
    match measure(Path::new(&dir), half.as_deref(), list) {
        Ok(counts) => {
            print(&counts);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{dir}: {error}");
            ExitCode::from(2)
        }
    }
}

/// right, open, unsaid, silent, wrong; by dialect and field.
type Counts = BTreeMap<(String, &'static str), [u64; 5]>;

fn measure(dir: &Path, half: Option<&str>, list: bool) -> Result<Counts, Box<dyn std::error::Error>> {
    let mut counts = Counts::new();
    for line in fs::read_to_string(dir.join("expected.jsonl"))?.lines().filter(|line| !line.trim().is_empty()) {
        let truth: Value = serde_json::from_str(line)?;
        let name = truth["id"].as_str().or_else(|| truth["file"].as_str()).unwrap_or_default();
        let this = if hash(name).is_multiple_of(2) { "tune" } else { "held-out" };
        if half.is_some_and(|half| half != this) {
            continue;
        }
        let mta = truth["mta"].as_str().unwrap_or("?").to_owned();
        for (file, kind) in files(&truth) {
            let bytes = fs::read(dir.join(&file))?;
            let reading = Reader::new().read(&file, &bytes);
            let reports: Vec<&Report> = reading.reports.iter().filter(|r| about(r, &truth)).collect();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for field in FIELDS {
                let Some(wanted) = wanted(&truth, field) else { continue };
                let verdict = judge(&reports, field, &wanted, &text);
                counts.entry((format!("{mta} {kind}"), field)).or_default()[verdict] += 1;
                if list && verdict > 2 {
                    let said: Vec<String> =
                        reports.iter().map(|r| format!("{:?}{:?}", value(r, field), r.candidates)).collect();
                    println!(
                        "{} {file} {field}: wanted {wanted:?}, {}",
                        ["", "", "", "silent", "WRONG"][verdict],
                        said.join(" ")
                    );
                }
            }
        }
    }
    Ok(counts)
}

fn files(truth: &Value) -> Vec<(String, &'static str)> {
    let log = truth["log"].as_str().map(|file| (file.to_owned(), "log"));
    let one = truth["file"].as_str().map(|file| (file.to_owned(), "eml"));
    let mails =
        truth["eml"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|file| (file.to_owned(), "eml"));
    log.into_iter().chain(one).chain(mails).collect()
}

/// Whether a report is about the case's recipient, or names none.
fn about(report: &Report, truth: &Value) -> bool {
    let domain = |address: &str| address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    let wanted = truth["recipient"].as_str();
    match (report.recipient.as_deref(), wanted) {
        (Some(said), Some(wanted)) if truth["id"].is_string() => domain(said) == domain(wanted),
        (Some(said), Some(wanted)) => said.eq_ignore_ascii_case(wanted),
        _ => true,
    }
}

/// The values of which any is right; none where the truth says nothing of the field.
fn wanted(truth: &Value, field: &str) -> Option<Vec<String>> {
    let lab = truth["id"].is_string();
    let one = |name: &str| truth.get(name).filter(|v| !v.is_null());
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned).to_ascii_lowercase();
    let unscored = truth["unscored"].as_array().is_some_and(|names| {
        names.iter().any(|n| n == field || n == "rhost" && field == "host" || n == "rip" && field == "address")
    });
    if unscored {
        return None;
    }
    let lab_names = [
        ("host", "mx"),
        ("address", "address"),
        ("recipient", "recipient"),
        ("source", "source"),
        ("code", "code"),
        ("stage", "stage"),
    ];
    let sample_names = [
        ("host", "rhost"),
        ("address", "rip"),
        ("recipient", "recipient"),
        ("code", "replycode"),
        ("enhanced", "enhanced"),
        ("action", "action"),
        ("status", "dsn_status"),
        ("source", "lip"),
    ];
    if lab {
        if field == "enhanced" {
            let reply = truth["reply"].as_array()?.first()?.as_str()?;
            let word = reply.get(4..)?.split(' ').next()?;
            return word.parse::<mxprobe::smtp::reply::Enhanced>().ok().map(|e| vec![e.to_string()]);
        }
        let name = lab_names.iter().find(|(f, _)| *f == field)?.1;
        return one(name).map(|v| vec![text(v)]);
    }
    if field == "stage" || field == "mta" {
        let accepted = truth[format!("{field}_accept")].as_array()?;
        return Some(accepted.iter().map(|v| text(v).replace("unknown", "null")).collect());
    }
    let name = sample_names.iter().find(|(f, _)| *f == field)?.1;
    Some(vec![one(name).map_or_else(|| "null".to_owned(), text)])
}

fn value(report: &Report, field: &str) -> Option<String> {
    let text = match field {
        "stage" => report.stage?.to_string(),
        "code" => report.code?.to_string(),
        "enhanced" => report.enhanced?.to_string(),
        "host" => report.mx.clone()?,
        "address" => report.address?.to_string(),
        "recipient" => report.recipient.clone()?,
        "source" => report.source?.to_string(),
        "action" => report.action.clone()?,
        "status" => report.status.clone()?,
        "mta" => report.mta.clone()?,
        _ => return None,
    };
    Some(text.to_ascii_lowercase())
}

fn judge(reports: &[&Report], field: &str, wanted: &[String], text: &str) -> usize {
    const RIGHT: usize = 0;
    const OPEN: usize = 1;
    const UNSAID: usize = 2;
    const SILENT: usize = 3;
    const WRONG: usize = 4;
    let (mut right, mut open, mut wrong) = (false, false, false);
    for report in reports {
        let candidate = field == "stage" && report.candidates.iter().any(|stage| wanted.contains(&stage.to_string()));
        match value(report, field) {
            Some(said) if wanted.contains(&said) || same_user(field, &said, wanted) => right = true,
            Some(_) => wrong = true,
            None if candidate => open = true,
            None => {}
        }
    }
    let null = wanted.contains(&"null".to_owned());
    match () {
        () if wrong => WRONG,
        () if right || null => RIGHT,
        () if open => OPEN,
        // A log that ends without a word of what went wrong.
        () if reports.is_empty() && !tells_an_error(text) => UNSAID,
        () if field == "stage" => {
            if reports.is_empty() {
                SILENT
            } else {
                UNSAID
            }
        }
        () if wanted.iter().any(|w| text.to_ascii_lowercase().contains(w.as_str())) => SILENT,
        () => UNSAID,
    }
}

fn tells_an_error(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["fail", "defer", "error", "reject", "refus", "timed out", "timeout", "reset", "closed", "did not"]
        .iter()
        .any(|word| text.contains(word))
}

/// The suspended cases have several recipients at the same domain.
fn same_user(field: &str, said: &str, wanted: &[String]) -> bool {
    field == "recipient"
        && wanted.iter().any(|w| {
            said.starts_with("user") && w.starts_with("user@") && said.split('@').nth(1) == w.split('@').nth(1)
        })
}

fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)) >> 7
}

fn print(counts: &Counts) {
    println!(
        "{:<22} {:<10} {:>6} {:>5} {:>7} {:>7} {:>6}",
        "dialect", "field", "right", "open", "unsaid", "silent", "wrong"
    );
    for ((mta, field), [right, open, unsaid, silent, wrong]) in counts {
        println!("{mta:<22} {field:<10} {right:>6} {open:>5} {unsaid:>7} {silent:>7} {wrong:>6}");
    }
    println!();
    for field in FIELDS {
        let sum = counts.iter().filter(|((_, f), _)| *f == field).fold([0; 5], |mut sum, (_, n)| {
            sum.iter_mut().zip(n).for_each(|(s, n)| *s += n);
            sum
        });
        let stated = sum[0] + sum[1] + sum[3] + sum[4];
        if stated > 0 {
            #[expect(clippy::cast_precision_loss, reason = "counts of files")]
            let share = |n: u64| 100.0 * n as f64 / stated as f64;
            println!(
                "{:<22} {field:<10} {:>6} {:>5} {:>7} {:>7} {:>6}   of {stated} stated: {:.1} % right, {:.1} % open, {:.1} % wrong",
                "all",
                sum[0],
                sum[1],
                sum[2],
                sum[3],
                sum[4],
                share(sum[0]),
                share(sum[1]),
                share(sum[4])
            );
        }
    }
}
