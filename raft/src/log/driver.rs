//! Drives the WAL's writer: on a thread of its own, or as a task of the simulator.

use std::io;
use std::sync::Arc;
use std::thread;

use keelson_storage::wal::{Wal, WalQueue, WalWriter};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::runtime::{Runtime, current};

/// The running writer; [`WalHandle::stop`] ends it.
#[derive(Debug)]
pub(crate) struct WalHandle {
    queue: WalQueue,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    /// Closed when the writer has ended.
    ended: watch::Receiver<()>,
}

impl WalHandle {
    /// Starts a writer on this thread's kind of runtime.
    pub(crate) fn start(wal: Wal) -> io::Result<(WalQueue, Self)> {
        if current().is_some() {
            return Ok(Self::start_task(wal));
        }
        let (writer, queue) = WalWriter::new(wal, None);
        let (running, ended) = watch::channel(());
        let thread = thread::Builder::new().name("wal".to_owned()).spawn(move || {
            let _running = running;
            // The queue remembers the failure and tells everybody who waits.
            let _ = writer.run();
        })?;
        Ok((queue.clone(), Self { queue, thread: Mutex::new(Some(thread)), ended }))
    }

    fn start_task(wal: Wal) -> (WalQueue, Self) {
        let arrived = Arc::new(Notify::new());
        let wake = arrived.clone();
        let (mut writer, queue) = WalWriter::new(wal, Some(Box::new(move || wake.notify_one())));
        let (running, ended) = watch::channel(());
        drop(Runtime::spawn(async move {
            let _running = running;
            loop {
                arrived.notified().await;
                let time = current().map(|executor| executor.sync_time());
                Runtime::sleep(time.unwrap_or_default()).await;
                let written = writer.turn().and_then(|_| writer.rest());
                if written.is_err() {
                    return;
                }
            }
        }));
        (queue.clone(), Self { queue, thread: Mutex::new(None), ended })
    }

    /// Waits until the writer has ended: it was stopped, or the log has failed.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut ended = self.ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    }

    /// Writes what waits, and ends the writer. Blocks until it has.
    pub(crate) fn stop(&self) {
        self.queue.stop();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for WalHandle {
    fn drop(&mut self) {
        self.queue.stop();
    }
}
