//! Runs of many sessions, judged session by session and folded: what is said must be the same.
//!
//! A run is drawn from a seed, so the same code draws the same run every time.

use std::net::IpAddr;

use jiff::Timestamp;
use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge};
use mxprobe::record::{Confidence, Diagnosis, DiagnosisKind as D, Line, Session, Variant};
use proptest::prelude::*;
use proptest::test_runner::Config;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// How the sessions of a run fare.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Healthy,
    /// The first source is refused.
    Block,
    /// Nobody gets through to the first address.
    Address,
    /// One in ten fails.
    Intermittent,
    /// Twenty sessions pass, then six are put off, then a quarter of an hour is rest.
    Limited,
    /// The first session from each source is put off.
    Grey,
    /// From some time on everything fails.
    Onset,
    /// For some time in the middle everything fails.
    Outage,
    /// The first source fails from some time on.
    BlockMeanwhile,
}

impl Fate {
    const ALL: [Self; 9] = [
        Self::Healthy,
        Self::Block,
        Self::Address,
        Self::Intermittent,
        Self::Limited,
        Self::Grey,
        Self::Onset,
        Self::Outage,
        Self::BlockMeanwhile,
    ];

    /// What is to be said of it, and how surely.
    const fn truth(self) -> (D, Confidence) {
        match self {
            Self::Healthy => (D::Healthy, Confidence::High),
            Self::Block | Self::BlockMeanwhile => (D::SenderIpBlock, Confidence::High),
            Self::Address => (D::ReceiverPartialOutage, Confidence::High),
            Self::Intermittent => (D::ReceiverIntermittent, Confidence::High),
            Self::Limited => (D::RateLimited, Confidence::High),
            Self::Grey => (D::Greylisting, Confidence::High),
            Self::Onset | Self::Outage => (D::Undecided, Confidence::Low),
        }
    }

    /// The reply that ends session number `n` of `all`, if one does.
    fn reply(self, n: usize, all: usize, (source, address): (u8, u8), rng: &mut ChaCha8Rng) -> Option<String> {
        let block = || Some(format!("550 5.7.1 192.0.2.{source} is not welcome"));
        let busy = || Some("451 4.3.0 queue file write error".to_owned());
        match self {
            Self::Block if source == 0 => block(),
            Self::BlockMeanwhile if source == 0 && n > all / 3 => block(),
            Self::Address if address == 0 => busy(),
            Self::Intermittent if rng.random_bool(0.1) => busy(),
            Self::Limited if n % 26 >= 20 => Some("421 4.7.0 try again later".to_owned()),
            Self::Grey if n < 4 => Some("450 4.2.0 Greylisted, try again in 300 seconds".to_owned()),
            Self::Onset if n > all * 2 / 3 => busy(),
            Self::Outage if (all / 3..all / 2).contains(&n) => busy(),
            _ => None,
        }
    }
}

/// The lines of a run: session by session from each of four sources to each of four addresses, in
/// random order, a second or so apart.
fn run(fate: Fate, seed: u64, all: usize) -> Vec<Line> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (sources, addresses) = if matches!(fate, Fate::Limited) { (1, 2) } else { (4, 4) };
    let mut cells: Vec<(u8, u8)> = (0..sources).flat_map(|s| (0..addresses).map(move |a| (s, a))).collect();
    let mut at = Timestamp::UNIX_EPOCH.as_millisecond() + 1_790_000_000_000;
    let mut lines = Vec::new();
    for n in 0..all {
        let place = n % cells.len();
        if place == 0 && !matches!(fate, Fate::Grey) {
            cells.shuffle(&mut rng);
        }
        at += rng.random_range(500..1500);
        if matches!(fate, Fate::Limited) && n % 26 == 0 {
            at += 15 * 60 * 1000;
        }
        // A greylist first sees every source, each by itself.
        let cell = if matches!(fate, Fate::Grey) && n < 4 { cells[4 * n] } else { cells[place] };
        lines.push(session(n as u64 + 1, at, cell, fate.reply(n, all, cell, &mut rng)));
    }
    lines
}

fn session(seq: u64, at: i64, (source, address): (u8, u8), reply: Option<String>) -> Line {
    let session: Session = serde_json::from_value(json!({
        "run": "r", "seq": seq, "at": Timestamp::from_millisecond(at).unwrap().to_string(), "role": "target",
        "domain": "target.example", "mx": "mx.target.example", "address": format!("198.51.100.{address}"),
        "backend": null, "source": format!("192.0.2.{source}"), "from": "probe@sender.example", "until": "mail",
        "stage": "mail", "kind": if reply.is_some() { "rejected" } else { "completed" },
        "code": reply.as_ref().and_then(|r| r[..3].parse::<u16>().ok()), "reply": reply.map(|r| [r]),
    }))
    .unwrap();
    Line::Session(Box::new(session))
}

fn evidence<'l>(bound: usize, lines: impl IntoIterator<Item = &'l Line>) -> Evidence {
    let mut evidence = Evidence::bounded(bound);
    lines.into_iter().for_each(|line| evidence.add(line));
    evidence
}

fn said<'l>(bound: usize, lines: impl IntoIterator<Item = &'l Line>) -> Vec<Diagnosis> {
    judge(&evidence(bound, lines), Catalog::built_in())
}

/// What is said, without the sentences and without what the order of single sessions decides.
fn gist(found: &[Diagnosis]) -> Value {
    let gist = |d: &Diagnosis| {
        let units: Vec<&IpAddr> = d.sources.iter().chain(&d.addresses).collect();
        json!([d.kind, d.confidence, units, d.stage, d.code, d.failed, d.tried, d.elsewhere, d.candidates, d.leaning])
    };
    found.iter().map(gist).collect()
}

#[test]
fn a_run_is_told_the_same_whether_it_is_folded_or_not() {
    for fate in Fate::ALL {
        for seed in 0..4 {
            let lines = run(fate, seed, 4000);
            let one_by_one = said(usize::MAX, &lines);
            let named: Vec<_> = one_by_one.iter().map(|d| (d.kind, d.confidence)).collect();
            assert_eq!(named, [fate.truth()], "{fate:?} {seed}: {one_by_one:?}");
            for bound in [2000, 800] {
                let folded = said(bound, &lines);
                assert_eq!(gist(&folded), gist(&one_by_one), "{fate:?} {seed} within {bound}");
                for (folded, exact) in folded.iter().zip(&one_by_one) {
                    assert!(folded.windows <= exact.windows && (folded.windows > 1) == (exact.windows > 1));
                    // When it began and ended is not forgotten.
                    let times = |d: &Diagnosis| d.because.iter().find(|b| b.starts_with("failures from")).cloned();
                    let times = |d: &Diagnosis| times(d).map(|t| t.split(';').next().map(str::to_owned));
                    assert_eq!(times(folded), times(exact), "{fate:?} {seed} within {bound}");
                }
            }
        }
    }
}

#[test]
fn failures_at_random_are_told_from_failures_in_stretches() {
    let (mut random, mut stretches) = (0, 0);
    for seed in 0..40 {
        // A failure in twenty at random; and as many in a stretch of ten now and then.
        let lines = |clustered: bool| -> Vec<Line> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let busy = || "451 4.3.0 queue file write error".to_owned();
            let mut bad = 0;
            let mut one = |n: u64| {
                bad = if rng.random_bool(if clustered { 0.005 } else { 0.05 }) {
                    if clustered { 10 } else { 1 }
                } else {
                    bad
                };
                let reply = (bad > 0).then(busy);
                bad = i32::max(bad - 1, 0);
                let cell = (rng.random_range(0..4), rng.random_range(0..4));
                session(n + 1, 1_790_000_000_000 + 1000 * i64::try_from(n).unwrap(), cell, reply)
            };
            (0..3000).map(&mut one).collect()
        };
        let named = |lines: &[Line]| said(500, lines).iter().any(|d| d.kind == D::ReceiverIntermittent);
        random += u32::from(named(&lines(false)));
        stretches += u32::from(named(&lines(true)));
    }
    assert!(random >= 38 && stretches == 0, "{random} and {stretches} of 40");
}

#[test]
fn what_is_folded_counts_once_however_often_it_is_read() {
    for fate in Fate::ALL {
        let lines = run(fate, 7, 3000);
        let once = said(500, &lines);
        let twice = said(500, lines.iter().chain(&lines));
        assert_eq!(json!(once), json!(twice), "{fate:?}");
        let tally = evidence(500, lines.iter().chain(&lines)).tally();
        assert_eq!(tally.sessions(), 6000, "what was read is counted as read");
    }
}

proptest! {
    #![proptest_config(Config::with_cases(24))]

    #[test]
    fn the_order_of_lines_changes_nothing(fate in prop::sample::select(&Fate::ALL), seed in any::<u64>(), bound in 200..900_usize) {
        let mut lines = run(fate, seed, 2000);
        let found = json!(said(bound, &lines));
        prop_assert_eq!(&found, &json!(said(bound, lines.iter().rev())));
        lines.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        prop_assert_eq!(&found, &json!(said(bound, &lines)));
    }

    #[test]
    fn no_session_is_lost(fate in prop::sample::select(&Fate::ALL), seed in any::<u64>(), bound in 1..900_usize, all in 1..2000_usize) {
        let lines = run(fate, seed, all);
        let failed = lines.iter().filter(|l| matches!(l, Line::Session(s) if s.code.is_some())).count();
        let found = said(bound, &lines);
        let named = |d: &Diagnosis| d.failed + d.elsewhere.failed;
        prop_assert!(found.iter().any(|d| named(d) == failed as u64), "{} failed: {:?}", failed, found);
        let tally = evidence(bound, &lines).tally();
        prop_assert_eq!((tally.completed, tally.failed), ((all - failed) as u64, failed as u64));
    }
}

/// Of recipients that are too many to be known by name nobody can tell whether they are the same.
#[test]
fn recipients_that_are_too_many_are_no_pairs_and_no_greylist() {
    let put_off = "450 4.2.0 Greylisted, come back later";
    for (what, refused) in [("first some, then others", 0..10_000), ("one sender, then the other", 0..0)] {
        let lines = (0..20_000_u64).map(|n| {
            let at = 1_790_000_000_000 + 700 * i64::try_from(n).unwrap();
            let other_sender = refused.is_empty() && n % 2 == 1;
            let bad = refused.contains(&n) || refused.is_empty() && n % 2 == 0;
            let Line::Session(mut session) = session(n + 1, at, (0, 0), bad.then(|| put_off.to_owned())) else {
                unreachable!()
            };
            session.to = Some(format!("user{n}@target.example"));
            session.variant = if other_sender { Variant::NeutralFrom } else { Variant::Plain };
            Line::Session(session)
        });
        for d in said(500, &lines.collect::<Vec<_>>()) {
            assert!(!matches!(d.kind, D::EnvelopeDomain | D::Recipient | D::Greylisting), "{what}: {d:?}");
            assert_eq!((d.failed, d.tried), (10_000, 20_000), "{what}: {d:?}");
        }
    }
}
