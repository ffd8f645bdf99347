//! `mxprobe sim` in a process of its own.

use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program that is measured.
pub(crate) const MXPROBE: &str = env!("CARGO_BIN_EXE_mxprobe");

/// A simulated provider that is up; dropping it ends its process.
pub(crate) struct Provider {
    process: Child,
    /// Of its own, gone when it is. What it saw is in `seen.jsonl` there, if it keeps a log.
    pub(crate) directory: PathBuf,
    pub(crate) dns: String,
    pub(crate) port: String,
}

impl Provider {
    pub(crate) fn start(scenario: &str, log: bool) -> io::Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let nth = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("mxprobe-provider-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let path = directory.join("scenario.toml");
        std::fs::write(&path, scenario)?;
        let mut command = Command::new(MXPROBE);
        command.arg("sim").arg(&path);
        if log {
            command.arg("--log").arg(directory.join("seen.jsonl"));
        }
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let said = process.stdout.take().ok_or_else(|| io::Error::other("the provider has no standard output"))?;
        let mut provider = Self { process, directory, dns: String::new(), port: String::new() };
        for line in BufReader::new(said).lines() {
            let line = line?;
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("dns"), Some(dns)) => dns.clone_into(&mut provider.dns),
                (Some("smtp"), Some(address)) => {
                    address.rsplit(':').next().unwrap_or_default().clone_into(&mut provider.port);
                }
                (Some("try"), _) => return Ok(provider),
                _ => {}
            }
        }
        Err(io::Error::other("the provider did not come up"))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
