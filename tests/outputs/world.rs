//! A world in TOML, drawn up as the lines of a run: every source at every address, each session
//! completed but where a `[[fault]]` says otherwise, and the `lines` at the end as they are.

use std::net::IpAddr;

use mxprobe::record::{Kind, Line, Role};
use mxprobe::smtp::reply::{Class, Code, Enhanced};
use mxprobe::stage::Stage;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct World {
    domain: String,
    mx: Vec<String>,
    /// The first of `sources` and how many follow it.
    source: IpAddr,
    sources: u8,
    #[serde(default)]
    neutral: Option<IpAddr>,
    #[serde(default)]
    control: Option<String>,
    address: IpAddr,
    addresses: u8,
    #[serde(default = "one")]
    attempts: u32,
    #[serde(default = "backend")]
    backends: Vec<String>,
    #[serde(default)]
    simulated: bool,
    #[serde(default)]
    fault: Vec<Fault>,
    #[serde(default)]
    lines: String,
}

/// What meets some sources at some addresses: counted from 0, all where none is named. The first
/// that fits holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    sources: Option<Vec<u8>>,
    addresses: Option<Vec<u8>>,
    attempts: Option<Vec<u32>>,
    backend: Option<String>,
    /// At the control.
    #[serde(default)]
    control: bool,
    kind: String,
    stage: Option<String>,
    /// With `%s` for the source.
    reply: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    expected: bool,
}

struct Cell<'a> {
    role: Role,
    source: (u8, IpAddr),
    address: (u8, IpAddr),
    mx: &'a str,
    preference: usize,
    attempt: u32,
}

/// The lines of a world.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let world: World = toml::from_str(text).unwrap();
    let all: Vec<IpAddr> = (0..world.sources).map(|n| plus(world.source, n)).chain(world.neutral).collect();
    let mut lines = vec![json!({"type": "run", "schema": 1, "run": "019abc00-0000-7000-8000-000000000001",
        "at": "2026-11-24T10:05:00.000Z", "version": "0.1.0", "targets": [world.domain], "sources": all,
        "until": "mail", "seed": 7, "simulated": world.simulated})];
    let answers: Vec<String> = world.mx.iter().enumerate().map(|(n, mx)| format!("{} {mx}", (n + 1) * 10)).collect();
    lines.push(json!({"type": "lookup", "run": "", "at": "2026-11-24T10:05:00.010Z", "name": world.domain,
        "rtype": "MX", "resolver": "127.0.0.53:53", "answers": answers, "error": null, "ms": 12.4}));
    let mut cells = Vec::new();
    for attempt in 1..=world.attempts {
        for (n, &source) in (0..).zip(&all) {
            let role = if Some(source) == world.neutral { Role::Neutral } else { Role::Target };
            for a in 0..world.addresses {
                let at = usize::from(a) % world.mx.len();
                let (mx, preference) = (&world.mx[at], (at + 1) * 10);
                cells.push(Cell {
                    role,
                    source: (n, source),
                    address: (a, plus(world.address, a)),
                    mx,
                    preference,
                    attempt,
                });
            }
        }
    }
    if let Some(control) = &world.control {
        let address = (u8::MAX, "203.0.113.25".parse().unwrap());
        cells.extend((0..).zip(&all).map(|(n, &source)| Cell {
            role: Role::Control,
            source: (n, source),
            address,
            mx: control,
            preference: 10,
            attempt: 1,
        }));
    }
    lines.extend((1..).zip(&cells).map(|(seq, cell)| session(&world, seq, cell)));
    let lines = lines.into_iter().map(|line| Line::parse(&line.to_string()).unwrap().unwrap());
    lines.chain(world.lines.lines().map(|line| Line::parse(line).unwrap().unwrap())).collect()
}

fn session(world: &World, seq: u32, cell: &Cell<'_>) -> serde_json::Value {
    let backend = &world.backends[usize::try_from(seq).unwrap() % world.backends.len()];
    let named = |list: &Option<Vec<u8>>, n: u8| list.as_ref().is_none_or(|list| list.contains(&n));
    let fault = world.fault.iter().find(|f| {
        f.control == (cell.role == Role::Control)
            && named(&f.sources, cell.source.0)
            && (f.control || named(&f.addresses, cell.address.0))
            && f.attempts.as_ref().is_none_or(|list| list.contains(&cell.attempt))
            && f.backend.as_ref().is_none_or(|name| name == backend)
    });
    let kind: Kind = fault.map_or(Kind::Completed, |f| f.kind.parse().unwrap());
    let until = if cell.role == Role::Control { Stage::Ehlo } else { Stage::Mail };
    let stage = fault.map_or(Some(until), |f| f.stage.as_deref().map(|s| s.parse().unwrap()));
    let reply = fault.and_then(|f| f.reply.as_ref()).map(|r| r.replace("%s", &cell.source.1.to_string()));
    let code = reply.as_ref().and_then(|r| Code::new(r[..3].parse().unwrap()));
    let class = code.map(Code::class).filter(|class: &Class| class.refuses());
    let enhanced = reply.as_ref().and_then(|r| Enhanced::leading(&r.as_bytes()[4..]));
    let tag = reply.as_ref().and_then(|r| mxprobe::smtp::reply::tag(r).map(str::to_owned));
    let stages = [(Stage::Connect, 84), (Stage::Banner, 163), (Stage::Ehlo, 82), (Stage::Mail, 91)];
    let steps: Vec<_> = stages
        .iter()
        .filter(|(s, _)| stage.is_some_and(|stage| *s <= stage))
        .map(|&(s, base)| {
            let ended = Some(s) == stage && kind != Kind::Completed;
            let ms = if ended && kind == Kind::TimedOut { 30_000.0 } else { f64::from(base) + f64::from(seq) / 10.0 };
            let code = match s {
                Stage::Connect => None,
                _ if ended => code,
                Stage::Banner => Code::new(220),
                _ => Code::new(250),
            };
            match code {
                Some(code) => json!({"stage": s, "ms": ms, "code": code}),
                None => json!({"stage": s, "ms": ms}),
            }
        })
        .collect();
    let banner = steps.len() > 2 || (steps.len() == 2 && kind == Kind::Completed);
    let mut line = json!({"type": "session", "run": "019abc00-0000-7000-8000-000000000001", "seq": seq,
        "attempt": cell.attempt, "at": format!("2026-11-24T10:{:02}:{:02}.000Z", 5 + seq / 60 % 50, seq % 60),
        "role": cell.role, "domain": if cell.role == Role::Control { cell.mx } else { &world.domain },
        "mx": cell.mx, "preference": cell.preference, "address": cell.address.1, "source": cell.source.1,
        "seen-as": cell.source.1, "ehlo": format!("out{}.example.net", cell.source.0), "from": "probe@example.net",
        "to": null, "until": until, "kind": kind, "code": code, "enhanced": enhanced, "tag": tag, "class": class,
        "also": fault.map_or(&Vec::new(), |f| &f.also), "notes": fault.map_or(&Vec::new(), |f| &f.notes),
        "detail": fault.and_then(|f| f.detail.as_ref()), "expected": fault.is_some_and(|f| f.expected), "steps": steps});
    let fields = line.as_object_mut().unwrap();
    if let Some(stage) = stage {
        fields.insert("stage".into(), json!(stage));
        fields.insert("total-ms".into(), json!(420.5 + f64::from(seq)));
    }
    if let Some(reply) = reply {
        fields.insert("reply".into(), json!([reply]));
    }
    if banner {
        fields.insert("backend".into(), json!(backend));
        fields.insert("banner".into(), json!([format!("220 {backend} ESMTP")]));
    }
    line
}

/// The address `n` further on.
fn plus(address: IpAddr, n: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => (u32::from(ip) + u32::from(n)).to_be_bytes().into(),
        IpAddr::V6(ip) => (u128::from(ip) + u128::from(n)).to_be_bytes().into(),
    }
}

fn one() -> u32 {
    1
}

fn backend() -> Vec<String> {
    vec!["mtaproxy7.example".to_owned()]
}
