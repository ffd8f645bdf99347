//! What the README shows is what the program prints: every console block is run. Times, ports and
//! ids differ from run to run and are compared as `…`. `BLESS=1` writes the blocks anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use regex::Regex;

#[test]
fn console_blocks_are_what_the_program_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut blocks = 0;
    let blocks_of = Regex::new(r"(?s)```console\n\$ mxprobe ([^\n]*)\n(.*?)```").unwrap();
    let printed = blocks_of.replace_all(&readme, |block: &regex::Captures<'_>| {
        blocks += 1;
        let output = Command::new(env!("CARGO_BIN_EXE_mxprobe"))
            .args(block[1].split_whitespace())
            .current_dir(root)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed = if masked(&printed) == masked(&block[2]) { block[2].to_owned() } else { printed };
        let mut text = String::new();
        write!(text, "```console\n$ mxprobe {}\n{printed}```", &block[1]).unwrap();
        text
    });
    assert!(blocks >= 2, "only {blocks} console blocks were found");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(root.join("README.md"), &*printed).unwrap();
    }
    for (shown, printed) in readme.lines().zip(printed.lines()) {
        assert_eq!(masked(shown), masked(printed), "the README shows another line; BLESS=1 writes it anew");
    }
    assert_eq!(readme.lines().count(), printed.lines().count());
}

/// The text without what no two runs share, and the widths that go with it.
fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    for (what, mark) in [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "…"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…"),
        (r"127\.1\.0\.x:\d+ *", "127.1.0.x:… "),
        (r"(?m)^(connect|banner|ehlo|mail|quit)( +\d+)( +[\d.]+)+$", "$1$2 …"),
        (r"; [\d.]+ s; exit", "; … s; exit"),
        (r"(?m)^(127\.0\.0\.\d+|failed|diagnosis)((?: \[\d\])?) +", "$1$2 "),
    ] {
        masked = Regex::new(what).unwrap().replace_all(&masked, mark).into_owned();
    }
    masked
}
