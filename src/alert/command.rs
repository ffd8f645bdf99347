//! A notice to a program: on its standard input, with the few facts that route it in variables.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::courier::Undelivered;
use super::notice::{Notice, short};

/// As much of what it says is kept, in bytes; the rest is read and dropped.
const LONGEST: usize = 4096;

/// Runs the program as it is written, by no shell. It has taken the notice when it ends with 0; it
/// is killed when it is not done in time.
pub(super) async fn run(words: &[String], notice: &Notice, patience: Duration) -> Result<(), Undelivered> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Undelivered::Never("there is no command".to_owned()));
    };
    let later = |what: &str, e: &dyn std::fmt::Display| Undelivered::Later(format!("{what}: {e}"));
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables(notice))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| later(program, &e))?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let text = serde_json::json!(notice).to_string() + "\n";
    let tell = async {
        if let Some(mut stdin) = stdin {
            // A program may know enough from its variables, and close its input.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let ended = timeout(patience.mul_f64(0.9), async { tokio::join!(tell, head(stderr), child.wait()) }).await;
    match ended {
        Ok(((), _, Ok(status))) if status.success() => Ok(()),
        Ok(((), said, Ok(status))) => Err(Undelivered::Later(verdict(status, &said))),
        Ok((.., Err(e))) => Err(later(program, &e)),
        Err(_) => Err(Undelivered::Later(format!("not done within {patience:?}, and killed"))),
    }
}

fn verdict(status: ExitStatus, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    match said.trim() {
        "" => status.to_string(),
        said => format!("{status}: {}", short(said, 200)),
    }
}

/// The beginning of what a program says; it is read to its end all the same, or it would stand still.
async fn head(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    let Some(mut from) = from else { return head };
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        head.extend_from_slice(&buffer[..read.min(LONGEST.saturating_sub(head.len()))]);
    }
    head
}

/// What a program routes by, without parsing. Each is one line without control characters.
fn variables(notice: &Notice) -> Vec<(&'static str, String)> {
    let incident = &notice.incident;
    let mut all = vec![
        ("MXPROBE_INCIDENT_NOTICE", notice.id.clone()),
        ("MXPROBE_INCIDENT_CHANGE", notice.change.to_string()),
        ("MXPROBE_INCIDENT_ID", incident.id.to_string()),
        ("MXPROBE_INCIDENT_DOMAIN", incident.domain.clone()),
        ("MXPROBE_INCIDENT_KIND", incident.kind.to_string()),
        ("MXPROBE_INCIDENT_CONFIDENCE", incident.confidence.to_string()),
        ("MXPROBE_INCIDENT_OPENED", incident.opened.by.to_string()),
        ("MXPROBE_INCIDENT_SUMMARY", notice.summary()),
    ];
    all.extend(incident.closed.map(|closed| ("MXPROBE_INCIDENT_CLOSED", closed.by.to_string())));
    all.extend(incident.stage.map(|stage| ("MXPROBE_INCIDENT_STAGE", stage.to_string())));
    all.extend(incident.code.map(|code| ("MXPROBE_INCIDENT_CODE", code.to_string())));
    all.into_iter().map(|(name, value)| (name, short(&value, 300))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notice::tests::hostile;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_program_gets_the_notice_as_data() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let notice = hostile("opened");
        let script = "cat >\"$0\" && env | grep ^MXPROBE_INCIDENT_ >\"$1\"";
        run(&words(&["/bin/sh", "-c", script, &path("stdin"), &path("env")]), &notice, PATIENCE).await.unwrap();
        let stdin = std::fs::read_to_string(path("stdin")).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&stdin).unwrap(), notice);
        assert_eq!(stdin.lines().count(), 1);
        let env = std::fs::read_to_string(path("env")).unwrap();
        assert!(env.contains("MXPROBE_INCIDENT_ID=12\n") && env.contains("MXPROBE_INCIDENT_CHANGE=opened\n"), "{env}");
        assert!(env.lines().all(|line| line.starts_with("MXPROBE_INCIDENT_")), "{env}");
    }

    #[tokio::test]
    async fn no_shell_reads_the_words() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let word = format!("$(touch {0}); `touch {0}`", mark.display());
        run(&words(&["/bin/true", &word]), &hostile("opened"), PATIENCE).await.unwrap();
        assert!(!mark.exists());
    }

    #[tokio::test]
    async fn a_program_that_fails_says_why() {
        let notice = hostile("closed");
        for (script, want) in [
            ("cat >/dev/null; printf 'pager\\033[2J away' >&2; exit 3", "exit status: 3: pager\\x1b[2J away"),
            ("exec <&-; exit 1", "exit status: 1"),
            ("kill -9 $$", "signal: 9 (SIGKILL)"),
            ("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 4", "exit status: 4: xxx"),
        ] {
            let Err(Undelivered::Later(why)) = run(&words(&["/bin/sh", "-c", script]), &notice, PATIENCE).await else {
                panic!("{script} was taken for done")
            };
            assert!(why.starts_with(want) && why.len() < 400, "{script}: {why}");
        }
        let found = run(&words(&["/nonexistent/page-me"]), &notice, PATIENCE).await;
        assert!(matches!(found, Err(Undelivered::Later(why)) if why.contains("No such file")));
    }
}
