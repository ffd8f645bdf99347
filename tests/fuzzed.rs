//! Every reader of bytes from outside against what must hold of it, as the fuzzers under `fuzz/` do
//! it for longer.
//!
//! `fuzz/seeds/NAME` are well-formed inputs, `fuzz/regressions/NAME` such as failed once. proptest
//! damages them, and makes up others.

#[path = "fuzzed/targets.rs"]
pub mod targets;

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use targets::TARGETS;

#[test]
fn seeds_and_regressions() {
    for (name, target) in TARGETS {
        let files = files(name);
        assert!(files.len() >= 5, "{name}: {} files", files.len());
        for (path, bytes) in files {
            played(name, target, &bytes, &path);
        }
    }
}

#[test]
fn every_target_is_fuzzed() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no program under fuzz/");
        let program = root().join(format!("fuzz_targets/{}.rs", name.replace('-', "_")));
        let text = std::fs::read_to_string(&program).unwrap();
        assert!(text.contains(&format!("targets::{}(", name.replace('-', "_"))), "{}", program.display());
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

macro_rules! damaged {
    ($($name:ident),*) => {$(
        mod $name {
            #[test]
            fn whatever_the_bytes() {
                super::whatever_the_bytes(stringify!($name));
            }
        }
    )*};
}
// Each apart, so that they run side by side.
damaged!(decoder, session, dialog, scenario, probe_file, reports, import, recording, judge, policy);

fn whatever_the_bytes(name: &str) {
    let name = name.replace('_', "-");
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds: Vec<Vec<u8>> = files(&name).into_iter().map(|(_, bytes)| bytes).filter(|b| b.len() < 20_000).collect();
    let noise = prop::collection::vec(any::<u8>(), 0..400);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..6_u8, any::<u8>(), 0..60_usize), 1..6);
    let damaged = (prop::sample::select(seeds.clone()), prop::sample::select(seeds), damage).prop_map(
        |(mut bytes, other, damage)| {
            for (at, kind, byte, n) in damage {
                if bytes.is_empty() {
                    return bytes;
                }
                let at = at.index(bytes.len());
                let end = (at + n).min(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.drain(at..end)),
                    2 => bytes.insert(at, byte),
                    3 => bytes.truncate(at),
                    // Said twice.
                    4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                    _ => drop(bytes.splice(at..at, other[at.min(other.len())..(at + n).min(other.len())].to_vec())),
                }
            }
            bytes
        },
    );
    let config = Config { failure_persistence: None, ..Config::with_cases(256) };
    TestRunner::new(config)
        .run(&prop_oneof![1 => noise, 4 => damaged], |bytes| {
            target(&bytes);
            Ok(())
        })
        .unwrap();
}

fn played(name: &str, target: fn(&[u8]), bytes: &[u8], path: &Path) {
    if let Err(panic) = std::panic::catch_unwind(|| target(bytes)) {
        eprintln!("{name}: {}", path.display());
        std::panic::resume_unwind(panic);
    }
}

fn files(name: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["seeds", "regressions"] {
        let Ok(entries) = std::fs::read_dir(root().join(folder).join(name)) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        files.extend(paths.into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())));
    }
    files
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}
