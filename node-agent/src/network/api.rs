//! The contract between the container runtime and a pod network.
//!
//! The runtime makes a network namespace, pins it to a path and calls [`PodNetwork::add`] before it
//! starts anything in it; it calls [`PodNetwork::del`] before it lets go of the namespace. Pods on the
//! host's network never come here.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Transport protocol of a port, in the words of Kubernetes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Protocol {
    /// TCP, also what a missing protocol means.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// Reads Kubernetes' spelling; `None` for a protocol that nothing here can forward.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The name as nftables and DNS write it.
    pub fn lower(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.lower())
    }
}

/// A port of the node that leads to a port of the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// Port on the node.
    pub host_port: u16,
    /// Port in the pod.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the node to listen on; `None` means all of them.
    pub host_ip: Option<IpAddr>,
}

/// What a network needs to know to connect one pod sandbox.
#[derive(Clone, Debug)]
pub struct PodNetworkRequest {
    /// The runtime's id of the sandbox: the key for everything the network keeps.
    pub sandbox_id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// Where the sandbox's network namespace is pinned or reachable (`/run/.../netns/ID` or `/proc/PID/ns/net`).
    pub netns_path: PathBuf,
    /// Ports of the node that lead to this pod.
    pub host_ports: Vec<HostPort>,
}

/// What the network gave a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetworkStatus {
    /// The pod's addresses, primary family first; never empty.
    pub ips: Vec<IpAddr>,
}

/// Why a sandbox could not be connected or disconnected.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// Every address of the node's pod range is in use.
    #[error("no free address left in pod range {range}")]
    Exhausted {
        /// The range that is full.
        range: String,
    },
    /// The node has no pod range yet.
    #[error("node has no pod range assigned")]
    NoRange,
    /// The namespace could not be entered.
    #[error("network namespace {}: {source}", path.display())]
    Namespace {
        /// The path that was tried.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The kernel refused a link, address or route.
    #[error("{what}: {detail}")]
    Netlink {
        /// The step that failed.
        what: &'static str,
        /// The kernel's answer.
        detail: String,
    },
    /// nftables refused the rules.
    #[error("nftables: {0}")]
    Nftables(String),
    /// The state on disk could not be read or written.
    #[error("network state {}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Connects pod sandboxes. Both calls are idempotent: the runtime repeats them after a crash.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Connects the sandbox. Repeated for a sandbox that is connected, it gives the same addresses.
    async fn add(&self, request: PodNetworkRequest) -> Result<PodNetworkStatus, PodNetworkError>;

    /// Disconnects the sandbox and frees its addresses. Succeeds when there is nothing to remove, and
    /// when the namespace is gone already.
    async fn del(&self, sandbox_id: &str, netns_path: &Path) -> Result<(), PodNetworkError>;

    /// The addresses of a connected sandbox, without touching the kernel: for sandbox status calls
    /// after a restart. `None` for a sandbox this network does not know.
    async fn status(&self, sandbox_id: &str) -> Option<PodNetworkStatus>;

    /// Frees everything held for sandboxes that are not in `live`; called once by the runtime after it
    /// has adopted its sandboxes on start.
    async fn retain(&self, live: &[String]) -> Result<(), PodNetworkError>;
}
