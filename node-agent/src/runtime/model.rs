//! Sandboxes and containers in memory; the files are the truth after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use keelson_proto::cri;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use super::client::ShimClient;
use super::layout::{ContainerRecord, SandboxRecord};

/// Events that a slow listener may be behind.
const EVENTS_MAX: usize = 1024;

/// One pod sandbox.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) config: cri::PodSandboxConfig,
    pub(super) record: Mutex<SandboxRecord>,
    pub(super) shim: ShimClient,
    /// Held by whoever changes the sandbox or starts something in it.
    pub(super) changing: tokio::sync::Mutex<()>,
}

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) config: cri::ContainerConfig,
    pub(super) record: Mutex<ContainerRecord>,
    pub(super) state: watch::Sender<State>,
    /// The limits as last set.
    pub(super) resources: Mutex<cri::LinuxContainerResources>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) pid: i32,
    /// Nanoseconds since 1970; 0 before.
    pub(super) started_at: i64,
    /// Nanoseconds since 1970; 0 before.
    pub(super) finished_at: i64,
    pub(super) exit_code: i32,
    pub(super) reason: String,
    pub(super) message: String,
}

impl State {
    pub(super) fn phase(&self) -> cri::ContainerState {
        match (self.started_at, self.finished_at) {
            (_, 1..) => cri::ContainerState::ContainerExited,
            (1.., _) => cri::ContainerState::ContainerRunning,
            _ => cri::ContainerState::ContainerCreated,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.phase() == cri::ContainerState::ContainerRunning
    }
}

/// Something that happened to a container.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) container_id: String,
    pub(super) sandbox_id: String,
    pub(super) kind: cri::ContainerEventType,
    pub(super) at: i64,
}

/// All sandboxes and containers.
#[derive(Debug)]
pub(super) struct Model {
    sandboxes: RwLock<BTreeMap<String, Arc<Sandbox>>>,
    containers: RwLock<BTreeMap<String, Arc<Container>>>,
    pub(super) events: broadcast::Sender<Event>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            sandboxes: RwLock::default(),
            containers: RwLock::default(),
            events: broadcast::channel(EVENTS_MAX).0,
        }
    }

    pub(super) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.sandboxes.read().values().cloned().collect()
    }

    pub(super) fn containers(&self) -> Vec<Arc<Container>> {
        self.containers.read().values().cloned().collect()
    }

    pub(super) fn containers_of(&self, sandbox_id: &str) -> Vec<Arc<Container>> {
        let all = self.containers.read();
        all.values().filter(|one| one.record.lock().sandbox_id == sandbox_id).cloned().collect()
    }

    /// By id, or by the beginning of one that only one has.
    pub(super) fn sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        by_prefix(&self.sandboxes.read(), id)
    }

    /// By id, or by the beginning of one that only one has.
    pub(super) fn container(&self, id: &str) -> Option<Arc<Container>> {
        by_prefix(&self.containers.read(), id)
    }

    pub(super) fn add_sandbox(&self, sandbox: Arc<Sandbox>) {
        self.sandboxes.write().insert(sandbox.id.clone(), sandbox);
    }

    pub(super) fn add_container(&self, container: Arc<Container>) {
        self.containers.write().insert(container.id.clone(), container);
    }

    pub(super) fn remove_sandbox(&self, id: &str) {
        self.sandboxes.write().remove(id);
    }

    pub(super) fn remove_container(&self, id: &str) {
        self.containers.write().remove(id);
    }

    /// Tells whoever listens.
    pub(super) fn tell(&self, container: &Container, kind: cri::ContainerEventType) {
        let sandbox_id = container.record.lock().sandbox_id.clone();
        let event = Event { container_id: container.id.clone(), sandbox_id, kind, at: now() };
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

fn by_prefix<T>(all: &BTreeMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if id.is_empty() {
        return None;
    }
    let mut matching = all.range(id.to_owned()..).take_while(|(key, _)| key.starts_with(id));
    let (key, found) = matching.next()?;
    (key == id || matching.next().is_none()).then(|| found.clone())
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A new id, as containers have.
pub(super) fn new_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
