//! Has the linker keep one of several functions that came out the same, where it is the one that can.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") && is_lld() {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

/// Whether the compiler links with the LLD that it brings, as it does on this target where it brings
/// one and nobody names another.
fn is_lld() -> bool {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let named = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"))
        || env::var_os("RUSTC_LINKER").is_some();
    let sysroot = || {
        let output = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let brought = |sysroot: String| {
        let lld = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("bin/gcc-ld/ld.lld");
        lld.exists()
    };
    env::var("TARGET").is_ok_and(|target| target == TARGET) && !named && sysroot().is_some_and(brought)
}
