//! Every `tests/report/*.toml`: what is on record or in files, and what `report` makes of it.
//!
//! The Markdown stands in `NAME.md` beside the case (`BLESS=1` writes it anew); of the page it is
//! seen that it is only to be read, and in [`a_browser_shows_it_and_asks_for_nothing`] that a real
//! one does no more than that.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use mxprobe::history::archive::{Archive as _, Retention, StoreArchive};
use mxprobe::record::{Incident, Line};
use serde::Deserialize;

#[path = "support/markup.rs"]
mod markup;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// `{dir}` is where `files` are, and the history.
    argv: Vec<String>,
    #[serde(default)]
    exit: i32,
    /// On standard error, whole.
    #[serde(default)]
    says: String,
    /// Nowhere in what is printed, in whatever case.
    #[serde(default)]
    never: Vec<String>,
    #[serde(default)]
    files: std::collections::BTreeMap<String, String>,
    /// Lines that are on record, run by run. `@aol-2012` stands for those of the demo.
    #[serde(default)]
    history: String,
    /// An incident that is on record.
    incident: Option<serde_json::Value>,
    /// The sessions on record are forgotten.
    #[serde(default)]
    forgotten: bool,
    /// This text, in `files`, so many times over: endless lines are no sight in a case.
    #[serde(default)]
    repeat: Option<(String, usize)>,
}

#[test]
fn every_case_is_told_as_expected() {
    let mut played = 0;
    for path in files(&folder(), "toml") {
        let case = read(&path);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let temporary = tempfile::tempdir().unwrap();
        let markdown = case.play(temporary.path(), "markdown");
        let (told, said) = (text(&markdown.stdout), text(&markdown.stderr));
        let directory = temporary.path().to_str().unwrap();
        assert_eq!(markdown.status.code(), Some(case.exit), "{name}: {said}");
        assert_eq!(said.replace(directory, "{dir}").trim(), case.says.trim(), "{name}");
        case.keeps_quiet(&name, &told);
        let expected = path.with_extension("md");
        if told.is_empty() {
            assert!(!expected.exists(), "{name} tells nothing");
        } else {
            compare(&expected, &told);
            let page = case.play(temporary.path(), "html");
            assert_eq!(page.status.code(), Some(case.exit), "{name}: {}", text(&page.stderr));
            markup::is_only_to_be_read(&name, &text(&page.stdout));
            case.keeps_quiet(&name, &text(&page.stdout));
        }
        played += 1;
    }
    assert!(played >= 12, "only {played} cases");
}

impl Case {
    fn play(&self, directory: &Path, format: &str) -> Output {
        let dir = directory.to_str().unwrap();
        for (name, lines) in &self.files {
            let lines = match &self.repeat {
                Some((what, times)) => lines.replace("@repeat", &what.repeat(*times)),
                None => lines.clone(),
            };
            std::fs::write(directory.join(name), lines).unwrap();
        }
        let history = directory.join("history.sqlite");
        if (!self.history.is_empty() || self.incident.is_some()) && !history.exists() {
            self.keep(&history);
        }
        let mut program = Command::new(env!("CARGO_BIN_EXE_mxprobe"));
        let set = std::env::vars_os().map(|(name, _)| name);
        set.filter(|name| name.to_string_lossy().starts_with("MXPROBE_")).for_each(|name| _ = program.env_remove(name));
        program.args(self.argv.iter().map(|word| word.replace("{dir}", dir)));
        if self.argv[0] == "report" {
            program.args(["--format", format]);
        }
        program.env("XDG_STATE_HOME", directory).env("MXPROBE_HISTORY", history).stdin(Stdio::null()).output().unwrap()
    }

    fn keep(&self, path: &Path) {
        let mut archive = StoreArchive::open(path).unwrap();
        let aol = include_str!("../docs/aol-2012.jsonl");
        let lines = self.history.replace("@aol-2012", aol);
        let lines: Vec<Line> = lines.lines().map(|line| Line::parse(line).unwrap().unwrap()).collect();
        let mut runs: Vec<(String, Vec<Line>)> = Vec::new();
        for line in lines {
            if let Line::Run(run) = &line {
                runs.push((run.run.clone(), Vec::new()));
            }
            runs.last_mut().expect("a run begins with its head").1.push(line);
        }
        for (run, lines) in &runs {
            archive.keep(run, None, lines).unwrap();
        }
        if let Some(incident) = &self.incident {
            let mut incident: Incident = serde_json::from_value(incident.clone()).unwrap();
            archive.put_incident(None, &mut incident, &[]).unwrap();
        }
        if self.forgotten {
            let later: Timestamp = "2027-11-24T00:00:00Z".parse().unwrap();
            while archive.retain(later, &Retention::default()).unwrap().more {}
        }
    }

    fn keeps_quiet(&self, name: &str, told: &str) {
        let told = told.to_lowercase();
        for never in &self.never {
            assert!(!told.contains(&never.to_lowercase()), "{name} says {never}");
        }
    }
}

/// What a browser is asked to load goes to a proxy that counts. A picture of a page that may load
/// one is asked for there, so that the count means something; one that stands in a report is not, nor
/// does a script in it run: the policy keeps both out even where they come in unescaped.
#[test]
#[ignore = "needs a Chromium"]
fn a_browser_shows_it_and_asks_for_nothing() {
    let browser = Browser::start();
    let temporary = tempfile::tempdir().unwrap();
    let bait = "<p id=bait>here</p><img src=\"http://bait.example/picture\"><script>document.body.textContent = 'owned'</script>";
    let page = |name: &str, text: &str| {
        let path = temporary.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (shown, asked) = browser.show(&page("bait.html", &format!("<!doctype html><body>{bait}</body>")));
    assert!(shown.contains("owned") && asked.iter().any(|what| what.contains("bait.example")), "{asked:?}: {shown}");

    let mut pages = Vec::new();
    let outputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outputs");
    for name in ["hostile", "matrix"] {
        pages.push((name, std::fs::read_to_string(outputs.join(name).with_extension("html")).unwrap()));
    }
    for name in ["hostile", "endless-lines", "incident", "recipients-everywhere"] {
        let case = read(&folder().join(name).with_extension("toml"));
        let directory = tempfile::tempdir().unwrap();
        pages.push((name, text(&case.play(directory.path(), "html").stdout)));
    }
    for (name, text) in pages {
        let title = text.split_once("<h1>").unwrap().1.split_once("</h1>").unwrap().0;
        let (shown, asked) = browser.show(&page("report.html", &text));
        assert!(shown.contains(&format!("<h1>{title}</h1>")), "{name}: {shown}");
        assert!(!asked.iter().any(|what| what.contains("example")), "{name} asks for {asked:?}");
        let baited = text.replace("</main>", &format!("{bait}</main>"));
        let (shown, asked) = browser.show(&page("report.html", &baited));
        assert!(shown.contains("<p id=\"bait\">here</p>") && shown.contains("<h1>"), "{name}: {shown}");
        assert!(!asked.iter().any(|what| what.contains("bait.example")), "{name} asks for {asked:?}");
    }
}

/// A Chromium and the proxy that it must go through.
struct Browser {
    program: PathBuf,
    profile: tempfile::TempDir,
    proxy: TcpListener,
}

impl Browser {
    fn start() -> Self {
        let program = std::env::var_os("MXPROBE_CHROMIUM").map_or_else(|| PathBuf::from("chromium"), PathBuf::from);
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.set_nonblocking(true).unwrap();
        Self { program, profile: tempfile::tempdir().unwrap(), proxy }
    }

    /// The document as it is once it is loaded, and the first line of each request for it.
    fn show(&self, page: &Path) -> (String, Vec<String>) {
        let mut browser = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"])
            .arg(format!("--proxy-server=http://{}", self.proxy.local_addr().unwrap()))
            .arg(format!("--user-data-dir={}", self.profile.path().display()))
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = browser.stdout.take().unwrap();
        let reading = std::thread::spawn(move || {
            let mut shown = String::new();
            out.read_to_string(&mut shown).map(|_| shown)
        });
        let mut asked = Vec::new();
        while browser.try_wait().unwrap().is_none() {
            let Ok((mut stream, _)) = self.proxy.accept() else {
                std::thread::sleep(std::time::Duration::from_millis(5));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap_or(0);
            asked.push(String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        (reading.join().unwrap().unwrap(), asked)
    }
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths
}

/// Compares with the file at `path`, or writes it when `BLESS` is set.
fn compare(path: &Path, found: &str) {
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(found == expected, "{}\n--- expected\n{expected}--- found\n{found}", path.display());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report")
}

fn read(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
