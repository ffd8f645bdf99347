//! Every recording under `tests/outputs`, written out in every format.
//!
//! A case is `NAME.jsonl`, a recording as it is, or `NAME.toml`, a world that is drawn up here (see
//! [`world`]). What each format makes of it stands beside it, `NAME.txt` and so on, and is compared
//! byte for byte; `BLESS=1 cargo test --test outputs` writes it anew.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use mxprobe::record::Line;
use mxprobe::sink::{Detail, Format, Look, Sink, jsonl::Jsonl, open};

#[path = "outputs/world.rs"]
mod world;

/// The formats and the ending of their files.
const ENDINGS: [(Format, &str); 1] = [(Format::Text, "txt")];

#[test]
fn every_output_is_the_one_on_record() {
    let mut differ = Vec::new();
    for (name, lines) in cases() {
        for (format, ending) in ENDINGS {
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
        let back: Vec<Line> = text.lines().map(|line| Line::parse(line).unwrap().unwrap()).collect();
        assert_eq!(back, lines, "{name}");
        assert_eq!(text.lines().count(), lines.len(), "{name}");
    }
}

#[test]
fn jsonl_holds_nothing_back() {
    for (name, lines) in cases() {
        let out = Shared::default();
        let mut sink = Jsonl::new(out.clone());
        for (count, line) in lines.iter().enumerate() {
            sink.line(line).unwrap();
            assert_eq!(out.text().lines().count(), count + 1, "{name}");
        }
    }
}

#[test]
fn text_keeps_to_its_width_and_holds_nothing_that_acts() {
    for (name, lines) in cases() {
        for width in [40, 61, 80, 132] {
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
    text.lines().map(line).collect()
}

fn written(format: Format, lines: &[Line], look: Look) -> String {
    let out = Shared::default();
    let mut sink = open(format, out.clone(), look);
    lines.iter().for_each(|line| sink.line(line).unwrap());
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
