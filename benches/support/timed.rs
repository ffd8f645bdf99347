//! Running a program and learning what it took, by way of GNU `time` (package `time`).

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a program took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// From its start to its exit.
    pub(crate) wall: Duration,
    /// User and system, to 10 ms.
    pub(crate) cpu: Duration,
    /// The most memory that it held, in KiB.
    pub(crate) peak: u64,
}

/// Runs `program` to its end; its output is caught unless `silent`.
pub(crate) fn timed(program: &str, arguments: &[String], silent: bool) -> io::Result<(Took, Output)> {
    let report = std::env::temp_dir().join(format!("mxprobe-bench-{}.time", std::process::id()));
    let mut command = Command::new("/usr/bin/time");
    command.args(["-q", "-f", "%U %S %M", "-o"]).arg(&report).arg(program).args(arguments);
    command.stdout(if silent { Stdio::null() } else { Stdio::piped() });
    let begun = Instant::now();
    let output = command.stderr(Stdio::piped()).spawn()?.wait_with_output()?;
    let wall = begun.elapsed();
    let took = read(&report, wall)?;
    std::fs::remove_file(&report)?;
    Ok((took, output))
}

fn read(report: &PathBuf, wall: Duration) -> io::Result<Took> {
    let text = std::fs::read_to_string(report)?;
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>().unwrap_or(f64::NAN));
    let mut next = || numbers.next().filter(|n| n.is_finite()).ok_or_else(|| io::Error::other(text.clone()));
    let cpu = Duration::from_secs_f64(next()? + next()?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of KiB")]
    let peak = next()? as u64;
    Ok(Took { wall, cpu, peak })
}

/// The one in the middle.
pub(crate) fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied()
}
