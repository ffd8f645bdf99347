//! The history as the pages read it: one at a time, on a thread of its own, and not for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::history::HistoryError;
use crate::history::archive::Archive;

/// How long a page waits for those before it, and then for its own answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is on record, or nothing.
#[derive(Clone, Default)]
pub(in crate::web) struct Shelf(Option<Arc<Mutex<Box<dyn Archive>>>>);

/// Why the history says nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unread {
    #[error("nothing is kept (--history none)")]
    Unkept,
    #[error("the history is busy with other pages")]
    Busy,
    #[error("the history did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("{0}")]
    Failed(String),
}

impl Shelf {
    pub(in crate::web) fn new(archive: Option<Box<dyn Archive>>) -> Self {
        Self(archive.map(|archive| Arc::new(Mutex::new(archive))))
    }

    /// Reads. What takes too long goes on until it is done, and those behind it wait for it.
    ///
    /// # Errors
    ///
    /// Why nothing was read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Archive) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Unread> {
        let archive = self.0.as_ref().ok_or(Unread::Unkept)?;
        let mut held = timeout(PATIENCE, Arc::clone(archive).lock_owned()).await.map_err(|_| Unread::Busy)?;
        let reading = tokio::task::spawn_blocking(move || work(held.as_mut()));
        match timeout(PATIENCE, reading).await {
            Ok(Ok(read)) => read.map_err(|error| Unread::Failed(error.to_string())),
            Ok(Err(broken)) => Err(Unread::Failed(format!("reading broke off: {broken}"))),
            Err(_) => Err(Unread::Slow),
        }
    }
}
