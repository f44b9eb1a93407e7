//! What sandboxes and containers use.

use keelson_proto::cri;

use super::cgroup::Usage;
use super::embedded::Inner;
use super::layout::pod_cgroup;
use super::model::{Container, Sandbox, now};
use super::sandboxes::on_host_network;

fn value(value: u64) -> Option<cri::UInt64Value> {
    Some(cri::UInt64Value { value })
}

fn cpu(usage: &Usage, timestamp: i64) -> cri::CpuUsage {
    cri::CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(usage.cpu_nanos),
        usage_nano_cores: None,
        psi: None,
    }
}

fn memory(usage: &Usage, timestamp: i64) -> cri::MemoryUsage {
    let available =
        usage.memory_limit_bytes.map(|limit| limit.saturating_sub(usage.working_set_bytes));
    cri::MemoryUsage {
        timestamp,
        working_set_bytes: value(usage.working_set_bytes),
        available_bytes: available.and_then(value),
        usage_bytes: value(usage.memory_bytes),
        rss_bytes: value(usage.rss_bytes),
        page_faults: value(usage.faults),
        major_page_faults: value(usage.major_faults),
        psi: None,
    }
}

impl Inner {
    /// A container's use.
    pub(super) fn container_stats(&self, container: &Container) -> cri::ContainerStats {
        let timestamp = now();
        let usage = self.cgroups.usage(&container.record.lock().cgroup);
        let upper = self.layout.container(&container.id).join("upper");
        let (bytes, inodes) = disk_usage(&upper);
        cri::ContainerStats {
            attributes: Some(cri::ContainerAttributes {
                id: container.id.clone(),
                metadata: container.config.metadata.clone(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }),
            cpu: Some(cpu(&usage, timestamp)),
            memory: Some(memory(&usage, timestamp)),
            writable_layer: Some(cri::FilesystemUsage {
                timestamp,
                fs_id: Some(cri::FilesystemIdentifier {
                    mountpoint: self.layout.root().display().to_string(),
                }),
                used_bytes: value(bytes),
                inodes_used: value(inodes),
            }),
            swap: None,
            io: None,
        }
    }

    /// A sandbox's use, with its containers'.
    pub(super) fn sandbox_stats(&self, sandbox: &Sandbox) -> cri::PodSandboxStats {
        let timestamp = now();
        let usage = self.cgroups.usage(&pod_cgroup(&sandbox.config, &sandbox.id));
        let containers = self.model.containers_of(&sandbox.id);
        let running = containers.iter().filter(|one| one.state.borrow().runs());
        cri::PodSandboxStats {
            attributes: Some(cri::PodSandboxAttributes {
                id: sandbox.id.clone(),
                metadata: sandbox.config.metadata.clone(),
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
            }),
            linux: Some(cri::LinuxPodSandboxStats {
                cpu: Some(cpu(&usage, timestamp)),
                memory: Some(memory(&usage, timestamp)),
                network: self.network_usage(sandbox, timestamp),
                process: Some(cri::ProcessUsage { timestamp, process_count: value(usage.tasks) }),
                containers: running.map(|container| self.container_stats(container)).collect(),
                io: None,
            }),
            windows: None,
        }
    }

    /// Counted by the kernel in the sandbox's namespace, seen by way of one of its processes.
    fn network_usage(&self, sandbox: &Sandbox, timestamp: i64) -> Option<cri::NetworkUsage> {
        if on_host_network(&sandbox.config) {
            return None;
        }
        let containers = self.model.containers_of(&sandbox.id);
        let pid =
            containers.iter().map(|one| one.state.borrow().clone()).find(|one| one.runs())?.pid;
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
        let interfaces: Vec<_> = table.lines().filter_map(interface).collect();
        let default_interface = interfaces.iter().find(|one| one.name == "eth0").cloned();
        let interfaces = interfaces.into_iter().filter(|one| one.name != "eth0").collect();
        Some(cri::NetworkUsage { timestamp, default_interface, interfaces })
    }
}

fn interface(line: &str) -> Option<cri::NetworkInterfaceUsage> {
    let (name, counts) = line.split_once(':')?;
    let name = name.trim();
    let counts: Vec<u64> = counts.split_whitespace().filter_map(|one| one.parse().ok()).collect();
    let [rx_bytes, _, rx_errors, _, _, _, _, _, tx_bytes, _, tx_errors, ..] = counts.as_slice()
    else {
        return None;
    };
    (name != "lo").then(|| cri::NetworkInterfaceUsage {
        name: name.to_owned(),
        rx_bytes: value(*rx_bytes),
        rx_errors: value(*rx_errors),
        tx_bytes: value(*tx_bytes),
        tx_errors: value(*tx_errors),
    })
}

/// Bytes on disk and files below a folder; what vanishes meanwhile is not counted.
pub(super) fn disk_usage(folder: &std::path::Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else { return (0, 0) };
    let (mut bytes, mut inodes) = (0, 1);
    for entry in entries.flatten() {
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            let below = disk_usage(&entry.path());
            bytes += below.0;
            inodes += below.1;
        } else {
            bytes += about.blocks() * 512;
            inodes += 1;
        }
    }
    (bytes, inodes)
}
