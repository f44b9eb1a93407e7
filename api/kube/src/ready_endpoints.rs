//! Where a Service's port is answered: the ready endpoints of its slices.

use crate::cache::Cache;

/// Addresses and ports of the ready endpoints behind a Service's port of this name.
pub(crate) fn ready_endpoints(
    slices: &Cache,
    namespace: &str,
    service: &str,
    port_name: &str,
) -> Vec<(String, u16)> {
    let mut found = Vec::new();
    for slice in slices.snapshot(&format!("{namespace}/")).objects {
        let slice = slice.value();
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != service {
            continue;
        }
        let port = slice["ports"].as_array().into_iter().flatten().find_map(|p| {
            let same = p["name"].as_str().unwrap_or_default() == port_name;
            same.then(|| p["port"].as_u64().and_then(|n| u16::try_from(n).ok())).flatten()
        });
        let Some(port) = port else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"].as_bool().unwrap_or(true)
                && let Some(ip) = endpoint["addresses"][0].as_str()
            {
                found.push((ip.to_owned(), port));
            }
        }
    }
    found
}
