//! Lines of MTA logs: the head that they share, and who reads the rest.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::{courier, dma, exim, haraka, kumomta, msmtp, nullmailer, opensmtpd, postfix, powermta, qmail, sendmail};
use crate::record::Report;

/// What one dialect makes of a line.
pub(crate) enum Taken {
    /// The line is not this dialect's.
    No,
    /// It is, but tells no error.
    Other,
    /// It tells these.
    Errors(Vec<Report>),
    /// It tells of a delivery that went through, `completed`, and of errors at other hosts before it.
    Passed(Vec<Report>, Box<Report>),
}

impl Taken {
    pub(crate) fn errors(errors: Vec<Report>) -> Self {
        if errors.is_empty() { Self::Other } else { Self::Errors(errors) }
    }

    /// A delivery that says where it went; any other tells nothing.
    pub(crate) fn passed(report: Report) -> Self {
        if report.address.is_some() { Self::Passed(Vec::new(), Box::new(report)) } else { Self::Other }
    }
}

/// What every dialect has to remember between lines; each memory is bounded.
#[derive(Default)]
pub(crate) struct Memory {
    accounting: powermta::Accounting,
    courier: courier::Log,
    dma: dma::Log,
    exim: exim::Log,
    opensmtpd: opensmtpd::Log,
    postfix: postfix::Log,
    qmail: qmail::Log,
    sendmail: sendmail::Log,
}

impl Memory {
    pub(crate) fn line(&mut self, clock: Clock, line: &str) -> Taken {
        let entry = Entry::read(clock, line);
        macro_rules! first {
            ($($dialect:expr),+ $(,)?) => {$(
                let taken = $dialect;
                if !matches!(taken, Taken::No) {
                    return taken;
                }
            )+};
        }
        first!(
            self.accounting.line(line),
            self.postfix.line(&entry),
            self.exim.line(&entry),
            self.sendmail.line(&entry),
            self.qmail.line(&entry),
            self.opensmtpd.line(&entry),
            self.courier.line(&entry),
            self.dma.line(&entry),
            msmtp::line(&entry),
            haraka::line(&entry),
            powermta::line(&entry),
            kumomta::line(line),
            nullmailer::line(&entry),
        );
        if entry.program.is_empty() { Taken::No } else { Taken::Other }
    }

    /// What was held back until it would be clear whether a later line repeats it.
    pub(crate) fn end(&mut self) -> Vec<Report> {
        let mut rest = self.postfix.end();
        rest.extend(self.exim.end());
        rest.extend(self.opensmtpd.end());
        rest.extend(self.courier.end());
        rest
    }
}

/// What turns a log's local time into an instant, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// The year of stamps that name none.
    pub(crate) year: Option<i16>,
    /// The offset of stamps that name none.
    pub(crate) offset: Option<Offset>,
}

impl Clock {
    pub(crate) fn instant(self, local: DateTime) -> Option<Timestamp> {
        self.offset?.to_timestamp(local).ok()
    }
}

/// A line, freed of its head.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) at: Option<Timestamp>,
    /// The host that logged it.
    pub(crate) host: Option<&'a str>,
    /// `postfix/smtp`, `sendmail`; empty where the line has no syslog head.
    pub(crate) program: &'a str,
    pub(crate) pid: &'a str,
    pub(crate) text: &'a str,
    /// Whether the line begins with a time, told or not.
    pub(crate) stamped: bool,
}

impl<'a> Entry<'a> {
    /// Takes the head off: `Nov 24 07:55:36 host prog[pid]: `, the same with an RFC 3339 stamp, RFC
    /// 5424's, Exim's `2026-11-24 07:55:36 +0000 `, multilog's `@4000…`, or nothing.
    pub(crate) fn read(clock: Clock, line: &'a str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        let unprioritised = line
            .strip_prefix('<')
            .and_then(|l| l.split_once('>'))
            .filter(|(n, _)| n.len() < 4 && n.bytes().all(|b| b.is_ascii_digit()))
            .map_or(line, |(_, l)| l);
        let versioned = unprioritised.strip_prefix("1 ").unwrap_or(unprioritised);
        let Some((at, rest)) = stamp(clock, versioned) else {
            return match program(line) {
                Some((program, pid, text)) => Self { at: None, host: None, program, pid, text, stamped: false },
                None => Self { at: None, host: None, program: "", pid: "", text: line, stamped: false },
            };
        };
        if let Some((program, pid, text)) = program(rest) {
            return Self { at, host: None, program, pid, text, stamped: true };
        }
        if let Some((host, rest)) = rest.split_once(' ') {
            if let Some((program, pid, text)) = program(rest) {
                return Self { at, host: Some(host), program, pid, text, stamped: true };
            }
            // RFC 5424: `host app pid msgid sd text`
            let mut words = rest.splitn(5, ' ');
            if versioned.len() != unprioritised.len()
                && let (Some(program), Some(pid), Some(_), Some(_), Some(text)) =
                    (words.next(), words.next(), words.next(), words.next(), words.next())
            {
                return Self { at, host: Some(host), program, pid, text, stamped: true };
            }
        }
        Self { at, host: None, program: "", pid: "", text: rest, stamped: true }
    }

    /// Fills in what the head of the line states.
    pub(crate) fn stamp(&self, mut report: Report) -> Report {
        report.at = report.at.or(self.at);
        report.local_host = report.local_host.take().or_else(|| self.host.map(str::to_owned));
        "log".clone_into(&mut report.format);
        report
    }
}

/// `prog[pid]: text` or `prog: text`.
fn program(text: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = text.split_once(": ").or_else(|| text.strip_suffix(':').map(|head| (head, "")))?;
    let (name, pid) = match head.split_once('[') {
        Some((name, pid)) => (name, pid.strip_suffix(']')?),
        None => (head, ""),
    };
    let sound = !name.is_empty()
        && name.len() < 60
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.()@".contains(&b));
    let known = !pid.is_empty()
        || ["courier", "qmail", "exim", "nullmailer", "smtpd", "sendmail", "sm-mta", "postfix"]
            .iter()
            .any(|k| name.starts_with(k));
    (sound && known && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())).then_some((name, pid, rest))
}

/// The stamp at the start of a line and what follows it.
pub(crate) fn stamp(clock: Clock, line: &str) -> Option<(Option<Timestamp>, &str)> {
    let bytes = line.as_bytes();
    if bytes.first() == Some(&b'@') && bytes.len() > 25 && bytes[1..25].iter().all(u8::is_ascii_hexdigit) {
        // TAI64N: seconds since 1970 plus 2^62, ten seconds ahead of UTC in 1970.
        let seconds = u64::from_str_radix(&line[1..17], 16).ok()?.checked_sub((1 << 62) + 10)?;
        return Some((Timestamp::from_second(i64::try_from(seconds).ok()?).ok(), line[25..].trim_start()));
    }
    if bytes.len() > 15
        && bytes[..15].is_ascii()
        && bytes[3] == b' '
        && bytes[..3].iter().all(u8::is_ascii_alphabetic)
        && bytes[9] == b':'
        && bytes[12] == b':'
    {
        let month = MONTHS.iter().position(|m| m.as_bytes() == &bytes[..3])?;
        let number = |from: usize| line.get(from..from + 2)?.trim().parse::<i8>().ok();
        let local = |year| {
            DateTime::new(year, i8::try_from(month).ok()? + 1, number(4)?, number(7)?, number(10)?, number(13)?, 0).ok()
        };
        let rest = line[15..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        return Some((clock.year.and_then(local).and_then(|at| clock.instant(at)), rest.trim_start()));
    }
    let dated = bytes.len() > 19
        && bytes[..19].is_ascii()
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[13] == b':'
        && bytes[16] == b':'
        && matches!(bytes[10], b'T' | b' ');
    if !dated {
        return None;
    }
    let local: DateTime = line[..19].replace(' ', "T").parse().ok()?;
    let rest = line[19..].trim_start_matches(|c: char| c == '.' || c == ',' || c.is_ascii_digit());
    if let Some(rest) = rest.strip_prefix('Z') {
        return Some((Offset::UTC.to_timestamp(local).ok(), rest.trim_start()));
    }
    let signed = rest.trim_start();
    if let Some((offset, rest)) =
        signed.split_once(' ').filter(|(o, _)| o.starts_with(['+', '-']) && (5..=6).contains(&o.len()))
    {
        let digits: String = offset[1..].chars().filter(char::is_ascii_digit).collect();
        if let (4, Ok(hours), Ok(minutes)) =
            (digits.len(), digits[..digits.len().min(2)].parse::<i32>(), digits[digits.len().min(2)..].parse::<i32>())
        {
            let seconds = (hours * 60 + minutes) * 60 * if offset.starts_with('-') { -1 } else { 1 };
            let at = Offset::from_seconds(seconds).ok().and_then(|o| o.to_timestamp(local).ok());
            return Some((at, rest.trim_start()));
        }
    }
    Some((clock.instant(local), signed))
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The last few thousand things by key; the oldest is forgotten first.
pub(crate) struct Recent<T> {
    by_key: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Recent<T> {
    const MOST: usize = 4096;

    /// Remembers; what stood under the same key comes back.
    pub(crate) fn put(&mut self, key: &str, value: T) -> Option<T> {
        let old = self.by_key.insert(key.to_owned(), value);
        if old.is_none() {
            self.order.push_back(key.to_owned());
        }
        while self.order.len() > Self::MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
        old
    }

    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.by_key.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        self.by_key.get_mut(key)
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<T> {
        let value = self.by_key.remove(key)?;
        if self.order.back().is_some_and(|last| last == key) {
            self.order.pop_back();
        } else if self.order.len() > 64 && self.order.len() > 2 * self.by_key.len() {
            self.order.retain(|key| self.by_key.contains_key(key));
        }
        Some(value)
    }

    /// Everything left, the oldest first.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        std::mem::take(&mut self.order).into_iter().filter_map(|key| self.by_key.remove(&key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_off_and_tell_the_time_when_it_is_told() {
        let clock = Clock { year: Some(2026), offset: Some(Offset::UTC) };
        for (line, at, host, program, text) in [
            ("Nov 24 07:55:36 h postfix/smtp[1]: x", "2026-11-24T07:55:36Z", Some("h"), "postfix/smtp", "x"),
            ("Nov  4 07:55:36 sendmail[1]: x", "2026-11-04T07:55:36Z", None, "sendmail", "x"),
            ("2026-11-24T07:55:36.5+01:00 h p[1]: x", "2026-11-24T06:55:36Z", Some("h"), "p", "x"),
            ("2026-11-24 07:55:36 +0100 1x == y", "2026-11-24T06:55:36Z", None, "", "1x == y"),
            ("2026-11-24 07:55:36 1x == y", "2026-11-24T07:55:36Z", None, "", "1x == y"),
            ("<22>1 2026-11-24T07:55:36Z h p 1 - - x", "2026-11-24T07:55:36Z", Some("h"), "p", "x"),
            ("@400000006a4b7d801dcd6500 delivery 1: x", "2026-07-06T10:03:34Z", None, "", "delivery 1: x"),
        ] {
            let entry = Entry::read(clock, line);
            assert_eq!(entry.at.map(|at| at.to_string()).as_deref(), Some(at), "{line}");
            assert_eq!((entry.host, entry.program, entry.text), (host, program, text), "{line}");
        }
        assert_eq!(Entry::read(Clock::default(), "Nov 24 07:55:36 h p[1]: x").at, None);
        assert_eq!(Entry::read(clock, "hello world").text, "hello world");
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for i in 0..10_000 {
            recent.put(&i.to_string(), i);
        }
        assert_eq!(recent.by_key.len(), Recent::<i32>::MOST);
        for i in 0..10_000 {
            recent.take(&i.to_string());
        }
        assert!(recent.order.len() <= 64);
    }
}
