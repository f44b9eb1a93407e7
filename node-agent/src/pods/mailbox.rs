//! How a pod worker is told of changes: the newest pod and a bell, never a queue.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What arrived since the worker last looked.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) pod: Option<Arc<Pod>>,
    /// The object is gone from the API.
    pub(crate) vanished: bool,
    /// A ConfigMap or Secret of the pod changed.
    pub(crate) objects_changed: bool,
}

/// The inbox of one worker.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    bell: Notify,
}

impl Mailbox {
    pub(crate) fn put(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut self.mail.lock());
        self.bell.notify_one();
    }

    /// Something about the pod may have changed.
    pub(crate) fn nudge(&self) {
        self.bell.notify_one();
    }

    pub(crate) fn take(&self) -> Mail {
        std::mem::take(&mut self.mail.lock())
    }

    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// All inboxes by pod uid.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    boxes: Mutex<BTreeMap<String, Arc<Mailbox>>>,
}

impl Mailboxes {
    pub(crate) fn open(&self, uid: &str) -> Arc<Mailbox> {
        self.boxes.lock().entry(uid.to_owned()).or_default().clone()
    }

    pub(crate) fn close(&self, uid: &str) {
        self.boxes.lock().remove(uid);
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Mailbox>> {
        self.boxes.lock().get(uid).cloned()
    }

    pub(crate) fn nudge_all(&self) {
        self.boxes.lock().values().for_each(|mailbox| mailbox.nudge());
    }
}
