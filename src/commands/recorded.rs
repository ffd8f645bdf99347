//! Recordings, wherever they are: files, standard input, runs of the history.

use std::io::{Cursor, Read, Write as _};

use super::Failure;
use crate::cli::args::{self, History, Input};
use crate::history::archive::{Archive, Filter, StoreArchive};

/// Opens a file or standard input; where there is no such file, and its name can be a run's, that
/// run.
pub(super) fn open(input: &Input, history: Option<&History>) -> Result<Box<dyn Read + Send>, Failure> {
    let Input::File(path) = input else { return super::open(input) };
    if path.exists() || !args::is_run(path.as_os_str()) {
        return super::open(input);
    }
    let word = path.display().to_string();
    let mut archive = archive(history)?
        .ok_or_else(|| Failure::config(format!("{word}: there is no such file, and nothing is on record")))?;
    let run = find(&mut archive, &word, "file, and no such run")?;
    let mut lines = Vec::new();
    for line in archive.run(&run).map_err(Failure::ours)?.unwrap_or_default() {
        serde_json::to_writer(&mut lines, &line).map_err(Failure::ours)?;
        lines.write_all(b"\n").map_err(Failure::ours)?;
    }
    Ok(Box::new(Cursor::new(lines)))
}

/// What is on record; none where nothing ever was.
pub(super) fn archive(history: Option<&History>) -> Result<Option<StoreArchive>, Failure> {
    let history = history.cloned().unwrap_or_default();
    match history.file(|name| std::env::var_os(name)).map_err(Failure::config)? {
        Some(file) => StoreArchive::existing(&file).map_err(Failure::config),
        None => Ok(None),
    }
}

/// The run of this name: `last`, `last-1`, or the one whose id begins so.
/// `lacks` is what there is not, where there is none.
pub(super) fn find(archive: &mut StoreArchive, word: &str, lacks: &str) -> Result<String, Failure> {
    let file = archive.path().display().to_string();
    if let Some(ago) = args::runs_ago(word) {
        let newest = Filter { limit: Some(ago.saturating_add(1)), ..Filter::default() };
        let mut runs = archive.runs(&newest).map_err(Failure::ours)?;
        return match (runs.len(), runs.pop()) {
            (count, Some(run)) if count > ago => Ok(run.run),
            (count, _) => Err(Failure::config(format!("{word}: runs on record in {file}: {count}"))),
        };
    }
    let named = archive.runs_named(word).map_err(Failure::ours)?;
    match &named[..] {
        [run] => Ok(run.clone()),
        // One that is named in full may be the beginning of others.
        [run, ..] if run == word => Ok(run.clone()),
        [] => Err(Failure::config(format!("{word}: there is no such {lacks} in {file}"))),
        several => Err(Failure::config(format!("{word} is the beginning of several runs: {}", several.join(", ")))),
    }
}
