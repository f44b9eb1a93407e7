//! The settings of `keelson up`; those that Kubernetes' own components have keep their names.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

/// `keelson up`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// All state: certificates, store, containers, images.
    #[arg(long, value_name = "DIR", env = "KEELSON_DATA_DIR", default_value_os_t = crate::dirs::default_root())]
    pub data_dir: PathBuf,
    /// Also write the administrator's kubeconfig here, once the API answers.
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
    /// Run everything but the node agent (no containers; root is not needed).
    #[arg(long)]
    pub no_agent: bool,
    /// Log more: -v for what happens, -vv for how. RUST_LOG is understood too.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Address that the API server listens on.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0", help_heading = "API server")]
    pub bind_address: IpAddr,
    /// Port that the API server listens on.
    #[arg(long, value_name = "PORT", default_value_t = 6443, help_heading = "API server")]
    pub secure_port: u16,
    /// Address under which others reach the API server [default: this node's address]
    #[arg(long, value_name = "IP", help_heading = "API server")]
    pub advertise_address: Option<IpAddr>,
    /// Addresses for Services.
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12", help_heading = "API server")]
    pub service_cluster_ip_range: IpNet,
    /// Ports for Services of type NodePort.
    #[arg(long, value_name = "FROM-TO", default_value = "30000-32767", value_parser = port_range, help_heading = "API server")]
    pub service_node_port_range: (u16, u16),
    /// How long the API server keeps events.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration, help_heading = "API server")]
    pub event_ttl: Duration,

    /// URL on which the store answers etcd clients; TLS with a client certificate.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://127.0.0.1:2379",
        help_heading = "Store"
    )]
    pub listen_client_urls: String,
    /// URLs of an etcd v3 cluster to use instead of the embedded store.
    #[arg(long, value_name = "URLS", value_delimiter = ',', help_heading = "Store")]
    pub etcd_servers: Vec<String>,
    /// The authority of that cluster's certificates (PEM).
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate to show that cluster (PEM).
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile", help_heading = "Store")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile", help_heading = "Store")]
    pub etcd_keyfile: Option<PathBuf>,
    /// Milliseconds between the store leader's heartbeats.
    #[arg(long, value_name = "MS", default_value_t = 20, help_heading = "Store")]
    pub heartbeat_interval: u64,
    /// Milliseconds without a heartbeat until a new leader is elected.
    #[arg(long, value_name = "MS", default_value_t = 100, help_heading = "Store")]
    pub election_timeout: u64,

    /// Addresses for pods.
    #[arg(
        long,
        value_name = "CIDR",
        default_value = "10.244.0.0/16",
        help_heading = "Controllers"
    )]
    pub cluster_cidr: IpNet,
    /// Time without a sign of life after which a node counts as unhealthy.
    #[arg(long, value_name = "TIME", default_value = "50s", value_parser = duration, help_heading = "Controllers")]
    pub node_monitor_grace_period: Duration,

    /// This node's name [default: the host's]
    #[arg(long, value_name = "NAME", help_heading = "Node agent")]
    pub hostname_override: Option<String>,
    /// This node's address [default: that of the route out]
    #[arg(long, value_name = "IP", help_heading = "Node agent")]
    pub node_ip: Option<IpAddr>,
    /// Address of cluster DNS [default: the tenth of the service range]
    #[arg(long, value_name = "IP", help_heading = "Node agent")]
    pub cluster_dns: Option<IpAddr>,
    /// Domain of cluster DNS.
    #[arg(long, value_name = "NAME", default_value = "cluster.local", help_heading = "Node agent")]
    pub cluster_domain: String,
    /// Most pods on this node.
    #[arg(long, value_name = "N", default_value_t = 110, help_heading = "Node agent")]
    pub max_pods: u32,
    /// Port of the kubelet API.
    #[arg(long, value_name = "PORT", default_value_t = 10250, help_heading = "Node agent")]
    pub kubelet_port: u16,
    /// How often the node's status is computed; it is sent when it changed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Node agent")]
    pub node_status_update_frequency: Duration,
    /// Socket of another container runtime (CRI v1) instead of the embedded one.
    #[arg(long, value_name = "SOCKET", help_heading = "Node agent")]
    pub container_runtime_endpoint: Option<String>,
    /// OCI archive (tar) or layout to import at start; may be repeated.
    #[arg(long, value_name = "FILE", help_heading = "Node agent")]
    pub import_image: Vec<PathBuf>,
    /// Registry to speak plain HTTP to (HOST:PORT); loopback ones need no mention; may be repeated.
    #[arg(long, value_name = "HOST", help_heading = "Node agent")]
    pub insecure_registry: Vec<String>,
}

impl Options {
    /// Where the API server is bound.
    pub fn api_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }

    /// The n-th address of the service range.
    pub fn service_address(&self, index: u32) -> IpAddr {
        match self.service_cluster_ip_range.trunc().network() {
            IpAddr::V4(first) => IpAddr::V4((u32::from(first) + index).into()),
            IpAddr::V6(first) => IpAddr::V6((u128::from(first) + u128::from(index)).into()),
        }
    }

    /// What cannot work, all of it at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let service = self.service_cluster_ip_range.trunc();
        let pods = self.cluster_cidr.trunc();
        if service.contains(&pods) || pods.contains(&service) {
            problems.push(format!(
                "--service-cluster-ip-range {service} and --cluster-cidr {pods} overlap"
            ));
        }
        if service.max_prefix_len() - service.prefix_len() < 4 {
            problems.push(format!(
                "--service-cluster-ip-range {service} is too small: at least 16 addresses are needed"
            ));
        }
        if self.election_timeout < 5 * self.heartbeat_interval {
            problems.push(format!(
                "--election-timeout {} ms must be at least five times --heartbeat-interval {} ms",
                self.election_timeout, self.heartbeat_interval
            ));
        }
        problems
    }
}

/// `90s`, `5m`, `1h30m`, `500ms`: as Kubernetes' flags take them.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 5m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let amount: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += match &rest[..end] {
            "ms" => Duration::from_millis(amount),
            "s" => Duration::from_secs(amount),
            "m" => Duration::from_secs(amount * 60),
            "h" => Duration::from_secs(amount * 3600),
            _ => return Err(wrong()),
        };
        rest = &rest[end..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("{text:?} is not a range of ports such as 30000-32767");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let from: u16 = from.parse().map_err(|_| wrong())?;
    let to: u16 = to.parse().map_err(|_| wrong())?;
    if from == 0 || from > to { Err(wrong()) } else { Ok((from, to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_kubernetes_flags() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("5").is_err());
        assert!(duration("").is_err());
        assert!(duration("5 minutes").is_err());
    }

    #[test]
    fn a_port_range_has_two_ends_in_order() {
        assert_eq!(port_range("30000-32767"), Ok((30000, 32767)));
        assert!(port_range("32767-30000").is_err());
        assert!(port_range("30000").is_err());
    }
}
