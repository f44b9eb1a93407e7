//! Containers: created, started, stopped, removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::cri;
use keelson_proto::cri::{ContainerEventType, NamespaceMode};

use super::client::blocking;
use super::embedded::Inner;
use super::error::{During, RuntimeError};
use super::layout::{self, ContainerRecord, RECORD_VERSION};
use super::model::{self, Container, Sandbox, State};
use super::shim::protocol::{self, Request, StartContainer};
use super::{mounts, signals, spec, user};
use crate::image::ImageRecord;

/// How long a killed container may take to be gone.
const KILL_MAX: Duration = Duration::from_secs(30);

impl Inner {
    /// Makes a container ready to be started.
    pub(super) async fn create_container(
        self: &Arc<Self>,
        request: cri::CreateContainerRequest,
    ) -> Result<String, RuntimeError> {
        let sandbox = self.ready_sandbox(&request.pod_sandbox_id)?;
        let config = request.config.ok_or(RuntimeError::Invalid("no container config".into()))?;
        if config.metadata.is_none() {
            return Err(RuntimeError::Invalid("no container metadata".into()));
        }
        let name = config.image.as_ref().map_or("", |image| image.image.as_str()).to_owned();
        let image = self.images.find(&name).ok_or(RuntimeError::NoImage(name))?;
        let _changing = sandbox.changing.lock().await;
        let (inner, sandbox) = (self.clone(), sandbox.clone());
        let container = blocking(move || {
            let id = model::new_id();
            let created = inner.prepare_container(&id, &sandbox, config, &image);
            if created.is_err() {
                // The reason is in the first error.
                let _ = mounts::remove_tree(&inner.layout.container(&id));
            }
            created
        })
        .await?;
        self.model.add_container(container.clone());
        self.model.tell(&container, ContainerEventType::ContainerCreatedEvent);
        Ok(container.id.clone())
    }

    fn ready_sandbox(&self, id: &str) -> Result<Arc<Sandbox>, RuntimeError> {
        let sandbox =
            self.model.sandbox(id).ok_or_else(|| RuntimeError::NoSandbox(id.to_owned()))?;
        if !sandbox.record.lock().ready {
            return Err(RuntimeError::SandboxNotReady(sandbox.id.clone()));
        }
        Ok(sandbox)
    }

    pub(super) fn known_container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        self.model.container(id).ok_or_else(|| RuntimeError::NoContainer(id.to_owned()))
    }

    fn prepare_container(
        &self,
        id: &str,
        sandbox: &Sandbox,
        config: cri::ContainerConfig,
        image: &ImageRecord,
    ) -> Result<Arc<Container>, RuntimeError> {
        let dir = self.layout.container(id);
        let rootfs = dir.join("rootfs");
        for folder in ["upper", "work", "rootfs"] {
            fs::create_dir_all(dir.join(folder)).during("container folder")?;
        }
        layout::write_message(&dir.join("config.pb"), &config).during("container config")?;
        let layers = self.images.layer_folders(image);
        mounts::overlay(&layers, &dir.join("upper"), &dir.join("work"), &rootfs)
            .during("root file system")?;
        let linux = config.linux.clone().unwrap_or_default();
        let context = linux.security_context.clone().unwrap_or_default();
        let image_user = image.run.user.clone().unwrap_or_default();
        let user = user::resolve(&rootfs, &context, &image_user)?;
        let cgroup = format!("{}/{id}", layout::pod_cgroup(&sandbox.config, &sandbox.id));
        let spec = spec::build(&spec::Inputs {
            sandbox: &sandbox.config,
            sandbox_dir: sandbox.shim.dir(),
            container: &config,
            image: &image.run,
            rootfs: &rootfs,
            user: &user,
            cgroup: &cgroup,
            target_pid: self.target_pid(&context),
            cgroups: &self.cgroups,
        })?;
        layout::write_json(&dir.join("config.json"), &spec).during("container spec")?;
        let record = ContainerRecord {
            version: RECORD_VERSION,
            sandbox_id: sandbox.id.clone(),
            created_at: model::now(),
            image_id: image.id.clone(),
            image_ref: image.digests.first().unwrap_or(&image.id).clone(),
            stop_signal: signals::stop_signal(&config, image),
            user,
            cgroup,
            start_error: None,
        };
        // Last: a folder without it is no container, and is removed at the next start.
        layout::write_json(&dir.join("container.json"), &record).during("container record")?;
        Ok(Arc::new(Container {
            id: id.to_owned(),
            config,
            record: parking_lot::Mutex::new(record),
            state: tokio::sync::watch::Sender::new(State::default()),
            resources: parking_lot::Mutex::new(linux.resources.unwrap_or_default()),
        }))
    }

    fn target_pid(&self, context: &cri::LinuxContainerSecurityContext) -> Option<i32> {
        let options = context.namespace_options.as_ref()?;
        let target = self.model.container(&options.target_id)?;
        let state = target.state.borrow();
        state.runs().then_some(state.pid)
    }

    /// Starts a container; one that cannot be started has ended, with the reason.
    pub(super) async fn start_container(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let container = self.known_container(id)?;
        let sandbox_id = container.record.lock().sandbox_id.clone();
        let sandbox = self.ready_sandbox(&sandbox_id)?;
        let _changing = sandbox.changing.lock().await;
        if container.state.borrow().phase() != cri::ContainerState::ContainerCreated {
            return Err(RuntimeError::NotCreated(container.id.clone()));
        }
        let request = Request::Start(self.start_request(&sandbox, &container));
        match sandbox.shim.ask(request).await {
            // The record comes over the subscription, too, and may say by then that it has ended.
            Ok(reply @ (protocol::Reply::Container(_) | protocol::Reply::Started { .. })) => {
                container.state.send_if_modified(|state| {
                    let first = state.started_at == 0;
                    match reply {
                        protocol::Reply::Container(record) if first => *state = state_of(&record),
                        // A shim of an earlier build does not say when.
                        protocol::Reply::Started { pid } if first => {
                            *state = State { pid, started_at: model::now(), ..State::default() };
                        }
                        _ => {}
                    }
                    first
                });
                self.model.tell(&container, ContainerEventType::ContainerStartedEvent);
                Ok(())
            }
            Ok(other) => Err(RuntimeError::Shim(format!("shim answers strangely: {other:?}"))),
            Err(error) => {
                self.start_failed(&container, error.to_string());
                Err(RuntimeError::Shim(format!("failed to start container: {error}")))
            }
        }
    }

    fn start_request(&self, sandbox: &Sandbox, container: &Container) -> StartContainer {
        let dir = self.layout.container(&container.id);
        let config = &container.config;
        let log_folder = &sandbox.config.log_directory;
        let has_log = !log_folder.is_empty() && !config.log_path.is_empty();
        let linux = config.linux.as_ref();
        let pids = linux
            .and_then(|linux| linux.security_context.as_ref()?.namespace_options.as_ref())
            .map_or(NamespaceMode::Pod, |options| options.pid());
        let text = |path: &Path| path.display().to_string();
        StartContainer {
            id: container.id.clone(),
            bundle: text(&dir),
            exit_file: text(&dir.join("exit.json")),
            log_path: has_log.then(|| text(&Path::new(log_folder).join(&config.log_path))),
            terminal: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            cgroups: self
                .cgroups
                .container_folders(&container.record.lock().cgroup)
                .iter()
                .map(|folder| text(folder))
                .collect(),
            shares_pids: pids != NamespaceMode::Container,
        }
    }

    fn start_failed(&self, container: &Container, message: String) {
        let at = model::now();
        let record = {
            let mut record = container.record.lock();
            record.start_error = Some((message.clone(), at));
            record.clone()
        };
        let path = self.layout.container(&container.id).join("container.json");
        if let Err(error) = layout::write_json(&path, &record) {
            tracing::warn!(container = container.id, %error, "container record not written");
        }
        container.state.send_replace(start_error_state(message, at));
        self.model.tell(container, ContainerEventType::ContainerStoppedEvent);
    }

    /// Takes a container's state from its shim.
    pub(super) fn take_record(&self, record: &protocol::ContainerRecord) {
        let Some(container) = self.model.container(&record.id) else { return };
        let ended = container.state.send_if_modified(|state| {
            let before = state.clone();
            if state.finished_at == 0 {
                *state = state_of(record);
            }
            *state != before
        });
        if ended && record.exit.is_some() {
            self.model.tell(&container, ContainerEventType::ContainerStoppedEvent);
        }
    }

    /// A container that ran under a shim that is gone: nobody knows how it ended.
    pub(super) fn lost(&self, container: &Container) {
        if !container.state.borrow().runs() {
            return;
        }
        self.cgroups.kill(&container.record.lock().cgroup);
        let path = self.layout.container(&container.id).join("exit.json");
        // The shim may have written the exit and ended before it could tell.
        let state = match layout::read_json::<protocol::ContainerRecord>(&path) {
            Ok(record) => state_of(&record),
            Err(_) => State {
                finished_at: model::now(),
                exit_code: 255,
                reason: "Unknown".to_owned(),
                message: "the container's shim is gone".to_owned(),
                ..container.state.borrow().clone()
            },
        };
        container.state.send_replace(state);
        self.model.tell(container, ContainerEventType::ContainerStoppedEvent);
    }

    /// Asks a container to end, and kills it if it has not within `timeout` seconds.
    pub(super) async fn stop_container(
        self: &Arc<Self>,
        id: &str,
        timeout: i64,
    ) -> Result<(), RuntimeError> {
        let container = self.known_container(id)?;
        let sandbox_id = container.record.lock().sandbox_id.clone();
        let Some(sandbox) = self.model.sandbox(&sandbox_id) else { return Ok(()) };
        if !container.state.borrow().runs() {
            return Ok(());
        }
        if timeout > 0 {
            let signal = container.record.lock().stop_signal;
            let request = Request::Kill { id: container.id.clone(), signal, all: false };
            if let Err(error) = sandbox.shim.ask(request).await
                && container.state.borrow().runs()
            {
                tracing::warn!(container = container.id, %error, "could not signal");
            }
            let patience = Duration::from_secs(timeout.unsigned_abs());
            if ended_within(&container, patience).await {
                return Ok(());
            }
        }
        self.kill_container(&sandbox, &container).await
    }

    /// Kills a container and waits until it has ended.
    pub(super) async fn kill_container(
        &self,
        sandbox: &Sandbox,
        container: &Container,
    ) -> Result<(), RuntimeError> {
        for all in [false, true] {
            let request = Request::Kill { id: container.id.clone(), signal: libc::SIGKILL, all };
            if let Err(error) = sandbox.shim.ask(request).await
                && container.state.borrow().runs()
            {
                tracing::warn!(container = container.id, %error, "could not kill");
            }
            let patience = if all { KILL_MAX } else { Duration::from_secs(5) };
            if ended_within(container, patience).await {
                return Ok(());
            }
        }
        Err(RuntimeError::Shim(format!("container {} does not end", container.id)))
    }

    /// Removes a container, killing it if it runs. May be repeated.
    pub(super) async fn remove_container(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let Some(container) = self.model.container(id) else { return Ok(()) };
        let (sandbox_id, cgroup) = {
            let record = container.record.lock();
            (record.sandbox_id.clone(), record.cgroup.clone())
        };
        if let Some(sandbox) = self.model.sandbox(&sandbox_id) {
            if container.state.borrow().runs() {
                self.kill_container(&sandbox, &container).await?;
            }
            let ready = sandbox.record.lock().ready;
            if ready && container.state.borrow().started_at > 0 {
                sandbox.shim.ask(Request::Forget { id: container.id.clone() }).await?;
            }
        }
        self.remove_cgroup(&cgroup).await.during("container cgroup")?;
        let folder = self.layout.container(&container.id);
        blocking(move || mounts::remove_tree(&folder).during("removing container")).await?;
        self.model.remove_container(&container.id);
        self.model.tell(&container, ContainerEventType::ContainerDeletedEvent);
        Ok(())
    }

    /// The images that containers are made of.
    pub(super) fn images_in_use(&self) -> BTreeSet<String> {
        let containers = self.model.containers();
        containers.iter().map(|container| container.record.lock().image_id.clone()).collect()
    }
}

async fn ended_within(container: &Container, patience: Duration) -> bool {
    let mut state = container.state.subscribe();
    let ended = state.wait_for(|state| !state.runs());
    matches!(tokio::time::timeout(patience, ended).await, Ok(Ok(_)))
}

/// The state of a container that a shim has a record of.
pub(super) fn state_of(record: &protocol::ContainerRecord) -> State {
    let mut state = State { pid: record.pid, started_at: record.started_at, ..State::default() };
    if let Some(exit) = &record.exit {
        state.finished_at = exit.finished_at;
        state.exit_code = exit.exit_code;
        state.reason = match (exit.oom_killed, exit.exit_code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        }
        .to_owned();
    }
    state
}

/// The state of a container that could not be started.
pub(super) fn start_error_state(message: String, at: i64) -> State {
    State {
        finished_at: at,
        exit_code: 128,
        reason: "StartError".to_owned(),
        message,
        ..State::default()
    }
}
