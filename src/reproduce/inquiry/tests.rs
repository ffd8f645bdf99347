//! What counts of sessions come to, without a run.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::judge::statistics::could_have_missed;
use crate::probe::layer::ProbeLayer;
use crate::record::Report;
use crate::reproduce::group::Group;
use crate::reproduce::question::{Means, question};

fn inquiry(stage: &str, cells: usize) -> Inquiry {
    let report = Report {
        seq: 1,
        domain: Some("aol.com".to_owned()),
        stage: stage.parse().ok(),
        kind: Some(Kind::Rejected),
        reply: Some("554 ESMTP not accepting connections".to_owned()),
        attempt: true,
        ..Report::default()
    };
    let group = Group { report, reports: 1, sources: BTreeSet::new(), hosts: BTreeSet::new() };
    let means = Means {
        flags: ProbeLayer::default(),
        target: ProbeLayer::default(),
        interfaces: vec![],
        resolver_given: true,
        rate: 0.1,
    };
    let mut inquiry = Inquiry::new(vec![question(group, &means, 1).unwrap()]);
    inquiry.asked[0].planned.cells = cells;
    inquiry
}

/// A session at the address with this number: `.` passed, `s` same, `d` different, `t` timed out on
/// the way, `l` local, `r` resting.
fn session(what: char, address: u8) -> Session {
    let (stage, kind, reply, detail) = match what {
        '.' => (Some("banner"), "completed", None, None),
        's' => (Some("banner"), "rejected", Some("554 ESMTP not accepting connections"), None),
        'd' => (Some("banner"), "rejected", Some("554 5.7.1 something else"), None),
        't' => (Some("connect"), "timed-out", None, None),
        'l' => (Some("connect"), "local", None, Some("not an address of this host")),
        _ => (None, "skipped", None, Some("192.0.2.10 rests at aol.com")),
    };
    let class = reply.map(|_| "permanent");
    serde_json::from_value(serde_json::json!({
        "seq": 1, "at": "2026-11-24T10:02:11Z", "until": "banner", "stage": stage, "kind": kind, "class": class,
        "reply": reply.map(|reply| vec![reply]), "detail": detail, "source": "192.0.2.10", "address": format!("127.1.0.{address}"),
    }))
    .unwrap()
}

#[test]
fn the_answer_is_what_the_sessions_allow() {
    use Finding::{Different, NotReproduced, Reproduced, Undecided};
    let thirty = ".".repeat(29);
    for (stage, cells, ended, held, wanted, exit) in [
        ("banner", 2, "ss.", 2, Reproduced, 1),
        ("banner", 1, "ss.", 2, Reproduced, 1),
        ("banner", 2, "s.s.", 4, Reproduced, 1),
        ("banner", 8, "s.......", 8, Reproduced, 1),
        ("banner", 1, "srrr", 4, Undecided, 3),
        ("banner", 2, "s.rr", 4, Undecided, 3),
        ("banner", 2, ".d..", 4, Different, 1),
        ("banner", 2, "ddddddd", 5, Different, 1),
        ("banner", 2, "dddd.dd", 7, Different, 1),
        ("banner", 2, "tttttt", 5, Different, 1),
        ("banner", 2, &thirty, 29, NotReproduced, 0),
        ("banner", 2, "..rr", 4, NotReproduced, 0),
        ("banner", 2, "llll", 4, Undecided, 3),
        ("banner", 2, "rrrr", 4, Undecided, 3),
        ("banner", 2, "", 0, Undecided, 3),
        ("rcpt", 2, "....", 4, Undecided, 3),
    ] {
        let mut inquiry = inquiry(stage, cells);
        let mut taken = 0;
        for (at, what) in ended.chars().enumerate() {
            taken += 1;
            if inquiry.take(0, &session(what, u8::try_from(at % cells).unwrap())) {
                break;
            }
        }
        let results = inquiry.results();
        assert_eq!((results[0].result, taken, inquiry.exit()), (wanted, held, exit), "{ended} at {stage}: {results:?}");
        assert_eq!(results[0].because.is_some(), wanted == Undecided || inquiry.asked[0].confirmed(), "{results:?}");
    }
}

#[test]
fn the_numbers_are_those_of_the_sessions_that_count() {
    let mut inquiry = inquiry("banner", 2);
    for what in ".".repeat(29).chars() {
        inquiry.take(0, &session(what, 1));
    }
    let result = &inquiry.results()[0];
    assert_eq!((result.sessions, result.detectable_rate), (29, Some(0.1)));
    assert!((result.rate_high - 0.0981).abs() < 1e-4);
    // A connection that failed on the way says nothing about the greeting.
    inquiry.take(0, &session('t', 1));
    assert!((inquiry.results()[0].rate_high - 0.0981).abs() < 1e-4);
    assert_eq!(inquiry.results()[0].others, ["timed-out at connect (1)"]);

    let mut few = self::inquiry("banner", 2);
    for what in "....".chars() {
        few.take(0, &session(what, 1));
    }
    let detectable = few.results()[0].detectable_rate.unwrap();
    assert!((detectable - could_have_missed(4)).abs() < 1e-9);
    assert_eq!(few.so_far(), "0 of 4 as reported so far");
}

/// The stopping rule and the interval together, as a run has them.
#[test]
fn a_failure_at_three_in_ten_is_within_the_interval_of_most_samples() {
    let (mut covered, mut reproduced) = (0, 0);
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut inquiry = inquiry("banner", 2);
        for n in 0..29 {
            let what = if rng.random_bool(0.3) { 's' } else { '.' };
            if inquiry.take(0, &session(what, n % 2)) {
                break;
            }
        }
        let result = &inquiry.results()[0];
        covered += u32::from(result.rate_low <= 0.3 && 0.3 <= result.rate_high);
        reproduced += u32::from(result.result == Finding::Reproduced);
    }
    assert!(covered >= 186 && reproduced >= 195, "{covered} covered, {reproduced} reproduced");
}
