//! What a running process holds, as the system tells it.

use std::io;

/// A figure of `/proc/PID/status`, in KiB: `VmRSS`, `VmHWM`.
pub(crate) fn kib(process: u32, figure: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("process {process} has no {figure}: it has ended")))
}
