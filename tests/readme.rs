//! What the README shows is what the program prints: every console block is run. Times, ports and
//! ids differ from run to run and are compared as `…`. `BLESS=1` writes the blocks anew.
//!
//! A provider that a block starts with `mxprobe sim … &` is served on ports that are free, and is
//! there for that block alone.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex::Regex;

#[test]
fn console_blocks_are_what_the_program_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut blocks = 0;
    let blocks_of =
        Regex::new(r"(?s)```console\n(?:\$ mxprobe sim ([^\n]*) &\n)?\$ mxprobe ([^\n]*)\n(.*?)```").unwrap();
    let printed = blocks_of.replace_all(&readme, |block: &regex::Captures<'_>| {
        blocks += 1;
        let sim = block.get(1).map(|words| words.as_str());
        let provider = sim.map(|words| Served::start(root, words));
        let words = provider.as_ref().map_or_else(|| block[2].to_owned(), |provider| provider.moved(&block[2]));
        let output = mxprobe(root).args(words.split_whitespace()).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed = if masked(&printed) == masked(&block[3]) { block[3].to_owned() } else { printed };
        let mut text = "```console\n".to_owned();
        if let Some(words) = sim {
            writeln!(text, "$ mxprobe sim {words} &").unwrap();
        }
        write!(text, "$ mxprobe {}\n{printed}```", &block[2]).unwrap();
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

fn mxprobe(root: &Path) -> Command {
    let mut mxprobe = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
    mxprobe.current_dir(root).env("MXPROBE_HISTORY", "none");
    mxprobe
}

/// A provider that a block starts. It goes down when this is dropped.
struct Served {
    sim: Child,
    /// What the README says of its ports, and what is so.
    ports: [(String, String); 2],
}

impl Served {
    fn start(root: &Path, words: &str) -> Self {
        let words: Vec<&str> = words.split_whitespace().collect();
        let said = |flag: &str| words[words.iter().position(|word| *word == flag).unwrap() + 1];
        let mut sim = mxprobe(root).args(["sim", words[0]]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(sim.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        let mut port = |what: &str| {
            let line = lines.find(|line| line.starts_with(what)).unwrap();
            line.split_whitespace().nth(1).unwrap().rsplit_once(':').unwrap().1.to_owned()
        };
        let (dns, smtp) = (port("dns"), port("smtp"));
        let ports = [
            (format!("127.0.0.1:{}", said("--dns-port")), format!("127.0.0.1:{dns}")),
            (format!("--port {}", said("--port")), format!("--port {smtp}")),
        ];
        Self { sim, ports }
    }

    /// The words of a command, with the ports as they are.
    fn moved(&self, words: &str) -> String {
        self.ports.iter().fold(words.to_owned(), |words, (said, so)| {
            assert!(words.contains(said.as_str()), "{words} without {said}");
            words.replace(said.as_str(), so)
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.sim.kill();
        let _ = self.sim.wait();
    }
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
