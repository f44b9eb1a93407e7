//! One watcher as a stream of items, whoever feeds it.

use bytes::Bytes;
use keelson_proto::mvccpb;
use tokio::sync::mpsc;

use crate::StoreError;

/// What to watch.
#[derive(Debug, Clone, Default)]
pub struct WatchSpec {
    /// First key.
    pub key: Bytes,
    /// End of the range; empty: the one key.
    pub range_end: Bytes,
    /// First revision to see; 0: from now.
    pub start_revision: i64,
    /// Events carry the key as it was before.
    pub prev_kv: bool,
    /// A quiet watcher is told from time to time how far it is.
    pub progress_notify: bool,
}

/// What a watcher yields, in revision order.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// Whole revisions: a revision's events are never split over items.
    Events {
        /// The store's revision when these were sent: at least the last event's.
        revision: i64,
        /// In order.
        events: Vec<mvccpb::Event>,
    },
    /// Nothing at or below this revision is still to come.
    Progress {
        /// How far the watcher is.
        revision: i64,
    },
}

/// Asks for progress; kept apart from the receiving half so that both can be used at once.
#[derive(Debug, Clone)]
pub struct WatcherHandle {
    progress: mpsc::Sender<()>,
}

impl WatcherHandle {
    /// Asks for one progress item. A request that is already waiting serves for this one too.
    pub fn request_progress(&self) {
        let _already_asked = self.progress.try_send(());
    }
}

/// An open watcher; dropping it closes it.
#[derive(Debug)]
pub struct Watcher {
    items: mpsc::Receiver<Result<WatchItem, StoreError>>,
    handle: WatcherHandle,
    /// The store's revision when the watcher was registered.
    pub created_revision: i64,
}

impl Watcher {
    /// For implementations: the receiving end of `items`, and where requests for progress go.
    /// `progress` wants a capacity of one.
    pub fn new(
        items: mpsc::Receiver<Result<WatchItem, StoreError>>,
        progress: mpsc::Sender<()>,
        created_revision: i64,
    ) -> Self {
        Self { items, handle: WatcherHandle { progress }, created_revision }
    }

    /// The next item; `None` or an error is the end. [`StoreError::Compacted`]: list anew.
    pub async fn next(&mut self) -> Option<Result<WatchItem, StoreError>> {
        self.items.recv().await
    }

    /// A handle to ask for progress with.
    pub fn handle(&self) -> WatcherHandle {
        self.handle.clone()
    }
}
