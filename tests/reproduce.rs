//! Plays every case of `tests/reproduce/*.toml`: a provider is served on loopback, `mxprobe
//! reproduce` reads an error, and what it says and what the provider saw is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mxprobe::sim::{Ports, Provider, Scenario, Seen};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The provider of all its cases; a case can have its own.
    provider: Option<String>,
    /// What every result says where the case does not say otherwise.
    #[serde(default)]
    every: toml::Table,
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    name: String,
    /// A file under `scenarios`, or the scenario itself.
    provider: Option<String>,
    /// What is read from standard input.
    #[serde(default)]
    error: String,
    /// So many further bytes behind it.
    #[serde(default)]
    endless: u64,
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// `{dir}` in them is where the files are.
    #[serde(default)]
    flags: Vec<String>,
    exit: i32,
    /// One per `reproduction` line, in order: the fields that matter.
    #[serde(default)]
    want: Vec<toml::Table>,
    /// How many sessions the provider saw.
    seen: Option<usize>,
    /// Where it saw them; empty: wherever.
    #[serde(default)]
    at: BTreeSet<String>,
    /// A verb that it must not have seen, and one that it must.
    never: Option<String>,
    once: Option<String>,
    /// What standard error says among other things.
    #[serde(default)]
    said: String,
}

const OWNED: &str = "me@aol.com\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_error_is_answered_as_it_should() {
    let playing: Vec<_> = cases().map(|(file, case)| tokio::spawn(play(file, case))).collect();
    let (played, mut wrong) = (playing.len(), Vec::new());
    for faults in playing {
        wrong.extend(faults.await.unwrap());
    }
    assert!(played >= 25, "only {played} cases were found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

async fn play(file: Option<String>, case: Case) -> Vec<String> {
    let scenario = scenario(case.provider.as_ref().or(file.as_ref()).unwrap());
    let provider = Provider::start(scenario, Ports::default()).await.unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let output = reproduce(&case, &provider, temporary.path());
    let seen = provider.stop().await;
    faults(&case, &output, &seen).into_iter().map(|fault| format!("{}: {fault}", case.name)).collect()
}

/// What is emitted is a scenario and a probe, and the probe finds in the scenario what it expects.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_emitted_can_be_rehearsed() {
    let mut rehearsed = 0;
    for (file, case) in cases().filter(|(_, case)| case.flags.iter().any(|flag| flag == "--emit")) {
        let temporary = tempfile::tempdir().unwrap();
        let provider = Provider::start(scenario(case.provider.as_ref().or(file.as_ref()).unwrap()), Ports::default());
        let provider = provider.await.unwrap();
        reproduce(&case, &provider, temporary.path());
        provider.stop().await;
        let emitted = |what: &str| temporary.path().join(format!("rehearsal/report-1-{what}.toml"));
        let text = std::fs::read_to_string(emitted("scenario")).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let scenario = Scenario::parse("emitted", &text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let provider = Provider::start(scenario, Ports::default()).await.unwrap();
        let mut command = mxprobe("run");
        command.arg(emitted("probe")).args(["--format", "jsonl", "--dns", &provider.dns().to_string()]);
        command.args(["--port", &provider.port().to_string()]);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        let sessions: Vec<_> = lines(&output, "session");
        assert_eq!((output.status.code(), sessions.len()), (Some(0), 2), "{}: {sessions:?} {output:?}", case.name);
        assert!(sessions.iter().all(|session| session["expected"] == true), "{}: {sessions:?}", case.name);
        provider.stop().await;
        rehearsed += 1;
    }
    assert!(rehearsed >= 9, "only {rehearsed} cases emit");
}

/// The nine, when the provider has healed: nothing in 29 sessions, which leaves 9.8 %.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_that_is_gone_is_not_reproduced() {
    let emitting = |(_, case): &(_, Case)| case.flags.iter().any(|flag| flag == "--emit");
    let mut healed = 0;
    for (_, mut case) in cases().filter(emitting) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(case.provider.as_ref().unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        let scenario = Scenario::parse("healed", text.split_once("[[rule]]").unwrap().0).unwrap();
        let provider = Provider::start(scenario, Ports::default()).await.unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let output = reproduce(&case, &provider, temporary.path());
        let seen = provider.stop().await;
        (case.exit, case.seen) = (0, Some(29));
        let wanted = r#"result = "not-reproduced"
            sessions = 29
            same = 0
            different = 0
            rate-low = 0.0
            rate-high = 0.0981
            detectable-rate = 0.1"#;
        let until = case.want[0]["until"].clone();
        case.want = vec![toml::from_str(wanted).unwrap()];
        case.want[0].insert("until".to_owned(), until);
        assert_eq!(faults(&case, &output, &seen), Vec::<String>::new(), "{}", case.name);
        healed += 1;
    }
    assert!(healed >= 9, "only {healed} cases have healed");
}

/// What a reader sees: everything that was understood, planned, found and left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_text_says_what_it_came_to() {
    let scenario = scenario("seed-not-accepting.toml");
    let provider = Provider::start(scenario, Ports::default()).await.unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let case = Case {
        name: "text".to_owned(),
        provider: None,
        error: "Action: delayed\nStatus: 4.0.0\nDiagnostic-Code: smtp; 554 ESMTP not accepting connections\n"
            .to_owned(),
        endless: 0,
        files: BTreeMap::new(),
        flags: ["aol.com", "--format=text", "--swaks"].map(str::to_owned).to_vec(),
        exit: 1,
        want: vec![],
        seen: None,
        at: BTreeSet::new(),
        never: None,
        once: None,
        said: String::new(),
    };
    let output = reproduce(&case, &provider, temporary.path());
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "stage    banner: Postfix turns a 5xx greeting into 4.x.x",
        "at odds  for good by code 554; for now by status 4.0.0, action delayed",
        "missing  the recipient, the host that replied, the source, the time",
        "report 1  REPRODUCED  from 127.0.0.11 at banner of aol.com",
        "because  confirmed: in different cells",
        "plan     29 sessions up to banner at 2 addresses, in turn",
        "seen     in 2 of 2 sessions; rate 15.8-100.0 % (95 %)",
        "at       127.1.0.21, .22",
        "mail     not lost: still queued at the reporting host",
        "swaks --server 127.1.0.21 --port ",
        "--local-interface 127.0.0.11 --helo out1.example.net --from mxprobe@out1.example.net --quit-after BANNER",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    provider.stop().await;
}

fn cases() -> impl Iterator<Item = (Option<String>, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reproduce");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let File { provider, every, case } = file;
        case.into_iter().map(move |mut case| {
            for want in &mut case.want {
                let further = every.iter().filter(|(name, _)| !want.contains_key(*name));
                let further: Vec<_> = further.map(|(name, value)| (name.clone(), value.clone())).collect();
                want.extend(further);
            }
            (provider.clone(), case)
        })
    })
}

fn scenario(provider: &str) -> Scenario {
    if provider.contains('\n') {
        return Scenario::parse("provider", provider).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(provider);
    Scenario::parse(provider, &std::fs::read_to_string(path).unwrap()).unwrap()
}

fn mxprobe(command: &str) -> Command {
    let mut mxprobe = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
    mxprobe.arg(command).args(["--history", "none", "--rate", "6000/min", "--pace", "0s"]);
    mxprobe.env_remove("NO_COLOR").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    mxprobe
}

fn reproduce(case: &Case, provider: &Provider, dir: &Path) -> Output {
    std::fs::write(dir.join("owned.txt"), OWNED).unwrap();
    for (name, text) in &case.files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut command = mxprobe("reproduce");
    command.args(["--dns", &provider.dns().to_string(), "--port", &provider.port().to_string()]);
    let given = |name: &str| case.flags.iter().any(|flag| flag.starts_with(name));
    if !given("--format") {
        command.args(["--format", "jsonl"]);
    }
    if !given("--source") {
        command.args(["--source", "127.0.0.11"]);
    }
    command.args(case.flags.iter().map(|flag| flag.replace("{dir}", dir.to_str().unwrap())));
    // The provider goes on serving meanwhile.
    tokio::task::block_in_place(|| {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that has no use for it does not read it.
        let endless = std::io::repeat(b'x').take(case.endless);
        let _ = std::io::copy(&mut case.error.as_bytes().chain(endless), &mut stdin);
        drop(stdin);
        child.wait_with_output().unwrap()
    })
}

fn lines(output: &Output, of: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|line| line["type"] == of).collect()
}

/// What of the case is not so.
fn faults(case: &Case, output: &Output, seen: &[Seen]) -> Vec<String> {
    let mut faults = Vec::new();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(case.exit) {
        faults.push(format!("{}, wanted {}; {stderr}", output.status, case.exit));
    }
    let found = lines(output, "reproduction");
    if found.len() != case.want.len() {
        faults.push(format!("{} results, wanted {}: {found:?}", found.len(), case.want.len()));
    }
    for (found, wanted) in found.iter().zip(&case.want) {
        for (name, wanted) in wanted {
            let wanted: Value = serde_json::to_value(wanted).unwrap();
            if !agrees(&found[name], &wanted) {
                faults.push(format!("{name} {}, wanted {wanted}; {found}", found[name]));
            }
        }
    }
    if let Some(summary) = lines(output, "summary").first()
        && summary["exit"].as_i64() != Some(case.exit.into())
    {
        faults.push(format!("the summary says {summary}"));
    }
    let sessions = lines(output, "session");
    let mut numbers: Vec<_> = sessions.iter().filter_map(|session| session["seq"].as_u64()).collect();
    numbers.sort_unstable();
    if !numbers.iter().copied().eq(1..=sessions.len() as u64) {
        faults.push(format!("sessions numbered {numbers:?}"));
    }
    if case.seen.is_some_and(|count| count != seen.len()) {
        faults.push(format!("the provider saw {} sessions, wanted {:?}", seen.len(), case.seen));
    }
    let at: BTreeSet<String> = seen.iter().map(|seen| seen.address.to_string()).collect();
    if !case.at.is_empty() && at != case.at {
        faults.push(format!("the provider was spoken to at {at:?}, wanted {:?}", case.at));
    }
    let said = |verb: &str| seen.iter().any(|seen| seen.commands.iter().any(|command| command.starts_with(verb)));
    faults.extend(case.never.iter().filter(|verb| said(verb)).map(|verb| format!("the provider was told {verb}")));
    faults
        .extend(case.once.iter().filter(|verb| !said(verb)).map(|verb| format!("the provider was never told {verb}")));
    if !stderr.contains(&case.said) {
        faults.push(format!("standard error is {stderr:?}, wanted {:?} in it", case.said));
    }
    faults
}

/// Numbers agree to three digits behind the point, texts and lists where they hold what is wanted.
fn agrees(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => {
            (a.as_f64().unwrap_or(f64::NAN) - b.as_f64().unwrap_or(f64::NAN)).abs() < 5e-4
        }
        (Value::String(a), Value::String(b)) => a.contains(&**b),
        (Value::Array(a), Value::Array(b)) => b.iter().all(|b| a.iter().any(|a| agrees(a, b))),
        (a, b) => a == b,
    }
}
