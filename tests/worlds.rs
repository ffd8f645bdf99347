//! Plays every world in `tests/worlds/` to the judge and compares what it says with what is true.
//!
//! A world is data: who speaks to whom, how each session ends, what was looked up and checked, and
//! the diagnoses expected in rank order. Adding one adds no code.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use mxprobe::catalog::Catalog;
use mxprobe::judge::{Evidence, judge};
use mxprobe::record::{Confidence, Diagnosis, DiagnosisKind, Kind};
use mxprobe::smtp::reply::{Code, Enhanced, tag};
use mxprobe::stage::Stage;
use mxprobe::status::Tally;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// All worlds of one file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    world: Vec<World>,
}

/// One world and what the judge should say of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct World {
    name: String,
    #[serde(default = "target")]
    domain: String,
    #[serde(default = "mail")]
    until: Stage,
    /// The letters of the table: `banner 554 text`, `connect timed-out why`, `skipped`.
    #[serde(default)]
    endings: BTreeMap<char, String>,
    /// Letters whose endings the probe expects.
    #[serde(default)]
    expected: String,
    /// Sources down, addresses across; in each cell a letter per attempt, `.` passes, `-` was not
    /// tried. `.@a,B@b` is two attempts that met the backends a and b. Names that begin with `6` are
    /// IPv6.
    #[serde(default)]
    table: String,
    /// The neutral sources among them.
    #[serde(default)]
    neutral: Vec<String>,
    /// Minutes from one attempt of a cell to the next.
    #[serde(default = "one")]
    pace: i64,
    /// `random`, `source` or `address`: in which order an attempt goes through the cells.
    #[serde(default)]
    order: Order,
    /// Sessions at the control, by source.
    #[serde(default)]
    control: BTreeMap<String, String>,
    /// More sessions, each five seconds after its cell's: `A x plaintext .`, `A x plain to=b@t.example B`.
    #[serde(default)]
    more: Vec<String>,
    /// What the table's sessions are, and from and to whom.
    variant: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// How a source is seen from outside.
    #[serde(default)]
    public: BTreeMap<String, String>,
    greeting: Option<String>,
    control_greeting: Option<String>,
    /// Names in the certificates; empty is a session in the clear.
    certificate: Option<String>,
    control_certificate: Option<String>,
    /// Whether nobody vouches for the certificates.
    #[serde(default)]
    unverified: bool,
    /// `aol.com MX 127.0.0.53 = 10 mx.aol.com`, `aol.com MX 127.0.0.53 ! nxdomain`.
    #[serde(default)]
    lookups: Vec<String>,
    /// `A fcrdns fail why`, `- dkim fail`.
    #[serde(default)]
    checks: Vec<String>,
    /// `A x 412 10`: so many deliveries in the hour that begins at that minute.
    #[serde(default)]
    passed: Vec<String>,
    /// Worlds told together: the sessions of other domains.
    #[serde(default)]
    beside: Vec<World>,
    #[serde(default)]
    expect: Vec<Expect>,
    /// Kinds that must not appear, not even as candidates.
    #[serde(default)]
    never: Vec<DiagnosisKind>,
}

/// What is said of one diagnosis; what is left out is not looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Expect {
    kind: DiagnosisKind,
    confidence: Option<Confidence>,
    sources: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
    backends: Option<Vec<String>>,
    candidates: Option<Vec<DiagnosisKind>>,
    /// `none` where there must be none.
    leaning: Option<String>,
    stage: Option<Stage>,
    code: Option<u16>,
    failed: Option<[u64; 2]>,
    elsewhere: Option<[u64; 2]>,
    windows: Option<u32>,
    notes: Option<Vec<String>>,
    /// Texts that must stand somewhere in its sentences.
    #[serde(default)]
    says: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Order {
    #[default]
    Random,
    Source,
    Address,
}

fn target() -> String {
    "target.example".to_owned()
}

const fn mail() -> Stage {
    Stage::Mail
}

const fn one() -> i64 {
    1
}

const BEGIN: &str = "2026-11-24T10:00:00Z";

/// A world turned into lines.
struct Lines<'w> {
    world: &'w World,
    sources: Vec<String>,
    addresses: Vec<String>,
    seq: u64,
    out: Vec<String>,
}

/// One session to write down.
struct Told<'a> {
    source: &'a str,
    address: &'a str,
    /// Seconds from the beginning.
    at: i64,
    attempt: usize,
    letter: char,
    backend: Option<&'a str>,
}

impl<'w> Lines<'w> {
    fn of(world: &'w World) -> Self {
        let mut lines = Self { world, sources: Vec::new(), addresses: Vec::new(), seq: 0, out: Vec::new() };
        lines.push(
            &json!({"type": "run", "schema": 1, "run": "r1", "at": BEGIN, "version": "0", "targets": [world.domain],
            "sources": [], "until": world.until, "seed": 1}),
        );
        lines.lookups();
        lines.sessions();
        lines
    }

    fn ip(&self, name: &str) -> IpAddr {
        if let Ok(ip) = name.parse() {
            return ip;
        }
        let index = |list: &[String]| list.iter().position(|n| n == name);
        let v6 = name.starts_with('6');
        let ip = match (index(&self.sources), index(&self.addresses)) {
            (Some(i), _) if v6 => format!("2001:db8:1::{}", i + 10),
            (Some(i), _) => format!("192.0.2.{}", i + 10),
            (_, Some(j)) if v6 => format!("2001:db8:2::{}", j + 20),
            (_, Some(j)) => format!("198.51.100.{}", j + 20),
            _ => panic!("{}: {name} is neither in the table nor an address", self.world.name),
        };
        ip.parse().unwrap()
    }

    fn push(&mut self, line: &Value) {
        self.out.push(line.to_string());
    }

    fn lookups(&mut self) {
        for (n, text) in self.world.lookups.iter().enumerate() {
            let words: Vec<&str> = text.split(' ').collect();
            let [name, rtype, resolver, sign, rest @ ..] = words.as_slice() else {
                panic!("{text}: wanted five words")
            };
            let answers = if *sign == "=" { rest.join(" ") } else { String::new() };
            let answers: Vec<&str> = answers.split(", ").filter(|a| !a.is_empty()).collect();
            let error = (*sign == "!").then(|| rest.join(" "));
            self.push(&json!({"type": "lookup", "run": "r1", "at": at(i64::try_from(n).unwrap()), "name": name, "rtype": rtype,
                "resolver": format!("{resolver}:53"), "answers": answers, "error": error, "ms": 1.0}));
        }
    }

    fn sessions(&mut self) {
        let world = self.world;
        let rows: Vec<Vec<&str>> = world.table.lines().map(|l| l.split_whitespace().collect()).collect();
        let mut rows = rows.into_iter().filter(|r| !r.is_empty());
        let header = rows.next().unwrap_or_default();
        self.addresses = header.iter().map(|&n| n.to_owned()).collect();
        let rows: Vec<Vec<&str>> = rows.collect();
        self.sources = rows.iter().map(|r| r[0].to_owned()).collect();
        for source in world.control.keys().filter(|s| !rows.iter().any(|r| r[0] == s.as_str())) {
            self.sources.push(source.clone());
        }
        for text in &world.checks {
            let words: Vec<&str> = text.splitn(4, ' ').collect();
            let source = (words[0] != "-").then(|| self.ip(words[0]));
            self.push(&json!({"type": "check", "run": "r1", "source": source, "check": words[1], "result": words[2], "detail": words.get(3)}));
        }
        for text in &world.passed {
            let words: Vec<&str> = text.split(' ').collect();
            let minute: i64 = words[3].parse().unwrap();
            self.push(&json!({"type": "passed", "source": self.ip(words[0]), "address": self.ip(words[1]),
                "from-time": at(minute * 60), "to-time": at((minute + 60) * 60), "count": words[2].parse::<u64>().unwrap()}));
        }
        for (n, (source, letters)) in world.control.iter().enumerate() {
            for (k, letter) in letters.chars().enumerate() {
                self.control(source, letter, i64::try_from(n + 100 * k).unwrap());
            }
        }
        let mut attempts: Vec<Vec<Told<'_>>> = Vec::new();
        for row in &rows {
            assert_eq!(row.len(), header.len() + 1, "{}: row {}", world.name, row[0]);
            for (j, cell) in row[1..].iter().enumerate() {
                for (k, (letter, backend)) in letters(cell).into_iter().enumerate() {
                    if attempts.len() == k {
                        attempts.push(Vec::new());
                    }
                    attempts[k].push(Told {
                        source: row[0],
                        address: header[j],
                        at: 0,
                        attempt: k + 1,
                        letter,
                        backend,
                    });
                }
            }
        }
        let mut began: BTreeMap<(String, String), i64> = BTreeMap::new();
        let mut start = 600;
        for (k, mut told) in attempts.into_iter().enumerate() {
            start = start.max(600 + i64::try_from(k).unwrap() * world.pace * 60);
            let mut order: Vec<usize> = (0..told.len()).collect();
            match world.order {
                Order::Random => order.sort_by_key(|&i| (i * 7919 + k * 104_729) % 1009),
                Order::Source => {}
                Order::Address => order.sort_by_key(|&i| (header.iter().position(|h| *h == told[i].address), i)),
            }
            for i in order {
                told[i].at = start;
                let cell = (told[i].source.to_owned(), told[i].address.to_owned());
                began.entry(cell).or_insert(start);
                start += 7;
                if told[i].letter != '-' {
                    self.session(&told[i], &Map::new());
                }
            }
        }
        for text in &world.more {
            let words: Vec<&str> = text.split(' ').collect();
            let [source, address, variant, rest @ ..] = words.as_slice() else { panic!("{text}") };
            let mut fields = Map::from_iter([("variant".to_owned(), json!(variant))]);
            for word in rest {
                if let Some((field, value)) = word.split_once('=') {
                    fields.insert(field.to_owned(), json!(value));
                }
            }
            let began = began.get(&((*source).to_owned(), (*address).to_owned())).copied().unwrap_or(600);
            for (k, (letter, backend)) in letters(words.last().unwrap()).into_iter().enumerate() {
                let later = i64::try_from(k).unwrap() * world.pace * 60;
                let told = Told { source, address, at: began + 5 + later, attempt: k + 1, letter, backend };
                if letter != '-' {
                    self.session(&told, &fields);
                }
            }
        }
    }

    fn control(&mut self, source: &str, letter: char, at: i64) {
        let told = Told { source, address: "203.0.113.1", at, attempt: 1, letter, backend: None };
        let greeting = self.world.control_greeting.as_deref().unwrap_or("mx.control.example");
        let mut fields = Map::from_iter([
            ("role".to_owned(), json!("control")),
            ("domain".to_owned(), json!("control.example")),
            ("mx".to_owned(), json!("mx.control.example")),
            ("until".to_owned(), json!("ehlo")),
            ("banner".to_owned(), json!([format!("220 {greeting} ESMTP")])),
        ]);
        if let Some(names) = &self.world.control_certificate {
            fields.insert("tls".to_owned(), json!({"names": [names], "verified": !self.world.unverified}));
        }
        self.session(&told, &fields);
    }

    fn session(&mut self, told: &Told<'_>, fields: &Map<String, Value>) {
        let world = self.world;
        let source = self.ip(told.source);
        self.seq += 1;
        let greeting = world.greeting.as_deref().unwrap_or("mx.target.example");
        let role = if world.neutral.iter().any(|n| n == told.source) { "neutral" } else { "target" };
        let mut line = json!({
            "type": "session", "run": "r1", "seq": self.seq, "attempt": told.attempt, "at": at(told.at), "role": role,
            "domain": world.domain, "mx": format!("mx.{}", world.domain), "preference": 10,
            "address": self.ip(told.address), "port": 25, "variant": world.variant.as_deref().unwrap_or("plain"),
            "source": source, "seen-as": world.public.get(told.source).map_or(source, |p| self.ip(p)),
            "from": world.from.as_deref().unwrap_or("probe@sender.example"), "to": world.to, "until": world.until,
            "also": [], "notes": [], "steps": [],
        });
        let ending = match told.letter {
            '.' => None,
            letter => Some(world.endings.get(&letter).unwrap_or_else(|| panic!("{}: no ending {letter}", world.name))),
        };
        let object = line.as_object_mut().unwrap();
        object.extend(fields.iter().map(|(k, v)| (k.clone(), v.clone())));
        match ending {
            None => {
                let until = object["until"].clone();
                object.extend([("stage".to_owned(), until), ("kind".to_owned(), json!("completed"))]);
            }
            Some(text) => object.extend(ended(text, source, self.seq)),
        }
        let stage: Option<Stage> = object.get("stage").and_then(Value::as_str).and_then(|s| s.parse().ok());
        if stage > Some(Stage::Banner) {
            object.entry("banner").or_insert_with(|| json!([format!("220 {greeting} ESMTP")]));
            if let Some(backend) = told.backend {
                object.insert("backend".to_owned(), json!(format!("{backend}.{}", world.domain)));
            }
        }
        let clear = object["variant"] == "plaintext" || stage <= Some(Stage::StartTls);
        if let Some(names) = world.certificate.as_ref().filter(|_| !clear) {
            object.entry("tls").or_insert_with(|| json!({"names": [names], "verified": !world.unverified}));
        }
        if world.expected.contains(told.letter) {
            object.insert("expected".to_owned(), json!(true));
        }
        self.push(&line);
    }
}

/// The letters of one cell, each with the backend it met.
fn letters(cell: &str) -> Vec<(char, Option<&str>)> {
    if cell.contains('@') {
        let split = |one: &'_ str| one.chars().next().unwrap();
        cell.split(',').map(|one| (split(one), one.split_once('@').map(|(_, b)| b))).collect()
    } else {
        cell.chars().map(|c| (c, None)).collect()
    }
}

/// The fields of `stage code text`, `stage kind detail` or `kind`.
fn ended(text: &str, source: IpAddr, seq: u64) -> Map<String, Value> {
    let text = text.replace("{source}", &source.to_string()).replace("{id}", &format!("4XkQ{seq}Zzz"));
    let (first, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let (second, detail) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut fields = Map::new();
    if let Ok(kind) = first.parse::<Kind>() {
        fields.insert("kind".to_owned(), json!(kind));
        return fields;
    }
    fields.insert("stage".to_owned(), json!(first));
    if let Ok(kind) = second.parse::<Kind>() {
        fields.insert("kind".to_owned(), json!(kind));
        fields.insert("detail".to_owned(), if detail.is_empty() { Value::Null } else { json!(detail) });
        return fields;
    }
    let code = Code::new(second.parse().unwrap_or_else(|_| panic!("{text}: wanted a code or a kind")));
    fields.extend([
        ("kind".to_owned(), json!("rejected")),
        ("code".to_owned(), json!(code)),
        ("class".to_owned(), json!(code.map(Code::class))),
        ("enhanced".to_owned(), json!(Enhanced::leading(detail.as_bytes()))),
        ("tag".to_owned(), json!(tag(detail))),
        ("reply".to_owned(), json!([rest])),
    ]);
    fields
}

fn at(seconds: i64) -> String {
    let begin: Timestamp = BEGIN.parse().unwrap();
    (begin + SignedDuration::from_secs(seconds)).to_string()
}

fn read(lines: impl IntoIterator<Item = String>) -> Evidence {
    let text = lines.into_iter().collect::<Vec<_>>().join("\n");
    let mut evidence = Evidence::new();
    evidence.read(text.as_bytes(), "world").unwrap();
    evidence
}

fn said(evidence: &Evidence) -> Vec<Diagnosis> {
    judge(evidence, Catalog::built_in())
}

fn worlds() -> Vec<(String, World)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worlds");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let mut worlds = Vec::new();
    for path in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        worlds.extend(file.world.into_iter().map(|w| (format!("{name}: {}", w.name), w)));
    }
    worlds
}

#[test]
fn every_world_is_told_right() {
    let mut wrong = String::new();
    let worlds = worlds();
    assert!(worlds.len() >= 60, "only {} worlds", worlds.len());
    for (name, world) in worlds {
        let lines = together(&world);
        let found = said(&read(lines.out.clone()));
        let mut complaints = differences(&lines, &world, &found);
        complaints.extend(broken_promises(&found));
        let backwards = said(&read(lines.out.iter().rev().cloned()));
        let without_run = |ds: &[Diagnosis]| {
            json!(ds.iter().map(|d| Diagnosis { run: String::new(), ..d.clone() }).collect::<Vec<_>>())
        };
        if without_run(&backwards) != without_run(&found) {
            complaints.push("says something else when the lines are read backwards".to_owned());
        }
        if !complaints.is_empty() {
            let found: Vec<String> = found.iter().map(|d| format!("  > {}\n", json!(d))).collect();
            wrong.extend(["\n", &name, "\n  ", &complaints.join("\n  "), "\n", &found.concat()]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The lines of a world and of those beside it.
fn together(world: &World) -> Lines<'_> {
    let mut lines = Lines::of(world);
    for other in &world.beside {
        let more = Lines::of(other).out;
        lines.out.extend(more.into_iter().map(|l| l.replace("\"r1\"", "\"r0\"")));
    }
    lines
}

/// The lines of a world that happens so many times over, each time so many milliseconds later.
fn again(lines: &[String], times: i64, later: i64) -> Vec<String> {
    let lines: Vec<Value> = lines.iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let (often, once): (Vec<_>, Vec<_>) = lines.iter().partition(|l| l["type"] == "session" || l["type"] == "passed");
    let mut out: Vec<String> = once.into_iter().map(Value::to_string).collect();
    for time in 0..times {
        for &line in &often {
            let mut line = line.clone();
            for field in ["at", "from-time", "to-time"] {
                if let Some(at) = line[field].as_str().map(|at| at.parse::<Timestamp>().unwrap()) {
                    line[field] = json!((at + SignedDuration::from_millis(later * time)).to_string());
                }
            }
            if let Some(seq) = line["seq"].as_i64() {
                line["seq"] = json!(seq * times + time);
            }
            out.push(line.to_string());
        }
    }
    out
}

fn bounded(bound: usize, lines: &[String]) -> (Vec<Diagnosis>, Tally) {
    let mut evidence = Evidence::bounded(bound);
    evidence.read(lines.join("\n").as_bytes(), "world").unwrap();
    (said(&evidence), evidence.tally())
}

/// Sessions that say the same within a second are folded, and nothing is lost.
#[test]
fn every_world_is_told_the_same_whether_it_is_folded_or_not() {
    let mut wrong = Vec::new();
    for (name, world) in worlds() {
        let lines = together(&world).out;
        let often = again(&lines, 12, 1);
        let one_by_one = bounded(usize::MAX, &often);
        // Room for every second of every session; twelve times as many are more than that.
        let folded = bounded(2 * lines.len(), &often);
        let gist = |(found, tally): &(Vec<Diagnosis>, Tally)| {
            let found: Vec<_> = found.iter().map(|d| json!(d).to_string().replace("make about ", "make ")).collect();
            format!("{tally:?}\n  {}", found.join("\n  "))
        };
        if gist(&folded) != gist(&one_by_one) {
            wrong.push(format!("\n{name}:\n  {}\nwanted\n  {}\n", gist(&folded), gist(&one_by_one)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// Folded until little is left of when each session was, nothing is named that nobody thought of when
/// each was known; and no session is lost.
#[test]
fn what_is_folded_far_says_less_and_nothing_else() {
    let mut wrong = Vec::new();
    for (name, world) in worlds() {
        let often = again(&together(&world).out, 20, 3 * 60 * 60 * 1000);
        let (one_by_one, tally) = bounded(usize::MAX, &often);
        for bound in [often.len() / 2, 1] {
            let (folded, same) = bounded(bound, &often);
            assert_eq!(tally, same, "{name}");
            let thought_of = |d: &Diagnosis| {
                one_by_one
                    .iter()
                    .any(|o| (o.kind, &o.sources) == (d.kind, &d.sources) || o.candidates.contains(&d.kind))
            };
            for d in folded.iter().filter(|d| d.confidence >= Confidence::High && !thought_of(d)) {
                wrong.push(format!("\n{name} at {bound}:\n  {}\nwanted\n  {}\n", json!(d), json!(one_by_one)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// What holds for every diagnosis.
fn broken_promises(found: &[Diagnosis]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            broken.push(what.to_owned());
        }
    };
    check(!found.is_empty(), "says nothing");
    for (d, rank) in found.iter().zip(1..) {
        check(d.rank == rank, "ranks are not 1, 2, 3");
        check(!d.because.is_empty(), "no because");
        check(!d.advice.is_empty(), "no advice");
        check(d.confidence >= Confidence::High || !d.would_raise.is_empty(), "nothing would raise it");
        check(d.failed <= d.tried, "more failed than tried");
        check((d.kind == DiagnosisKind::Undecided) != d.candidates.is_empty(), "candidates of what is decided");
        check(d.kind != DiagnosisKind::Undecided || d.candidates.len() >= 2, "fewer than two candidates");
        check(d.candidates.is_sorted(), "candidates out of table order");
        check(d.leaning.is_none_or(|l| d.candidates.contains(&l)), "leans to what is no candidate");
        check(d.p.is_none_or(|p| (0.0..=1.0).contains(&p)), "p is no probability");
        let texts = d.because.iter().chain(&d.would_raise).chain(&d.ruled_out);
        check(texts.into_iter().all(|t| !t.chars().any(char::is_control)), "control characters in a sentence");
    }
    broken
}

fn differences(lines: &Lines<'_>, world: &World, found: &[Diagnosis]) -> Vec<String> {
    let mut wrong = Vec::new();
    let kinds = |kinds: &[DiagnosisKind]| kinds.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ");
    let expected: Vec<_> = world.expect.iter().map(|e| e.kind).collect();
    let named: Vec<_> = found.iter().map(|d| d.kind).collect();
    if expected != named {
        wrong.push(format!("found {}, wanted {}", kinds(&named), kinds(&expected)));
        return wrong;
    }
    for kind in &world.never {
        if found.iter().any(|d| d.kind == *kind || d.candidates.contains(kind)) {
            wrong.push(format!("names {kind}"));
        }
    }
    for (e, d) in world.expect.iter().zip(found) {
        let mut differs = |what: &str, found: String, wanted: Option<String>| {
            if let Some(wanted) = wanted.filter(|w| *w != found) {
                wrong.push(format!("{}: {what} is {found}, wanted {wanted}", e.kind));
            }
        };
        let ips = |names: &Option<Vec<String>>| {
            names.as_ref().map(|names| {
                let mut ips: Vec<IpAddr> = names.iter().map(|n| lines.ip(n)).collect();
                ips.sort();
                format!("{ips:?}")
            })
        };
        differs("confidence", d.confidence.to_string(), e.confidence.map(|c| c.to_string()));
        differs("sources", format!("{:?}", d.sources), ips(&e.sources));
        differs("addresses", format!("{:?}", d.addresses), ips(&e.addresses));
        differs("backends", format!("{:?}", d.backends), e.backends.as_ref().map(|b| format!("{b:?}")));
        differs("candidates", kinds(&d.candidates), e.candidates.as_ref().map(|c| kinds(c)));
        differs("leaning", d.leaning.map_or("none", DiagnosisKind::as_str).to_owned(), e.leaning.clone());
        differs("stage", format!("{:?}", d.stage), e.stage.map(|s| format!("{:?}", Some(s))));
        differs("code", format!("{:?}", d.code.map(Code::get)), e.code.map(|c| format!("{:?}", Some(c))));
        differs("failed", format!("{:?}", [d.failed, d.tried]), e.failed.map(|f| format!("{f:?}")));
        let elsewhere = [d.elsewhere.failed, d.elsewhere.tried];
        differs("elsewhere", format!("{elsewhere:?}"), e.elsewhere.map(|f| format!("{f:?}")));
        differs("windows", d.windows.to_string(), e.windows.map(|w| w.to_string()));
        differs("notes", format!("{:?}", d.notes), e.notes.as_ref().map(|n| format!("{n:?}")));
        let told = format!("{:?} {:?} {:?} {}", d.because, d.would_raise, d.ruled_out, d.advice);
        for text in &e.says {
            if !told.contains(text.as_str()) {
                wrong.push(format!("{}: does not say {text:?}", e.kind));
            }
        }
    }
    wrong
}
