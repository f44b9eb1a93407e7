//! From security contexts to what the runtime is told. Pure.
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile};
use keelson_proto::cri;

use super::lookup::host_network;

/// Paths that are hidden from unprivileged containers.
const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that they may only read.
const READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn pod_context(pod: &Pod) -> PodSecurityContext {
    pod.spec.as_ref().and_then(|s| s.security_context.clone()).unwrap_or_default()
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

/// Which namespaces a sandbox and its containers share.
pub(crate) fn namespaces(pod: &Pod) -> cri::NamespaceOption {
    let spec = pod.spec.clone().unwrap_or_default();
    let mode = |host: bool, otherwise: cri::NamespaceMode| {
        if host { cri::NamespaceMode::Node } else { otherwise }
    };
    let pid = if spec.share_process_namespace.unwrap_or(false) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: mode(host_network(pod), cri::NamespaceMode::Pod).into(),
        pid: mode(spec.host_pid.unwrap_or(false), pid).into(),
        ipc: mode(spec.host_ipc.unwrap_or(false), cri::NamespaceMode::Pod).into(),
        ..Default::default()
    }
}

/// A seccomp profile: the container's, else the pod's, else the agent's default.
pub(crate) fn seccomp(
    container: Option<&SeccompProfile>,
    pod: Option<&SeccompProfile>,
    seccomp_default: bool,
) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (kind, path) = match container.or(pod) {
        Some(profile) => match profile.type_.as_str() {
            "RuntimeDefault" => (ProfileType::RuntimeDefault, None),
            "Localhost" => (ProfileType::Localhost, profile.localhost_profile.clone()),
            _ => (ProfileType::Unconfined, None),
        },
        None if seccomp_default => (ProfileType::RuntimeDefault, None),
        None => (ProfileType::Unconfined, None),
    };
    cri::SecurityProfile { profile_type: kind.into(), localhost_ref: path.unwrap_or_default() }
}

/// The security context of the sandbox.
pub(crate) fn sandbox_security(
    pod: &Pod,
    seccomp_default: bool,
) -> cri::LinuxSandboxSecurityContext {
    let context = pod_context(pod);
    let privileged =
        pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let privileged = privileged
        .into_iter()
        .any(|c| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false));
    cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        run_as_user: context.run_as_user.map(|value| cri::Int64Value { value }),
        run_as_group: context.run_as_group.map(|value| cri::Int64Value { value }),
        supplemental_groups: supplemental_groups(&context),
        privileged,
        seccomp: Some(if privileged {
            seccomp(None, None, false)
        } else {
            seccomp(None, context.seccomp_profile.as_ref(), seccomp_default)
        }),
        ..Default::default()
    }
}

fn supplemental_groups(context: &PodSecurityContext) -> Vec<i64> {
    context.supplemental_groups.iter().flatten().copied().chain(context.fs_group).collect()
}

/// The user that the image names.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageUser {
    pub(crate) uid: Option<i64>,
    pub(crate) name: String,
}

/// `runAsNonRoot` is asked for and not kept.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NonRootError {
    #[error("container's runAsUser breaks non-root policy (pod: {pod}, container: {container})")]
    RunsAsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image will run as root (pod: {pod}, container: {container})"
    )]
    ImageRunsAsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: {pod}, container: {container})"
    )]
    NotNumeric { user: String, pod: String, container: String },
}

/// Checks `runAsNonRoot` against the user that the container will have.
pub(crate) fn check_non_root(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
) -> Result<(), NonRootError> {
    let (own, pods) = (container.security_context.clone().unwrap_or_default(), pod_context(pod));
    if !own.run_as_non_root.or(pods.run_as_non_root).unwrap_or(false) {
        return Ok(());
    }
    let described = super::lookup::pod_desc(pod);
    let container = container.name.clone();
    match (own.run_as_user.or(pods.run_as_user), image.uid) {
        (Some(0), _) => Err(NonRootError::RunsAsRoot { pod: described, container }),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(NonRootError::ImageRunsAsRoot { pod: described, container }),
        (None, Some(_)) => Ok(()),
        (None, None) if !image.name.is_empty() => {
            Err(NonRootError::NotNumeric { user: image.name.clone(), pod: described, container })
        }
        (None, None) => Err(NonRootError::ImageRunsAsRoot { pod: described, container }),
    }
}

/// The security context of a container.
pub(crate) fn container_security(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    seccomp_default: bool,
) -> cri::LinuxContainerSecurityContext {
    let (own, pods) = (container.security_context.clone().unwrap_or_default(), pod_context(pod));
    let privileged = own.privileged.unwrap_or(false);
    let unmasked = privileged || own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list| if unmasked { Vec::new() } else { owned(list) };
    let user = own.run_as_user.or(pods.run_as_user).or(image.uid);
    let capabilities = own.capabilities.unwrap_or_default();
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(pod)),
        run_as_user: user.map(|value| cri::Int64Value { value }),
        run_as_username: if user.is_none() { image.name.clone() } else { String::new() },
        run_as_group: own.run_as_group.or(pods.run_as_group).map(|value| cri::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: supplemental_groups(&pods),
        supplemental_groups_policy: match pods.supplemental_groups_policy.as_deref() {
            Some("Strict") => cri::SupplementalGroupsPolicy::Strict.into(),
            _ => cri::SupplementalGroupsPolicy::Merge.into(),
        },
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED_PATHS),
        readonly_paths: paths(READONLY_PATHS),
        seccomp: Some(if privileged {
            seccomp(None, None, false)
        } else {
            seccomp(own.seccomp_profile.as_ref(), pods.seccomp_profile.as_ref(), seccomp_default)
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(pods: serde_json::Value, own: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": pods,
                "containers": [{"name": "c", "securityContext": own}]},
        }))
        .unwrap()
    }

    fn of(pod: &Pod) -> cri::LinuxContainerSecurityContext {
        let container = &pod.spec.as_ref().unwrap().containers[0];
        container_security(pod, container, &ImageUser::default(), true)
    }

    #[test]
    fn the_default_is_a_filtered_unprivileged_container() {
        let context = of(&pod(json!({}), json!({})));
        let profile = context.seccomp.unwrap().profile_type;
        assert_eq!(profile, i32::from(cri::security_profile::ProfileType::RuntimeDefault));
        assert!(!context.privileged && !context.masked_paths.is_empty());
        let privileged = of(&pod(json!({}), json!({"privileged": true})));
        assert!(privileged.masked_paths.is_empty());
        let profile = privileged.seccomp.unwrap().profile_type;
        assert_eq!(profile, i32::from(cri::security_profile::ProfileType::Unconfined));
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let pod = pod(
            json!({"runAsUser": 1, "fsGroup": 7, "supplementalGroups": [5]}),
            json!({"runAsUser": 2}),
        );
        let context = of(&pod);
        assert_eq!(context.run_as_user.unwrap().value, 2);
        assert_eq!(context.supplemental_groups, [5, 7]);
    }

    #[test]
    fn run_as_non_root_is_checked_against_the_image() {
        let pod = pod(json!({"runAsNonRoot": true}), json!({}));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let check = |uid, name: &str| {
            check_non_root(&pod, container, &ImageUser { uid, name: name.into() })
        };
        assert!(check(Some(5), "").is_ok());
        assert!(matches!(check(Some(0), ""), Err(NonRootError::ImageRunsAsRoot { .. })));
        assert_eq!(
            check(None, "app").unwrap_err().to_string(),
            "container has runAsNonRoot and image has non-numeric user (app), cannot verify \
             user is non-root (pod: p_n(u), container: c)"
        );
    }
}
