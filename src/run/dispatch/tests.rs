//! The dispatcher on a clock that jumps, with sessions that only take time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::ledger::RunLedger;
use crate::limits::Limits;
use crate::plan::{Cell, Exchanger, Route, Source, plan};
use crate::probe::Probe;
use crate::probe::layer::ProbeLayer;
use crate::record::{Role, Variant};
use crate::smtp::fault::Fault;
use crate::smtp::session::{Answer, Learned, Step};

mod meeting;

/// Sessions that last as long as they are told to and end as they are told to.
#[derive(Clone)]
struct Fake {
    clock: Clock,
    lasts: Duration,
    fault: Option<Fault>,
    reply: Option<&'static str>,
    started: Arc<Mutex<Log>>,
}

impl Execute for Fake {
    async fn open(&self, attempt: Arc<Attempt>, mut cancel: watch::Receiver<bool>) -> Ended {
        let (begun, started) = (Instant::now(), self.clock.now());
        let cancelled = tokio::select! {
            () = tokio::time::sleep(self.lasts) => false,
            () = turned(&mut cancel) => true,
        };
        self.started.lock().unwrap().push((begun, Instant::now(), Arc::clone(&attempt)));
        let fault = if cancelled { Some(Fault::Cancelled) } else { self.fault.clone() };
        let answer = match (fault, self.reply) {
            (Some(fault), _) => Answer::Fault(fault),
            (None, Some(reply)) => {
                let mut decoder = crate::smtp::decoder::Decoder::default();
                decoder.extend(reply.as_bytes());
                Answer::Reply(decoder.decode().unwrap().unwrap())
            }
            (None, None) => Answer::Established,
        };
        let passed = matches!(answer, Answer::Established);
        let step = Step { stage: Stage::Tls, answer, passed, took: self.lasts };
        let learned = Learned { steps: vec![step], ..Learned::default() };
        let total = begun.elapsed();
        let outcome = Outcome { attempt, started, bound: None, learned, tls: None, total, skipped: None };
        (Box::new(outcome.record("run")), None)
    }
}

pub(super) struct World {
    pub(super) sources: u8,
    pub(super) addresses: u8,
    pub(super) limits: Limits,
    lasts: Duration,
    fault: Option<Fault>,
    reply: Option<&'static str>,
    pair_plaintext: bool,
    public: bool,
    own_mx: bool,
    ignore_rest: bool,
    /// How often the plan is worked through, one time after the other, and after how many sessions
    /// each is known enough; none: it is one plan for itself.
    parts: Option<(usize, usize)>,
}

impl Default for World {
    fn default() -> Self {
        let limits = Limits { rate: "100000/s".parse().unwrap(), ..Limits::default() };
        let lasts = Duration::from_secs(1);
        Self {
            sources: 4,
            addresses: 8,
            limits,
            lasts,
            fault: None,
            reply: None,
            pair_plaintext: false,
            public: false,
            own_mx: false,
            ignore_rest: false,
            parts: None,
        }
    }
}

type Log = Vec<(Instant, Instant, Arc<Attempt>)>;

impl World {
    /// The plan, and on whose terms it is.
    pub(super) fn plan(&self) -> (Plan, Terms) {
        let layer = ProbeLayer {
            domain: Some("example.org".parse().unwrap()),
            own_mx: Some(self.own_mx),
            until: Some(Stage::Mail),
            pair_plaintext: Some(self.pair_plaintext),
            ignore_rest: Some(self.ignore_rest),
            ..ProbeLayer::default()
        };
        let probe = layer.settle(|_| unreachable!()).unwrap();
        let probe = Arc::new(Probe { limits: self.limits.clone(), ..probe });
        let net = if self.public { [198, 51] } else { [127, 1] };
        let exchanger = Exchanger {
            name: Some("mx.example.org".to_owned()),
            preference: Some(10),
            addresses: (1..=self.addresses).map(|n| IpAddr::from([net[0], net[1], 0, n])).collect(),
            fault: None,
            notes: vec![],
            dane: None,
        };
        let route = Route {
            role: Role::Target,
            domain: probe.target.domain.clone(),
            fault: None,
            notes: vec![],
            exchangers: vec![exchanger],
        };
        let source = |n| Source {
            address: IpAddr::from([127, 0, 0, n]),
            seen_as: IpAddr::from([127, 0, 0, n]),
            ehlo: "probe.example".parse().unwrap(),
            neutral: false,
        };
        let sources: Vec<_> = (1..=self.sources).map(source).collect();
        let plan = plan(&probe, &[route], &sources, 7, 1);
        let mut terms = Terms::default();
        terms.see(&plan);
        (plan, terms)
    }

    async fn run(self, cancel_after: Option<Duration>) -> (Vec<Box<Session>>, Log, Duration) {
        let (clock, (plan, terms)) = (Clock::start(), self.plan());
        let (ledger, room) = (Box::new(RunLedger::default()), usize::MAX);
        let rules = Rules { run: "run".to_owned(), clock, terms, ledger, seed: 7, room };
        let (stop, cancel) = watch::channel(false);
        if let Some(after) = cancel_after {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let _ = stop.send(true);
                std::future::pending::<()>().await;
            });
        }
        let fake = Fake { clock, lasts: self.lasts, fault: self.fault, reply: self.reply, started: Arc::default() };
        let mut out = match self.parts {
            None => start(plan, rules, fake.clone(), cancel),
            Some((parts, sessions)) => {
                let mut seen = vec![0; parts];
                let enough = Box::new(move |part: usize, _: &Session| {
                    seen[part] += 1;
                    seen[part] >= sessions
                });
                start_parts(vec![plan; parts], enough, rules, fake.clone(), cancel)
            }
        };
        let mut sessions = Vec::new();
        while let Some((session, _)) = out.recv().await {
            sessions.push(session);
        }
        let log = std::mem::take(&mut *fake.started.lock().unwrap());
        (sessions, log, clock.begun().elapsed())
    }
}

/// The most sessions open at any one time, of those that `of` puts together.
fn most_at_once<K: Ord>(log: &Log, of: impl Fn(&Attempt) -> K) -> usize {
    let mut most = 0;
    for (begun, _, attempt) in log {
        let open = log.iter().filter(|(b, e, a)| b <= begun && begun < e && of(a) == of(attempt)).count();
        most = most.max(open);
    }
    most
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_used_and_never_passed() {
    for (per_address, per_provider, ideal) in [(1, 2, 16), (1, 4, 8), (2, 16, 2), (1, 100, 4), (4, 100, 1)] {
        let limits = Limits { per_address, per_provider, ..World::default().limits };
        let (sessions, log, took) = World { limits, ..World::default() }.run(None).await;
        assert_eq!(sessions.len(), 32);
        assert!(most_at_once(&log, |a| a.address) <= per_address);
        assert!(most_at_once(&log, |_| ()) <= per_provider);
        assert!(took.as_secs_f64() < f64::from(ideal) + 0.1, "{per_address}/{per_provider}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_sessions_do_not_wait_for_one_address() {
    for (per_address, per_provider, ideal) in [(1, 50, 20), (4, 50, 20), (4, 200, 5), (3, 1000, 4)] {
        let limits = Limits { per_address, per_provider, ..World::default().limits };
        let world = World { limits, sources: 10, addresses: 100, ..World::default() };
        let (sessions, _, took) = world.run(None).await;
        assert_eq!(sessions.len(), 1000);
        assert!(took.as_secs_f64() < f64::from(ideal) + 0.1, "{per_address}/{per_provider}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_minute_sees_more_starts_than_the_rate() {
    for public in [false, true] {
        let limits = Limits { per_provider: 10, ..Limits::default() };
        let (sessions, mut log, _) = World { limits, public, ..World::default() }.run(None).await;
        assert_eq!(sessions.len(), 32);
        log.sort_by_key(|(begun, ..)| *begun);
        for window in log.windows(21) {
            assert!(window[20].0 - window[0].0 >= Duration::from_mins(1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cells_attempts_keep_their_pace() {
    for public in [false, true] {
        let limits = Limits { attempts: 3, pace: Duration::from_secs(20), ..World::default().limits };
        let world = World { limits, public, sources: 2, addresses: 2, ..World::default() };
        let (sessions, log, _) = world.run(None).await;
        assert_eq!(sessions.len(), 12);
        let mut cells: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (begun, _, attempt) in &log {
            let cell = (attempt.address, attempt.source.as_ref().map(|s| s.address));
            cells.entry(cell).or_default().push((*begun, attempt.number));
        }
        for starts in cells.values_mut() {
            starts.sort_unstable();
            assert_eq!(starts.iter().map(|s| s.1).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(starts.windows(2).all(|w| w[1].0 - w[0].0 >= Duration::from_secs(20)), "{starts:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_spent_skips_the_rest_on_foreign_ground_only() {
    for (public, run) in [(true, 5), (false, 32)] {
        let limits = Limits { per_hour: 5, ..World::default().limits };
        let (sessions, log, _) = World { limits, public, ..World::default() }.run(None).await;
        assert_eq!((sessions.len(), log.len()), (32, run));
        let skipped = sessions.iter().filter(|s| s.kind == Kind::Skipped);
        assert!(
            skipped.clone().all(|s| s.detail.as_deref().is_some_and(|d| d.contains("budget")) && s.stage.is_none())
        );
        assert_eq!(skipped.count(), 32 - run);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_rests_after_a_reply_that_asks_for_it() {
    let limits = Limits { attempts: 2, pace: Duration::from_secs(1), ..World::default().limits };
    let reply = Some("421 4.7.0 [TSS04] Messages from 127.0.0.1 temporarily deferred\r\n");
    let (sessions, log, _) = World { limits, reply, ..World::default() }.run(None).await;
    assert_eq!((sessions.len(), log.len()), (64, 32), "every cell has its one session, and no more");
    let rested = sessions.iter().filter(|s| s.detail.as_deref().is_some_and(|d| d.contains("rests at example.org")));
    assert_eq!(rested.count(), 32);
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_stops_is_still_on_record() {
    let (sessions, log, took) = World::default().run(Some(Duration::from_millis(2500))).await;
    assert_eq!((sessions.len(), log.len()), (32, 6));
    assert_eq!(sessions.iter().filter(|s| s.kind == Kind::Skipped).count(), 28);
    assert!(took < Duration::from_secs(3));
    let mut seqs: Vec<_> = sessions.iter().map(|s| s.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=32).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_after_the_patience() {
    let limits = Limits { max_time: Some(Duration::from_millis(2500)), ..World::default().limits };
    let (sessions, log, _) = World { limits, ..World::default() }.run(None).await;
    assert_eq!((sessions.len(), log.len()), (32, 6));
}

#[tokio::test(start_paused = true)]
async fn a_failed_handshake_gets_its_pair_only_when_asked_for() {
    for (pair_plaintext, count) in [(false, 4), (true, 8)] {
        let fault = Some(Fault::Tls("no".to_owned()));
        let world = World { sources: 2, addresses: 2, fault, pair_plaintext, ..World::default() };
        let (sessions, ..) = world.run(None).await;
        assert_eq!(sessions.len(), count);
        let pairs = sessions.iter().filter(|s| s.variant == Variant::Plaintext).count();
        assert_eq!(pairs, count - 4);
    }
}

#[test]
fn ceilings_rests_and_budgets_hold_on_foreign_ground() {
    let over = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        World { limits, ..World::default() }
    };
    let usual = || over(|_| ());
    // What is asked for, whether the history is broken, and what is said on foreign ground.
    let cases = [
        (usual(), false, ""),
        (over(|l| l.rate = "60/min".parse().unwrap()), false, ""),
        (over(|l| l.rate = "61/min".parse().unwrap()), false, "--rate: 61 a minute is over the ceiling of 60"),
        (over(|l| l.per_hour = 601), false, "--per-hour: 601 an hour is over the ceiling of 600"),
        (over(|l| l.per_day = 5001), false, "--per-day: 5001 a day is over the ceiling of 5000"),
        (over(|l| l.per_provider = 11), false, "--per-provider: 11 at a time is over the ceiling of 10"),
        (over(|l| l.per_address = 11), false, "--per-address: 11 at a time is over the ceiling of 10"),
        (World { ignore_rest: true, ..usual() }, false, "--ignore-rest: example.org is not yours"),
        (usual(), true, "no disk; example.org is not yours, and its budgets are kept"),
    ];
    for (mut world, broken, says) in cases {
        for (public, own_mx) in [(true, false), (true, true), (false, false)] {
            (world.public, world.own_mx) = (public, own_mx);
            let (plan, terms) = world.plan();
            let said = terms.check(&plan, broken.then_some("no disk")).map_err(|e| e.to_string());
            match (public, own_mx, says) {
                (true, false, says) if !says.is_empty() => {
                    assert!(said.as_ref().is_err_and(|said| said.starts_with(says)), "{said:?}, wanted {says}");
                }
                _ => assert_eq!(said, Ok(()), "{says}"),
            }
        }
    }
}

#[test]
fn a_control_with_one_address_out_in_the_world_is_foreign() {
    let (plan, _) =
        World { own_mx: true, limits: Limits { per_hour: 601, ..Limits::default() }, ..World::default() }.plan();
    for (role, public, foreign) in
        [(Role::Control, true, true), (Role::Control, false, false), (Role::Target, true, false)]
    {
        let ip = if public { IpAddr::from([198, 51, 100, 9]) } else { IpAddr::from([127, 1, 0, 9]) };
        let known = plan.attempts().next().unwrap();
        let next = Cell { address: Some(SocketAddr::new(ip, 25)), ..Cell::clone(&known) };
        let cell = Cell { role, alternatives: vec![Arc::new(next)], ..Cell::clone(&known) };
        let attempt = Attempt { cell: Arc::new(cell), ..Attempt::clone(&known) };
        let plan = Plan::listed(vec![Arc::new(attempt)], vec![]);
        let mut terms = Terms::default();
        terms.see(&plan);
        assert_eq!(terms.check(&plan, None).is_err(), foreign, "{role} {public}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_skipped_attempt_holds_up_none_behind_it() {
    for max_time in [None, Some(Duration::from_millis(500))] {
        let limits =
            Limits { attempts: 3, pace: Duration::from_secs(1), per_hour: 5, max_time, ..World::default().limits };
        let (sessions, log, _) = World { limits, public: true, ..World::default() }.run(None).await;
        assert_eq!((sessions.len(), log.len()), (96, if max_time.is_some() { 2 } else { 5 }));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_rate_beyond_the_patience() {
    let max_time = Some(Duration::from_secs(10));
    let limits = Limits { rate: "4/min".parse().unwrap(), max_time, ..Limits::default() };
    let (sessions, log, took) = World { limits, ..World::default() }.run(None).await;
    assert_eq!((sessions.len(), log.len()), (32, 4));
    assert_eq!(took.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_part_follows_the_one_before_and_ends_when_enough_is_known() {
    let limits = Limits { pace: Duration::from_secs(20), per_provider: 1, attempts: 2, ..World::default().limits };
    let world = World { limits, sources: 1, addresses: 2, parts: Some((2, 3)), ..World::default() };
    let (sessions, log, _) = world.run(None).await;
    let numbers: Vec<_> = sessions.iter().map(|s| (s.seq, s.attempt)).collect();
    assert_eq!(numbers, [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]);
    let mut cells: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (begun, _, attempt) in &log {
        cells.entry(attempt.address).or_default().push(*begun);
    }
    let paced = |starts: &Vec<Instant>| starts.windows(2).all(|w| w[1] - w[0] >= Duration::from_secs(20));
    assert!(cells.values().all(paced), "the pace holds from one part to the next");
}

#[tokio::test(start_paused = true)]
async fn a_rest_holds_from_one_part_to_the_next() {
    let reply = Some("421 4.7.0 [TSS04] Messages from 127.0.0.1 temporarily deferred\r\n");
    let world = World { sources: 1, addresses: 2, reply, parts: Some((2, 99)), ..World::default() };
    let (sessions, log, _) = world.run(None).await;
    assert_eq!((sessions.len(), log.len()), (4, 2));
    assert!(sessions[2..].iter().all(|s| s.detail.as_deref().is_some_and(|d| d.contains("rests at"))));
}

#[tokio::test(start_paused = true)]
async fn every_part_has_its_share_of_the_time() {
    let limits = Limits { max_time: Some(Duration::from_secs(8)), per_provider: 1, ..World::default().limits };
    let world = World { limits, sources: 4, addresses: 2, parts: Some((2, 99)), ..World::default() };
    let (sessions, log, _) = world.run(None).await;
    assert_eq!((sessions.len(), log.len()), (16, 8), "four sessions in each half of the time");
    assert!(sessions.iter().filter(|s| s.kind == Kind::Skipped).count() == 8);
}
