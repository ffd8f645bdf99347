//! What the program draws on a terminal: a progress bar that is seen while a run lasts, and of which
//! nothing is left between the lines of the result. The terminal is a real one, made by script(1),
//! 80 columns wide; what is on it in the end is worked out here.

use std::process::{Command, Stdio};

use serde_json::Value;

/// What was sent to the terminal.
fn typescript(words: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("typescript");
    let line = format!("stty cols 80 rows 24; {} {words}", env!("CARGO_BIN_EXE_mxprobe"));
    let status = Command::new("script")
        .args(["--quiet", "--return", "--command", &line])
        .arg(&path)
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{words}: {status}");
    let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    // script's own first and last line.
    let (_, text) = text.split_once('\n').unwrap();
    text.rsplit_once("\nScript done").map_or(text, |(text, _)| text).to_owned()
}

/// The rows that are on the terminal in the end. Long lines are left long: only the bar counts on
/// the width, and must keep to it.
fn rows(sent: &str) -> Vec<String> {
    let (mut rows, mut row, mut column) = (vec![Vec::new()], 0, 0);
    let mut rest = sent.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if rows.len() == row {
                    rows.push(Vec::new());
                }
            }
            '\x1b' => {
                assert_eq!(rest.next(), Some('['), "only control sequences");
                let number: String = rest.by_ref().take_while(char::is_ascii_digit).collect();
                // The letter that ended the number was taken with it; it is found by its place.
                let letter = sent[..sent.len() - rest.as_str().len()].chars().next_back().unwrap();
                match (letter, number.parse().unwrap_or(1)) {
                    ('K', 2) => rows[row].clear(),
                    ('K', _) => rows[row].truncate(column),
                    ('A', up) => row -= up,
                    other => panic!("a control sequence that a bar has no need of: {other:?}"),
                }
            }
            c => {
                let line: &mut Vec<char> = &mut rows[row];
                if line.len() <= column {
                    line.resize(column + 1, ' ');
                }
                line[column] = c;
                column += 1;
            }
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

/// The bars that were drawn, one after the other.
fn bars(sent: &str) -> Vec<&str> {
    sent.split(['\r', '\n']).filter(|drawn| drawn.contains(" sessions, ")).collect()
}

#[test]
#[ignore = "needs script(1), as tests/run has it"]
fn the_bar_is_drawn_and_leaves_nothing_behind() {
    for words in
        ["demo", "demo --verbose", "demo --transcript", "demo --format jsonl", "demo --format jsonl --transcript"]
    {
        let sent = typescript(words);
        let bars = bars(&sent);
        assert!(bars.len() > 3 && bars.iter().any(|bar| bar.contains("/32 sessions")), "{words}: {bars:?}");
        assert!(bars.iter().any(|bar| bar.contains(" failed")), "{words}: {bars:?}");
        for bar in bars {
            let width = bar.rsplit("\x1b[2K").next().unwrap_or(bar).trim_end().chars().count();
            assert!(width <= 80, "{words}: {width} columns: {bar}");
        }
        let rows = rows(&sent);
        let left: Vec<&String> =
            rows.iter().filter(|row| row.contains(" sessions, ") || row.contains('\u{2591}')).collect();
        assert!(left.is_empty(), "{words}: {left:#?}");
        if words == "demo --format jsonl" {
            let lines: Vec<Value> = rows.iter().filter(|row| !row.is_empty()).map(|row| parse(row)).collect();
            assert_eq!(lines.last().unwrap()["type"], "summary");
            assert_eq!(lines.iter().filter(|line| line["type"] == "session").count(), 32);
        } else if !words.contains("jsonl") {
            assert!(rows.iter().any(|row| row.starts_with("32 sessions: 21 completed, 11 failed")), "{rows:#?}");
        }
    }
}

fn parse(row: &str) -> Value {
    serde_json::from_str(row).unwrap_or_else(|e| panic!("{e}: {row}"))
}

#[test]
#[ignore = "needs script(1), as tests/run has it"]
fn no_bar_where_none_is_wanted() {
    for words in ["demo --progress never", "demo --quiet", "demo 2>errors"] {
        assert_eq!(bars(&typescript(words)), Vec::<&str>::new(), "{words}");
    }
    // A bar for whoever looks on, and a file of the results alone.
    let sent = typescript("demo --format jsonl >run.jsonl; wc -l <run.jsonl");
    assert!(!bars(&sent).is_empty());
    let rows = rows(&sent);
    let lines: Vec<&str> = rows.iter().map(|row| row.trim()).filter(|row| !row.is_empty()).collect();
    assert!(matches!(lines[..], [count] if count.parse::<u32>().is_ok_and(|count| count > 34)), "{lines:?}");
}
