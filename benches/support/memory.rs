//! What a running process holds and has used, as the system tells it.

use std::io;
use std::time::Duration;

/// A figure of `/proc/PID/status`, in KiB: `VmRSS`, `VmHWM`.
pub(crate) fn kib(process: u32, figure: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("process {process} has no {figure}: it has ended")))
}

/// User and system, to 10 ms: of a process that has ended too, until it is waited for.
pub(crate) fn cpu(process: u32) -> io::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, which may have anything in it, ends with the last bracket; then field 3 follows.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: Option<u64> = after.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().ok()).sum();
    let ticks = ticks.ok_or_else(|| io::Error::other(format!("not as proc(5) says: {text}")))?;
    Ok(Duration::from_millis(ticks * 10))
}
