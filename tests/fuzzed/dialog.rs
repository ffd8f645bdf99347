//! What is written down in the dialog notation is read again as it was, whoever wrote it.

use std::time::Duration;

use mxprobe::smtp::dialog::{Act, Dialog, Line, escape, unescape};

use super::is_tame;
use super::tape::Tape;

pub fn dialog(bytes: &[u8]) {
    // A file that somebody wrote.
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Dialog>() {
        Ok(dialog) => again(&dialog),
        Err(error) => assert!(is_tame(&error.to_string()) && error.to_string().len() < 1500, "{error}"),
    }
    // A session as it was held, with a server that says anything.
    again(&held(Tape(bytes)));
    assert_eq!(unescape(&escape(bytes)), bytes);
}

fn again(dialog: &Dialog) {
    let written = dialog.to_string();
    let read: Dialog = written.parse().unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(read, *dialog, "{written}");
    for line in &dialog.lines {
        let line = line.to_string();
        assert!(is_tame(&line) && !line.contains('\n'), "{line:?}");
    }
}

fn held(mut tape: Tape<'_>) -> Dialog {
    let mut dialog = Dialog::default();
    while !tape.is_over() {
        let after = match tape.byte() {
            byte @ 0..=99 => Duration::from_millis(u64::from(byte / 10)),
            byte => Duration::from_micros(u64::from(byte) * u64::from(tape.number()) * 1_000_003),
        };
        let act = match tape.byte() % 10 {
            0 => Act::Close,
            1 => Act::Reset,
            2 => Act::Silence,
            3 => Act::Tls,
            4 => Act::TlsFails,
            5 => {
                let n = tape.byte();
                Act::Client(tape.take(n.into()).to_vec())
            }
            kind => {
                let times = [1, 1, 0, 2, u32::MAX][usize::from(tape.byte()) % 5];
                let n = tape.byte();
                Act::Server { bytes: tape.take(n.into()).to_vec(), joined: kind == 6, times }
            }
        };
        dialog.lines.push(Line { after, act });
    }
    dialog
}
