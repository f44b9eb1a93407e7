//! The /etc/hosts of a pod. Pure.
use k8s_openapi::api::core::v1::{HostAlias, Pod};

use super::lookup::{host_network, name_of, namespace_of};

/// The name by which the pod's containers know their host: `spec.hostname`, else the pod's name, cut to 63.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|s| s.hostname_override.as_deref().or(s.hostname.as_deref()));
    let name = name.filter(|h| !h.is_empty()).unwrap_or_else(|| name_of(pod));
    if spec.is_some_and(|s| s.hostname_override.is_some()) {
        return name.to_owned();
    }
    let cut = name.get(..63).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The full name of a pod with a subdomain.
pub(crate) fn domain(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|s| !s.is_empty())?;
    Some(format!("{subdomain}.{}.svc.{cluster_domain}", namespace_of(pod)))
}

/// The file's text. Pods on the host's network get the host's own, with the aliases.
// upstream: kubelet, managedHostsFileContent
pub(crate) fn hosts_file(
    pod: &Pod,
    pod_ips: &[String],
    cluster_domain: &str,
    host_file: &str,
) -> String {
    let aliases = pod.spec.as_ref().and_then(|s| s.host_aliases.as_deref()).unwrap_or_default();
    if host_network(pod) {
        return format!(
            "# Kubernetes-managed hosts file (host network).\n{host_file}{}",
            alias_lines(aliases)
        );
    }
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let hostname = hostname(pod);
    for ip in pod_ips {
        match domain(pod, cluster_domain) {
            Some(domain) => text.push_str(&format!("{ip}\t{hostname}.{domain}\t{hostname}\n")),
            None => text.push_str(&format!("{ip}\t{hostname}\n")),
        }
    }
    text + &alias_lines(aliases)
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_pod_finds_itself_and_its_aliases() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "n"},
            "spec": {"containers": [], "subdomain": "web",
                "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]},
        }))
        .unwrap();
        let text = hosts_file(&pod, &["10.0.0.1".into()], "cluster.local", "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.1\tweb-0.web.n.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
    }

    #[test]
    fn long_names_are_cut_without_a_dash_at_the_end() {
        let name = format!("{}-x", "a".repeat(62));
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        assert_eq!(hostname(&pod), "a".repeat(62));
    }
}
