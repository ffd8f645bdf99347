//! A campaign against real parts: a Postfix that is in its way, a Knot whose signed zone has its SPF,
//! DKIM and DMARC, and another implementation of DKIM that verifies what arrived. `tests/run` starts
//! them and says in the environment where they are.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What `tests/run` says.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test is for tests/run"))
}

#[test]
#[ignore = "needs the parts that tests/run starts"]
fn a_campaign_meets_a_postfix_that_is_in_its_way_and_one_that_is_not() {
    let (lines, status) = smoke(&[100, 101, 102, 103], "The big sale", "rsa");
    assert_eq!(status, Some(1), "{lines:#?}");
    let failed = |source: &str| -> Vec<String> {
        let of = |line: &&Value| {
            line["type"] == "check" && line["result"] == "fail" && line["source"].as_str().unwrap_or("all") == source
        };
        lines.iter().filter(of).map(|line| line["check"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(failed("all"), [""; 0], "{lines:#?}");
    assert_eq!(failed("127.0.0.100"), [""; 0]);
    assert_eq!(failed("127.0.0.101"), [""; 0]);
    assert_eq!(failed("127.0.0.102"), ["ptr", "fcrdns"]);
    assert_eq!(failed("127.0.0.103"), ["spf"]);
    let reason = |source: &str| {
        let gate = lines.iter().find(|line| line["type"] == "gate" && line["source"] == source).unwrap();
        (gate["verdict"].as_str().unwrap(), gate["reason"].as_str().unwrap())
    };
    let all = "what is in the way of all: content-policy";
    assert_eq!(reason("127.0.0.100"), ("no-go", all));
    assert!(reason("127.0.0.101").1.contains("451 4.7.1 <unknown[127.0.0.101]>: Client host rejected: slow down"));
    assert!(reason("127.0.0.102").1.starts_with("ptr: 127.0.0.102 has no PTR record; "));
    assert!(reason("127.0.0.103").1.starts_with("spf: fail: -all of campaign.example; "));
    let refused = |line: &&Value| line["variant"] == "campaign" && line["stage"] == "end-of-data";
    for session in lines.iter().filter(refused) {
        assert_eq!(session["reply"][0], "550 5.7.1 no sales here", "{session}");
    }
    assert!(lines.iter().filter(refused).count() >= 2, "{lines:#?}");
    let (lines, status) = smoke(&[100], "Not one word", "rsa");
    assert_eq!(status, Some(0), "{lines:#?}");
    let (lines, status) = smoke(&[100], "Not one word", "ed");
    assert_eq!(status, Some(0), "{lines:#?}");
    // Two of the messages that arrived are the control and the campaign of each key that signed.
    let found = arrived();
    for (selector, algorithm) in [("rsa", "rsa-sha256"), ("ed", "ed25519-sha256")] {
        let verdicts: Vec<&String> =
            found.iter().filter(|verdict| verdict.contains(&format!(" {selector} "))).collect();
        assert!(verdicts.len() >= 2, "{found:?}");
        assert!(verdicts.iter().all(|verdict| **verdict == format!("held {selector} {algorithm}")), "{found:?}");
    }
}

/// What a smoke test from these sources says, line by line, and its exit status.
fn smoke(sources: &[u8], subject: &str, selector: &str) -> (Vec<Value>, Option<i32>) {
    let directory = tempfile::tempdir().unwrap();
    let key = Path::new(&variable("MXPROBE_REAL_DIR")).join(format!("etc/dkim-{selector}.pem"));
    let quoted = |item: String| format!("\"{item}\"");
    let addresses: Vec<String> = sources.iter().map(|n| quoted(format!("127.0.0.{n}"))).collect();
    let names = sources.iter().map(|n| format!("\"127.0.0.{n}\" = \"out{n}.campaign.example\"")).collect::<Vec<_>>();
    let probe = format!(
        "[target]\ndomain = \"aol.com\"\n[source]\naddresses = [{}]\nehlo = {{ {} }}\n\
         [envelope]\nfrom = \"news@campaign.example\"\nto = \"kept@aol.com\"\nowned = [\"kept@aol.com\"]\n\
         [message]\nbody = \"campaign.eml\"\nsend = true\n\
         dkim = {{ domain = \"campaign.example\", selector = \"{selector}\", key = {:?} }}\n",
        addresses.join(", "),
        names.join(", "),
        key.display().to_string(),
    );
    let message = format!(
        "From: Shop <news@campaign.example>\r\nTo: kept@aol.com\r\nSubject: {subject}\r\n\
         Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@campaign.example>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\
         List-Unsubscribe: <https://campaign.example/u/1>\r\n\
         List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\n\
         Gr\u{fc}\u{df}e,\r\n.\r\n..and a line that begins with a dot  \r\n\r\n\r\n"
    );
    fs::write(directory.path().join("probe.toml"), probe).unwrap();
    fs::write(directory.path().join("campaign.eml"), message).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mxprobe"))
        .arg("smoke")
        .arg(directory.path().join("probe.toml"))
        .args(["--dns", &variable("MXPROBE_REAL_DNS"), "--port", &variable("MXPROBE_REAL_PORT")])
        .args(["--history", "none", "--pace", "0s", "--rate", "100/s", "--format", "jsonl"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    (lines, output.status.code())
}

/// What another implementation says of each message that Postfix has delivered; waits until there are
/// as many as were taken.
fn arrived() -> Vec<String> {
    let kept = Path::new(&variable("MXPROBE_REAL_DIR")).join("mail/kept/new");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // Two controls of the first run, and two pairs.
    let messages: Vec<PathBuf> = loop {
        let found: Vec<PathBuf> =
            fs::read_dir(&kept).map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default();
        if found.len() >= 6 {
            break found;
        }
        assert!(std::time::Instant::now() < end, "only {} messages in {}", found.len(), kept.display());
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    messages.iter().map(|message| verified(&fs::read(message).unwrap())).collect()
}

fn verified(message: &[u8]) -> String {
    let dns = variable("MXPROBE_REAL_DNS");
    let (address, port) = dns.split_once(':').unwrap();
    // Debian's, whatever else is in the path: it has the modules.
    let mut verifier = Command::new("/usr/bin/python3")
        .args(["tests/real/parts/verify.py", address, port])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    verifier.stdin.take().unwrap().write_all(message).unwrap();
    String::from_utf8(verifier.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}
