//! `smoke`: checks, probes, and the verdict on each source.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::{keeper, ledger, setup, shown_smoke};
use super::show::Show;
use super::{Done, Failure, catalog, runtime};
use crate::cli::smoke::SmokeArgs;
use crate::gate::pool;
use crate::probe::Probe;
use crate::run::Setup;

pub(super) fn smoke(args: SmokeArgs) -> Done {
    let SmokeArgs { probes, write_pool, options } = args;
    let pool_of = |path: &Path, e: io::Error| format!("--write-pool {}: {e}", path.display());
    // Known before anything is sent.
    if let Some(path) = write_pool.as_deref().filter(|_| !options.dry_run) {
        writable(path).map_err(|e| Failure::config(pool_of(path, e)))?;
    }
    let mut show = Show::open(&options.output, options.record.as_deref())?;
    let ledger = ledger(&options);
    show.keep(keeper(&options, &*ledger));
    let probes = probes.into_iter().map(Arc::<Probe>::new).collect();
    // Whatever --tls says: the checks tell where a sender that goes by DANE would fail.
    let setup = Setup { dane: true, ..setup(&options, probes, catalog(&options.catalogue)?, ledger)? };
    let end = runtime()?.block_on(shown_smoke(setup, show))?;
    if let Some(path) = write_pool.filter(|_| !options.dry_run) {
        write(&path, &pool(&end.gates)).map_err(|e| Failure::ours(pool_of(&path, e)))?;
    }
    Ok(end.status)
}

/// Whether the file can be put there; nothing is left of the trial.
fn writable(path: &Path) -> io::Result<()> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(io::Error::other("wanted a file"));
    }
    let beside = beside(path);
    File::create_new(&beside).and_then(|_| fs::remove_file(&beside))
}

/// Puts the sources into the file, one a line, all at once: whoever reads it finds the old pool or
/// the new one. Where none is GO the file is empty, so that no old pool is taken for today's.
fn write(path: &Path, pool: &[IpAddr]) -> io::Result<()> {
    let mut text = String::new();
    for source in pool {
        // A String takes everything that is written to it.
        let _ = writeln!(text, "{source}");
    }
    let beside = beside(path);
    let written = File::create_new(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        let _ = fs::remove_file(&beside);
    }
    moved
}

/// A name of our own in the same directory, from where the file can be moved in one step.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}
