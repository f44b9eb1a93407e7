//! Sandboxes and containers as CRI describes them.

use std::collections::HashMap;

use keelson_proto::cri;

use super::embedded::Inner;
use super::model::{Container, Sandbox};
use super::sandboxes::namespaces;

/// Whether every label wanted is there.
pub(super) fn has_labels(
    labels: &HashMap<String, String>,
    wanted: &HashMap<String, String>,
) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Sandbox {
    pub(super) fn cri_state(&self) -> cri::PodSandboxState {
        match self.record.lock().ready {
            true => cri::PodSandboxState::SandboxReady,
            false => cri::PodSandboxState::SandboxNotready,
        }
    }

    /// An entry of a list.
    pub(super) fn entry(&self) -> cri::PodSandbox {
        let record = self.record.lock().clone();
        cri::PodSandbox {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.cri_state() as i32,
            created_at: record.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: record.runtime_handler,
        }
    }

    /// Its status.
    pub(super) fn status(&self) -> cri::PodSandboxStatus {
        let record = self.record.lock().clone();
        let mut ips = record.ips.into_iter();
        cri::PodSandboxStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.cri_state() as i32,
            created_at: record.created_at,
            network: Some(cri::PodSandboxNetworkStatus {
                ip: ips.next().unwrap_or_default(),
                additional_ips: ips.map(|ip| cri::PodIp { ip }).collect(),
            }),
            linux: Some(cri::LinuxPodSandboxStatus {
                namespaces: Some(cri::Namespace { options: Some(namespaces(&self.config)) }),
            }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: record.runtime_handler,
        }
    }

    /// Whether a list with this filter has it.
    pub(super) fn matches(&self, filter: &cri::PodSandboxFilter) -> bool {
        (filter.id.is_empty() || self.id.starts_with(&filter.id))
            && filter.state.as_ref().is_none_or(|wanted| wanted.state() == self.cri_state())
            && has_labels(&self.config.labels, &filter.label_selector)
    }
}

impl Container {
    fn image_spec(&self, image_id: &str) -> cri::ImageSpec {
        let wanted = self.config.image.clone().unwrap_or_default();
        cri::ImageSpec { image_ref: image_id.to_owned(), ..wanted }
    }

    /// An entry of a list.
    pub(super) fn entry(&self) -> cri::Container {
        let record = self.record.lock().clone();
        cri::Container {
            id: self.id.clone(),
            pod_sandbox_id: record.sandbox_id,
            metadata: self.config.metadata.clone(),
            image: Some(self.image_spec(&record.image_id)),
            image_ref: record.image_ref,
            state: self.state.borrow().phase() as i32,
            created_at: record.created_at,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            image_id: record.image_id,
        }
    }

    /// Whether a list with this filter has it.
    pub(super) fn matches(&self, filter: &cri::ContainerFilter) -> bool {
        let sandbox_id = self.record.lock().sandbox_id.clone();
        (filter.id.is_empty() || self.id.starts_with(&filter.id))
            && (filter.pod_sandbox_id.is_empty() || sandbox_id.starts_with(&filter.pod_sandbox_id))
            && filter
                .state
                .as_ref()
                .is_none_or(|wanted| wanted.state() == self.state.borrow().phase())
            && has_labels(&self.config.labels, &filter.label_selector)
    }
}

impl Inner {
    /// A container's status.
    pub(super) fn container_status(&self, container: &Container) -> cri::ContainerStatus {
        let record = container.record.lock().clone();
        let state = container.state.borrow().clone();
        let sandbox = self.model.sandbox(&record.sandbox_id);
        let log_folder = sandbox.map(|one| one.config.log_directory.clone()).unwrap_or_default();
        let log_path = match container.config.log_path.as_str() {
            "" => String::new(),
            path => format!("{}/{path}", log_folder.trim_end_matches('/')),
        };
        let mut image = container.image_spec(&record.image_id);
        // What the image is called now, as other runtimes tell.
        if let Some(name) =
            self.images.find(&record.image_id).and_then(|one| one.tags.first().cloned())
        {
            image.image = name;
        }
        cri::ContainerStatus {
            id: container.id.clone(),
            metadata: container.config.metadata.clone(),
            state: state.phase() as i32,
            created_at: record.created_at,
            started_at: state.started_at,
            finished_at: state.finished_at,
            exit_code: state.exit_code,
            image: Some(image),
            image_ref: record.image_ref,
            reason: state.reason,
            message: state.message,
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
            mounts: container.config.mounts.clone(),
            log_path,
            resources: Some(cri::ContainerResources {
                linux: Some(container.resources.lock().clone()),
                windows: None,
            }),
            image_id: record.image_id,
            user: Some(cri::ContainerUser {
                linux: Some(cri::LinuxContainerUser {
                    uid: record.user.uid.into(),
                    gid: record.user.gid.into(),
                    supplemental_groups: record
                        .user
                        .groups
                        .iter()
                        .map(|gid| (*gid).into())
                        .collect(),
                }),
            }),
            stop_signal: container.config.stop_signal,
        }
    }
}
