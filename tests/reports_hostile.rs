//! Input that means harm, or was harmed: no panic, bounded memory, and what is no report is counted.

use std::io::{self, BufReader, Read, Write};

use mxprobe::report::Reader;

const LOG: &str = "Nov 24 07:55:36 client postfix/smtp[28522]: 139789B409F: to=<user@example.org>, relay=mx.example.org[192.0.2.7]:25, delay=0.01, delays=0.01/0/0/0, dsn=4.0.0, status=deferred (host mx.example.org[192.0.2.7] refused to talk to me: 421 later)\n";

/// Held by every test that measures memory: the peak is the whole process's.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// The most memory that the process ever held, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn count(input: impl Read) -> (u64, u64) {
    let mut reports = 0;
    let skipped = Reader::new().read_from("-", BufReader::new(input), &mut |_| reports += 1).unwrap();
    (reports, skipped)
}

#[test]
fn one_line_of_100_mb() {
    let _alone = ALONE.lock();
    let before = peak();
    let line = || io::repeat(b'a').take(100 << 20);
    assert_eq!(count(line()).0, 0);
    let (reports, skipped) = count(LOG.as_bytes().chain(line()).chain("\n".as_bytes()).chain(LOG.as_bytes()));
    assert_eq!(reports, 2);
    assert!(skipped > 0);
    let digits = io::repeat(b'5').take(100 << 20);
    assert_eq!(count(digits).0, 0);
    let brackets = io::repeat(b'[').take(100 << 20);
    assert_eq!(count("host ".as_bytes().chain(brackets)).0, 0);
    let braces = io::repeat(b'{').take(100 << 20);
    assert_eq!(count(braces).0, 0);
    let grown = peak().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MB more", grown >> 20);
}

#[test]
fn a_mail_of_100_mb() {
    let _alone = ALONE.lock();
    let before = peak();
    let head = "From: MAILER-DAEMON@a.example\nTo: b@a.example\nSubject: failure notice\n\nHi. This is the qmail-send program at a.example.\n\n<c@d.example>:\n192.0.2.5 does not like recipient.\nRemote host said: 550 no\n\n--- Below this line is a copy of the message.\n\n";
    let (reports, _) = count(head.as_bytes().chain(io::repeat(b'x').take(100 << 20)));
    assert_eq!(reports, 1);
    let grown = peak().saturating_sub(before);
    assert!(grown < 256 << 20, "{} MB more", grown >> 20);
}

#[test]
fn a_truncated_gzip() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut seed = 7_u32;
    for _ in 0..2000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        gzip.write_all(LOG.replace("139789B409F", &format!("{seed:011X}")).as_bytes()).unwrap();
    }
    let whole = gzip.finish().unwrap();
    let reading = Reader::new().read("mail.log.gz", &whole);
    assert_eq!((reading.reports.len(), reading.skipped), (2000, 0));
    let half = Reader::new().read("mail.log.gz", &whole[..whole.len() / 2]);
    assert!((100..2000).contains(&half.reports.len()), "{}", half.reports.len());
    assert!(half.skipped > 0);
    for cut in [2, 3, 10, 18] {
        let reading = Reader::new().read("x.gz", &whole[..cut]);
        assert_eq!(reading.reports.len(), 0, "{cut}");
        assert!(reading.skipped > 0, "{cut}");
    }
    let zstd = zstd::encode_all(LOG.as_bytes(), 0).unwrap();
    assert_eq!(Reader::new().read("x.zst", &zstd).reports.len(), 1);
    let cut = Reader::new().read("x.zst", &zstd[..zstd.len() - 9]);
    assert!(cut.skipped > 0);
}

#[test]
fn a_gzip_of_ever_the_same() {
    let _alone = ALONE.lock();
    let before = peak();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..200 {
        gzip.write_all(&vec![b'a'; 1 << 20]).unwrap();
    }
    let reading = Reader::new().read("bomb.gz", &gzip.finish().unwrap());
    assert_eq!(reading.reports.len(), 0);
    assert!(reading.skipped > 0);
    let grown = peak().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MB more", grown >> 20);
}

#[test]
fn bytes_that_are_no_text() {
    let mut bytes = b"\xff\xfe\x00\xc3(\n".to_vec();
    bytes.extend_from_slice(LOG.replace("later", "l\u{e4}ter").as_bytes());
    bytes.extend_from_slice(b"Remote host said: 550 \xe9\xe8 no\n\xf0\x9f\n");
    let reading = Reader::new().read("-", &bytes);
    assert_eq!(reading.reports.len(), 2);
    assert!(reading.reports[1].reply.as_deref().is_some_and(|reply| reply.starts_with("550 \u{fffd}")));
}

#[test]
fn mime_parts_within_parts() {
    let _alone = ALONE.lock();
    let before = peak();
    let head = "From: MAILER-DAEMON@a.example\nSubject: failure notice\nMIME-Version: 1.0\n";
    let each = |levels: u32, part: fn(u32) -> String| (0..levels).map(part).collect::<Vec<_>>().concat();
    let nested =
        head.to_owned() + &each(50_000, |n| format!("Content-Type: multipart/mixed; boundary=\"b{n}\"\n\n--b{n}\n"));
    let messages = head.to_owned() + &each(20_000, |n| format!("Content-Type: message/rfc822\n\nSubject: {n}\n"));
    let encoded = format!(
        "{head}Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{}",
        "Q29udGVudC1UeXBlOiBtZXNzYWdlL3JmYzgyMgoK\n".repeat(10_000)
    );
    let many = format!("{head}Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(100_000));
    let groups = format!(
        "{head}Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n{}",
        "Final-Recipient: rfc822; a@b.example\nAction: failed\n\n".repeat(50_000)
    );
    for (name, bomb, most) in [
        ("nested", nested, 0),
        ("messages", messages, 0),
        ("encoded", encoded, 0),
        ("many", many, 0),
        ("groups", groups, 10_000),
    ] {
        let reading = Reader::new().read(name, bomb.as_bytes());
        assert!(reading.reports.len() <= most, "{name}: {}", reading.reports.len());
        assert!(reading.skipped > 0 || most > 0, "{name}");
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < 512 << 20, "{} MB more", grown >> 20);
}

#[test]
fn damage_never_panics() {
    let mut files = Vec::new();
    for dialect in std::fs::read_dir("tests/reports/mta").unwrap().flatten().filter(|e| e.path().is_dir()) {
        let mut names: Vec<_> = std::fs::read_dir(dialect.path()).unwrap().flatten().map(|e| e.path()).collect();
        names.sort();
        files.extend(names.into_iter().step_by(5));
    }
    assert!(files.len() > 20);
    let mut seed = 1_u64;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below.max(1)
    };
    let nasty: [&[u8]; 8] = [b"\xe2\x80", b"(", b"<", b">>>", b"\n\n", b": 5", "\u{201c}".as_bytes(), b"\x00"];
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        for _ in 0..12 {
            let mut bytes = whole.clone();
            for _ in 0..4 {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes.truncate(at),
                    1 => drop(bytes.splice(at..at, nasty[next(nasty.len())].iter().copied())),
                    2 => drop(bytes.drain(at..(at + next(40)).min(bytes.len()))),
                    _ => bytes[at..].iter_mut().take(1).for_each(|b| *b = b.wrapping_add(128)),
                }
            }
            let _ = Reader::new().read("-", &bytes);
        }
    }
}
