//! Memory is bounded by what was read: for each reader of bytes from outside, `most` bytes for every
//! byte of a hostile input, and `least` whatever its size. What reads a stream has no `most` at all, and
//! neither have the sessions of a run, once they are many.
//!
//! One test, because the allocator counts for the whole process.

use std::io::{BufReader, Cursor};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge};
use mxprobe::policy::{mta_sts, tls_rpt};
use mxprobe::probe::file::ProbeFile;
use mxprobe::record::{Kind, Line};
use mxprobe::report::Reader;
use mxprobe::report::import::Import;
use mxprobe::sim::Scenario;
use mxprobe::smtp::decoder::Decoder;
use mxprobe::smtp::dialog::Dialog;
use mxprobe::smtp::fault::Fault;
use mxprobe::smtp::reply::Code;
use mxprobe::smtp::session::{Action, Event, Script, Session, TlsLevel};
use mxprobe::stage::Stage;
use mxprobe::timeouts::Timeouts;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const KB: usize = 1024;
const MB: usize = 1024 * KB;
/// How large the inputs get.
const SIZES: [usize; 2] = [64 * KB, 256 * KB];

/// What a reader may take.
struct Bound {
    reader: &'static str,
    read: fn(&[u8]),
    /// Bytes of memory for each byte that was read.
    most: usize,
    /// Bytes of memory that it may take beside.
    least: usize,
    /// What is repeated until the input is large enough, and what stands before and behind.
    inputs: &'static [(&'static str, &'static str, &'static str)],
}

#[test]
fn memory_is_bounded_by_what_was_read() {
    // What is made once and kept is nobody's input.
    let _ = judge(&Evidence::new(), Catalog::built_in());
    for bound in BOUNDS {
        (bound.read)(b"\n");
    }
    let mut over = Vec::new();
    for Bound { reader, read, most, least, inputs } in BOUNDS {
        let mut highest = (0.0, 0);
        for (head, body, tail) in *inputs {
            for size in SIZES {
                let input = [head.as_bytes(), body.repeat(size / body.len()).as_bytes(), tail.as_bytes()].concat();
                HEAP.reset_peak_usage();
                let before = HEAP.current_usage();
                read(&input);
                let taken = HEAP.peak_usage() - before;
                #[expect(clippy::cast_precision_loss, reason = "to be shown")]
                let rate = taken as f64 / input.len() as f64;
                highest = (f64::max(highest.0, rate), highest.1.max(taken));
                if taken > most * input.len() + least {
                    over.push(format!("{reader}: {taken} bytes for {} of {body:?}", input.len()));
                }
            }
        }
        println!("{reader}: at most {:.1} bytes a byte, {} KB in all", highest.0, highest.1 / KB);
    }
    for (what, own_words, most) in [("alike", false, 24 * MB), ("each with its own recipient and words", true, 96 * MB)]
    {
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        a_million_sessions(own_words);
        let taken = HEAP.peak_usage() - before;
        println!("a million sessions, {what}: {} KB", taken / KB);
        if taken > most {
            over.push(format!("a million sessions, {what}: {taken} bytes"));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}

/// Takes in a million sessions of a run from 8 sources to 8 addresses, of which one in 50 is refused,
/// and judges them. With words of their own each has another recipient, and each refusal another reply.
fn a_million_sessions(own_words: bool) {
    let mut evidence = Evidence::new();
    let text = "{\"run\":\"r\",\"seq\":1,\"at\":\"2026-11-24T10:00:00Z\",\"kind\":\"completed\",\"stage\":\"rcpt\",\
        \"domain\":\"a.example\",\"mx\":\"mx.a.example\",\"from\":\"a@b.example\",\"until\":\"rcpt\",\"banner\":[\"220 mx.a.example\"],\
        \"tls\":{\"names\":[\"a.example\",\"*.a.example\"]}}";
    let mut line = Line::Session(Box::new(serde_json::from_str(text).unwrap()));
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    for n in 0..1_000_000_u32 {
        let Line::Session(session) = &mut line else { unreachable!() };
        session.seq = u64::from(n) + 1;
        session.at = begin + Duration::from_millis(u64::from(n));
        session.source = Some(Ipv4Addr::from(0xC000_0200 + n % 8).into());
        session.address = Some(Ipv4Addr::from(0xC633_6400 + n / 8 % 8).into());
        if own_words {
            session.to = Some(format!("user{n}@a.example"));
        }
        let refused = n % 50 == 49;
        session.kind = if refused { Kind::Rejected } else { Kind::Completed };
        session.code = if refused { Code::new(450) } else { None };
        // Numbers are taken out of a reply, words are not.
        let word = |n: u32| n.to_string().bytes().map(|digit| char::from(digit + 50)).collect::<String>();
        let words = if own_words { word(n) } else { format!("id {n:X}") };
        session.reply = refused.then(|| vec![format!("450 4.2.0 not now {words}")]);
        evidence.add(&line);
    }
    assert_eq!(evidence.tally().sessions(), 1_000_000);
    drop(judge(&evidence, Catalog::built_in()));
}

const BOUNDS: &[Bound] = &[
    Bound {
        reader: "reply decoder",
        read: decode,
        most: 0,
        least: 2 * MB,
        inputs: &[
            ("", "2", ""),
            ("", "250-\r\n", ""),
            ("", "250-\n", ""),
            ("", "250\n", ""),
            ("", "\n", ""),
            ("", "250-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", ""),
        ],
    },
    Bound {
        reader: "session",
        read: session,
        most: 0,
        least: 4 * MB,
        inputs: &[
            ("", "250\n", ""),
            ("220 a\r\n250 b\r\n", "250\n", ""),
            ("", "250-\n", ""),
            ("", "2", ""),
            ("554 no\r\n", "554\n", ""),
            ("220 a\r\n", "550-5.1.1 aaaaaaaaaaaaaaaaaaaaaaaa\r\n", ""),
        ],
    },
    Bound {
        reader: "dialog",
        read: |bytes| _ = text(bytes).parse::<Dialog>(),
        most: 64,
        least: 64 * KB,
        inputs: &[
            ("", "S:\n", ""),
            ("", "C:\n", ""),
            ("", "#\n", ""),
            ("@ ", "a= ", "\n"),
            ("S: ", "\\x00", "\n"),
            ("", "TLS\n", ""),
        ],
    },
    Bound {
        reader: "scenario",
        read: |bytes| _ = Scenario::parse("a.toml", text(bytes)),
        most: 150,
        least: 256 * KB,
        inputs: &[
            ("", "[[rule]]\nbehaviour=\"accept\"\n", ""),
            ("[behaviour.a]\ndialog = '''\n", "S:\n", "'''\n"),
            ("a = ", "[", ""),
            ("a = [", "0,", "]"),
            ("", "a.", ""),
            ("extensions = [", "\"A\",", "]\n"),
            ("description = \"", "\\u0000", "\"\n"),
            ("[ptr]\n", "\"127.0.0.1\" = []\n", ""),
            ("[[truth]]\nkind=\"healthy\"\nconfidence=\"low\"\nsources=[", "\"::\",", "]\n"),
        ],
    },
    Bound {
        reader: "probe file",
        read: probe_file,
        most: 150,
        least: 256 * KB,
        inputs: &[
            ("[target]\ndomain=\"a.example\"\n[source]\naddresses=[", "\"::/118\",", "]\n"),
            ("[target]\nhosts=[", "\"a\",", "]\n"),
            ("[target]\ndomain=\"a.example\"\n[envelope]\nowned=[", "\"a@b\",", "]\n"),
            ("[target]\ndomain=\"", "a", "\"\n"),
            ("a = ", "{a=", ""),
            ("", "[[", ""),
            ("", "[a]\n", ""),
            ("a = [", "0,", "]"),
        ],
    },
    Bound {
        reader: "reports",
        read: |bytes| _ = Reader::new().read_from("-", bytes, &mut |_| ()),
        // A mail is parsed whole, as far as it is looked at: 8 MB.
        most: 80,
        least: 16 * MB,
        inputs: &[
            ("", "a", ""),
            ("", "550 5.1.1 no\n\n", ""),
            (
                "",
                "Nov 24 07:55:36 c postfix/smtp[1]: A: to=<u@e.example>, relay=m.e[192.0.2.7]:25, delay=0, dsn=4.0.0, status=deferred (host m.e[192.0.2.7] said: 421 x)\n",
                "",
            ),
            ("", "Nov 24 07:55:36 c postfix/smtp[1]: A: host m.e[192.0.2.7] said: 421 x\n", ""),
            (
                "From: a@b.example\nSubject: failure notice\n\nHi. This is the qmail-send program at a.example.\n\n",
                "<c@d.example>:\nRemote host said: 550 no\n\n",
                "",
            ),
            ("From: a@b.example\nSubject: x\nMIME-Version: 1.0\n", "Content-Type: message/rfc822\n\nSubject: x\n", ""),
            (
                "From: MAILER-DAEMON@a.example\nSubject: x\nMIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n",
                "Final-Recipient: rfc822; a@b\nAction: failed\n\n",
                "",
            ),
            ("From: a@b.example\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n", "--b\n\n", ""),
            ("[", "0,", "0]"),
            ("", "{\"type\":\"Bounce\"}\n", ""),
            ("From: a@b.example\nSubject: ", "=?utf-8?q?=00?= ", "\n\n"),
        ],
    },
    Bound {
        reader: "import",
        read: |bytes| _ = Import::new(2026).read(Cursor::new(bytes.to_vec()), &mut |_| ()),
        most: 12,
        least: 24 * MB,
        inputs: &[
            (
                "",
                "Nov 24 07:55:36 c postfix/smtp[1]: A: to=<u@e.example>, relay=m.e[192.0.2.7]:25, delay=0, dsn=4.0.0, status=deferred (host m.e[192.0.2.7] said: 421 x)\n",
                "",
            ),
            (
                "",
                "Nov 24 07:55:36 c postfix/smtp[1]: A: to=<u@e.example>, relay=m.e[192.0.2.7]:25, delay=0, dsn=2.0.0, status=sent (250 ok)\n",
                "",
            ),
            (
                "",
                "2026-11-24 07:55:36 1aaaaa-000000-00 == a@b.example R=d T=r defer (-44): SMTP error from remote mail server after RCPT TO:<a@b.example>: host m.b [192.0.2.7]: 451 x\n",
                "",
            ),
            ("", "a", ""),
        ],
    },
    Bound {
        reader: "recording and judge",
        read: recording,
        // A line of a type that holds anything, all zeros.
        most: 140,
        least: MB,
        inputs: &[
            ("", "{\"type\":\"session\",\"seq\":1,\"at\":\"2026-11-24T10:00:00Z\",\"kind\":\"rejected\"}\n", ""),
            (
                "",
                "{\"type\":\"session\",\"seq\":1,\"at\":\"2026-11-24T10:00:00Z\",\"kind\":\"rejected\",\"stage\":\"mail\",\"code\":421,\"source\":\"::\",\"address\":\"::\",\"domain\":\"a\",\"reply\":[\"421 x\"]}\n",
                "",
            ),
            (
                "{\"type\":\"session\",\"seq\":1,\"at\":\"2026-11-24T10:00:00Z\",\"kind\":\"rejected\",\"reply\":[",
                "\"\",",
                "\"\"]}\n",
            ),
            (
                "{\"type\":\"session\",\"seq\":1,\"at\":\"2026-11-24T10:00:00Z\",\"kind\":\"rejected\",\"notes\":[",
                "\"\",",
                "\"\"]}\n",
            ),
            (
                "{\"seq\":1,\"at\":\"2026-11-24T10:00:00Z\",\"kind\":\"rejected\",\"type\":\"session\",\"steps\":[",
                "{\"stage\":\"mail\",\"ms\":1},",
                "{\"stage\":\"mail\",\"ms\":1}]}\n",
            ),
            (
                "",
                "{\"type\":\"lookup\",\"at\":\"2026-11-24T10:00:00Z\",\"name\":\"a\",\"rtype\":\"MX\",\"resolver\":\"\",\"answers\":[\"\",\"\"],\"error\":null,\"ms\":1}\n",
                "",
            ),
            ("", "{\"type\":\"check\",\"check\":\"spf\",\"result\":\"fail\"}\n", ""),
            (
                "",
                "{\"type\":\"passed\",\"from-time\":\"2026-11-24T10:00:00Z\",\"to-time\":\"2026-11-24T10:00:00Z\",\"count\":9}\n",
                "",
            ),
            ("{\"type\":\"planned\",\"a\":[", "0,", "0]}\n"),
            ("{\"type\":\"planned\",\"a\":", "[", "\n"),
            ("", "{}\n", ""),
            ("", "\n", ""),
        ],
    },
    Bound {
        reader: "policy",
        read: policy,
        most: 40,
        least: 64 * KB,
        inputs: &[
            ("version: STSv1\nmode: enforce\nmax_age: 1\n", "mx: a\n", ""),
            ("version: STSv1\nmode: ", "x", "\n"),
            ("v=STSv1;", "a=b;", "id=1"),
            ("v=TLSRPTv1;rua=", "mailto:a@b,", "mailto:a@b"),
        ],
    },
];

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// As the driver reads: 4 KB at a time.
fn decode(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(4096) {
        decoder.extend(piece);
        loop {
            match decoder.decode() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn session(bytes: &[u8]) {
    let now = Instant::now();
    let script = Script {
        ehlo: "probe.example".parse().unwrap(),
        tls: TlsLevel::Opportunistic,
        from: "a@probe.example".parse().unwrap(),
        to: Some("b@mx.example".parse().unwrap()),
        message: Arc::from(&b"x"[..]),
        until: Stage::EndOfData,
        timeouts: Arc::new(Timeouts::all(Duration::from_secs(9))),
    };
    let mut session = Session::new(script, now);
    let mut pieces = bytes.chunks(4096);
    let mut write = false;
    loop {
        let event = match session.poll() {
            Action::Close => return drop(session.finish()),
            Action::Upgrade(_) => Event::Upgraded,
            // Every other time it has something to say first.
            Action::Write(..) if write => Event::Wrote,
            _ => pieces.next().map_or(Event::Failed(Fault::Closed), Event::Received),
        };
        write = !write;
        session.handle(event, now);
    }
}

fn probe_file(bytes: &[u8]) {
    match ProbeFile::parse(Path::new("a.toml"), text(bytes)) {
        Ok(file) => {
            if let Err(conflict) = file.layer.clone().settle(|_| Ok(Vec::new())) {
                drop(file.locate(&conflict).render());
            }
        }
        Err(error) => drop(error.render()),
    }
}

fn recording(bytes: &[u8]) {
    let mut evidence = Evidence::new();
    let _ = evidence.read_with(BufReader::new(bytes), "a.jsonl", &mut |line| drop(Line::parse(line)));
    drop(judge(&evidence, Catalog::built_in()));
}

fn policy(bytes: &[u8]) {
    let texts = [bytes.to_vec()];
    let _ = (mta_sts::Policy::parse(bytes), mta_sts::id(&texts), tls_rpt::destinations(&texts));
}
