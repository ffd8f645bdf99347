//! Every recording under `tests/outputs`, written out in every format.
//!
//! A case is `NAME.jsonl`, a recording as it is, or `NAME.toml`, a world that is drawn up here (see
//! [`world`]). What each format makes of it stands beside it, `NAME.txt` and so on, and is compared
//! byte for byte; `BLESS=1 cargo test --test outputs` writes it anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mxprobe::record::Line;
use mxprobe::sink::{Detail, Format, Look, nagios, open};

#[path = "support/markup.rs"]
mod markup;
#[path = "outputs/world.rs"]
mod world;

/// The formats and the ending of their files.
const ENDINGS: [(Format, &str); 6] = [
    (Format::Text, "txt"),
    (Format::Nagios, "nagios"),
    (Format::Junit, "xml"),
    (Format::Markdown, "md"),
    (Format::Html, "html"),
    (Format::Prometheus, "prom"),
];

#[test]
fn every_output_is_the_one_on_record() {
    let mut differ = Vec::new();
    for (name, lines) in cases() {
        for (format, ending) in ENDINGS {
            // A line or more for each of a thousand sessions is no sight to keep.
            if lines.len() > 1_000 && matches!(format, Format::Junit | Format::Html | Format::Prometheus) {
                continue;
            }
            let path = folder().join(format!("{name}.{ending}"));
            let found = written(format, &lines, Look::default());
            if std::env::var_os("BLESS").is_some() {
                fs::write(&path, &found).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != found {
                differ.push(format!("{}:\n{found}", path.display()));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_recording_comes_out_of_jsonl_as_it_went_in() {
    for (name, lines) in cases() {
        let text = written(Format::Jsonl, &lines, Look::default());
        let back = recording(&text, Path::new(&name));
        assert_eq!(back, lines, "{name}");
        assert_eq!(text.lines().count(), lines.len(), "{name}");
    }
}

#[test]
fn jsonl_holds_nothing_back() {
    for (name, lines) in cases() {
        let out = Shared::default();
        let mut sink = open(Format::Jsonl, out.clone(), Look::default());
        for (count, line) in lines.iter().enumerate() {
            sink.line(line).and_then(|()| sink.flush()).unwrap();
            assert_eq!(out.text().lines().count(), count + 1, "{name}");
        }
    }
}

#[test]
fn text_keeps_to_its_width_and_holds_nothing_that_acts() {
    for (name, lines) in cases() {
        let widths: &[usize] = if lines.len() > 1_000 { &[80] } else { &[40, 61, 80, 132] };
        for &width in widths {
            for detail in [Detail::Quiet, Detail::Normal, Detail::Verbose] {
                let text = written(Format::Text, &lines, Look { width, colour: false, detail });
                for line in text.lines() {
                    assert!(mxprobe::visible::width(line) <= width, "{name} at {width}: {line}");
                    assert_eq!(mxprobe::visible::visible(line), line, "{name}");
                    assert_eq!(line.trim_end(), line, "{name}: blanks at the end of {line:?}");
                }
                let coloured = written(Format::Text, &lines, Look { width, colour: true, detail });
                assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), text, "{name}");
            }
        }
    }
}

#[test]
fn nothing_that_acts_gets_into_what_people_read() {
    for (name, lines) in cases() {
        for (format, ending) in ENDINGS {
            for line in written(format, &lines, Look::default()).lines() {
                assert_eq!(mxprobe::visible::visible(line), line, "{name}.{ending}");
            }
        }
    }
}

#[test]
fn a_plugin_says_one_status_and_only_one() {
    for (name, lines) in cases() {
        let text = written(Format::Nagios, &lines, Look::default());
        let first = text.lines().next().unwrap();
        let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][usize::from(nagios::status(&lines))];
        assert!(first.starts_with(&format!("SMTP {word} - ")), "{name}: {first}");
        assert_eq!(text.matches('|').count(), 1, "{name}: {text}");
        let (_, data) = first.split_once(" | ").unwrap();
        for datum in data.split(' ') {
            let (label, value) = datum.split_once('=').unwrap();
            assert!(label.len() > 2 && label.starts_with('\'') && label.ends_with('\''), "{name}: {datum}");
            let number = value.split(';').next().unwrap().trim_end_matches('s');
            assert!(number.parse::<f64>().unwrap() >= 0.0, "{name}: {datum}");
            assert!(value.matches(';').count() <= 4, "{name}: {datum}");
        }
    }
}

#[test]
fn a_test_report_is_xml_with_a_case_for_each_session() {
    use quick_xml::events::Event;
    for (name, lines) in cases() {
        let text = written(Format::Junit, &lines, Look::default());
        let mut reader = quick_xml::Reader::from_str(&text);
        let (mut cases, mut depth) = (0, 0);
        loop {
            match reader.read_event().unwrap_or_else(|e| panic!("{name}: {e}")) {
                Event::Start(element) | Event::Empty(element) => {
                    cases += usize::from(element.name().as_ref() == "testcase");
                    for attribute in element.attributes() {
                        attribute.unwrap().normalized_value(quick_xml::XmlVersion::Explicit1_0).unwrap();
                    }
                }
                Event::GeneralRef(name) => assert!(["amp", "lt", "gt", "quot", "apos"].contains(&&*name), "{name:?}"),
                Event::Eof => break,
                _ => {}
            }
            depth += 1;
        }
        // A smoke test's checks and verdicts are cases too.
        let is_smoke = lines.iter().any(|line| matches!(line, Line::Gate(_)));
        let is_case = |line: &&Line| match line {
            Line::Session(_) => true,
            Line::Check(_) | Line::Gate(_) => is_smoke,
            _ => false,
        };
        let wanted = lines.iter().filter(is_case).count();
        assert!(depth > 0 && cases == wanted, "{name}: {cases} of {wanted}");
        let said = text.split("tests=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(said, wanted.to_string(), "{name}");
        let legal = |c: char| matches!(c, '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(text.chars().all(legal), "{name}");
    }
}

#[test]
fn a_ticket_names_no_recipient_and_its_fences_hold() {
    for (name, lines) in cases() {
        let text = written(Format::Markdown, &lines, Look::default());
        let mut fence: Option<usize> = None;
        for line in text.lines() {
            let ticks = line.chars().take_while(|&c| c == '`').count();
            match fence {
                // CommonMark, section 4.5: as many backticks at least, and nothing else.
                Some(open) if ticks >= open && line.trim_matches('`').trim().is_empty() => fence = None,
                None if ticks >= 3 => fence = Some(ticks),
                Some(_) => {}
                None => assert!(!line.contains("<s") && !line.contains("<b>"), "{name}: {line}"),
            }
        }
        assert_eq!(fence, None, "{name}");
        for line in &lines {
            let Line::Session(session) = line else { continue };
            let Some((local, domain)) = session.to.as_deref().and_then(|to| to.split_once('@')) else { continue };
            let (text, local, domain) = (text.to_lowercase(), local.to_lowercase(), domain.to_lowercase());
            assert!(!text.contains(&local), "{name} names {local}");
            assert!(text.contains(&format!("…@{domain}")), "{name}");
        }
    }
}

#[test]
fn a_page_is_only_to_be_read_and_names_no_recipient() {
    for (name, lines) in cases() {
        let page = written(Format::Html, &lines, Look::default());
        markup::is_only_to_be_read(&name, &page);
        for line in &lines {
            let Line::Session(session) = line else { continue };
            let Some((local, _)) = session.to.as_deref().and_then(|to| to.split_once('@')) else { continue };
            assert!(!page.to_lowercase().contains(&local.to_lowercase()), "{name} names {local}");
        }
    }
}

#[test]
fn metrics_are_in_the_exposition_format() {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.is_empty();
    for (name, lines) in cases() {
        let text = written(Format::Prometheus, &lines, Look::default());
        assert!(text.ends_with('\n'), "{name}");
        let (mut family, mut families, mut seen) = ("", BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap();
                assert!(word(family) && families.insert(family), "{name}: {family} is not in one piece");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                assert_eq!(kind, format!("{family} gauge"), "{name}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                assert!(seen.insert(series), "{name}: {series} comes twice");
                let labels = series.strip_prefix(family).unwrap();
                let mut rest = labels.strip_prefix('{').map_or("", |l| l.strip_suffix('}').unwrap());
                while !rest.is_empty() {
                    let (label, value) = rest.split_once("=\"").unwrap();
                    assert!(word(label), "{name}: {label}");
                    let mut escaped = false;
                    let end = value.find(|c| {
                        let was = escaped;
                        escaped = c == '\\' && !was;
                        c == '"' && !was
                    });
                    let end = end.unwrap();
                    rest = value[end + 1..].trim_start_matches(',');
                }
            }
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_told_of() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_, lines) = cases().swap_remove(0);
    for &format in Format::ALL {
        let mut sink = open(format, Closed, Look::default());
        let result = lines.iter().try_for_each(|line| sink.line(line)).and_then(|()| sink.finish());
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe, "{format}");
    }
}

/// Every case's name and lines.
fn cases() -> Vec<(String, Vec<Line>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = || fs::read_to_string(&path).unwrap();
        let lines = match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl") => recording(&text(), &path),
            Some("toml") => world::lines(&text()),
            _ => continue,
        };
        cases.push((path.file_stem().unwrap().to_str().unwrap().to_owned(), lines));
    }
    assert!(cases.len() >= 6, "the cases are gone");
    cases
}

fn recording(text: &str, path: &Path) -> Vec<Line> {
    let line = |text| Line::parse(text).unwrap_or_else(|e| panic!("{}: {e}: {text}", path.display())).unwrap();
    let mut lines: Vec<Line> = text.lines().map(line).collect();
    for line in &mut lines {
        if let Line::Planned(fields) = line {
            // The line's type is not one of its fields.
            fields.remove("type");
        }
    }
    lines
}

fn written(format: Format, lines: &[Line], look: Look) -> String {
    let out = Shared::default();
    let mut sink = open(format, out.clone(), look);
    for line in lines {
        sink.line(line).unwrap();
    }
    sink.finish().unwrap();
    out.text()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outputs")
}

/// A writer that can be read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
