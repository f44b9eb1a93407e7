//! What the runtime has of a pod: sandboxes and containers, newest first.
use std::collections::HashMap;

use keelson_proto::cri;

use crate::agent::CriClients;

/// Labels and annotations by which the kubelet finds its own again.
pub(crate) const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const LABEL_POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const LABEL_CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub(crate) const ANNOTATION_HASH: &str = "io.kubernetes.container.hash";
pub(crate) const ANNOTATION_RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const ANNOTATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const ANNOTATION_MESSAGE_POLICY: &str =
    "io.kubernetes.container.terminationMessagePolicy";
pub(crate) const ANNOTATION_MESSAGE_HOST_PATH: &str = "keelson.dev/termination-message-host-path";

/// Everything that the runtime knows of one pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) sandboxes: Vec<ObservedSandbox>,
    pub(crate) containers: Vec<ObservedContainer>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedSandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) ready: bool,
    pub(crate) created_at: i64,
    pub(crate) ips: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ContainerState {
    Created,
    Running,
    Exited,
    #[default]
    Unknown,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox: String,
    pub(crate) restart_count: i32,
    pub(crate) state: ContainerState,
    pub(crate) created_at: i64,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) hash: String,
    pub(crate) log_path: String,
    pub(crate) user: Option<cri::LinuxContainerUser>,
    pub(crate) annotations: HashMap<String, String>,
}

impl Observed {
    /// Asks the runtime. A container that vanishes between the calls is left out.
    pub(crate) async fn ask(cri: &CriClients, uid: &str) -> Result<Self, tonic::Status> {
        let label = HashMap::from([(LABEL_POD_UID.to_owned(), uid.to_owned())]);
        let mut runtime = cri.runtime.clone();
        let filter = cri::PodSandboxFilter { label_selector: label.clone(), ..Default::default() };
        let listed = runtime
            .list_pod_sandbox(cri::ListPodSandboxRequest { filter: Some(filter) })
            .await?
            .into_inner();
        let mut sandboxes: Vec<ObservedSandbox> = listed.items.into_iter().map(sandbox).collect();
        sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
        if let Some(newest) = sandboxes.first_mut().filter(|s| s.ready) {
            newest.ips = sandbox_ips(cri, &newest.id).await?;
        }
        let filter = cri::ContainerFilter { label_selector: label, ..Default::default() };
        let listed = runtime
            .list_containers(cri::ListContainersRequest { filter: Some(filter) })
            .await?
            .into_inner();
        let mut containers = Vec::with_capacity(listed.containers.len());
        for listed in listed.containers {
            let sandbox = listed.pod_sandbox_id;
            let request = cri::ContainerStatusRequest { container_id: listed.id, verbose: false };
            match runtime.container_status(request).await {
                Ok(answer) => {
                    containers.extend(answer.into_inner().status.map(|s| container(s, sandbox)));
                }
                Err(status) if status.code() == tonic::Code::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.restart_count)));
        Ok(Self { sandboxes, containers })
    }

    /// The newest container of that name.
    pub(crate) fn latest(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The newest sandbox, when it is ready.
    pub(crate) fn ready_sandbox(&self) -> Option<&ObservedSandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &ObservedContainer> {
        self.containers.iter().filter(|c| c.state == ContainerState::Running)
    }
}

async fn sandbox_ips(cri: &CriClients, id: &str) -> Result<Vec<String>, tonic::Status> {
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
    let answer = cri.runtime.clone().pod_sandbox_status(request).await?.into_inner();
    let Some(network) = answer.status.and_then(|s| s.network) else { return Ok(Vec::new()) };
    let more = network.additional_ips.into_iter().map(|ip| ip.ip);
    Ok(std::iter::once(network.ip).chain(more).filter(|ip| !ip.is_empty()).collect())
}

fn sandbox(item: cri::PodSandbox) -> ObservedSandbox {
    ObservedSandbox {
        ready: item.state() == cri::PodSandboxState::SandboxReady,
        attempt: item.metadata.map(|m| m.attempt).unwrap_or_default(),
        id: item.id,
        created_at: item.created_at,
        ips: Vec::new(),
    }
}

fn container(status: cri::ContainerStatus, sandbox: String) -> ObservedContainer {
    let state = match status.state() {
        cri::ContainerState::ContainerCreated => ContainerState::Created,
        cri::ContainerState::ContainerRunning => ContainerState::Running,
        cri::ContainerState::ContainerExited => ContainerState::Exited,
        cri::ContainerState::ContainerUnknown => ContainerState::Unknown,
    };
    let metadata = status.metadata.unwrap_or_default();
    let counted = status.annotations.get(ANNOTATION_RESTART_COUNT).and_then(|n| n.parse().ok());
    ObservedContainer {
        id: status.id,
        name: metadata.name,
        sandbox,
        restart_count: counted
            .unwrap_or_else(|| i32::try_from(metadata.attempt).unwrap_or(i32::MAX)),
        state,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: status.image.map(image_name).unwrap_or_default(),
        image_id: status.image_ref,
        hash: status.annotations.get(ANNOTATION_HASH).cloned().unwrap_or_default(),
        log_path: status.log_path,
        user: status.user.and_then(|u| u.linux),
        annotations: status.annotations,
    }
}

/// As the pod names it, when the runtime remembers.
fn image_name(image: cri::ImageSpec) -> String {
    if image.user_specified_image.is_empty() { image.image } else { image.user_specified_image }
}
