//! Dates, times of day and waiting times.

/// How long the date, the time of day or both are that a text starts with: `2012-10-26`,
/// `26/10/2012`, `12:34:56`, `12:34`, `2012-10-26T12:34:56.789Z`.
pub(super) fn time(text: &[u8]) -> Option<usize> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    let end = match date(text) {
        Some(end) if matches!(text.get(end), Some(b'T' | b'_')) => {
            clock(&text[end + 1..]).map_or(end, |length| end + 1 + length)
        }
        Some(end) => end,
        None => clock(text)?,
    };
    let goes_on = match &text[end..] {
        [b'.' | b':' | b'-' | b'/', b, ..] => b.is_ascii_alphanumeric() || *b == b'{',
        [b, ..] => b.is_ascii_alphanumeric() || *b == b'_',
        [] => false,
    };
    (!goes_on).then_some(end)
}

/// Whether a run is a date such as `26-Oct-2012`.
pub(super) fn is_day(run: &str) -> bool {
    let mut parts = run.split('-');
    let day = parts.next().is_some_and(is_number);
    day && parts.next().is_some_and(|part| MONTHS.contains(&part))
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// Whether a run is a waiting time such as `300s`.
pub(super) fn is_duration(run: &str) -> bool {
    let unit = run.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < run.len() && is_unit(unit)
}

/// Replaces waiting times (`287 seconds`) and what dates are written with in words (`Fri, 26 Oct
/// 2012 12:34:56 +0000 (UTC)`), each by one `{time}`.
pub(super) fn fold(words: Vec<String>) -> Vec<String> {
    let words = fold_durations(words);
    let kinds: Vec<_> = words.iter().map(|word| Kind::of(core(word))).collect();
    let mut folded = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        let run = kinds[at..].iter().take_while(|kind| **kind != Kind::Other).count();
        let (is_date, run) = date_in(&kinds[at..at + run]);
        match run {
            0 | 1 => folded.push(words[at].clone()),
            _ if is_date => folded.push(as_time(&words[at], &words[at + run - 1])),
            _ => folded.extend_from_slice(&words[at..at + run]),
        }
        at += run.max(1);
    }
    folded
}

/// Whether a run of date words starts with a date, and how many words that or what is none takes.
fn date_in(kinds: &[Kind]) -> (bool, usize) {
    let has = |kind| kinds.contains(&kind);
    if has(Kind::Month) && (has(Kind::Number) || has(Kind::Time)) {
        return (true, kinds.len());
    }
    // Without a month a number beside a time is no part of it.
    let is_near = |kind: &Kind| matches!(kind, Kind::Time | Kind::Weekday | Kind::Zone);
    let near = kinds.iter().take_while(|kind| is_near(kind)).count();
    if near == 0 {
        return (false, kinds.iter().take_while(|kind| !is_near(kind)).count());
    }
    (kinds[..near].contains(&Kind::Time), near)
}

fn fold_durations(words: Vec<String>) -> Vec<String> {
    let mut folded: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        if let Some(number) = folded.last_mut()
            && core(number).bytes().all(|b| b.is_ascii_digit())
            && !core(number).is_empty()
            && number.ends_with(core(number))
            && word.starts_with(core(&word))
            && is_unit(core(&word))
        {
            *number = as_time(number, &word);
        } else {
            folded.push(word);
        }
    }
    folded
}

/// One `{time}` with the punctuation before the first and behind the last word.
fn as_time(first: &str, last: &str) -> String {
    let before = first.len() - first.trim_start_matches(is_punctuation).len();
    let mut behind = &last[last.trim_end_matches(is_punctuation).len()..];
    if last.starts_with('(') {
        // The brackets of `(UTC)` go together.
        behind = behind.strip_prefix(')').unwrap_or(behind);
    }
    format!("{}{{time}}{behind}", &first[..before])
}

fn core(word: &str) -> &str {
    word.trim_matches(is_punctuation)
}

const fn is_punctuation(c: char) -> bool {
    matches!(c, '(' | ')' | '[' | ']' | '<' | '>' | '"' | '\'' | ',' | ';' | ':' | '.' | '!')
}

/// What a word is to a date.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Month,
    Number,
    Other,
    Time,
    Weekday,
    Zone,
}

impl Kind {
    fn of(core: &str) -> Self {
        let offset = |text: &str| {
            text.len() == 5 && text.starts_with(['+', '-']) && text[1..].bytes().all(|b| b.is_ascii_digit())
        };
        match core {
            "{time}" => Self::Time,
            _ if MONTHS.contains(&core) => Self::Month,
            _ if WEEKDAYS.contains(&core) => Self::Weekday,
            _ if ZONES.contains(&core) || core.is_ascii() && offset(core) => Self::Zone,
            _ if is_number(core) => Self::Number,
            _ => Self::Other,
        }
    }
}

/// Whether a text is a day of the month or a year.
fn is_number(text: &str) -> bool {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits && matches!((text.len(), text.parse::<u16>()), (1 | 2, Ok(1..=31)) | (4, Ok(1970..=2099)))
}

fn is_unit(text: &str) -> bool {
    ["s", "sec", "secs", "second", "seconds", "min", "mins", "minute", "minutes"]
        .iter()
        .any(|unit| unit.eq_ignore_ascii_case(text))
}

fn date(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text.get(from..).map_or(0, |t| t.iter().take_while(|b| b.is_ascii_digit()).count());
    let first = digits(0);
    let joint = *text.get(first)?;
    let second = digits(first + 1);
    if text.get(first + 1 + second) != Some(&joint) || !(1..=2).contains(&second) {
        return None;
    }
    let third = digits(first + second + 2);
    let fits = match joint {
        b'-' => first == 4 && second == 2 && third == 2,
        b'/' => first == 4 && third == 2 || first <= 2 && third == 4,
        _ => false,
    };
    fits.then_some(first + second + third + 2)
}

fn clock(text: &[u8]) -> Option<usize> {
    let two = |from: usize, limit: u8| match text.get(from..from + 2)? {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => ((a - b'0') * 10 + (b - b'0') <= limit).then_some(()),
        _ => None,
    };
    let hour = if text.get(1) == Some(&b':') { 1 } else { 2 };
    if hour == 2 {
        two(0, 23)?;
    } else if !text.first()?.is_ascii_digit() {
        return None;
    }
    if text.get(hour) != Some(&b':') {
        return None;
    }
    two(hour + 1, 59)?;
    let mut end = hour + 3;
    if text.get(end) == Some(&b':') && two(end + 1, 60).is_some() {
        end += 3;
        if text.get(end) == Some(&b'.') {
            let digits = text[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            end += if digits > 0 { digits + 1 } else { 0 };
        }
    } else if hour == 1 {
        // `1:25` may be anything.
        return None;
    }
    match text.get(end) {
        Some(b'Z') => Some(end + 1),
        Some(b'+' | b'-') if two(end + 1, 23).is_some() => {
            let colon = usize::from(text.get(end + 3) == Some(&b':'));
            Some(two(end + 3 + colon, 59).map_or(end, |()| end + 5 + colon))
        }
        _ => Some(end),
    }
}

const MONTHS: &[&str] = &[
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Sept",
    "Oct",
    "Nov",
    "Dec",
    "January",
    "February",
    "March",
    "April",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: &[&str] = &[
    "Mon",
    "Tue",
    "Wed",
    "Thu",
    "Fri",
    "Sat",
    "Sun",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

const ZONES: &[&str] =
    &["UTC", "GMT", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "CET", "CEST", "BST", "JST", "AM", "PM"];
