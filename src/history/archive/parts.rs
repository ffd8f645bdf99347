//! A session as the file has it: what was planned, how it ended and what the server is, each a text
//! that many sessions share, and the little that is its own.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::{Kind, Role, Session, Step, Tls, Variant};
use crate::smtp::reply::{Class, Code, Enhanced};
use crate::stage::Stage;

/// What was planned.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Cell {
    role: Role,
    domain: Option<String>,
    mx: Option<String>,
    preference: Option<u16>,
    address: Option<IpAddr>,
    port: u16,
    variant: Variant,
    source: Option<IpAddr>,
    seen_as: Option<IpAddr>,
    ehlo: Option<String>,
    from: Option<String>,
    to: Option<String>,
    until: Stage,
}

/// How it ended, without the words of the reply.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Ending {
    stage: Option<Stage>,
    kind: Kind,
    code: Option<Code>,
    enhanced: Option<Enhanced>,
    tag: Option<String>,
    class: Option<Class>,
    text_class: Option<Class>,
    reply_base64: Option<Vec<String>>,
    also: Vec<String>,
    notes: Vec<String>,
    detail: Option<String>,
    expected: bool,
    steps: Vec<(Stage, Option<Code>)>,
}

/// What the server is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Server {
    backend: Option<String>,
    extensions: Option<Vec<String>>,
    tls: Option<Tls>,
}

/// What is a session's own.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) run: String,
    pub(super) seq: u64,
    pub(super) attempt: u32,
    pub(super) at: Timestamp,
    pub(super) banner: Option<Vec<String>>,
    pub(super) reply: Option<Vec<String>>,
    /// How long each step took, and behind them the whole, in milliseconds with a space between.
    pub(super) took: String,
}

/// Takes a session apart. A field that the record gains and this forgets does not compile.
pub(super) fn apart(session: &Session) -> (Cell, Ending, Server, Own) {
    #[rustfmt::skip]
    let Session {
        run, seq, attempt, at, role, domain, mx, preference, address, port, backend, banner, variant, source, seen_as,
        ehlo, from, to, until, stage, kind, code, enhanced, tag, class, text_class, reply, reply_base64, also, notes,
        detail, expected, tls, extensions, steps, total_ms,
    } = session.clone();
    let mut took = String::new();
    for ms in steps.iter().map(|step| step.ms).chain(total_ms) {
        let _ = write!(took, "{}{ms}", if took.is_empty() { "" } else { " " });
    }
    let steps = steps.iter().map(|step| (step.stage, step.code)).collect();
    #[rustfmt::skip]
    return (
        Cell { role, domain, mx, preference, address, port, variant, source, seen_as, ehlo, from, to, until },
        Ending {
            stage, kind, code, enhanced, tag, class, text_class, reply_base64, also, notes, detail, expected, steps,
        },
        Server { backend, extensions, tls },
        Own { run, seq, attempt, at, banner, reply, took },
    );
}

/// Puts it together again; none where the times are not the steps'.
pub(super) fn together(cell: Cell, ending: Ending, server: Server, own: Own) -> Option<Session> {
    let Cell { role, domain, mx, preference, address, port, variant, source, seen_as, ehlo, from, to, until } = cell;
    #[rustfmt::skip]
    let Ending {
        stage, kind, code, enhanced, tag, class, text_class, reply_base64, also, notes, detail, expected, steps: stages,
    } = ending;
    let Server { backend, extensions, tls } = server;
    let Own { run, seq, attempt, at, banner, reply, took } = own;
    let mut times = took.split_terminator(' ').map(str::parse::<f64>);
    let mut steps = Vec::with_capacity(stages.len());
    for (stage, code) in stages {
        steps.push(Step { stage, ms: times.next()?.ok()?, code });
    }
    let total_ms = times.next().transpose().ok()?;
    #[rustfmt::skip]
    return Some(Session {
        run, seq, attempt, at, role, domain, mx, preference, address, port, backend, banner, variant, source, seen_as,
        ehlo, from, to, until, stage, kind, code, enhanced, tag, class, text_class, reply, reply_base64, also, notes,
        detail, expected, tls, extensions, steps, total_ms,
    });
}
