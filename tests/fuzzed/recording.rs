//! A recording that somebody else wrote: read or refused with the line's number, written as it was
//! read, judged, and shown in every format without a character that acts.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use mxprobe::judge::Evidence;
use mxprobe::record::Line;
use mxprobe::sink::{Format, Look, open};
use mxprobe::visible::visible;

use super::judge::{judged, keeps_its_rules};

pub fn recording(bytes: &[u8]) {
    let mut evidence = Evidence::new();
    let mut seen = 0;
    let read = evidence.read_with(bytes, "a.jsonl", &mut |_| seen += 1);
    if let Err(error) = &read {
        let count = bytes.split(|&byte| byte == b'\n').count() as u64;
        assert!((1..=count).contains(&error.line) && error.name == "a.jsonl", "{error}");
        assert!(error.problem.len() < 4 * bytes.len() + 1000, "{error}");
    }
    keeps_its_rules(&evidence);

    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<Line> = text.lines().filter_map(|line| Line::parse(line.trim()).ok().flatten()).collect();
    for line in &lines {
        let written = serde_json::to_string(line).unwrap();
        let read = Line::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}")).unwrap();
        // The first writing rounds a time to a millisecond, and the shortest number to itself.
        let written = serde_json::to_string(&read).unwrap();
        let read = Line::parse(&written).unwrap().unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }
    judged(&lines);
    for &format in Format::ALL {
        let shown = shown(format, &lines);
        if format == Format::Jsonl {
            assert_eq!(shown.lines().count(), lines.len());
            continue;
        }
        for line in shown.lines() {
            assert_eq!(visible(line), line, "{format}");
        }
        match format {
            Format::Junit => well_formed(&shown),
            Format::Nagios => assert_eq!(shown.matches('|').count(), 1, "{shown}"),
            Format::Prometheus => shown.lines().filter(|line| !line.starts_with('#')).for_each(sample),
            _ => {}
        }
    }
}

fn shown(format: Format, lines: &[Line]) -> String {
    let out = Shared::default();
    let mut sink = open(format, out.clone(), Look::default());
    for line in lines {
        sink.line(line).unwrap();
    }
    sink.finish().unwrap();
    drop(sink);
    String::from_utf8(std::mem::take(&mut out.0.lock().unwrap())).unwrap()
}

fn well_formed(xml: &str) {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(xml);
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {xml}")) {
            Event::Start(element) | Event::Empty(element) => {
                element.attributes().for_each(|attribute| assert!(attribute.is_ok(), "{xml}"));
            }
            Event::Eof => return,
            _ => {}
        }
    }
}

/// `name{label="value",…} number`: what is in quotes stays there.
fn sample(line: &str) {
    let (series, number) = line.rsplit_once(' ').unwrap();
    assert!(number.parse::<f64>().is_ok(), "{line}");
    let (mut quoted, mut escaped) = (false, false);
    for c in series.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c => assert!(quoted || c.is_ascii_alphanumeric() || "_{},=".contains(c), "{line}"),
        }
    }
    assert!(!quoted, "{line}");
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
