//! Tries the judge on simulated worlds whose truth is known, and counts how often it is right.
//!
//! `cargo bench --bench calibration`, or with other numbers of draws
//! `CALIBRATION_DRAWS=5 cargo bench --bench calibration`. Seeded: the same draws give the same table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge};
use mxprobe::record::{Confidence, Diagnosis, DiagnosisKind as D, Kind, Line, Role, Session};
use mxprobe::smtp::reply::Code;
use mxprobe::stage::Stage;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIZES: [(usize, usize); 16] = [
    (1, 1),
    (1, 2),
    (1, 4),
    (1, 8),
    (2, 1),
    (2, 2),
    (2, 4),
    (2, 8),
    (3, 3),
    (3, 8),
    (4, 4),
    (4, 8),
    (4, 16),
    (8, 4),
    (8, 8),
    (8, 16),
];
const ATTEMPTS: [usize; 4] = [1, 2, 3, 6];
const NOISE: [f64; 3] = [0.0, 0.02, 0.10];

/// What is going on in a world.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum World {
    Clean,
    CleanNeutral,
    BlockOne,
    BlockSeveral,
    BlockHalf,
    PoolNeutral,
    PoolMixed,
    PoolAlone,
    OutageNeutral,
    OutageAlone,
    AddressOne,
    AddressTwo,
    AddressAllButOne,
    BackendRoundRobin,
    BackendHash,
    Cells,
    Intermittent10,
    Intermittent30,
    Intermittent50,
    OnsetRandom,
    OnsetBySource,
    EgressOneControl,
    EgressOneAlone,
    EgressAll,
    Firewall,
    Greylisting,
    Envelope,
    NeutralOther,
    Blip,
    BlockAddress,
    BlockIntermittent,
    AddressIntermittent,
    BlockBackend,
    EgressBlock,
    EgressAddress,
}

impl World {
    const ALL: [Self; 35] = [
        Self::Clean,
        Self::CleanNeutral,
        Self::BlockOne,
        Self::BlockSeveral,
        Self::BlockHalf,
        Self::PoolNeutral,
        Self::PoolMixed,
        Self::PoolAlone,
        Self::OutageNeutral,
        Self::OutageAlone,
        Self::AddressOne,
        Self::AddressTwo,
        Self::AddressAllButOne,
        Self::BackendRoundRobin,
        Self::BackendHash,
        Self::Cells,
        Self::Intermittent10,
        Self::Intermittent30,
        Self::Intermittent50,
        Self::OnsetRandom,
        Self::OnsetBySource,
        Self::EgressOneControl,
        Self::EgressOneAlone,
        Self::EgressAll,
        Self::Firewall,
        Self::Greylisting,
        Self::Envelope,
        Self::NeutralOther,
        Self::Blip,
        Self::BlockAddress,
        Self::BlockIntermittent,
        Self::AddressIntermittent,
        Self::BlockBackend,
        Self::EgressBlock,
        Self::EgressAddress,
    ];
}

/// What is true of a drawn world.
#[derive(Default)]
struct Truth {
    blocked: BTreeSet<usize>,
    down: BTreeSet<usize>,
    bad_backend: bool,
    egress: BTreeSet<usize>,
    pool: bool,
    outage: bool,
    intermittent: bool,
    greylisting: bool,
    /// Failures in time: whoever calls them random is wrong, whatever else goes on.
    in_time: bool,
    sources: usize,
    addresses: usize,
}

/// How one session ends; `None` passes.
#[derive(Clone, Copy)]
struct End {
    stage: Stage,
    kind: Kind,
    text: &'static str,
}

const fn refused(stage: Stage, text: &'static str) -> End {
    End { stage, kind: Kind::Rejected, text }
}

const fn broken(stage: Stage, kind: Kind) -> End {
    End { stage, kind, text: "" }
}

const NOISES: [End; 6] = [
    broken(Stage::Connect, Kind::TimedOut),
    broken(Stage::Banner, Kind::Dropped),
    refused(Stage::Banner, "421 4.3.2 too busy, come back later"),
    broken(Stage::Ehlo, Kind::Dropped),
    refused(Stage::Mail, "451 4.3.0 temporary lookup failure"),
    broken(Stage::Mail, Kind::TimedOut),
];
const BLOCKS: [End; 4] = [
    refused(Stage::Mail, "421 4.7.0 [TSS04] Messages from {source} temporarily deferred due to user complaints"),
    refused(Stage::Mail, "553 5.7.1 [BL21] Connections will not be accepted from {source}"),
    refused(Stage::Banner, "554 mx.example ESMTP not accepting connections"),
    refused(Stage::Mail, "550 5.7.1 go away"),
];
const OUTAGES: [End; 4] = [
    refused(Stage::Banner, "421 mx.example Service unavailable - try again later"),
    broken(Stage::Banner, Kind::Dropped),
    broken(Stage::Banner, Kind::TimedOut),
    broken(Stage::Connect, Kind::TimedOut),
];
const FAULTS: [End; 4] = [
    broken(Stage::Connect, Kind::TimedOut),
    broken(Stage::Connect, Kind::Refused),
    refused(Stage::Banner, "421 4.3.2 system not accepting network messages"),
    refused(Stage::Mail, "451 4.3.0 queue file write error"),
];
const GREY: End = refused(Stage::Mail, "450 4.2.0 try again in 300 seconds");
const ENVELOPE: End = refused(Stage::Mail, "553 5.7.2 sender domain not accepted");

fn main() {
    // A test run wants nothing but that it starts.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let draws = std::env::var("CALIBRATION_DRAWS").ok().and_then(|n| n.parse().ok()).unwrap_or(53);
    let only = std::env::var("CALIBRATION_WORLD").ok();
    let show = std::env::var_os("CALIBRATION_SHOW").is_some();
    let worlds = World::ALL.into_iter().filter(|w| only.as_deref().is_none_or(|name| name == format!("{w:?}")));
    let todo = Mutex::new(worlds);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(world) = next(&todo) {
                    let tally = try_out(world, draws, show);
                    total.lock().unwrap_or_else(PoisonError::into_inner).join(tally);
                }
            });
        }
    });
    if only.is_none() {
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        for (world, noise) in [World::BlockOne, World::AddressOne].into_iter().flat_map(|w| NOISE.map(|n| (w, n))) {
            total.try_power(world, noise, draws * 40);
        }
    }
    println!("{}", total.into_inner().unwrap_or_else(PoisonError::into_inner).report(draws));
}

fn next(todo: &Mutex<impl Iterator<Item = World>>) -> Option<World> {
    todo.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// All sizes, noises and attempts of one kind of world.
fn try_out(world: World, draws: u64, show: bool) -> Tally {
    let mut tally = Tally::default();
    for (size, noise, attempts) in combinations() {
        for draw in 0..draws {
            let seed = format!("{world:?} {size:?} {noise} {attempts} {draw}");
            let mut rng = ChaCha8Rng::from_seed(seed_of(&seed));
            let (evidence, truth) = draw_world(world, size, noise, attempts, &mut rng);
            let found = judge(&evidence, Catalog::built_in());
            let wrong = tally.count(world, size, noise, &found, &truth);
            if show && wrong {
                println!("WRONG {seed}: {}", serde_json::to_string(&found).unwrap_or_default());
            }
        }
    }
    tally
}

fn combinations() -> impl Iterator<Item = ((usize, usize), f64, usize)> {
    SIZES.iter().flat_map(|&size| NOISE.iter().flat_map(move |&n| ATTEMPTS.iter().map(move |&a| (size, n, a))))
}

fn seed_of(text: &str) -> [u8; 32] {
    let mut seed = [0_u8; 32];
    for (i, byte) in text.bytes().enumerate() {
        seed[i % 32] =
            seed[i % 32].rotate_left(3) ^ byte.wrapping_mul(31).wrapping_add(u8::try_from(i % 251).unwrap_or(0));
    }
    seed
}

fn source(i: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(10 + i).unwrap_or(255)).into()
}

fn address(j: usize) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, u8::try_from(20 + j).unwrap_or(255)).into()
}

/// The neutral source is number `NEUTRAL`.
const NEUTRAL: usize = 100;

fn draw_world(
    world: World,
    (sources, addresses): (usize, usize),
    noise: f64,
    attempts: usize,
    rng: &mut ChaCha8Rng,
) -> (Evidence, Truth) {
    use World as W;
    let mut truth = Truth { sources, addresses, intermittent: noise > 0.0, ..Truth::default() };
    let neutral = matches!(
        world,
        W::CleanNeutral | W::PoolNeutral | W::PoolMixed | W::OutageNeutral | W::Envelope | W::NeutralOther
    );
    let control = matches!(world, W::EgressOneControl | W::EgressAll | W::EgressBlock | W::EgressAddress)
        || (matches!(world, W::OutageNeutral | W::OutageAlone | W::BlockOne | W::AddressOne) && rng.random());
    // One bad thing each, picked once.
    let block = BLOCKS[rng.random_range(0..BLOCKS.len())];
    let fault = FAULTS[rng.random_range(0..FAULTS.len())];
    let outage = OUTAGES[rng.random_range(0..if control { 4 } else { 3 })];
    let pick = |n: usize, of: usize, rng: &mut ChaCha8Rng| -> BTreeSet<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        all.shuffle(rng);
        all.into_iter().take(n).collect()
    };
    let mut half = BTreeSet::new();
    let mut cells = BTreeSet::new();
    let mut rate = 0.0;
    match world {
        W::BlockOne | W::BlockAddress | W::BlockIntermittent | W::BlockBackend => truth.blocked = pick(1, sources, rng),
        W::BlockSeveral => truth.blocked = pick(rng.random_range(2..=3.max(sources / 2)), sources, rng),
        W::BlockHalf => {
            truth.blocked = pick(1, sources, rng);
            half = pick((addresses * 3).div_ceil(5), addresses, rng);
        }
        W::PoolNeutral | W::PoolMixed | W::PoolAlone => truth.pool = true,
        W::NeutralOther => truth.pool = rng.random(),
        W::OutageNeutral | W::OutageAlone => truth.outage = true,
        W::EgressOneControl | W::EgressOneAlone | W::Firewall | W::EgressAddress => {
            truth.egress = pick(1, sources, rng);
        }
        W::EgressAll => truth.egress = (0..sources).collect(),
        W::EgressBlock => {
            let both = pick(2, sources, rng);
            truth.egress.extend(both.first());
            truth.blocked.extend(both.iter().nth(1));
        }
        W::Greylisting => truth.greylisting = true,
        W::OnsetRandom | W::OnsetBySource => (truth.outage, truth.in_time) = (true, true),
        W::Blip => truth.in_time = true,
        W::Cells => cells = (0..sources * addresses).filter(|_| rng.random_bool(0.1)).collect(),
        _ => {}
    }
    match world {
        W::AddressOne | W::BlockAddress | W::AddressIntermittent | W::EgressAddress => {
            truth.down = pick(1, addresses, rng);
        }
        W::AddressTwo => truth.down = pick(2, addresses, rng),
        W::AddressAllButOne => truth.down = pick(addresses - 1, addresses, rng),
        _ => {}
    }
    match world {
        W::Intermittent10 => rate = 0.1,
        W::Intermittent30 | W::BlockIntermittent | W::AddressIntermittent => rate = 0.3,
        W::Intermittent50 => rate = 0.5,
        _ => {}
    }
    truth.intermittent |= rate > 0.0;
    let backends = matches!(world, W::BackendRoundRobin | W::BackendHash | W::BlockBackend);
    // Rows and columns of always-failing cells are as blocked and as dead as any.
    let is_cell = |i: usize, j: usize| cells.contains(&(i * addresses + j));
    if world == W::Cells {
        truth.blocked = (0..sources).filter(|&i| (0..addresses).all(|j| is_cell(i, j))).collect();
        truth.down = (0..addresses).filter(|&j| (0..sources).all(|i| is_cell(i, j))).collect();
    }
    let by_source = world == W::OnsetBySource;
    // With one source, some addresses that refuse it and some that are dead are the same data.
    if world == W::BlockHalf && sources == 1 {
        truth.down.clone_from(&half);
    }
    let mut speakers: Vec<usize> = (0..sources).collect();
    if neutral {
        speakers.push(NEUTRAL);
    }
    let plan: Vec<(usize, usize)> = speakers.iter().flat_map(|&i| (0..addresses).map(move |j| (i, j))).collect();
    let total = plan.len() * attempts;
    let onset = total / 5 + rng.random_range(0..=total * 3 / 5);
    let blip = (total * 15 / 100).max(3);
    let blip_at = rng.random_range(0..=total.saturating_sub(blip));
    let pace: i64 = if rng.random() { 60 } else { 20 * 60 };
    let mut evidence = Evidence::new();
    let mut met = vec![0; addresses];
    let by_cell = rng.random();
    let first_backend = rng.random_range(0..4);
    let mut tried = BTreeSet::new();
    let mut now = 1_800_000_000_i64;
    let mut seq = 0;
    if control {
        for &i in &speakers {
            seq += 1;
            now += 4;
            let end = truth.egress.contains(&i).then_some(broken(Stage::Connect, Kind::TimedOut));
            evidence.add(&Line::Session(Box::new(session(seq, now, i, None, 1, end, None))));
        }
    }
    for attempt in 1..=attempts {
        let start = now;
        let mut order = plan.clone();
        if !by_source {
            order.shuffle(rng);
        }
        for (i, j) in order {
            let n = usize::try_from(seq).unwrap_or(0).saturating_sub(if control { speakers.len() } else { 0 });
            seq += 1;
            now += rng.random_range(3..9);
            let own = i != NEUTRAL;
            let backend = backends.then(|| {
                met[j] += 1;
                let hash = if by_cell { i * 5 + j * 3 } else { i };
                (first_backend + if world == W::BackendHash { hash } else { met[j] }) % 4
            });
            let is_blocked = own && (truth.pool || truth.blocked.contains(&i) && world != W::Cells);
            let is_down = match world {
                W::Cells => own && is_cell(i, j),
                W::BlockHalf => false,
                _ => truth.down.contains(&j),
            };
            let is_out = match world {
                W::Blip => (blip_at..blip_at + blip).contains(&n),
                _ => truth.outage && (!truth.in_time || n >= onset),
            };
            truth.bad_backend |= backend == Some(0);
            let end = if truth.egress.contains(&i) {
                Some(broken(Stage::Connect, Kind::TimedOut))
            } else if is_down {
                Some(fault)
            } else if is_blocked && (half.is_empty() || half.contains(&j)) {
                Some(if world == W::PoolMixed { BLOCKS[(i + j) % BLOCKS.len()] } else { block })
            } else if world == W::NeutralOther && !own {
                Some(refused(Stage::Mail, "550 5.7.25 client has no reverse name"))
            } else if is_out {
                Some(outage)
            } else if backend == Some(0) {
                Some(refused(Stage::Mail, "451 4.3.0 queue file write error"))
            } else if world == W::Envelope {
                Some(ENVELOPE)
            } else if truth.greylisting && tried.insert(i) {
                Some(GREY)
            } else if rate > 0.0 && rng.random_bool(rate) {
                Some(fault)
            } else if noise > 0.0 && rng.random_bool(noise) {
                Some(NOISES[rng.random_range(0..NOISES.len())])
            } else {
                None
            };
            evidence.add(&Line::Session(Box::new(session(seq, now, i, Some(j), attempt, end, backend))));
        }
        now = now.max(start + pace);
    }
    if world == W::BackendHash && sources == 1 {
        let hash = |j: usize| (first_backend + if by_cell { j * 3 } else { 0 }) % 4;
        truth.down = (0..addresses).filter(|&j| hash(j) == 0).collect();
        truth.bad_backend = false;
    }
    if blip >= total {
        truth.outage = true;
    }
    (evidence, truth)
}

fn session(
    seq: u64,
    at: i64,
    from: usize,
    to: Option<usize>,
    attempt: usize,
    end: Option<End>,
    backend: Option<usize>,
) -> Session {
    let source = if from == NEUTRAL { IpAddr::from([203, 0, 113, 9]) } else { source(from) };
    let text = end.map(|e| e.text.replace("{source}", &source.to_string())).filter(|t| !t.is_empty());
    let code: Option<u16> = text.as_ref().and_then(|t| t.get(..3)?.parse().ok());
    let greeted = end.is_none_or(|e| e.stage > Stage::Banner);
    Session {
        run: "calibration".to_owned(),
        seq,
        attempt: u32::try_from(attempt).unwrap_or(1),
        at: Timestamp::from_second(at).unwrap_or_default(),
        role: if to.is_none() {
            Role::Control
        } else if from == NEUTRAL {
            Role::Neutral
        } else {
            Role::Target
        },
        domain: Some(if to.is_some() { "target.example" } else { "control.example" }.to_owned()),
        mx: Some(if to.is_some() { "mx.target.example" } else { "mx.control.example" }.to_owned()),
        preference: Some(10),
        address: Some(to.map_or(IpAddr::from([203, 0, 113, 1]), address)),
        port: 25,
        backend: backend.filter(|_| greeted).map(|b| format!("b{b}.target.example")),
        banner: None,
        variant: mxprobe::record::Variant::Plain,
        source: Some(source),
        seen_as: Some(source),
        ehlo: None,
        from: Some("probe@sender.example".to_owned()),
        to: None,
        until: if to.is_some() { Stage::Mail } else { Stage::Ehlo },
        stage: Some(end.map_or(if to.is_some() { Stage::Mail } else { Stage::Ehlo }, |e| e.stage)),
        kind: end.map_or(Kind::Completed, |e| e.kind),
        code: code.and_then(Code::new),
        enhanced: text.as_ref().and_then(|t| mxprobe::smtp::reply::Enhanced::leading(t.get(4..)?.as_bytes())),
        tag: text.as_ref().and_then(|t| mxprobe::smtp::reply::tag(t).map(str::to_owned)),
        class: None,
        text_class: None,
        reply: text.map(|t| vec![t]),
        reply_base64: None,
        also: Vec::new(),
        notes: Vec::new(),
        detail: None,
        expected: false,
        tls: None,
        extensions: None,
        steps: Vec::new(),
        total_ms: None,
    }
}

impl Truth {
    /// Whether a diagnosis agrees with what is true; `all` are the diagnoses beside it.
    fn agrees(&self, d: &Diagnosis, all: &[Diagnosis]) -> bool {
        let named = |kind: D, of: &dyn Fn(&Diagnosis) -> &[IpAddr]| -> BTreeSet<IpAddr> {
            all.iter().filter(|d| d.kind == kind).flat_map(|d| of(d).iter().copied()).collect()
        };
        let sources = |set: &BTreeSet<usize>| -> BTreeSet<IpAddr> { set.iter().map(|&i| source(i)).collect() };
        let down: BTreeSet<IpAddr> = self.down.iter().map(|&j| address(j)).collect();
        let all_blocked = self.pool || self.blocked.len() == self.sources;
        match d.kind {
            D::Undecided => true,
            D::Healthy => {
                self.blocked.is_empty()
                    && self.down.is_empty()
                    && self.egress.is_empty()
                    && !(self.pool || self.outage || self.greylisting || self.bad_backend)
                    && !(self.intermittent && self.in_time)
            }
            D::SenderIpBlock if self.pool => self.sources == 1,
            D::SenderIpBlock => named(d.kind, &|d| &d.sources) == sources(&self.blocked),
            D::SenderPoolBlock => all_blocked,
            D::ReceiverOutage => self.outage || self.down.len() == self.addresses,
            D::ReceiverPartialOutage if self.bad_backend => {
                all.iter().filter(|d| d.kind == D::ReceiverPartialOutage).all(|d| d.backends == ["b0.target.example"])
            }
            D::ReceiverPartialOutage => named(d.kind, &|d| &d.addresses) == down,
            D::ReceiverIntermittent => self.intermittent && !self.in_time,
            D::EgressBlocked => named(d.kind, &|d| &d.sources) == sources(&self.egress),
            D::Greylisting => self.greylisting,
            _ => false,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0, 2 or 10")]
fn per_cent(noise: f64) -> u32 {
    (noise * 100.0).round() as u32
}

/// Right ones of all.
#[derive(Clone, Copy, Default)]
struct Right {
    right: u64,
    all: u64,
}

impl Right {
    fn count(&mut self, right: bool) {
        self.right += u64::from(right);
        self.all += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of draws")]
    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * self.right as f64 / self.all as f64 }
    }
}

fn add<K: Ord>(to: &mut BTreeMap<K, Right>, from: BTreeMap<K, Right>) {
    for (key, more) in from {
        let right = to.entry(key).or_default();
        right.right += more.right;
        right.all += more.all;
    }
}

type Size = (usize, usize);

#[derive(Default)]
struct Tally {
    confusion: BTreeMap<World, BTreeMap<(D, Confidence), u64>>,
    by_noise: BTreeMap<(Confidence, u32), Right>,
    by_size: BTreeMap<(Confidence, Size), Right>,
    wrong: BTreeMap<(Confidence, World, D), u64>,
    /// False high blocks, pool blocks and outages where there are none.
    false_high: BTreeMap<World, Right>,
    power: BTreeMap<(World, u32), Right>,
}

impl Tally {
    fn join(&mut self, other: Self) {
        for (world, said) in other.confusion {
            for (what, n) in said {
                *self.confusion.entry(world).or_default().entry(what).or_default() += n;
            }
        }
        for (what, n) in other.wrong {
            *self.wrong.entry(what).or_default() += n;
        }
        add(&mut self.by_noise, other.by_noise);
        add(&mut self.by_size, other.by_size);
        add(&mut self.false_high, other.false_high);
        add(&mut self.power, other.power);
    }

    /// Counts one draw; whether something sure was wrong.
    fn count(&mut self, world: World, size: Size, noise: f64, found: &[Diagnosis], truth: &Truth) -> bool {
        let per_cent = per_cent(noise);
        let mut any_wrong = false;
        let mut false_high = false;
        for d in found {
            *self.confusion.entry(world).or_default().entry((d.kind, d.confidence)).or_default() += 1;
            let right = truth.agrees(d, found);
            self.by_noise.entry((d.confidence, per_cent)).or_default().count(right);
            self.by_size.entry((d.confidence, size)).or_default().count(right);
            if !right {
                any_wrong |= d.confidence >= Confidence::Medium;
                *self.wrong.entry((d.confidence, world, d.kind)).or_default() += 1;
            }
            let grave = matches!(d.kind, D::SenderIpBlock | D::SenderPoolBlock | D::ReceiverOutage);
            false_high |= grave && !right && d.confidence >= Confidence::High;
        }
        // Worlds without a block or an outage, or with one that began meanwhile.
        let quiet = [World::Clean, World::CleanNeutral, World::Cells, World::OnsetRandom, World::OnsetBySource];
        if quiet.contains(&world) {
            self.false_high.entry(world).or_default().count(!false_high);
        }
        any_wrong
    }

    /// How often the one thing that is wrong is named at 4x8, one attempt.
    fn try_power(&mut self, world: World, noise: f64, draws: u64) {
        let wanted = if world == World::BlockOne { D::SenderIpBlock } else { D::ReceiverPartialOutage };
        for draw in 0..draws {
            let mut rng = ChaCha8Rng::from_seed(seed_of(&format!("power {world:?} {noise} {draw}")));
            let (evidence, truth) = draw_world(world, (4, 8), noise, 1, &mut rng);
            let found = judge(&evidence, Catalog::built_in());
            let named = found.iter().any(|d| d.kind == wanted && truth.agrees(d, &found));
            self.power.entry((world, per_cent(noise))).or_default().count(named);
        }
    }

    fn report(&self, draws: u64) -> String {
        let mut out = String::new();
        let per_world = draws * (SIZES.len() * NOISE.len() * ATTEMPTS.len()) as u64;
        let _ = writeln!(out, "{per_world} draws per kind of world\n\nWhat was said (high or certain / medium / low):");
        for (world, said) in &self.confusion {
            let mut by_kind: BTreeMap<D, [u64; 3]> = BTreeMap::new();
            for ((kind, confidence), n) in said {
                let column = match confidence {
                    Confidence::Low => 2,
                    Confidence::Medium => 1,
                    Confidence::High | Confidence::Certain => 0,
                };
                by_kind.entry(*kind).or_default()[column] += n;
            }
            let said: Vec<String> = by_kind.iter().map(|(kind, [h, m, l])| format!("{kind} {h}/{m}/{l}")).collect();
            let _ = writeln!(out, "  {:<20} {}", format!("{world:?}"), said.join(", "));
        }
        let _ = writeln!(out, "\nRight, by noise (target: high >= 99 %, medium >= 95 %):");
        for ((confidence, noise), right) in &self.by_noise {
            let _ = writeln!(out, "  {confidence:<7} {noise:>2} % noise  {:>8.3} % of {}", right.percent(), right.all);
        }
        let _ = writeln!(out, "\nRight, by size (target: high >= 97 %, medium >= 90 %):");
        for ((confidence, (s, a)), right) in self.by_size.iter().filter(|((c, _), _)| *c >= Confidence::Medium) {
            let _ = writeln!(out, "  {confidence:<7} {s}x{a:<3} {:>8.3} % of {}", right.percent(), right.all);
        }
        let _ = writeln!(out, "\nWrong, by kind of world:");
        for ((confidence, world, kind), n) in self.wrong.iter().filter(|((c, ..), _)| *c >= Confidence::Medium) {
            let _ = writeln!(out, "  {confidence:<7} {:<20} {kind} {n}", format!("{world:?}"));
        }
        let _ = writeln!(out, "\nFalse high blocks, pool blocks and outages (target: < 0.1 %):");
        for (world, right) in &self.false_high {
            let wrong = right.all - right.right;
            let _ = writeln!(
                out,
                "  {:<20} {wrong} of {} ({:.4} %)",
                format!("{world:?}"),
                right.all,
                100.0 - right.percent()
            );
        }
        let _ = writeln!(out, "\nPower at 4x8, one attempt (target: >= 99 % at 0 and 2 % noise, >= 90 % at 10 %):");
        for ((world, noise), right) in &self.power {
            let _ = writeln!(
                out,
                "  {:<20} {noise:>2} % noise {:>8.2} % of {}",
                format!("{world:?}"),
                right.percent(),
                right.all
            );
        }
        out
    }
}
