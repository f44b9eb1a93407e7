//! Sandboxes: started, watched over, stopped, removed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::cri;
use keelson_proto::cri::NamespaceMode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::client::{Channel, ShimClient, ShimError, blocking};
use super::embedded::Inner;
use super::error::{During, RuntimeError};
use super::layout::{self, RECORD_VERSION, SandboxRecord};
use super::model::{self, Sandbox};
use super::mounts;
use super::shim::protocol::{CONTROL, Reply, VERSION};
use super::shim::{CONFIG_FILE, READY, ShimConfig};
use crate::network::{HostPort, PodNetworkRequest, Protocol};

/// How long a shim may take until it can be called.
const SHIM_START_MAX: Duration = Duration::from_secs(20);

/// Which of its namespaces a sandbox has of its own.
pub(super) fn namespaces(config: &cri::PodSandboxConfig) -> cri::NamespaceOption {
    let linux = config.linux.as_ref();
    let context = linux.and_then(|linux| linux.security_context.as_ref());
    context.and_then(|context| context.namespace_options.clone()).unwrap_or_default()
}

/// Whether a sandbox lives on the node's network.
pub(super) fn on_host_network(config: &cri::PodSandboxConfig) -> bool {
    namespaces(config).network() == NamespaceMode::Node
}

impl Inner {
    /// Starts a sandbox; nothing of it is left if that fails.
    pub(super) async fn run_sandbox(
        self: &Arc<Self>,
        request: cri::RunPodSandboxRequest,
    ) -> Result<String, RuntimeError> {
        let config = request.config.ok_or(RuntimeError::Invalid("no sandbox config".into()))?;
        if config.metadata.is_none() {
            return Err(RuntimeError::Invalid("no sandbox metadata".into()));
        }
        if !request.runtime_handler.is_empty() {
            let text = format!("no runtime for {:?} is configured", request.runtime_handler);
            return Err(RuntimeError::Invalid(text));
        }
        let id = model::new_id();
        let sandbox = self.prepare_sandbox(&id, config)?;
        match self.bring_up(&sandbox).await {
            Ok(channel) => {
                self.model.add_sandbox(sandbox.clone());
                self.watch_shim(sandbox, channel)?;
                Ok(id)
            }
            Err(error) => {
                self.take_down(&sandbox).await;
                self.delete_sandbox(&sandbox)?;
                Err(error)
            }
        }
    }

    /// The sandbox's files: whatever happens from now on, a restart finds it.
    fn prepare_sandbox(
        &self,
        id: &str,
        config: cri::PodSandboxConfig,
    ) -> Result<Arc<Sandbox>, RuntimeError> {
        let dir = self.layout.sandbox(id);
        fs::create_dir_all(&dir).during("sandbox folder")?;
        layout::write_message(&dir.join("config.pb"), &config).during("sandbox config")?;
        let record = SandboxRecord {
            version: RECORD_VERSION,
            created_at: model::now(),
            runtime_handler: String::new(),
            ready: false,
            ips: Vec::new(),
        };
        layout::write_json(&dir.join("sandbox.json"), &record).during("sandbox record")?;
        write_name_files(&dir, &config).during("sandbox files")?;
        Ok(Arc::new(Sandbox {
            id: id.to_owned(),
            config,
            record: parking_lot::Mutex::new(record),
            shim: ShimClient::new(dir),
            changing: tokio::sync::Mutex::new(()),
        }))
    }

    async fn bring_up(&self, sandbox: &Sandbox) -> Result<Channel, RuntimeError> {
        let dir = self.layout.sandbox(&sandbox.id);
        let config = &sandbox.config;
        let wanted = namespaces(config);
        if wanted.ipc() != NamespaceMode::Node {
            mounts::shared_memory(&dir.join("shm")).during("shared memory")?;
        }
        let pod_cgroup = layout::pod_cgroup(config, &sandbox.id);
        self.cgroups.create(&pod_cgroup).during("pod cgroup")?;
        let linux = config.linux.clone().unwrap_or_default();
        if let Some(resources) = &linux.resources {
            self.cgroups.set(&pod_cgroup, resources).during("pod cgroup")?;
        }
        self.cgroups.create(&self.config.shim_cgroup).during("shim cgroup")?;
        let own_network = !on_host_network(config);
        let shim = ShimConfig {
            version: VERSION,
            sandbox_id: sandbox.id.clone(),
            hostname: Some(config.hostname.clone()).filter(|name| !name.is_empty()),
            network: own_network,
            ipc: wanted.ipc() != NamespaceMode::Node,
            uts: own_network,
            pid: wanted.pid() == NamespaceMode::Pod,
            sysctls: linux.sysctls.clone().into_iter().collect::<BTreeMap<_, _>>(),
            cgroups: self.cgroups.folders(&self.shim_cgroup(&sandbox.id)),
            state_dir: dir.join("oci"),
        };
        layout::write_json(&dir.join(CONFIG_FILE), &shim).during("shim config")?;
        self.start_shim(&dir).await?;
        let mut ips = Vec::new();
        if own_network {
            let status = self.config.network.add(self.network_request(sandbox)).await?;
            ips = status.ips.iter().map(ToString::to_string).collect();
        }
        let client = sandbox.shim.clone();
        let (_, channel) = blocking(move || client.subscribe()).await?;
        let record = {
            let mut record = sandbox.record.lock();
            record.ips = ips;
            record.ready = true;
            record.clone()
        };
        layout::write_json(&dir.join("sandbox.json"), &record).during("sandbox record")?;
        Ok(channel)
    }

    fn network_request(&self, sandbox: &Sandbox) -> PodNetworkRequest {
        let metadata = sandbox.config.metadata.clone().unwrap_or_default();
        PodNetworkRequest {
            sandbox_id: sandbox.id.clone(),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            netns_path: self.layout.namespace(&sandbox.id, "net"),
            host_ports: sandbox.config.port_mappings.iter().filter_map(host_port).collect(),
        }
    }

    pub(super) fn shim_cgroup(&self, sandbox_id: &str) -> String {
        format!("{}/{sandbox_id}", self.config.shim_cgroup)
    }

    /// Starts a shim and waits until it can be called. It then belongs to nobody.
    async fn start_shim(&self, dir: &Path) -> Result<(), RuntimeError> {
        let (program, args) = self
            .config
            .shim_command
            .split_first()
            .ok_or_else(|| RuntimeError::Invalid("no shim command".into()))?;
        let mut child = tokio::process::Command::new(program)
            .args(args)
            .arg(dir)
            .env_clear()
            .envs(self.config.shim_environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .during("starting a shim")?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        // Reaped whenever it ends, if this process lives that long.
        tokio::spawn(async move { child.wait().await });
        let mut line = String::new();
        if let Some(stdout) = stdout {
            let mut stdout = BufReader::new(stdout);
            match tokio::time::timeout(SHIM_START_MAX, stdout.read_line(&mut line)).await {
                Ok(read) => drop(read.during("starting a shim")?),
                Err(_) => line = "no word in time".to_owned(),
            }
        }
        if line.trim_end() == READY {
            return Ok(());
        }
        if line.is_empty()
            && let Some(mut stderr) = stderr
        {
            stderr.read_to_string(&mut line).await.during("starting a shim")?;
        }
        Err(RuntimeError::Shim(format!("shim did not start: {}", line.trim_end())))
    }

    /// Follows a shim: exits become states; its end is the sandbox's.
    pub(super) fn watch_shim(
        self: &Arc<Self>,
        sandbox: Arc<Sandbox>,
        channel: Channel,
    ) -> Result<(), RuntimeError> {
        let (mut reader, writer) = channel.into_async().during("shim connection")?;
        let inner = self.clone();
        self.tasks.spawn(async move {
            let _open = writer;
            loop {
                let frame = tokio::select! {
                    frame = reader.next() => frame,
                    () = inner.stopping.cancelled() => return,
                };
                match frame {
                    Ok(Some(frame)) if frame.kind == CONTROL => {
                        if let Ok(Reply::Container(record)) = serde_json::from_slice(&frame.payload)
                        {
                            inner.take_record(&record);
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(sandbox = sandbox.id, %error, "lost the shim");
                        break;
                    }
                }
            }
            inner.shim_gone(&sandbox);
        });
        Ok(())
    }

    /// A sandbox without its shim is over, and so is what ran in it.
    pub(super) fn shim_gone(&self, sandbox: &Sandbox) {
        let expected = !self.set_not_ready(sandbox);
        if !expected {
            tracing::warn!(sandbox = sandbox.id, "the sandbox's shim is gone");
        }
        for container in self.model.containers_of(&sandbox.id) {
            self.lost(&container);
        }
    }

    /// Says whether it was ready.
    fn set_not_ready(&self, sandbox: &Sandbox) -> bool {
        let record = {
            let mut record = sandbox.record.lock();
            if !std::mem::replace(&mut record.ready, false) {
                return false;
            }
            record.clone()
        };
        let path = self.layout.sandbox(&sandbox.id).join("sandbox.json");
        if let Err(error) = layout::write_json(&path, &record) {
            tracing::warn!(sandbox = sandbox.id, %error, "sandbox record not written");
        }
        true
    }

    /// Stops everything in a sandbox and lets go of its network. May be repeated.
    pub(super) async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let Some(sandbox) = self.model.sandbox(id) else { return Ok(()) };
        let _changing = sandbox.changing.lock().await;
        for container in self.model.containers_of(&sandbox.id) {
            if container.state.borrow().runs() {
                self.kill_container(&sandbox, &container).await?;
            }
        }
        self.set_not_ready(&sandbox);
        self.take_down(&sandbox).await;
        Ok(())
    }

    /// Removes a sandbox and its containers. May be repeated.
    pub(super) async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let Some(sandbox) = self.model.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(&sandbox.id).await?;
        for container in self.model.containers_of(&sandbox.id) {
            self.remove_container(&container.id).await?;
        }
        let inner = self.clone();
        let gone = sandbox.clone();
        blocking(move || inner.delete_sandbox(&gone)).await?;
        self.model.remove_sandbox(&sandbox.id);
        Ok(())
    }

    /// Undoes whatever was brought up; goes on past what fails, and logs it.
    async fn take_down(&self, sandbox: &Sandbox) {
        let log = |step: &str, error: &dyn std::fmt::Display| {
            tracing::warn!(sandbox = sandbox.id, step, %error, "sandbox not taken down cleanly");
        };
        let netns = self.layout.namespace(&sandbox.id, "net");
        if !on_host_network(&sandbox.config)
            && let Err(error) = self.config.network.del(&sandbox.id, &netns).await
        {
            log("network", &error);
        }
        let client = sandbox.shim.clone();
        match blocking(move || client.shut_down()).await {
            Ok(()) | Err(ShimError::Gone(_)) => {}
            Err(error) => log("shim", &error),
        }
        let shim_cgroup = self.shim_cgroup(&sandbox.id);
        self.kill_pause(sandbox);
        if let Err(error) = self.remove_cgroup(&shim_cgroup).await {
            log("shim cgroup", &error);
        }
        if let Err(error) = mounts::unmount_below(sandbox.shim.dir()) {
            log("mounts", &error);
        }
    }

    /// Whatever outlived the shim in the shim's cgroup: the holder of a process namespace.
    fn kill_pause(&self, sandbox: &Sandbox) {
        for folder in self.cgroups.folders(&self.shim_cgroup(&sandbox.id)) {
            let Ok(pids) = fs::read_to_string(folder.join("cgroup.procs")) else { continue };
            for pid in pids.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 1) {
                let _ = crate::sys::process::kill(pid, libc::SIGKILL);
            }
        }
    }

    /// Removes a cgroup, giving what was just killed in it a moment to be gone.
    pub(super) async fn remove_cgroup(&self, path: &str) -> io::Result<()> {
        let mut tries = 0;
        loop {
            match self.cgroups.remove(path) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 100 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                outcome => return outcome,
            }
        }
    }

    fn delete_sandbox(&self, sandbox: &Sandbox) -> Result<(), RuntimeError> {
        self.cgroups.remove_if_empty(&layout::pod_cgroup(&sandbox.config, &sandbox.id));
        mounts::remove_tree(&self.layout.sandbox(&sandbox.id)).during("removing sandbox")
    }
}

fn host_port(mapping: &cri::PortMapping) -> Option<HostPort> {
    let port = |number| u16::try_from(number).ok().filter(|port| *port > 0);
    Some(HostPort {
        host_port: port(mapping.host_port)?,
        container_port: port(mapping.container_port)?,
        protocol: match mapping.protocol() {
            cri::Protocol::Tcp => Protocol::Tcp,
            cri::Protocol::Udp => Protocol::Udp,
            cri::Protocol::Sctp => Protocol::Sctp,
        },
        host_ip: mapping.host_ip.parse().ok(),
    })
}

/// The files about names that containers get unless CRI mounts its own.
fn write_name_files(dir: &Path, config: &cri::PodSandboxConfig) -> io::Result<()> {
    let hostname = match config.hostname.as_str() {
        "" => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    fs::write(dir.join("hostname"), format!("{hostname}\n"))?;
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    fs::write(dir.join("hosts"), hosts)?;
    let resolv = match &config.dns_config {
        Some(dns) => resolv_conf(dns),
        None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    fs::write(dir.join("resolv.conf"), resolv)
}

fn resolv_conf(dns: &cri::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}
