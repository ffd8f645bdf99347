//! From the bytes of the wire to replies (RFC 5321, section 4.2), in bounded memory.

use std::fmt;

use super::reply::{Code, Enhanced, Reply};

/// Collects bytes until they make a reply.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How far into `buffer` no line end was found yet.
    searched: usize,
    lines: Vec<Vec<u8>>,
    code: Option<Code>,
    bare_lf: bool,
    size: usize,
}

impl Decoder {
    /// The most bytes one reply may take.
    pub const LIMIT: usize = 64 * 1024;

    /// Takes more bytes from the wire.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete reply, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// Says why the bytes are no reply. The decoder is of no use afterwards.
    pub fn decode(&mut self) -> Result<Option<Reply>, Malformed> {
        while let Some(found) = self.buffer[self.searched..].iter().position(|&b| b == b'\n') {
            let end = self.searched + found;
            self.size += end + 1;
            let mut line = &self.buffer[..end];
            match line.split_last() {
                Some((b'\r', before)) => line = before,
                _ => self.bare_lf = true,
            }
            if self.size > Self::LIMIT {
                return Err(Malformed::new(Garbled::TooLong, line));
            }
            let (code, last) = split(line).ok_or_else(|| Malformed::new(Garbled::NotAReply, line))?;
            if *self.code.get_or_insert(code) != code {
                return Err(Malformed::new(Garbled::CodeChanged, line));
            }
            self.lines.push(line.to_vec());
            self.buffer.drain(..=end);
            self.searched = 0;
            if last {
                return Ok(Some(self.finish(code)));
            }
        }
        self.searched = self.buffer.len();
        if self.size + self.buffer.len() > Self::LIMIT {
            return Err(Malformed::new(Garbled::TooLong, &self.buffer));
        }
        Ok(None)
    }

    /// True when bytes are waiting that belong to no reply yet.
    #[must_use]
    pub fn has_leftover(&self) -> bool {
        !self.buffer.is_empty() || !self.lines.is_empty()
    }

    /// The first bytes of what is waiting, at most 512: a reply that has no end yet.
    #[must_use]
    pub fn leftover(&self) -> Vec<u8> {
        let lines = self.lines.iter().flat_map(|line| line.iter().chain(b"\r\n"));
        lines.chain(&self.buffer).take(512).copied().collect()
    }

    fn finish(&mut self, code: Code) -> Reply {
        self.code = None;
        self.size = 0;
        let lines = std::mem::take(&mut self.lines);
        let enhanced = lines.iter().find_map(|line| Enhanced::leading(line.get(4..)?));
        Reply { code, enhanced, lines, bare_lf: std::mem::take(&mut self.bare_lf) }
    }
}

/// Bytes that are no reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed {
    /// What is wrong with them.
    pub why: Garbled,
    /// The first bytes of the offending line, at most 512.
    pub line: Vec<u8>,
}

impl Malformed {
    fn new(why: Garbled, line: &[u8]) -> Self {
        Self { why, line: line[..line.len().min(512)].to_vec() }
    }
}

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Garbled {
    /// A later line carries another code than the first.
    CodeChanged,
    /// A line does not start with a code between 200 and 599.
    NotAReply,
    /// The reply passes [`Decoder::LIMIT`].
    TooLong,
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CodeChanged => f.write_str("the code changes within one reply"),
            Self::NotAReply => f.write_str("a line does not start with a reply code"),
            Self::TooLong => write!(f, "the reply is longer than {} bytes", Decoder::LIMIT),
        }
    }
}

/// Splits a line's head into its code and whether the line is the reply's last.
fn split(line: &[u8]) -> Option<(Code, bool)> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = Code::new(digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))?;
    match rest.first() {
        None | Some(b' ') => Some((code, true)),
        Some(b'-') => Some((code, false)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], chunk: usize) -> Result<Vec<Reply>, Malformed> {
        let (mut decoder, mut replies) = (Decoder::default(), Vec::new());
        for part in bytes.chunks(chunk) {
            decoder.extend(part);
            while let Some(reply) = decoder.decode()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn a_reply_is_the_same_however_it_is_cut() {
        let bytes = b"220-a\xff b\r\n220 done\r\n421 4.7.0 [TSS04] later\n250\r\n";
        for chunk in 1..bytes.len() {
            let replies = decode(bytes, chunk).unwrap();
            assert_eq!(replies.len(), 3, "in chunks of {chunk}");
            assert_eq!(replies[0].lines, [b"220-a\xff b".to_vec(), b"220 done".to_vec()]);
            assert_eq!(replies[1].enhanced, "4.7.0".parse().ok());
            assert_eq!(replies[1].tag().as_deref(), Some("TSS04"));
            assert!(replies[1].bare_lf && !replies[2].bare_lf);
        }
    }

    #[test]
    fn what_is_no_reply_is_said_to_be_none() {
        let why = |bytes: &[u8]| decode(bytes, 4096).unwrap_err().why;
        for garbage in
            ["HTTP/1.1 400 Bad Request\r\n", "000 x\r\n", "999 x\r\n", "199 x\r\n", "2200 x\r\n", "\r\n", "22\r\n"]
        {
            assert_eq!(why(garbage.as_bytes()), Garbled::NotAReply, "{garbage:?}");
        }
        assert_eq!(why(b"250-a\r\n550 b\r\n"), Garbled::CodeChanged);
        assert_eq!(why(&b"2".repeat(Decoder::LIMIT + 1)), Garbled::TooLong);
        assert_eq!(why(&b"250-a\r\n".repeat(10_000)), Garbled::TooLong);
    }
}
