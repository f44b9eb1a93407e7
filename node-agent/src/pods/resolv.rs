//! The resolv.conf of a pod, by its DNS policy. Pure.
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use keelson_proto::cri;

use super::lookup::{host_network, namespace_of};

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// Name servers, searches and options of the host.
pub(crate) fn parse(text: &str) -> cri::DnsConfig {
    let mut config = cri::DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let rest = |words: std::str::SplitWhitespace<'_>| words.map(str::to_owned).collect();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = rest(words),
            Some("options") => config.options.extend(rest(words) as Vec<String>),
            _ => {}
        }
    }
    config
}

/// What the runtime writes in the sandbox.
pub(crate) fn dns_config(
    pod: &Pod,
    host: cri::DnsConfig,
    cluster_dns: &[IpAddr],
    cluster_domain: &str,
) -> cri::DnsConfig {
    let spec = pod.spec.clone().unwrap_or_default();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !host_network(pod),
        _ => false,
    };
    let mut config = match policy {
        "None" => cri::DnsConfig::default(),
        _ if cluster && !cluster_dns.is_empty() => {
            let namespace = namespace_of(pod);
            let own = [
                format!("{namespace}.svc.{cluster_domain}"),
                format!("svc.{cluster_domain}"),
                cluster_domain.to_owned(),
            ];
            cri::DnsConfig {
                servers: cluster_dns.iter().map(ToString::to_string).collect(),
                searches: own.into_iter().chain(host.searches).collect(),
                options: vec!["ndots:5".to_owned()],
            }
        }
        _ => host,
    };
    if let Some(wanted) = spec.dns_config {
        config.servers.extend(wanted.nameservers.unwrap_or_default());
        config.searches.extend(wanted.searches.unwrap_or_default());
        for option in wanted.options.unwrap_or_default() {
            let Some(name) = option.name else { continue };
            let prefix = format!("{name}:");
            config.options.retain(|o| *o != name && !o.starts_with(&prefix));
            config.options.push(match option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    within_limits(config)
}

fn within_limits(mut config: cri::DnsConfig) -> cri::DnsConfig {
    let unique = |list: Vec<String>| {
        let mut seen = std::collections::BTreeSet::new();
        list.into_iter().filter(|item| seen.insert(item.clone())).collect::<Vec<_>>()
    };
    config.servers = unique(config.servers);
    config.servers.truncate(NAMESERVERS_MAX);
    config.searches = unique(config.searches);
    config.searches.truncate(SEARCHES_MAX);
    while config.searches.join(" ").len() > SEARCH_CHARS_MAX {
        config.searches.pop();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, servers: &[&str], searches: &[&str], options: &[&str]) {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"namespace": "n"}, "spec": spec})).unwrap();
        let host = parse("# c\nnameserver 1.1.1.1\nsearch example.com\noptions edns0 trust-ad\n");
        let found = dns_config(&pod, host, &["10.96.0.10".parse().unwrap()], "cluster.local");
        assert_eq!(
            (found.servers, found.searches, found.options),
            (
                servers.iter().map(|s| (*s).to_owned()).collect(),
                searches.iter().map(|s| (*s).to_owned()).collect(),
                options.iter().map(|s| (*s).to_owned()).collect(),
            )
        );
    }

    #[test]
    fn policies_choose_between_cluster_and_host() {
        let cluster = ["n.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"];
        check(json!({"containers": []}), &["10.96.0.10"], &cluster, &["ndots:5"]);
        let host = (&["1.1.1.1"][..], &["example.com"][..], &["edns0", "trust-ad"][..]);
        check(json!({"containers": [], "dnsPolicy": "Default"}), host.0, host.1, host.2);
        check(json!({"containers": [], "hostNetwork": true}), host.0, host.1, host.2);
        check(
            json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
            &["10.96.0.10"],
            &cluster,
            &["ndots:5"],
        );
        check(
            json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"],
                "options": [{"name": "ndots", "value": "2"}]}}),
            &["9.9.9.9"],
            &[],
            &["ndots:2"],
        );
    }
}
