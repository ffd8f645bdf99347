//! Replies are the same however the bytes are cut, lossless, and of bounded size.

use mxprobe::smtp::decoder::{Decoder, Garbled, Malformed};
use mxprobe::smtp::reply::Reply;

pub fn decoder(bytes: &[u8]) {
    let whole = decode(bytes, |_| bytes.len());
    let mut turn = 0;
    for pieces in [
        decode(bytes, |_| 1),
        decode(bytes, |_| 7),
        // Wherever the bytes themselves say.
        decode(bytes, |next| 1 + usize::from(next % 61)),
        decode(bytes, |_| {
            turn = turn % 5 + 1;
            turn * turn
        }),
    ] {
        assert_eq!(pieces.replies, whole.replies);
        assert_eq!(pieces.leftover, whole.leftover);
        match (&pieces.malformed, &whole.malformed) {
            // What had come of the line when it grew too long hangs on the cut.
            (Some(a), Some(b)) if a.why == Garbled::TooLong => {
                assert_eq!(b.why, Garbled::TooLong);
                let shorter = a.line.len().min(b.line.len());
                assert_eq!(a.line[..shorter], b.line[..shorter]);
            }
            (a, b) => assert_eq!(a, b),
        }
    }
    lossless(bytes, &whole);
}

#[derive(Debug)]
struct Decoded {
    replies: Vec<Reply>,
    malformed: Option<Malformed>,
    /// What waits at the end, where nothing was wrong.
    leftover: Option<Vec<u8>>,
}

/// Decodes in pieces, each as long as `size` makes of the byte it begins with.
fn decode(mut bytes: &[u8], mut size: impl FnMut(u8) -> usize) -> Decoded {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    while let Some(&first) = bytes.first() {
        let (piece, rest) = bytes.split_at(size(first).min(bytes.len()));
        bytes = rest;
        decoder.extend(piece);
        loop {
            match decoder.decode() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(malformed) => {
                    assert!(malformed.line.len() <= 512);
                    return Decoded { replies, malformed: Some(malformed), leftover: None };
                }
            }
        }
    }
    let leftover = decoder.leftover();
    assert!(leftover.len() <= 512);
    assert_eq!(decoder.has_leftover(), !leftover.is_empty());
    Decoded { replies, malformed: None, leftover: Some(leftover) }
}

/// The replies are the bytes, line by line.
fn lossless(bytes: &[u8], decoded: &Decoded) {
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    for reply in &decoded.replies {
        let mut bare_lf = false;
        let mut size = 0;
        for line in &reply.lines {
            let said = lines.next().unwrap();
            size += said.len();
            let said = said.strip_suffix(b"\n").unwrap();
            bare_lf |= !said.ends_with(b"\r");
            assert_eq!(line, said.strip_suffix(b"\r").unwrap_or(said));
            assert_eq!(line[..3], *reply.code.get().to_string().as_bytes());
        }
        assert_eq!(reply.bare_lf, bare_lf);
        assert!(size <= Decoder::LIMIT && !reply.lines.is_empty());
    }
}
