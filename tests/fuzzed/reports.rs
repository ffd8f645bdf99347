//! Bounces, logs and pasted words: the same reports however the bytes arrive, numbered, on lines that
//! are there, and fit to be recorded.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};

use mxprobe::record::{Line, Report};
use mxprobe::report::Reader;
use mxprobe::report::import::{Import, Imported};

use super::judge::judged;

pub fn reports(bytes: &[u8]) {
    let reading = Reader::new().read("-", bytes);
    let plain = !bytes.starts_with(&[0x1f, 0x8b]) && !bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    for (report, seq) in reading.reports.iter().zip(1..) {
        assert_eq!((report.seq, &*report.file), (seq, "-"));
        let line = usize::try_from(report.line.unwrap()).unwrap();
        let last = bytes.split(|&byte| byte == b'\n').count() + 1;
        assert!(line >= 1 && (!plain || line <= last), "line {line} of {last}");
        assert!(report.code.is_some() || report.enhanced.is_none() || report.reply.is_some(), "{report:?}");
        recorded(&Line::Report(Box::new(report.clone())));
    }
    if plain {
        assert!(reading.reports.len() <= bytes.len() / 4 + 1, "{} of {} bytes", reading.reports.len(), bytes.len());
    }
    for size in [1, 13] {
        let mut reports: Vec<Report> = Vec::new();
        let slow = BufReader::with_capacity(64, Slowly(bytes.iter().copied().collect(), size));
        let skipped = Reader::new().read_from("-", slow, &mut |report| reports.push(report)).unwrap();
        assert_eq!((&reports, skipped), (&reading.reports, reading.skipped), "at {size} bytes a read");
    }
}

pub fn import(bytes: &[u8]) {
    let read = |input: &mut (dyn Read + Send)| {
        let mut lines = Vec::new();
        let told = Import::new(2026).run("r").read(input, &mut |line| lines.push(line)).unwrap();
        (lines, told)
    };
    let (lines, told) = read(&mut &bytes[..]);
    let Imported { failed, passed, .. } = told;
    let sessions = lines.iter().filter(|line| matches!(line, Line::Session(_))).count();
    assert_eq!(failed, sessions as u64);
    let counts = lines.iter().map(|line| if let Line::Passed(passed) = line { passed.count } else { 0 });
    assert_eq!(passed, counts.sum::<u64>());
    lines.iter().for_each(recorded);
    judged(&lines);
    let slow = read(&mut Slowly(bytes.iter().copied().collect(), 13));
    if told.damaged {
        // How much comes out of an archive before its damage shows is its library's affair.
        assert!(slow.1.damaged, "at 13 bytes a read");
    } else {
        assert_eq!(slow, (lines, told), "at 13 bytes a read");
    }
}

/// The line is written, read and written as before.
fn recorded(line: &Line) {
    let written = serde_json::to_string(line).unwrap();
    assert!(!written.contains('\n'));
    let read = Line::parse(&written).unwrap().unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), written);
}

/// A pipe that hands over a few bytes at a time.
struct Slowly(VecDeque<u8>, usize);

impl Read for Slowly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(into.len());
        self.0.read(&mut into[..n])
    }
}
