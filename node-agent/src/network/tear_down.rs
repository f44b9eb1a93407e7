//! Takes everything off the host that a pod network put there: for `keelson down`.

use std::io;
use std::path::Path;

use nix::mount::{MntFlags, umount2};

use super::api::PodNetworkError;
use super::config::NetworkConfig;
use super::netlink::Netlink;
use super::nft::Nft;
use super::pod_rules;
use super::records::Records;
use super::routed_veth::is_pod_link;

/// What could not be removed; everything else is gone.
#[derive(Debug, thiserror::Error)]
#[error("could not remove everything of the pod network: {}", join(.0))]
pub struct TearDownError(pub Vec<PodNetworkError>);

/// Removes links, addresses, routes, nftables tables and pinned namespaces that the records in
/// `state_dir` name, and then the records. Works without a running process, after a crash, and
/// twice. `extra_tables` are tables that others made on this cluster's behalf (the service proxy's).
///
/// Forwarding stays switched on: somebody else may have come to rely on it.
pub async fn tear_down(state_dir: &Path, extra_tables: &[&str]) -> Result<(), TearDownError> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), PodNetworkError>| errors.extend(result.err());

    if state_dir.exists() {
        match Records::open(state_dir) {
            Ok(records) => {
                for error in remove_recorded(&records).await {
                    note(Err(error));
                }
            }
            Err(error) => note(Err(error)),
        }
    }
    for table in extra_tables {
        note(Nft.apply(&pod_rules::remove_table(table)).await.map_err(Into::into));
    }
    if !errors.is_empty() {
        return Err(TearDownError(errors));
    }
    match std::fs::remove_dir_all(state_dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(TearDownError(vec![PodNetworkError::State { path: state_dir.to_owned(), source }]))
        }
        _ => Ok(()),
    }
}

async fn remove_recorded(records: &Records) -> Vec<PodNetworkError> {
    let mut errors = Vec::new();
    let host = match Netlink::here() {
        Ok(host) => host,
        Err(error) => return vec![error],
    };
    let pods = records.load_pods().unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let record = records.load_host().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let record = record.unwrap_or_default();
    let prefix = if record.link_prefix.is_empty() {
        NetworkConfig::LINK_PREFIX
    } else {
        record.link_prefix.as_str()
    };

    let names = host.link_names().await.unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let recorded = |name: &String| pods.iter().any(|pod| pod.link == *name);
    for name in names.iter().filter(|name| is_pod_link(prefix, name) || recorded(name)) {
        errors.extend(host.delete_link(name).await.err());
    }
    for pod in &pods {
        errors.extend(unpin(&pod.netns_path).err());
    }
    for range in &record.routes {
        // Either kind of route has the same key.
        errors.extend(host.delete_unreachable(*range).await.err());
        errors.extend(host.delete_node_route(*range).await.err());
    }
    if let Ok(Some(loopback)) = host.link_index("lo").await {
        for ip in &record.node_addresses {
            errors.extend(host.delete_address(loopback, *ip).await.err());
        }
    }
    for table in &record.tables {
        errors.extend(Nft.apply(&pod_rules::remove_table(table)).await.map_err(Into::into).err());
    }
    errors
}

/// Unpins a namespace. A path under /proc is a process' own and goes with it.
fn unpin(path: &Path) -> Result<(), PodNetworkError> {
    if path.starts_with("/proc") || !path.exists() {
        return Ok(());
    }
    let at = |source| PodNetworkError::Namespace { path: path.to_owned(), source };
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: not a mount point, a pin that an earlier try unmounted.
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(error) => return Err(at(error.into())),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(error)),
        _ => Ok(()),
    }
}

fn join(errors: &[PodNetworkError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
