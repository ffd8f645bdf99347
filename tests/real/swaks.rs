//! What swaks finds where mxprobe was.

use std::process::{Command, Output};

use serde_json::Value;

/// Sends swaks where the session went and says what it found otherwise.
pub(crate) fn compare(flags: &[String], session: &Value) -> Option<String> {
    let text = |field: &str| session[field].as_str().unwrap_or_default();
    let port = session["port"].to_string();
    let output = Command::new("swaks")
        .args(["--server", text("address"), "--port", &port, "--local-interface", text("source")])
        .args(["--helo", text("ehlo"), "--from", "me@probe.example", "--timeout", "5"])
        .args(["--to", session["to"].as_str().unwrap_or("nobody@aol.com")])
        .args(flags)
        .output()
        .unwrap();
    let swaks = Swaks::read(&output);
    let completed = session["kind"] == "completed";
    let stage = match text("stage") {
        _ if completed => "-",
        // swaks has one exit code for the command and the handshake.
        "starttls" => "tls",
        stage => stage,
    };
    let same = swaks.stage == stage && swaks.code == session["code"].as_u64();
    (!same).then(|| {
        let transcript = String::from_utf8_lossy(&output.stdout);
        format!("{}: {} {stage} {}, but {swaks:?} in\n{transcript}", text("address"), session["kind"], session["code"])
    })
}

/// How swaks ended.
#[derive(Debug)]
struct Swaks {
    /// The contract's word for it; `-` where it went as far as it was to.
    stage: &'static str,
    code: Option<u64>,
}

impl Swaks {
    /// Reads its exit code (`base.pod`, "EXIT CODES") and the last reply before it took its leave.
    fn read(output: &Output) -> Self {
        let transcript = String::from_utf8_lossy(&output.stdout);
        let lines = transcript.lines().take_while(|line| !matches!(line.get(4..), Some("QUIT")));
        let (mut reply, mut asked) = (None, "");
        for line in lines {
            match line.split_at_checked(4) {
                Some((" -> " | " ~> ", command)) => asked = command,
                Some(("<-  " | "<~  ", text)) => reply = Some((text, false)),
                Some(("<** " | "<~* ", text)) => reply = Some((text, true)),
                Some(("=== ", text)) if text.starts_with("TLS started") => reply = None,
                _ => {}
            }
        }
        let stage = match output.status.code() {
            Some(0) => "-",
            Some(2) => "connect",
            Some(21) => "banner",
            Some(22) => "ehlo",
            Some(23) => "mail",
            Some(24) => "rcpt",
            Some(25) => "data",
            Some(26) => "end-of-data",
            Some(29) => "tls",
            Some(32) => "ehlo-tls",
            // Closed on it. Where it went on after a 421, that was with HELO.
            Some(6) if asked.starts_with("HELO") => "ehlo",
            _ => "?",
        };
        let counts = |&(_, refused): &(&str, bool)| refused || stage == "-";
        let code = reply.filter(counts).and_then(|(text, _)| text.get(..3)?.parse().ok());
        Self { stage, code }
    }
}
