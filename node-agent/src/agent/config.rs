//! What the node agent is told when it starts; settings that the kubelet has keep its names.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The version that the node reports: Kubernetes' own, with our mark as build data.
pub(crate) const KUBELET_VERSION: &str = "v1.36.3+keelson";

/// Configuration of the node agent. `AgentConfig::default()` holds the kubelet's defaults.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// `--hostname-override`: the name of the Node object.
    pub node_name: String,
    /// `--node-ip`: the node's addresses, the first of each family is primary.
    pub node_ips: Vec<IpAddr>,
    /// `--cluster-dns`: name servers written in the resolv.conf of pods.
    pub cluster_dns: Vec<IpAddr>,
    /// `--cluster-domain`: the zone that pods search.
    pub cluster_domain: String,
    /// `--max-pods`: how many pods run on this node.
    pub max_pods: u32,
    /// `--pod-max-pids`: the limit of processes in a pod; none when absent.
    pub pod_max_pids: Option<u64>,
    /// `--cgroup-root`: the cgroup that holds `kubepods`.
    pub cgroup_root: String,
    /// `--cgroups-per-qos`: whether the agent makes cgroups for pods and classes; the runtime makes its own.
    pub make_cgroups: bool,
    /// `--root-dir`: volumes and files of pods; wiped per pod when it ends.
    pub root_dir: PathBuf,
    /// `--pod-log-dir`: container logs, a directory per pod.
    pub pod_logs_dir: PathBuf,
    /// `--resolv-conf`: what `Default` DNS policy gives and `ClusterFirst` appends its searches from.
    pub resolv_conf: PathBuf,
    /// `--port`: where the kubelet API is served; reported in the Node's daemon endpoints.
    pub port: u16,
    /// `--node-labels`: labels given to the Node at registration.
    pub node_labels: BTreeMap<String, String>,
    /// `--register-node`: whether the agent creates its Node.
    pub register_node: bool,
    /// `--node-status-update-frequency`: how often the status is computed.
    pub node_status_update_frequency: Duration,
    /// `--node-status-report-frequency`: how often an unchanged status is sent.
    pub node_status_report_frequency: Duration,
    /// `--node-lease-duration-seconds`: the lease is renewed at a quarter of it.
    pub node_lease_duration_seconds: u32,
    /// `--sync-frequency`: the slow relist that catches what events did not tell.
    pub sync_frequency: Duration,
    /// `--container-log-max-size`: a log file that is larger is rotated.
    pub container_log_max_bytes: u64,
    /// `--container-log-max-files`: files that are kept of one container, the current one included.
    pub container_log_max_files: usize,
    /// `--serialize-image-pulls`: one pull at a time.
    pub serialize_image_pulls: bool,
    /// `--max-parallel-image-pulls`: how many pulls at a time otherwise.
    pub max_parallel_image_pulls: usize,
    /// `--seccomp-default`: containers without a profile get `RuntimeDefault`. Unlike the kubelet's, on by default.
    pub seccomp_default: bool,
    /// `--system-reserved` and `--kube-reserved` together, taken from what pods may use: milli-CPU.
    pub reserved_cpu_milli: u64,
    /// The same for memory, bytes.
    pub reserved_memory_bytes: u64,
    /// `--eviction-hard` `memory.available`: also kept from pods.
    pub eviction_memory_bytes: u64,
    /// The longest delay between restarts of a crashing container (`crashLoopBackOff.maxContainerRestartPeriod`).
    pub max_container_restart_period: Duration,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            node_ips: Vec::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            max_pods: 110,
            pod_max_pids: None,
            cgroup_root: "/".into(),
            make_cgroups: true,
            root_dir: "/var/lib/keelson/kubelet".into(),
            pod_logs_dir: "/var/lib/keelson/logs/pods".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            port: 10250,
            node_labels: BTreeMap::new(),
            register_node: true,
            node_status_update_frequency: Duration::from_secs(10),
            node_status_report_frequency: Duration::from_secs(300),
            node_lease_duration_seconds: 40,
            sync_frequency: Duration::from_secs(60),
            container_log_max_bytes: 10 << 20,
            container_log_max_files: 5,
            serialize_image_pulls: false,
            max_parallel_image_pulls: 4,
            seccomp_default: true,
            reserved_cpu_milli: 0,
            reserved_memory_bytes: 0,
            eviction_memory_bytes: 100 << 20,
            max_container_restart_period: Duration::from_secs(300),
        }
    }
}

impl AgentConfig {
    /// The node's primary address.
    pub(crate) fn primary_ip(&self) -> Option<IpAddr> {
        self.node_ips.first().copied()
    }

    /// The directory that holds everything of one pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// The directory of one pod's container logs.
    pub(crate) fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_logs_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
