//! The status page over HTTP: `tests/page/requests.toml` says what is asked for and what must come;
//! besides, every link of it leads somewhere, and nothing that a hostile provider says acts. With a
//! Chromium (`tests/run` installs one) the same in a browser.

#[path = "support/past.rs"]
mod past;
#[path = "page/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::Event;
use regex::Regex;
use serde::Deserialize;

use past::Past;
use site::{Page, Site};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Which past is behind the page.
    past: World,
    /// `{run}` is the last round's.
    get: String,
    status: u16,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "kebab-case")]
enum World {
    /// No round is over yet.
    New,
    Healthy,
    Failing,
    /// The same, with a history that went bad.
    Damaged,
    /// The same, and nothing was kept.
    Unkept,
    Large,
    /// More probes than are shown whole at once.
    Several,
    Hostile,
}

impl World {
    async fn start(self) -> Site {
        let past = |sources, addresses, failing| Past { sources, addresses, rounds: 12, every: 15, failing };
        match self {
            Self::New => Site::start(&Past { rounds: 0, ..past(1, 1, false) }).await,
            Self::Healthy => Site::start(&past(1, 1, false)).await,
            Self::Failing => Site::start(&past(4, 8, true)).await,
            Self::Damaged => {
                let site = Site::start(&past(4, 8, true)).await;
                site.damage();
                site
            }
            Self::Unkept => Site::unkept(&past(4, 8, true)).await,
            Self::Large => Site::start(&Past { rounds: 2, ..past(64, 24, true) }).await,
            Self::Several => Site::several(&past(4, 8, true)).await,
            Self::Hostile => Site::hostile().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_as_it_should_be() {
    let text = std::fs::read_to_string(folder().join("requests.toml")).unwrap();
    let cases = toml::from_str::<File>(&text).unwrap().case;
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    let worlds: BTreeSet<World> = cases.iter().map(|case| case.past).collect();
    let mut wrong = Vec::new();
    for world in worlds {
        let site = world.start().await;
        for case in cases.iter().filter(|case| case.past == world) {
            let page = site.get(&case.get.replace("{run}", &site.run)).await;
            let mut faults = faults(&page);
            if page.status != case.status {
                faults.push(format!("answered {}, wanted {}", page.status, case.status));
            }
            let text = page.text();
            faults.extend(
                case.has.iter().filter(|has| !text.contains(*has)).map(|has| format!("{has:?} is not in {text}")),
            );
            faults.extend(
                case.lacks.iter().filter(|lacks| text.contains(*lacks)).map(|lacks| format!("{lacks:?} is in {text}")),
            );
            wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", case.name)));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Every page that can be reached is whole, and leads nowhere that is not.
#[tokio::test(flavor = "multi_thread")]
async fn every_link_leads_somewhere() {
    for world in [World::Failing, World::Hostile, World::Unkept, World::Several] {
        let site = world.start().await;
        let (mut seen, mut ahead) = (BTreeSet::from(["/".to_owned()]), VecDeque::from(["/".to_owned()]));
        let mut pages = 0;
        while let Some(path) = ahead.pop_front() {
            let page = site.get(&path).await;
            // Of what is not on record any more, only the run is linked.
            let gone = world == World::Unkept && path.starts_with("/run/");
            assert!(page.status == 200 || gone && page.status == 503, "{world:?} {path}: {}", page.status);
            if path == "/metrics" || path == "/style.css" {
                continue;
            }
            assert_eq!(faults(&page), Vec::<String>::new(), "{world:?} {path}");
            pages += 1;
            for link in page.links() {
                if pages + ahead.len() < 400 && seen.insert(link.clone()) {
                    ahead.push_back(link);
                }
            }
        }
        assert!(pages > 5, "{world:?}: only {pages} pages were found");
    }
}

/// What must hold for every page.
fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "x-frame-options: deny",
    ] {
        if !page.head.contains(header) {
            faults.push(format!("no {header} in {}", page.head));
        }
    }
    for set in ["set-cookie", "access-control"] {
        if page.head.contains(set) {
            faults.push(format!("{set} in {}", page.head));
        }
    }
    // All that could run, style, load or lead away, were it not escaped.
    let lower = page.body.to_lowercase();
    for acts in [
        "<script",
        "<img",
        "<iframe",
        "<style",
        " style=\"",
        "onerror=\"",
        "onmouseover=\"",
        "javascript:",
        "http:",
        "https://evil",
    ] {
        if lower.contains(acts) {
            faults.push(format!("{acts} is in it"));
        }
    }
    let turns =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if page.body.chars().any(|c| (c.is_control() && c != '\n') || turns(c)) {
        faults.push("something in it acts".to_owned());
    }
    faults.extend(not_whole(&page.body));
    faults
}

/// Elements that are not closed, ids that stand there twice, headings out of order, tables and
/// regions without what tells those who do not see them.
fn not_whole(body: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut reader = Reader::from_str(body);
    let (mut ids, mut headings) = (BTreeSet::new(), Vec::new());
    loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                let name = element.name().as_ref().to_owned();
                let attribute = |wanted: &str| {
                    let mut all = element.html_attributes();
                    let found = all.with_checks(false).flatten().find(|a| a.key.as_ref() == wanted);
                    found.map(|a| a.value.into_owned())
                };
                if let Some(id) = attribute("id").filter(|id| !ids.insert(id.clone())) {
                    faults.push(format!("id {id} stands there twice"));
                }
                match &*name {
                    "th" if attribute("scope").is_none() => faults.push("a head of a table without a scope".to_owned()),
                    "svg" if attribute("aria-label").is_none() && attribute("aria-hidden").is_none() => {
                        faults.push("a drawing without words".to_owned());
                    }
                    "h1" | "h2" | "h3" | "h4" => headings.push(name[1..].parse::<u8>().unwrap()),
                    _ => {}
                }
            }
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => {
                faults.push(format!("{error} at {}", reader.buffer_position()));
                break;
            }
        }
    }
    if headings.first() != Some(&1) || headings[1..].contains(&1) {
        faults.push(format!("headings {headings:?}: wanted one of the first level, and first"));
    }
    if headings.windows(2).any(|pair| pair[1] > pair[0] + 1) {
        faults.push(format!("headings {headings:?} leave a level out"));
    }
    faults
}

/// Text stands out from what is behind it by 4.5 to 1, a bar by 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11).
#[test]
fn every_colour_can_be_told_from_what_is_behind_it() {
    let style = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/style.css")).unwrap();
    let named = Regex::new(r"--([a-z-]+): #([0-9a-f]{6});").unwrap();
    let (light, dark) = style.split_once("prefers-color-scheme").unwrap();
    for (scheme, text) in [("light", light), ("dark", dark)] {
        let colours: BTreeMap<&str, u32> = named
            .captures_iter(text)
            .map(|found| (found.get(1).unwrap().as_str(), u32::from_str_radix(&found[2], 16).unwrap()))
            .collect();
        let grounds = |own: &'static str| ["back", "card", own];
        let texts = [
            ("text", grounds("card")),
            ("quiet", grounds("card")),
            ("link", grounds("card")),
            ("bad", grounds("bad-back")),
            ("warn", grounds("warn-back")),
            ("good", grounds("good-back")),
        ];
        for (name, ground) in texts.into_iter().flat_map(|(name, grounds)| grounds.map(|ground| (name, ground))) {
            let found = contrast(colours[name], colours[ground]);
            assert!(found >= 4.5, "{scheme}: {name} on {ground} is {found:.2}");
        }
        for name in ["passed", "few", "some", "most", "all"] {
            let found = contrast(colours[name], colours["back"]);
            assert!(found >= 3.0, "{scheme}: {name} is {found:.2}");
        }
    }
}

/// As WCAG 2.2 has it.
fn contrast(one: u32, other: u32) -> f64 {
    let luminance = |colour: u32| {
        let linear = |shift: u32| {
            let share = f64::from(colour >> shift & 0xff) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(16) + 0.7152 * linear(8) + 0.0722 * linear(0)
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

/// What a hostile provider says is text to a browser too: no script ran, no element is its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the Chromium that tests/run installs"]
async fn a_browser_runs_nothing_that_a_provider_says() {
    // In text a browser leaves quotes as they are, but no `<`.
    let acts = Regex::new(r"<(script|img|h1>All)|<\w[^>]* (on\w+|style)=").unwrap();
    let site = World::Hostile.start().await;
    for path in
        ["/".to_owned(), format!("/session/{}/1", site.run), "/incident/1".to_owned(), format!("/run/{}", site.run)]
    {
        let url = site.url(&path);
        let dom = tokio::task::block_in_place(|| browser(&["--dump-dom", &url]));
        let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).unwrap().0;
        assert!(title.ends_with("· mxprobe") && !title.contains("owned"), "{path}: {title}");
        assert!(acts.find(&dom).is_none(), "{path}: {:?} is in {dom}", acts.find(&dom));
        // What cannot be loaded has a page of Chromium's own.
        assert!(dom.contains("<main id=\"main\""), "{path}: {dom}");
    }
    let session = site.url(&format!("/session/{}/1", site.run));
    let dom = tokio::task::block_in_place(|| browser(&["--dump-dom", &session]));
    for shown in [
        "&lt;script&gt;document.title='owned'&lt;/script&gt;",
        "\\x1b]0;owned\\x07",
        "\\u{202e}gnp.exe\\u{202c}",
        "\\rSet-Cookie: owned=1",
    ] {
        assert!(dom.contains(shown), "{shown} is not in {dom}");
    }
}

/// Pictures of pages for eyes: `MXPROBE_SHOTS=DIR cargo test --test page -- --ignored pictures`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Chromium, and somebody who looks"]
async fn pictures() {
    let Some(folder) = std::env::var_os("MXPROBE_SHOTS").map(PathBuf::from) else { return };
    for (name, sources, addresses, rounds, every) in
        [("1x1", 1, 1, 104, 15), ("4x8", 4, 8, 104, 15), ("64x24", 64, 24, 12, 120)]
    {
        for failing in [true, false] {
            let site = Site::start(&Past { sources, addresses, rounds, every, failing }).await;
            let state = if failing { "failing" } else { "healthy" };
            let mut pages = vec![("page", "/".to_owned())];
            if failing && name == "4x8" {
                pages.push(("session", format!("/session/{}/9", site.run)));
                pages.push(("incident", "/incident/2".to_owned()));
                pages.push(("run", format!("/run/{}", site.run)));
                pages.push(("fault", "/?range=8d".to_owned()));
            }
            if name == "1x1" {
                let site = World::Several.start().await;
                let shot = format!("--screenshot={}", folder.join("several.png").display());
                tokio::task::block_in_place(|| browser(&[&shot, "--window-size=1280,1000", &site.url("/")]));
            }
            if failing && name == "64x24" {
                pages.push(("source", "/?source=192.0.2.11&range=7d".to_owned()));
            }
            for (page, path) in pages {
                for (wide, high) in [(1280, 1400), (390, 1600)] {
                    for (shade, scheme) in [("light", 1), ("dark", 0)] {
                        let file = folder.join(format!("{name}-{state}-{page}-{wide}-{shade}.png"));
                        let shot = format!("--screenshot={}", file.display());
                        let window = format!("--window-size={wide},{high}");
                        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
                        tokio::task::block_in_place(|| browser(&[&shot, &window, &scheme, &site.url(&path)]));
                        assert!(file.exists(), "{}", file.display());
                    }
                }
            }
        }
    }
}

/// What a Chromium without a window prints.
fn browser(words: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium-headless-shell");
    chromium.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--timeout=20000"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display())).args(words);
    let output = chromium.output().expect("chromium-headless-shell");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page")
}

/// Now, once for a whole site.
fn now() -> Timestamp {
    Timestamp::now()
}
