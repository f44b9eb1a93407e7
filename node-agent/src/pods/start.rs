//! Starts one container: image, configuration, creation, start, postStart hook; each failure has its reason.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use keelson_proto::cri;
use tokio_util::sync::CancellationToken;

use super::container::{ContainerInput, container_config, message_path};
use super::env::{EnvSources, environment};
use super::expansion::expand;
use super::hosts::hosts_file;
use super::images::ensure_image;
use super::kill::{Victim, grace_seconds, kill_container, run_hook};
use super::lookup::{namespace_of, uid_of};
use super::plan::{KillReason, Waiting};
use super::references::references;
use super::sandbox::current_config;
use super::security::check_non_root;
use crate::agent::{Context, EventType, ServiceLinks, visible_services};
use crate::volumes;

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartFailure {
    pub(crate) waiting: Waiting,
    /// A back-off of pulls follows, and shows as `ImagePullBackOff`.
    pub(crate) pull_failed: bool,
}

/// Where and as what a container starts.
#[derive(Clone, Debug)]
pub(crate) struct StartInput {
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: Container,
    pub(crate) restart_count: i32,
    pub(crate) sandbox_id: String,
    pub(crate) sandbox_attempt: u32,
    pub(crate) pod_ips: Vec<String>,
    /// Host paths of the pod's volumes.
    pub(crate) volumes: Arc<BTreeMap<String, PathBuf>>,
    pub(crate) cancel: CancellationToken,
}

/// Starts the container and returns its id. Ends early, without one, when the pod does.
pub(crate) async fn start_container(
    cx: &Context,
    input: &StartInput,
) -> Result<String, StartFailure> {
    let (pod, container) = (&*input.pod, &input.container);
    let event = |kind, reason, message: String| {
        cx.recorder.container(pod, &container.name, kind, reason, message);
    };
    let failed = |reason: &'static str, message: String| {
        event(EventType::Warning, "Failed", format!("Error: {message}"));
        StartFailure { waiting: Waiting { reason, message }, pull_failed: false }
    };
    let sandbox = current_config(cx, pod, input.sandbox_attempt).await;
    let image =
        ensure_image(cx, pod, container, &sandbox, &input.cancel).await.map_err(|failure| {
            event(EventType::Warning, "Failed", format!("Error: {}", failure.waiting.reason));
            StartFailure { waiting: failure.waiting, pull_failed: failure.pull_failed }
        })?;
    let config_error = |why: String| failed("CreateContainerConfigError", why);
    check_non_root(pod, container, &image.user).map_err(|e| config_error(e.to_string()))?;
    let env = gather_environment(cx, input).await.map_err(config_error)?;
    let (mounts, message_host_path) =
        mounts(cx, input, &env).await.map_err(|e| config_error(e.to_string()))?;
    let config = container_config(ContainerInput {
        pod,
        container,
        restart_count: input.restart_count,
        image_ref: &image.id,
        image_user: &image.user,
        env: &env,
        mounts,
        message_host_path,
        node_memory_bytes: cx.machine.memory_bytes,
        seccomp_default: cx.config.seccomp_default,
    });
    if input.cancel.is_cancelled() {
        let waiting = Waiting { reason: "ContainerCreating", message: String::new() };
        return Err(StartFailure { waiting, pull_failed: false });
    }
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: input.sandbox_id.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox),
    };
    let mut runtime = cx.cri.runtime.clone();
    let created = runtime.create_container(request).await;
    let id = created.map_err(|s| failed("CreateContainerError", s.message().to_owned()))?;
    let id = id.into_inner().container_id;
    event(EventType::Normal, "Created", "Container created".into());
    let request = cri::StartContainerRequest { container_id: id.clone() };
    let started = runtime.start_container(request).await;
    started.map_err(|s| failed("RunContainerError", s.message().to_owned()))?;
    event(EventType::Normal, "Started", "Container started".into());
    let hook = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
    if let Some(hook) = hook {
        let pod_ip = input.pod_ips.first().map(String::as_str);
        if let Err(why) = run_hook(cx, container, &id, pod_ip, hook).await {
            event(EventType::Warning, "FailedPostStartHook", "PostStartHook failed".into());
            let victim = Victim {
                id,
                name: container.name.clone(),
                pod_ip: input.pod_ips.first().cloned(),
                grace_seconds: grace_seconds(pod, Some(container), KillReason::Changed),
                message: Some("FailedPostStartHook".into()),
            };
            if let Err(error) = kill_container(cx, pod, Some(container), &victim).await {
                tracing::warn!(error, "container with a failed postStart hook not ended");
            }
            let waiting = Waiting { reason: "PostStartHookError", message: why };
            return Err(StartFailure { waiting, pull_failed: false });
        }
    }
    Ok(id)
}

async fn gather_environment(
    cx: &Context,
    input: &StartInput,
) -> Result<Vec<(String, String)>, String> {
    let pod = &*input.pod;
    let own = pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
    let links = if own { ServiceLinks::Own } else { ServiceLinks::MasterOnly };
    let services = visible_services(&cx.services, namespace_of(pod), links).await;
    let services = services
        .ok_or("services have not yet been read at least once, cannot construct envvars")?;
    let mut objects = BTreeMap::new();
    for key in references(pod) {
        let state = cx.objects.get(&key).await;
        objects.insert(key, state);
    }
    let facts = cx.facts(input.pod_ips.clone());
    let sources = EnvSources { services, objects: &objects, facts: &facts };
    environment(pod, &input.container, &sources).map_err(|error| error.to_string())
}

/// A volume mount that cannot be.
#[derive(Debug, thiserror::Error)]
enum MountError {
    #[error("volume \"{0}\" is not mounted")]
    NoVolume(String),
    #[error("subPath of volume \"{volume}\": {source}")]
    SubPath { volume: String, source: volumes::SubPathError },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
}

async fn mounts(
    cx: &Context,
    input: &StartInput,
    env: &[(String, String)],
) -> Result<(Vec<cri::Mount>, String), MountError> {
    let container = &input.container;
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let root = input.volumes.get(&wanted.name);
        let root = root.ok_or_else(|| MountError::NoVolume(wanted.name.clone()))?;
        let lookup = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let sub_path = match (&wanted.sub_path_expr, &wanted.sub_path) {
            (Some(text), _) => expand(text, lookup),
            (None, text) => text.clone().unwrap_or_default(),
        };
        let host_path = if sub_path.is_empty() {
            root.clone()
        } else {
            volumes::sub_path(root, &sub_path)
                .map_err(|source| MountError::SubPath { volume: wanted.name.clone(), source })?
        };
        let read_only = wanted.read_only.unwrap_or(false);
        mounts.push(cri::Mount {
            container_path: absolute(&wanted.mount_path),
            host_path: host_path.display().to_string(),
            readonly: read_only,
            propagation: match wanted.mount_propagation.as_deref() {
                Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer.into(),
                Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional.into(),
                _ => cri::MountPropagation::PropagationPrivate.into(),
            },
            ..Default::default()
        });
    }
    let folder = cx.config.pod_dir(uid_of(&input.pod));
    if !mounts.iter().any(|m| m.container_path == "/etc/hosts") {
        let path = folder.join("etc-hosts");
        let host_file = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
        let text = hosts_file(&input.pod, &input.pod_ips, &cx.config.cluster_domain, &host_file);
        write_file(&path, text.as_bytes()).await?;
        mounts.push(file_mount("/etc/hosts", &path));
    }
    let path = folder.join("containers").join(&container.name);
    let path = path.join(format!("{}.message", input.restart_count));
    write_file(&path, b"").await?;
    use std::os::unix::fs::PermissionsExt;
    let anyone = std::fs::Permissions::from_mode(0o666);
    let made = tokio::fs::set_permissions(&path, anyone).await;
    made.map_err(|source| MountError::File { path: path.clone(), source })?;
    mounts.push(file_mount(message_path(container), &path));
    Ok((mounts, path.display().to_string()))
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn file_mount(container_path: &str, host_path: &Path) -> cri::Mount {
    cri::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..Default::default()
    }
}

async fn write_file(path: &Path, text: &[u8]) -> Result<(), MountError> {
    let write = async {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        tokio::fs::write(path, text).await
    };
    write.await.map_err(|source| MountError::File { path: path.to_path_buf(), source })
}
