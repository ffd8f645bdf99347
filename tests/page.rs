//! The status page over HTTP, and in a real Chromium.

#[path = "support/past.rs"]
mod past;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mxprobe::history::archive::{Archive, StoreArchive};
use mxprobe::probe::Probe;
use mxprobe::probe::layer::ProbeLayer;
use mxprobe::run::Setup;
use mxprobe::web::{Board, Daemon, Listener, Web, router};
use tokio::sync::watch;

use past::Past;

/// A listener with a watch's past behind it.
struct Site {
    address: SocketAddr,
    _directory: tempfile::TempDir,
    _running: watch::Sender<bool>,
}

impl Site {
    async fn start(draw: impl FnOnce(&mut dyn Archive, &Board)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = StoreArchive::open(&directory.path().join("history.sqlite")).unwrap();
        let board = Arc::new(Board::default());
        draw(&mut archive, &board);
        let listener = Listener::open("0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap();
        let (running, cancel) = watch::channel(false);
        let web = Web::new(board, Arc::new(Nobody), ProbeLayer::default(), true).with_history(Some(Box::new(archive)));
        tokio::spawn(listener.serve(router(web), cancel));
        Self { address, _directory: directory, _running: running }
    }
}

/// No watch is behind the listener.
struct Nobody;

#[async_trait::async_trait]
impl Daemon for Nobody {
    fn setup(&self, _: Arc<Probe>) -> Result<Setup, String> {
        Err("nothing is probed here".to_owned())
    }

    async fn reload(&self) -> Result<String, String> {
        Err("nothing is read here".to_owned())
    }
}

/// Pictures of pages for eyes: `MXPROBE_SHOTS=DIR cargo test --test page -- --ignored pictures`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Chromium, and somebody who looks"]
async fn pictures() {
    let folder = PathBuf::from(std::env::var_os("MXPROBE_SHOTS").expect("MXPROBE_SHOTS says where to"));
    let now = Timestamp::now();
    for (name, sources, addresses, rounds, every) in
        [("1x1", 1, 1, 104, 15), ("4x8", 4, 8, 104, 15), ("64x24", 64, 24, 12, 120)]
    {
        for failing in [true, false] {
            let past = Past { sources, addresses, rounds, every, failing };
            let site = Site::start(|archive, board| past.draw(now, archive, board)).await;
            let state = if failing { "failing" } else { "healthy" };
            let mut pages = vec![("page", String::new())];
            if failing && name == "4x8" {
                pages.push(("session", format!("session/0199{:08x}-0000-7000-8000-000000000000/9", rounds - 1)));
                pages.push(("incident", "incident/2".to_owned()));
                pages.push(("run", format!("run/0199{:08x}-0000-7000-8000-000000000000", rounds - 1)));
                pages.push(("fault", "?range=8d".to_owned()));
            }
            if failing && name == "64x24" {
                pages.push(("source", "?source=192.0.2.11&range=7d".to_owned()));
            }
            for (page, path) in pages {
                for (wide, high) in [(1280, 1400), (390, 1600)] {
                    for dark in [false, true] {
                        let shade = if dark { "dark" } else { "light" };
                        let file = folder.join(format!("{name}-{state}-{page}-{wide}-{shade}.png"));
                        let url = format!("http://{}/{path}", site.address);
                        tokio::task::block_in_place(|| shoot(&url, &file, (wide, high), dark));
                    }
                }
            }
        }
    }
}

fn shoot(url: &str, file: &Path, (wide, high): (u32, u32), dark: bool) {
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium-headless-shell");
    chromium.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    chromium.arg(format!("--window-size={wide},{high}"));
    if dark {
        chromium.arg("--blink-settings=preferredColorScheme=0");
    }
    chromium.arg(format!("--screenshot={}", file.display())).arg(url);
    assert!(chromium.output().unwrap().status.success(), "{url}");
}

#[expect(dead_code, reason = "for later")]
const WAIT: Duration = Duration::from_secs(5);
