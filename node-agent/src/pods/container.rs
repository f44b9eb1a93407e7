//! The runtime's configuration of a container. Pure.
use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use keelson_proto::cri;

use super::expansion::expand;
use super::lookup::{name_of, namespace_of, uid_of};
use super::observe::{
    ANNOTATION_HASH, ANNOTATION_MESSAGE_HOST_PATH, ANNOTATION_MESSAGE_PATH,
    ANNOTATION_MESSAGE_POLICY, ANNOTATION_RESTART_COUNT, LABEL_CONTAINER_NAME, LABEL_POD_NAME,
    LABEL_POD_NAMESPACE, LABEL_POD_UID,
};
use super::resources::container_limits;
use super::security::{ImageUser, container_security};

const MESSAGE_PATH_DEFAULT: &str = "/dev/termination-log";

/// Tells whether a running container is still the wanted one: only name and image decide.
pub(crate) fn hash_of(container: &Container) -> String {
    let text = format!("{}\0{}", container.name, container.image.as_deref().unwrap_or_default());
    let hash = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

/// Where the container writes its last words.
pub(crate) fn message_path(container: &Container) -> &str {
    container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or(MESSAGE_PATH_DEFAULT)
}

/// What a container's configuration follows from.
pub(crate) struct ContainerInput<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) restart_count: i32,
    /// The image's id in the runtime.
    pub(crate) image_ref: &'a str,
    pub(crate) image_user: &'a ImageUser,
    pub(crate) env: &'a [(String, String)],
    pub(crate) mounts: Vec<cri::Mount>,
    pub(crate) message_host_path: String,
    pub(crate) node_memory_bytes: i64,
    pub(crate) seccomp_default: bool,
}

/// The labels by which the runtime's objects of a pod are found again.
pub(crate) fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_POD_NAME.to_owned(), name_of(pod).to_owned()),
        (LABEL_POD_NAMESPACE.to_owned(), namespace_of(pod).to_owned()),
        (LABEL_POD_UID.to_owned(), uid_of(pod).to_owned()),
    ])
}

/// The configuration that `CreateContainer` gets.
pub(crate) fn container_config(input: ContainerInput<'_>) -> cri::ContainerConfig {
    let ContainerInput { pod, container, env, .. } = input;
    let lookup = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, lookup)).collect()
    };
    let mut labels = pod_labels(pod);
    labels.insert(LABEL_CONTAINER_NAME.to_owned(), container.name.clone());
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let annotations = HashMap::from([
        (ANNOTATION_HASH.to_owned(), hash_of(container)),
        (ANNOTATION_RESTART_COUNT.to_owned(), input.restart_count.to_string()),
        (ANNOTATION_MESSAGE_PATH.to_owned(), message_path(container).to_owned()),
        (ANNOTATION_MESSAGE_POLICY.to_owned(), policy.to_owned()),
        (ANNOTATION_MESSAGE_HOST_PATH.to_owned(), input.message_host_path),
    ]);
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: container.name.clone(),
            attempt: u32::try_from(input.restart_count).unwrap_or_default(),
        }),
        image: Some(cri::ImageSpec {
            image: input.image_ref.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: env
            .iter()
            .map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone().into() })
            .collect(),
        mounts: input.mounts,
        labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, input.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(container_limits(pod, container, input.node_memory_bytes)),
            security_context: Some(container_security(
                pod,
                container,
                input.image_user,
                input.seccomp_default,
            )),
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_are_expanded_and_labels_name_the_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [
                {"name": "c", "image": "i", "command": ["echo", "$(A)"], "args": ["$(B)"]}]},
        }))
        .unwrap();
        let config = container_config(ContainerInput {
            pod: &pod,
            container: &pod.spec.as_ref().unwrap().containers[0],
            restart_count: 2,
            image_ref: "sha256:1",
            image_user: &ImageUser::default(),
            env: &[("A".into(), "1".into())],
            mounts: Vec::new(),
            message_host_path: String::new(),
            node_memory_bytes: 1,
            seccomp_default: true,
        });
        assert_eq!(
            (config.command, config.args),
            (vec!["echo".into(), "1".into()], vec!["$(B)".into()])
        );
        assert_eq!(config.log_path, "c/2.log");
        assert_eq!(config.labels[LABEL_POD_UID], "u");
        assert_eq!(config.annotations[ANNOTATION_RESTART_COUNT], "2");
    }
}
