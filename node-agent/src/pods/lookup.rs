//! What the agent asks of a pod object again and again.
use k8s_openapi::api::core::v1::{Container, Pod};

pub(crate) fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(crate) fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace_of(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `name_namespace`, as the kubelet names pods in its answers.
pub(crate) fn full_name(pod: &Pod) -> String {
    format!("{}_{}", name_of(pod), namespace_of(pod))
}

/// `name_namespace(uid)`, as messages name pods.
pub(crate) fn pod_desc(pod: &Pod) -> String {
    format!("{}_{}({})", name_of(pod), namespace_of(pod), uid_of(pod))
}

/// Whether the API already says that the pod ended.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The init containers in order.
pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|s| s.init_containers.as_deref()).unwrap_or_default()
}

/// The regular containers in order.
pub(crate) fn app_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default()
}

/// A container by name, whether init or regular.
pub(crate) fn container_spec<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    init_containers(pod).iter().chain(app_containers(pod)).find(|c| c.name == name)
}

/// A sidecar: an init container that keeps running.
pub(crate) fn restartable_init(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The restart policy of the pod.
pub(crate) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

pub(crate) fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// Whether a container that ended with `exit_code` is started again.
pub(crate) fn restarts(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    if let Some(rules) = &container.restart_policy_rules {
        for rule in rules {
            let Some(codes) = &rule.exit_codes else { continue };
            let listed = codes.values.as_ref().is_some_and(|v| v.contains(&exit_code));
            let matches = if codes.operator == "NotIn" { !listed } else { listed };
            if matches {
                return rule.action.starts_with("Restart");
            }
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}
