//! What the fuzzers run is what `cargo test` plays over the seeds: the invariants of `tests/fuzzed`.
#![forbid(unsafe_code)]

#[path = "../../tests/fuzzed/targets.rs"]
pub mod targets;
