//! What a watch answers over HTTP: metrics, a probe on demand, and whether it is well.
//!
//! Nothing that is asked changes anything but `/-/reload`, and nobody has to say who they are: so
//! the listener is on loopback unless it is told otherwise. A request for a page that does not exist
//! is as cheap as any, and every connection serves one request, in a time that has an end. Who asks
//! for a name that is not the listener's gets 421 for an answer.
//!
//! | path | answers |
//! |---|---|
//! | `/`, `/session/RUN/SEQ`, `/incident/ID`, `/run/RUN` | the status page (`page`) |
//! | `/metrics` | the last round of every probe, and the watch itself |
//! | `/probe?target=&module=` | one session, now |
//! | `/-/healthy` | 200 as long as it runs |
//! | `/-/ready` | 200 when the probe files are loaded and the history is open, else 503 |
//! | `/-/reload` (POST) | 200 when the probe files were read anew, else 500 and why not |

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

mod asked;
mod board;
mod guard;
mod listen;
mod page;
mod probe;
mod scrape;

pub use board::{Board, Budget, Window};
pub use listen::{Listen, Listener};

use crate::address::Host;
use crate::history::archive::Archive;
use crate::probe::Probe;
use crate::probe::layer::ProbeLayer;
use crate::run::Setup;
use crate::visible::visible;
use asked::Asked;
use page::shelf::Shelf;

/// What the answers are made of. A clone is the same.
#[derive(Clone)]
pub struct Web {
    pub board: Arc<Board>,
    pub daemon: Arc<dyn Daemon>,
    /// Whether any target may be probed, or only those of the probe files: who listens on loopback
    /// alone is asked by people of this host.
    pub any_target: bool,
    /// What the flags say of every probe: the module `default`.
    pub flags: Arc<ProbeLayer>,
    /// What the listener is called beside its address and `localhost`.
    names: Arc<[Host]>,
    asked: Arc<Asked>,
    shelf: Shelf,
}

/// The watch behind the listener.
#[async_trait::async_trait]
pub trait Daemon: Send + Sync {
    /// What a run of this one probe needs: the resolvers, the ledger and the catalogue are those of
    /// the rounds.
    ///
    /// # Errors
    ///
    /// Why there can be no run now.
    fn setup(&self, probe: Arc<Probe>) -> Result<Setup, String>;

    /// Reads the probe files anew, and says what came of it.
    ///
    /// # Errors
    ///
    /// Why the old ones stay.
    async fn reload(&self) -> Result<String, String>;
}

impl Web {
    #[must_use]
    pub fn new(board: Arc<Board>, daemon: Arc<dyn Daemon>, flags: ProbeLayer, any_target: bool) -> Self {
        let (flags, names) = (Arc::new(flags), Arc::default());
        Self { board, daemon, any_target, flags, names, asked: Arc::default(), shelf: Shelf::default() }
    }

    /// The same, and these names for it are right too.
    #[must_use]
    pub fn called(self, names: Vec<Host>) -> Self {
        Self { names: names.into(), ..self }
    }

    /// The same, with what is on record for the page.
    #[must_use]
    pub fn with_history(self, archive: Option<Box<dyn Archive>>) -> Self {
        Self { shelf: Shelf::new(archive), ..self }
    }
}

/// Who answers what.
pub fn router(web: Web) -> Router {
    let by_our_name = middleware::from_fn_with_state(Arc::clone(&web.names), guard::by_our_name);
    Router::new()
        .route("/metrics", get(scrape::metrics))
        .route("/probe", get(probe::probe).layer(middleware::from_fn(guard::same_site)))
        .route("/-/healthy", get(async || "mxprobe is healthy\n"))
        .route("/-/ready", get(ready))
        .merge(page::routes())
        .route("/-/reload", post(reload).layer(middleware::from_fn(guard::same_site)))
        .fallback(async || (StatusCode::NOT_FOUND, "nothing is here\n"))
        .layer(by_our_name)
        .layer(middleware::map_response(guard::seal))
        .with_state(web)
}

async fn ready(State(web): State<Web>) -> Response {
    match web.board.unready() {
        None => "mxprobe is ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("mxprobe is not ready: {why}\n")).into_response(),
    }
}

async fn reload(State(web): State<Web>) -> Response {
    match web.daemon.reload().await {
        Ok(done) => shown(&done).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, shown(&why)).into_response(),
    }
}

/// What several lines say, none of which acts on a terminal.
fn shown(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| visible(line).into_owned() + "\n").collect();
    lines.concat()
}
