//! Reading any reported error: bounces, MTA logs, pasted sentences.
//!
//! Bytes in, [`Report`]s out. A report says what the words say and nothing more: a field is null
//! where nobody stated it, and the stage is left open where the words leave it open.
//!
//! Each mailer's wording has a file of its own; what they share stands in `wording`, `reply`,
//! `sentence` and `transcript`. `mail` and `dsn` read bounces, `log` the heads of log lines, `text`
//! what people paste.

mod amazonses;
mod bare;
mod bounce;
mod courier;
mod dma;
mod dsn;
mod exchange;
mod exim;
mod finish;
mod gmail;
mod gmx;
mod haraka;
pub mod import;
mod input;
mod interscan;
mod kumomta;
mod log;
mod mail;
mod msmtp;
mod nullmailer;
mod opensmtpd;
mod oracle;
mod pieces;
mod postfix;
mod powermta;
mod qmail;
mod reply;
mod sendmail;
mod sentence;
mod squeeze;
mod swaks;
mod text;
mod transcript;
mod wording;
mod yahoo;

use std::io::{self, BufRead};

use jiff::tz::Offset;

use crate::record::Report;

/// One dialect's phrases in running text.
type Sentences = fn(&squeeze::Squeezed<'_>, &mut Vec<sentence::Hit>);

/// Every dialect that writes sentences.
const SENTENCES: [Sentences; 13] = [
    postfix::sentences,
    exim::sentences,
    qmail::sentences,
    sendmail::sentences,
    opensmtpd::sentences,
    dma::sentences,
    haraka::sentences,
    powermta::sentences,
    exchange::sentences,
    gmail::sentences,
    gmx::sentences,
    msmtp::sentences,
    interscan::sentences,
];

/// Reads reports; holds what the reader knows that the reports do not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    clock: log::Clock,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The errors, numbered from 1 in the order in which they stand.
    pub reports: Vec<Report>,
    /// Log lines, mails and paragraphs that report no error.
    pub skipped: u64,
}

impl Reader {
    /// A reader that knows nothing: log lines without year or offset get no time.
    #[must_use]
    pub const fn new() -> Self {
        Self { clock: log::Clock { year: None, offset: None } }
    }

    /// Says in which year the syslog lines that name none were written.
    #[must_use]
    pub const fn year(mut self, year: i16) -> Self {
        self.clock.year = Some(year);
        self
    }

    /// Says how far from UTC the stamps that name no offset are.
    #[must_use]
    pub const fn offset(mut self, offset: Offset) -> Self {
        self.clock.offset = Some(offset);
        self
    }

    /// Reads every error in `bytes`: a mail, an mbox, log lines, JSON, pasted text, or any of them
    /// compressed by gzip or zstd. `name` becomes the reports' `file`.
    #[must_use]
    pub fn read(&self, name: &str, bytes: &[u8]) -> Reading {
        let mut reports = Vec::new();
        let skipped = self.read_from(name, bytes, &mut |report| reports.push(report));
        Reading { reports, skipped: skipped.unwrap_or_else(|(_, skipped)| skipped) }
    }

    /// Reads every error from a stream and hands each over as it is read; memory stays bounded
    /// however long the stream or a line in it is. Returns how much was skipped.
    ///
    /// # Errors
    ///
    /// The stream's own error, with what was skipped until then. A damaged compressed stream is none:
    /// what could be read is read, the rest counts as skipped.
    pub fn read_from(
        &self,
        name: &str,
        input: impl BufRead,
        found: &mut dyn FnMut(Report),
    ) -> Result<u64, (io::Error, u64)> {
        input::read(self.clock, name, input, found)
    }
}
