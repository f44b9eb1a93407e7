//! One watcher on a stream of its own.

use super::{CreateError, Created, Output, WatchHub, WatchSpec, WatchStream};
use crate::mvcc::ReadError;

/// A watcher whose reader needs no others beside it.
#[derive(Debug)]
pub struct Watcher {
    stream: WatchStream,
    created: Created,
}

impl WatchHub {
    /// Opens a watcher; every change after this is seen.
    pub fn subscribe(&self, spec: WatchSpec) -> Result<Watcher, CreateError> {
        let mut stream = self.stream();
        let created = stream.create(spec, 0)?;
        Ok(Watcher { stream, created })
    }
}

impl Watcher {
    /// The store's revision when it was made.
    pub fn created_revision(&self) -> i64 {
        self.created.revision
    }

    /// What there is, nothing if that is nothing. May wait for the disk.
    pub fn poll(&mut self) -> Result<Vec<Output>, ReadError> {
        let taken = self.stream.take();
        if !taken.is_empty() {
            return Ok(taken);
        }
        while self.stream.is_behind() {
            let read = self.stream.catch_up()?;
            if !read.is_empty() {
                return Ok(read);
            }
        }
        Ok(self.stream.take())
    }

    /// Waits until [`Watcher::poll`] may give something.
    pub async fn ready(&self) {
        self.stream.ready().await;
    }

    /// Asks for progress.
    pub fn request_progress(&mut self) {
        self.stream.request_progress();
    }

    /// Reports progress if it was quiet since the last tick and wants to be told.
    pub fn tick(&mut self) {
        self.stream.tick();
    }
}
