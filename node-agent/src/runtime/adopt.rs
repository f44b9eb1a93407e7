//! What a start finds of an earlier run: sandboxes and containers that go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use keelson_proto::cri;

use super::client::{Channel, ShimClient, blocking};
use super::containers::{start_error_state, state_of};
use super::embedded::Inner;
use super::error::{During, RuntimeError};
use super::layout::{self, ContainerRecord, SandboxRecord};
use super::model::{Container, Sandbox, State};
use super::mounts;
use super::shim::protocol;

/// What the shims say of their containers.
type Known = BTreeMap<String, protocol::ContainerRecord>;

impl Inner {
    /// Takes over what is on disk. Nothing is served before.
    pub(super) async fn adopt(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let mut known = Known::new();
        let mut channels = Vec::new();
        for id in layout::ids(&self.layout.sandboxes()).during("sandboxes")? {
            let Some(sandbox) = self.load_sandbox(&id) else { continue };
            self.model.add_sandbox(sandbox.clone());
            if !sandbox.record.lock().ready {
                continue; // stopped, or never whole: to be stopped and removed by the agent
            }
            let client = sandbox.shim.clone();
            match blocking(move || client.subscribe()).await {
                Ok((records, channel)) => {
                    known.extend(records.into_iter().map(|record| (record.id.clone(), record)));
                    channels.push((sandbox, Some(channel)));
                }
                Err(error) => {
                    tracing::warn!(sandbox = id, %error, "sandbox has lost its shim");
                    channels.push((sandbox, None));
                }
            }
        }
        for id in layout::ids(&self.layout.containers()).during("containers")? {
            match self.load_container(&id, &known) {
                Some(container) => self.model.add_container(Arc::new(container)),
                None => {
                    tracing::info!(container = id, "removing a container that was never whole");
                    mounts::remove_tree(&self.layout.container(&id)).during("container")?;
                }
            }
        }
        for (sandbox, channel) in channels {
            self.go_on(sandbox, channel)?;
        }
        let live: Vec<String> =
            self.model.sandboxes().iter().map(|sandbox| sandbox.id.clone()).collect();
        if let Err(error) = self.config.network.retain(&live).await {
            tracing::warn!(%error, "pod network not tidied up");
        }
        Ok(())
    }

    fn go_on(
        self: &Arc<Self>,
        sandbox: Arc<Sandbox>,
        channel: Option<Channel>,
    ) -> Result<(), RuntimeError> {
        match channel {
            Some(channel) => self.watch_shim(sandbox, channel),
            None => {
                self.shim_gone(&sandbox);
                Ok(())
            }
        }
    }

    fn load_sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        let dir = self.layout.sandbox(id);
        let record = layout::read_json::<SandboxRecord>(&dir.join("sandbox.json"));
        let config = layout::read_message::<cri::PodSandboxConfig>(&dir.join("config.pb"));
        match (record, config) {
            (Ok(record), Ok(config)) => Some(Arc::new(Sandbox {
                id: id.to_owned(),
                config,
                record: parking_lot::Mutex::new(record),
                shim: ShimClient::new(dir),
                changing: tokio::sync::Mutex::new(()),
            })),
            (record, config) => {
                // Its files come first, so nothing was made for it yet.
                tracing::warn!(
                    sandbox = id, record = ?record.err(), config = ?config.err(),
                    "removing a sandbox that was never whole"
                );
                if let Err(error) = mounts::remove_tree(&dir) {
                    tracing::warn!(sandbox = id, %error, "not removed");
                }
                None
            }
        }
    }

    fn load_container(&self, id: &str, known: &Known) -> Option<Container> {
        let dir = self.layout.container(id);
        let record = layout::read_json::<ContainerRecord>(&dir.join("container.json")).ok()?;
        let config = layout::read_message::<cri::ContainerConfig>(&dir.join("config.pb")).ok()?;
        let state = self.state_on_disk(id, &dir, &record, known);
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone());
        Some(Container {
            id: id.to_owned(),
            config,
            record: parking_lot::Mutex::new(record),
            state: tokio::sync::watch::Sender::new(state),
            resources: parking_lot::Mutex::new(resources.unwrap_or_default()),
        })
    }

    fn state_on_disk(
        &self,
        id: &str,
        dir: &Path,
        record: &ContainerRecord,
        known: &Known,
    ) -> State {
        if let Some(record) = known.get(id) {
            return state_of(record);
        }
        if let Ok(record) = layout::read_json::<protocol::ContainerRecord>(&dir.join("exit.json")) {
            return state_of(&record);
        }
        if let Some((message, at)) = &record.start_error {
            return start_error_state(message.clone(), *at);
        }
        // Started, but its shim is gone without a record: `lost` gives it an end.
        let oci = self.layout.sandbox(&record.sandbox_id).join("oci").join(id);
        match fs::metadata(oci) {
            Ok(_) => State { started_at: record.created_at, ..State::default() },
            Err(_) => State::default(),
        }
    }
}
