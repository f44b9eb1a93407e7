//! The runtime alone, as tests start and kill it: `shim FOLDER`, or `serve FOLDER SOCKET CGROUP`.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelson_node_agent::network::{
    PodNetwork, PodNetworkError, PodNetworkRequest, PodNetworkStatus,
};
use keelson_node_agent::runtime::{EmbeddedRuntime, RuntimeConfig, shim};

fn main() {
    let mut args = std::env::args_os().skip(1);
    let what = args.next().unwrap_or_default();
    if what == "shim" {
        std::process::exit(shim::main(args));
    }
    assert_eq!(what, "serve");
    let args: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let [folder, socket, cgroup] = args.as_slice() else { panic!("three arguments: {args:?}") };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = RuntimeConfig::new(folder.clone(), Arc::new(NoNetwork));
        config.shim_cgroup = cgroup.display().to_string();
        let runtime = EmbeddedRuntime::start(config).await.unwrap();
        runtime.serve_unix(socket).unwrap();
        std::future::pending::<()>().await
    });
}

/// Gives every sandbox the same address and makes no links.
struct NoNetwork;

#[async_trait::async_trait]
impl PodNetwork for NoNetwork {
    async fn add(&self, _: PodNetworkRequest) -> Result<PodNetworkStatus, PodNetworkError> {
        Ok(PodNetworkStatus { ips: vec![IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))] })
    }

    async fn del(&self, _: &str, _: &Path) -> Result<(), PodNetworkError> {
        Ok(())
    }

    async fn status(&self, _: &str) -> Option<PodNetworkStatus> {
        None
    }

    async fn retain(&self, _: &[String]) -> Result<(), PodNetworkError> {
        Ok(())
    }
}
