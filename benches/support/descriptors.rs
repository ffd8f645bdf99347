//! Programs under a limit of descriptors.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

/// The most descriptors that this process may allow itself and what it starts.
pub(crate) fn most_descriptors() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/limits")?;
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    // Name, soft limit, hard limit, unit.
    match line.split_whitespace().nth(4) {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => number.parse().map_err(io::Error::other),
        None => Err(io::Error::other("/proc/self/limits does not say how many files may be open")),
    }
}

/// `program`, which may open so many descriptors and no more.
pub(crate) fn limited(descriptors: u64, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    // `exec`: the process is the program's.
    command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &descriptors.to_string()]).arg(program);
    command
}
