//! Logs as evidence: which lines become sessions, which are counted, which are neither.

use std::io::{Read, Write};

use jiff::Timestamp;
use mxprobe::record::{Kind, Line, Passed, Session};
use mxprobe::report::import::{Import, Imported};
use mxprobe::stage::Stage;

const POSTFIX: &str = "\
Nov 24 07:55:35 out1 postfix/smtp[2]: A1: host mx1.example.org[192.0.2.7] refused to talk to me: 421 4.7.1 later
Nov 24 07:55:36 out1 postfix/smtp[2]: A1: to=<a@example.org>, relay=mx2.example.org[192.0.2.8]:25, delay=1, delays=0/0/1/0, dsn=2.0.0, status=sent (250 2.0.0 Ok)
Nov 24 07:55:37 out1 postfix/qmgr[9]: A1: removed
Nov 24 07:55:38 out1 postfix/smtp[3]: A2: to=<b@example.org>, relay=mx1.example.org[192.0.2.7]:25, delay=1, delays=0/0/1/0, dsn=4.7.0, status=deferred (host mx1.example.org[192.0.2.7] said: 421 4.7.0 [TSS04] Messages from 198.51.100.9 temporarily deferred (in reply to MAIL FROM command))
Nov 24 07:55:39 out1 postfix/error[4]: A3: to=<c@example.org>, relay=none, delay=1, delays=1/0/0/0, dsn=4.7.0, status=deferred (delivery temporarily suspended: host mx1.example.org[192.0.2.7] said: 421 4.7.0 [TSS04] x (in reply to MAIL FROM command))
Nov 24 07:55:40 out1 postfix/smtp[5]: connect to mx.example.net[192.0.2.9]:25: Connection refused
Nov 24 07:55:40 out1 postfix/smtp[5]: A4: to=<d@example.net>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to mx.example.net[192.0.2.9]:25: Connection refused)
Nov 24 07:59:59 out1 postfix/smtp[6]: A5: to=<e@example.org>, relay=mx2.example.org[192.0.2.8]:25, delay=1, delays=0/0/1/0, dsn=2.0.0, status=sent (250 2.0.0 status=deferred)
Nov 24 08:00:00 out1 postfix/smtp[6]: A6: to=<e@example.net>, relay=mx2.example.org[192.0.2.8]:25, delay=1, delays=0/0/1/0, dsn=2.0.0, status=sent (250 2.0.0 Ok)
Nov 24 08:00:01 out1 postfix/local[7]: A7: to=<root@out1.example>, relay=local, delay=1, delays=0/0/1/0, dsn=5.1.1, status=bounced (unknown user: \"root\")
Nov 24 08:00:02 out1 postfix/smtp[8]: A8: to=<f@example.org>, relay=mx1.example.org[192.0.2.7]:25, delay=1, delays=0/0/1/0, dsn=5.7.1, status=bounced (host mx1.example.org[192.0.2.7] said: 550 5.7.1 no (in reply to RCPT TO command))
";

fn import(import: &Import, log: impl Read + Send) -> (Vec<Session>, Vec<Passed>, Imported) {
    let (mut sessions, mut passed) = (Vec::new(), Vec::new());
    let told = import
        .read(log, &mut |line| match line {
            Line::Session(session) => sessions.push(*session),
            Line::Passed(line) => passed.push(line),
            other => panic!("{other:?}"),
        })
        .unwrap();
    (sessions, passed, told)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn failures_are_sessions_and_deliveries_are_counted() {
    let from = Import::new(2026).source("198.51.100.9".parse().unwrap()).run("r1");
    let (sessions, passed, told) = import(&from, POSTFIX.as_bytes());
    let brief: Vec<_> = sessions
        .iter()
        .map(|s| {
            (
                s.at.to_string(),
                s.stage,
                s.kind,
                s.code.map(mxprobe::smtp::reply::Code::get),
                s.to.as_deref(),
                s.address.unwrap().to_string(),
            )
        })
        .collect();
    let row = |at: &str, stage, kind, code, to, address: &str| {
        (at.to_owned(), Some(stage), kind, code, to, address.to_owned())
    };
    let expected = [
        row("2026-11-24T07:55:38Z", Stage::Mail, Kind::Rejected, Some(421), Some("b@example.org"), "192.0.2.7"),
        row("2026-11-24T07:55:40Z", Stage::Connect, Kind::Refused, None, Some("d@example.net"), "192.0.2.9"),
        row("2026-11-24T08:00:02Z", Stage::Rcpt, Kind::Rejected, Some(550), Some("f@example.org"), "192.0.2.7"),
        row("2026-11-24T07:55:35Z", Stage::Banner, Kind::Rejected, Some(421), None, "192.0.2.7"),
    ];
    assert_eq!(brief, expected);
    let first = &sessions[0];
    assert_eq!(
        (first.seq, first.run.as_str(), first.mx.as_deref(), first.domain.as_deref()),
        (1, "r1", Some("mx1.example.org"), Some("example.org"))
    );
    assert_eq!(first.source, "198.51.100.9".parse().ok());
    assert_eq!(first.tag.as_deref(), Some("TSS04"));
    assert_eq!(first.reply.as_deref().unwrap()[0], "421 4.7.0 [TSS04] Messages from 198.51.100.9 temporarily deferred");
    assert_eq!(sessions[1].detail.as_deref(), Some("connect to mx.example.net[192.0.2.9]:25: Connection refused"));
    let counts: Vec<_> = passed
        .iter()
        .map(|p| (p.from_time.to_string(), p.to_time.to_string(), p.count, p.domain.as_deref(), p.mx.as_deref()))
        .collect();
    let hour =
        |from: &str, to: &str, count, domain| (from.to_owned(), to.to_owned(), count, domain, Some("mx2.example.org"));
    assert_eq!(
        counts,
        [
            hour("2026-11-24T07:55:36Z", "2026-11-24T07:59:59Z", 2, Some("example.org")),
            hour("2026-11-24T08:00:00Z", "2026-11-24T08:00:00Z", 1, Some("example.net")),
        ]
    );
    assert_eq!(told, Imported { failed: 4, passed: 3, repeated: 1, local: 1, ..Imported::default() });
}

#[test]
fn time_and_domain_leave_out() {
    let (sessions, passed, told) = import(&Import::new(2026).domain("Example.ORG."), POSTFIX.as_bytes());
    assert_eq!((sessions.len(), passed.iter().map(|p| p.count).sum::<u64>(), told.outside), (2, 2, 4));
    let (sessions, passed, _) = import(&Import::new(2026).since(at("2026-11-24T08:00:00Z")), POSTFIX.as_bytes());
    assert_eq!((sessions.len(), passed.len()), (1, 1));
    let (sessions, passed, _) = import(&Import::new(2026).until_time(at("2026-11-24T08:00:00Z")), POSTFIX.as_bytes());
    assert_eq!((sessions.len(), passed.len()), (3, 1));
    let east = Import::new(2026).offset(jiff::tz::offset(1));
    assert_eq!(import(&east, POSTFIX.as_bytes()).0[0].at, at("2026-11-24T06:55:38Z"));
}

#[test]
fn the_year_turns_with_the_month() {
    let line = |stamp: &str| POSTFIX.lines().nth(3).unwrap().replace("Nov 24 07:55:38", stamp) + "\n";
    let log = line("Dec 31 23:59:59") + &line("Jan  1 00:00:00") + &line("Jan  1 00:00:01");
    let years: Vec<_> = import(&Import::new(2025), log.as_bytes()).0.iter().map(|s| s.at.to_string()).collect();
    assert_eq!(years, ["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"]);
}

#[test]
fn chunks_come_back_in_order_and_archives_are_opened() {
    let filler = "Nov 24 07:55:37 out1 postfix/qmgr[9]: A1: removed\n".repeat(20);
    let line = POSTFIX.lines().nth(3).unwrap();
    let lines = (0..3_000).map(|n| format!("{}\n{filler}", line.replace("<b@", &format!("<b{n}@"))));
    let log = lines.collect::<Vec<_>>().concat();
    let (plain, _, told) = import(&Import::new(2026), log.as_bytes());
    assert!(log.len() > 3 << 20);
    assert_eq!((plain.len(), told.failed), (3_000, 3_000));
    assert!(
        plain
            .iter()
            .enumerate()
            .all(|(n, s)| s.to.as_deref() == Some(&format!("b{n}@example.org")) && s.seq == n as u64 + 1)
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(log.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(import(&Import::new(2026), gzip.as_slice()).0, plain);
    let (some, _, told) = import(&Import::new(2026), &gzip[..gzip.len() / 2]);
    assert!(told.damaged && (500..3_000).contains(&some.len()));
    assert_eq!(some, plain[..some.len()]);
    assert_eq!(import(&Import::new(2026), zstd::encode_all(log.as_bytes(), 1).unwrap().as_slice()).0, plain);
}

#[test]
fn a_line_without_end_costs_nothing() {
    let endless = std::io::repeat(b'x').take(64 << 20);
    let (sessions, ..) = import(&Import::new(2026), POSTFIX.as_bytes().chain(endless).chain(POSTFIX.as_bytes()));
    assert!((4..=8).contains(&sessions.len()), "{}", sessions.len());
    let (sessions, ..) = import(&Import::new(2026), std::io::repeat(0xff).take(8 << 20));
    assert!(sessions.is_empty());
}

#[test]
fn other_logs_are_read_line_by_line() {
    let log = "\
2026-11-24 07:55:36 1xVlNH-0007pB-3B == a@example.org R=dns T=smtp defer (-44) H=mx.example.org [192.0.2.7]:25: SMTP error from remote mail server after RCPT TO:<a@example.org>: 451 4.7.1 later
2026-11-24 07:56:36 1xVlNH-0007pB-3B == a@example.org R=dns T=smtp defer (-53): retry time not reached for any host
2026-11-24 07:57:36 1xVlNH-0007pB-3B => a@example.org R=dns T=smtp H=mx.example.org [192.0.2.7]:25 C=\"250 ok\"
Nov 24 07:58:52 out1 sm-mta[1]: 6AO7uqji006042: SMTP outgoing connect on [198.51.100.9]
Nov 24 07:58:52 out1 sm-mta[1]: 6AO7uqji006042: to=<a@example.org>, delay=00:02:00, xdelay=00:00:00, mailer=esmtp, pri=30187, relay=mx.example.org. [192.0.2.7], dsn=2.0.0, stat=Sent (Ok)
@400000006a4b7d801dcd6500 starting delivery 11: msg 969051 to remote a@example.org
@400000006a4b7d811dcd6500 delivery 11: success: 192.0.2.7_accepted_message./Remote_host_said:_250_ok/
d9b7f192a6a5d1f4 mta delivery evpid=ebb1370fb5433d53 from=<b@example.net> to=<a@example.org> rcpt=<-> source=\"198.51.100.9\" relay=\"192.0.2.7 (mx.example.org)\" delay=0s result=\"TempFail\" stat=\"451 4.3.0 later\"
";
    let (sessions, passed, told) = import(&Import::new(2026), log.as_bytes());
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].stage, sessions[0].code.unwrap().get()), (Some(Stage::Rcpt), 451));
    let hours: Vec<_> =
        passed.iter().map(|p| (p.from_time.to_string(), p.source.map(|s| s.to_string()), p.count)).collect();
    assert_eq!(
        hours,
        [
            ("2026-07-06T10:03:35Z".to_owned(), None, 1),
            ("2026-11-24T07:57:36Z".to_owned(), None, 1),
            ("2026-11-24T07:58:52Z".to_owned(), Some("198.51.100.9".to_owned()), 1),
        ]
    );
    assert_eq!(told, Imported { failed: 1, passed: 3, repeated: 1, undated: 1, ..Imported::default() });
}
