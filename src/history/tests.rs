//! The ledger in the file, with times as arguments.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::ledger::{LEASE, StoreLedger};
use super::*;
use crate::ledger::{Account, Admission, Ask, Ground, Ledger as _, Rest, later};
use crate::limits::Limits;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// A directory for one history, and what the operator was told of it.
struct World {
    directory: tempfile::TempDir,
    told: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), told: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("history.sqlite")
    }

    fn open(&self, now: Timestamp) -> StoreLedger {
        self.over(Store::open(&self.path()).unwrap(), now)
    }

    fn over(&self, store: Store, now: Timestamp) -> StoreLedger {
        let told = Arc::clone(&self.told);
        StoreLedger::over(store, now, Box::new(move |what| told.lock().unwrap().push(what.to_owned()))).unwrap()
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    fn count(&self, table: &str) -> i64 {
        let db = Connection::open(self.path()).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

/// One run's questions.
struct Run {
    name: &'static str,
    account: Account,
    ground: Ground,
    limits: Limits,
}

impl Run {
    fn new(name: &'static str, ground: Ground) -> Self {
        let loopback = (ground == Ground::Loopback).then_some(2525);
        let account = Account { provider: "example.org".into(), loopback };
        let limits = Limits { per_provider: 100, per_address: 100, ..Limits::default() };
        Self { name, account, ground, limits: Limits { rate: "1000/s".parse().unwrap(), ..limits } }
    }

    fn with(self, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = self.limits.clone();
        change(&mut limits);
        Self { limits, ..self }
    }

    fn ask(&self, now: Timestamp) -> Ask<'_> {
        let Self { name: run, account, ground, limits } = self;
        let (address, source) = (ADDRESS, Some(SOURCE));
        Ask { run, account, ground: *ground, address, source, first: true, ignore_rest: false, limits, now }
    }

    /// Asks until the answer is no.
    fn drain(&self, ledger: &mut StoreLedger, now: Timestamp) -> (u32, Admission) {
        let mut started = 0;
        loop {
            match ledger.admit(&self.ask(now)) {
                Admission::Go => started += 1,
                no => return (started, no),
            }
        }
    }
}

fn minutes(minutes: u64) -> Timestamp {
    later("2026-11-24T10:00:00Z".parse().unwrap(), Duration::from_mins(minutes))
}

fn spent(admission: &Admission) -> bool {
    matches!(admission, Admission::Skip(why) if why.contains("is spent until"))
}

#[test]
fn budgets_hold_across_runs() {
    let world = World::new();
    let run = |name| Run::new(name, Ground::Foreign).with(|limits| (limits.per_hour, limits.per_day) = (5, 7));
    assert!(matches!(run("a").drain(&mut world.open(minutes(0)), minutes(0)), (5, no) if spent(&no)));
    assert!(matches!(run("b").drain(&mut world.open(minutes(59)), minutes(59)), (0, no) if spent(&no)));
    assert!(matches!(run("c").drain(&mut world.open(minutes(61)), minutes(61)), (2, no) if spent(&no)));
    assert!(matches!(run("d").drain(&mut world.open(minutes(23 * 60)), minutes(23 * 60)), (0, no) if spent(&no)));
    assert!(
        matches!(run("e").drain(&mut world.open(minutes(24 * 60 + 1)), minutes(24 * 60 + 1)), (5, no) if spent(&no))
    );
    let left = world.count("start");
    assert_eq!(left, 7, "starts that are older than a day are forgotten");
}

#[test]
fn rates_hold_across_runs_on_every_ground() {
    for ground in [Ground::Loopback, Ground::Own, Ground::Foreign] {
        let world = World::new();
        let (mut one, mut two) = (world.open(minutes(0)), world.open(minutes(0)));
        let run = |name| Run::new(name, ground).with(|limits| limits.rate = "6/min".parse().unwrap());
        let (a, b) = (run("a"), run("b"));
        for _ in 0..3 {
            assert_eq!(one.admit(&a.ask(minutes(0))), Admission::Go);
            assert_eq!(two.admit(&b.ask(minutes(0))), Admission::Go);
        }
        let until = later(minutes(0), crate::ledger::window(Duration::from_mins(1)));
        assert_eq!(one.admit(&a.ask(minutes(0))), Admission::Wait(until), "{ground:?}");
        assert_eq!(two.admit(&b.ask(until)), Admission::Go, "{ground:?}");
    }
}

#[test]
fn a_run_on_loopback_that_is_over_holds_up_none_that_follows() {
    for (ground, goes) in [(Ground::Loopback, true), (Ground::Own, false), (Ground::Foreign, false)] {
        let world = World::new();
        let run = |name| Run::new(name, ground).with(|limits| limits.rate = "1/min".parse().unwrap());
        assert_eq!(world.open(minutes(0)).admit(&run("a").ask(minutes(0))), Admission::Go);
        let after = world.open(minutes(0)).admit(&run("b").ask(minutes(0)));
        assert_eq!(after == Admission::Go, goes, "{ground:?}");
    }
    // Two at once share the limit, whichever ends first.
    let world = World::new();
    let run = |name| Run::new(name, Ground::Loopback).with(|limits| limits.rate = "2/min".parse().unwrap());
    let (mut one, mut two) = (world.open(minutes(0)), world.open(minutes(0)));
    assert_eq!(one.admit(&run("a").ask(minutes(0))), Admission::Go);
    assert_eq!(two.admit(&run("b").ask(minutes(0))), Admission::Go);
    drop(one);
    assert!(matches!(two.admit(&run("b").ask(minutes(0))), Admission::Wait(_)));
}

#[test]
fn a_test_on_loopback_spends_nothing_of_the_provider_it_plays() {
    let world = World::new();
    let mut ledger = world.open(minutes(0));
    let rate = |limits: &mut Limits| limits.rate = "6/min".parse().unwrap();
    let (test, real) = (Run::new("a", Ground::Loopback).with(rate), Run::new("b", Ground::Foreign).with(rate));
    assert_eq!(test.drain(&mut ledger, minutes(0)).0, 6);
    assert_eq!(real.drain(&mut ledger, minutes(0)).0, 6);
    let other = Run { account: Account { loopback: Some(2526), ..test.account.clone() }, ..test };
    assert_eq!(other.drain(&mut ledger, minutes(0)).0, 6);
}

#[test]
fn many_may_begin_a_history_at_once() {
    for _ in 0..50 {
        let world = World::new();
        std::thread::scope(|scope| {
            let threads =
                [0; 6].map(|_| scope.spawn(|| Store::open(&world.path()).map(drop).map_err(|e| e.to_string())));
            for thread in threads {
                assert_eq!(thread.join().unwrap(), Ok(()));
            }
        });
    }
}

#[test]
fn many_at_once_never_pass_a_budget() {
    let world = World::new();
    let started = std::thread::scope(|scope| {
        let one = |name| {
            let world = &world;
            scope.spawn(move || {
                let run = Run::new(name, Ground::Foreign).with(|limits| limits.per_hour = 100);
                run.drain(&mut world.open(minutes(0)), minutes(0)).0
            })
        };
        ["a", "b", "c", "d"].map(one).map(|thread| thread.join().unwrap())
    });
    assert_eq!((started.iter().sum::<u32>(), world.count("start")), (100, 100), "{started:?}");
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn rests_hold_across_runs_where_the_provider_is_real() {
    for (ground, kept) in [(Ground::Loopback, false), (Ground::Own, true), (Ground::Foreign, true)] {
        let world = World::new();
        let (a, b) = (Run::new("a", ground), Run::new("b", ground));
        let (mut one, mut two) = (world.open(minutes(0)), world.open(minutes(0)));
        assert_eq!(two.admit(&b.ask(minutes(0))), Admission::Go);
        let rest = Rest { until: minutes(120), why: "421 [TSS04]".to_owned() };
        one.rest("a", &a.account, SOURCE, rest, minutes(0));
        assert_eq!(one.admit(&a.ask(minutes(1))), Admission::Go, "the run's own cells have a session each");
        let further = Ask { first: false, ..a.ask(minutes(1)) };
        assert!(matches!(one.admit(&further), Admission::Skip(_)));
        drop(one);

        let mut three = world.open(minutes(119));
        for (ledger, now) in [(&mut two, minutes(2)), (&mut three, minutes(119))] {
            let admission = ledger.admit(&b.ask(now));
            match &admission {
                Admission::Skip(why) if kept => {
                    assert_eq!(why, "192.0.2.1 rests at example.org until 2026-11-24T12:00:00Z: 421 [TSS04]");
                }
                other => assert!(!kept && *other == Admission::Go, "{ground:?}: {other:?}"),
            }
            let ignored = Ask { ignore_rest: true, ..b.ask(now) };
            assert_eq!(ledger.admit(&ignored), Admission::Go);
        }
        assert_eq!(three.admit(&b.ask(minutes(120))), Admission::Go);
        drop(three);
        world.open(minutes(120));
        assert_eq!(world.count("rest"), 0);
    }
}

#[test]
fn open_sessions_count_for_all_and_not_for_ever() {
    let world = World::new();
    let (mut one, mut two) = (world.open(minutes(0)), world.open(minutes(0)));
    let run = |name| Run::new(name, Ground::Own).with(|limits| (limits.per_address, limits.per_provider) = (1, 2));
    let (a, b) = (run("a"), run("b"));
    let elsewhere = |ask| Ask { address: IpAddr::from([198, 51, 100, 2]), ..ask };
    let second = |n| later(minutes(0), Duration::from_secs(n));

    assert_eq!(one.admit(&a.ask(second(0))), Admission::Go);
    assert!(matches!(two.admit(&b.ask(second(0))), Admission::Wait(_)), "the address is taken");
    assert_eq!(two.admit(&elsewhere(b.ask(second(0)))), Admission::Go);
    let third = Ask { address: IpAddr::from([198, 51, 100, 3]), ..b.ask(second(0)) };
    assert!(matches!(two.admit(&third), Admission::Wait(_)), "the provider is taken twice");
    one.ended(&a.account, ADDRESS, second(1));
    assert_eq!(two.admit(&b.ask(second(1))), Admission::Go);

    // The second process is killed: nothing of it is tidied up.
    std::mem::forget(two);
    assert!(matches!(one.admit(&a.ask(second(2))), Admission::Wait(_)));
    let lapsed = later(second(1), LEASE);
    assert_eq!(one.admit(&a.ask(lapsed)), Admission::Go);
    let mut three = world.open(lapsed);
    for _ in 0..4 {
        one.renew(later(lapsed, LEASE / 2));
    }
    assert!(matches!(three.admit(&b.ask(later(lapsed, LEASE))), Admission::Wait(_)), "it was renewed");
    drop(one);
    assert_eq!(three.admit(&b.ask(later(lapsed, LEASE))), Admission::Go, "it was given back");
}

#[test]
fn a_file_that_fails_in_mid_run_leaves_the_run_with_all_it_knows() {
    let world = World::new();
    let run = |name| Run::new(name, Ground::Foreign).with(|limits| limits.per_hour = 400);
    let (a, b) = (run("a"), run("b"));
    let mut before = world.open(minutes(0));
    for _ in 0..10 {
        assert_eq!(before.admit(&a.ask(minutes(0))), Admission::Go);
    }
    drop(before);

    let store = Store::open(&world.path()).unwrap();
    let pages: i64 = store.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.db.pragma_update(None, "max_page_count", pages).unwrap();
    let mut full = world.over(store, minutes(1));
    assert_eq!(b.drain(&mut full, minutes(2)).0, 390, "the first run's starts count");
    let rest = Rest { until: minutes(120), why: "no".to_owned() };
    full.rest("b", &b.account, SOURCE, rest, minutes(3));
    for _ in 0..390 {
        full.ended(&b.account, ADDRESS, minutes(3));
    }
    let told = world.told();
    assert!(matches!(&told[..], [one] if one.contains("full") && one.contains("by this run alone")), "{told:?}");

    full.unlimited();
    let again = Ask { source: None, ..b.ask(minutes(63)) };
    assert_eq!(full.admit(&again), Admission::Go);
    assert!(matches!(&world.told()[..], [one] if one.ends_with("written again, with what it missed")));
    assert_eq!((world.count("start"), world.count("rest")), (401, 1));
    drop(full);
    assert_eq!(world.count("lease"), 0);
    assert!(
        matches!(run("c").drain(&mut world.open(minutes(63)), minutes(63)), (0, Admission::Skip(why)) if why.contains("rests"))
    );
}

#[test]
fn what_is_owed_is_written_at_the_end_at_the_latest() {
    let world = World::new();
    let a = Run::new("a", Ground::Foreign);
    let mut ledger = world.open(minutes(0));
    ledger.leave_alone_until(minutes(1));
    assert_eq!(ledger.admit(&a.ask(minutes(0))), Admission::Go);
    assert_eq!(world.count("start"), 0);
    drop(ledger);
    assert_eq!((world.count("start"), world.count("lease")), (1, 0));
}

#[test]
fn a_clock_that_was_put_back_holds_nobody_up_for_longer_than_it_should() {
    let world = World::new();
    let (tomorrow, today) = (minutes(24 * 60), minutes(0));
    let (a, b) = (Run::new("a", Ground::Foreign), Run::new("b", Ground::Foreign).with(|limits| limits.per_hour = 3));
    let mut ahead = world.open(tomorrow);
    for _ in 0..3 {
        assert_eq!(ahead.admit(&a.ask(tomorrow)), Admission::Go);
    }
    let source = IpAddr::from([192, 0, 2, 2]);
    let rest = Rest { until: later(tomorrow, Duration::from_hours(2)), why: "no".to_owned() };
    ahead.rest("a", &a.account, source, rest, tomorrow);
    std::mem::forget(ahead);

    let mut back = world.open(today);
    assert!(spent(&back.admit(&b.ask(today))));
    assert_eq!(back.admit(&b.ask(minutes(61))), Admission::Go);
    assert!(matches!(back.admit(&Ask { source: Some(source), ..b.ask(minutes(119)) }), Admission::Skip(_)));
    assert_eq!(back.admit(&Ask { source: Some(source), ..b.ask(minutes(120)) }), Admission::Go);
}

#[test]
fn a_history_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/mxprobe/history.sqlite");
    let mut ledger = StoreLedger::open(&path, minutes(0), Box::new(|_| ())).unwrap();
    ledger.admit(&Run::new("a", Ground::Foreign).ask(minutes(0)));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in ["history.sqlite", "history.sqlite-wal", "history.sqlite-shm"] {
        assert_eq!(mode(&path.with_file_name(file)), 0o600, "{file}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(path.parent().unwrap().parent().unwrap()), 0o700);
}
