//! `diff`: what changed between two runs, cell by cell.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};

use super::{Done, Failure, name, recorded, written};
use crate::cli::args::{History, Input};
use crate::cli::diff::DiffArgs;
use crate::diff::{Cell, Change, Ending, diff as compare};
use crate::record::{Line, Role, Session, Variant};
use crate::sink::Format;
use crate::sink::jsonl::json_line;
use crate::visible::visible;

pub(super) fn diff(args: &DiffArgs) -> Done {
    let history = args.history.as_ref();
    let (before, after) = (sessions(&args.a, history)?, sessions(&args.b, history)?);
    let changes = compare(&before, &after);
    let mut out = String::new();
    for change in &changes {
        match args.format {
            Format::Jsonl => out.push_str(&jsonl(change)?),
            _ => out.push_str(&text(change)),
        }
    }
    if args.format != Format::Jsonl && !args.output.quiet {
        let _ = writeln!(out, "{} of {} sessions' cells changed", changes.len(), before.len().max(after.len()));
    }
    let read = written(io::stdout().write_all(out.as_bytes()))?;
    Ok(u8::from(read && !changes.is_empty()))
}

/// The sessions of a recording.
fn sessions(input: &Input, history: Option<&History>) -> Result<Vec<Session>, Failure> {
    let name = name(input);
    let mut sessions = Vec::new();
    for (text, number) in BufReader::new(recorded::open(input, history)?).lines().zip(1_u64..) {
        let at = |e: &dyn std::fmt::Display| Failure::config(format!("{name}:{number}: {e}"));
        let text = text.map_err(|e| at(&e))?;
        if text.trim().is_empty() {
            continue;
        }
        if let Some(Line::Session(session)) = Line::parse(&text).map_err(|e| at(&e))? {
            sessions.push(*session);
        }
    }
    Ok(sessions)
}

fn jsonl(change: &Change) -> Result<String, Failure> {
    let mut line = serde_json::to_value(change).map_err(Failure::ours)?;
    if let serde_json::Value::Object(fields) = &mut line {
        fields.shift_insert(0, "type".to_owned(), "change".into());
    }
    json_line(&line).map_err(Failure::ours)
}

fn text(Change { cell, before, after }: &Change) -> String {
    format!("{}\n  was  {}\n  now  {}\n", title(cell), ending(before.as_ref()), ending(after.as_ref()))
}

fn title(cell: &Cell) -> String {
    let show = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
    let from = show(cell.source.map(|ip| ip.to_string()), "no source");
    let to = show(cell.address.map(|ip| ip.to_string()).or_else(|| cell.mx.clone()), "no address");
    let mut title = format!("{from} at {to}");
    let more = [
        cell.domain.clone(),
        Some(cell.role).filter(|role| *role != Role::Target).map(|role| role.to_string()),
        Some(cell.variant).filter(|variant| *variant != Variant::Plain).map(|variant| variant.to_string()),
        cell.to.as_ref().map(|to| format!("to {to}")),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    if !more.is_empty() {
        let _ = write!(title, " ({})", more.join(", "));
    }
    visible(&title).into_owned()
}

fn ending(ending: Option<&Ending>) -> String {
    let Some(Ending { stage, kind, reply, .. }) = ending else { return "not tried".to_owned() };
    let stage = stage.map(|stage| format!(" at {stage}")).unwrap_or_default();
    let reply = reply.as_ref().map(|reply| format!(": {reply}")).unwrap_or_default();
    visible(&format!("{kind}{stage}{reply}")).into_owned()
}
