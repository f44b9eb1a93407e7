//! Kernel settings under /proc/sys/net that a router of pods needs. They apply to the network
//! namespace of the calling thread.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::api::PodNetworkError;

/// Makes the host forward packets.
pub(super) fn enable_forwarding(v6: bool) -> Result<(), PodNetworkError> {
    set("ipv4/ip_forward", "1")?;
    // A pod that reaches itself through a service comes in and goes out by one link. The kernel would
    // tell it of a shorter way, and count that against the refusals that it may send to the pod. Links
    // that are not ours keep their own setting.
    set("ipv4/conf/all/send_redirects", "0")?;
    if v6 {
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// Settings of one pod's link on the host.
pub(super) fn prepare_link(link: &str) -> Result<(), PodNetworkError> {
    set(&format!("ipv4/conf/{link}/forwarding"), "1")?;
    // The host answers no ARP on this link: the pod's neighbour entry is permanent.
    set(&format!("ipv4/conf/{link}/rp_filter"), "0")?;
    set(&format!("ipv4/conf/{link}/send_redirects"), "0")?;
    // A port of the host opened for a pod must work through 127.0.0.1 too. The rules of the pod
    // table drop what a pod itself would send to 127.0.0.0/8.
    set(&format!("ipv4/conf/{link}/route_localnet"), "1")?;
    // No link-local address and no router solicitations on the host's end.
    match set(&format!("ipv6/conf/{link}/accept_ra"), "0") {
        Err(PodNetworkError::State { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        other => other,
    }
}

fn set(key: &str, value: &str) -> Result<(), PodNetworkError> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    // Reading first keeps this working where /proc/sys is read-only and the value is right already.
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| PodNetworkError::State { path, source })
}
