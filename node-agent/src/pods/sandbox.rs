//! The sandbox of a pod: its configuration, and the steps that make and end one.
use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use keelson_proto::cri;

use super::container::pod_labels;
use super::hosts::{domain, hostname};
use super::lookup::{app_containers, host_network, init_containers, name_of, namespace_of, uid_of};
use super::observe::Observed;
use super::resolv::{dns_config, parse};
use super::resources::{pod_cgroup, pod_limits};
use super::security::sandbox_security;
use crate::agent::{AgentConfig, Context, EventType, reason_of};

/// The configuration that `RunPodSandbox` and `CreateContainer` get.
pub(crate) fn sandbox_config(
    config: &AgentConfig,
    pod: &Pod,
    attempt: u32,
    host_resolv: &str,
) -> cri::PodSandboxConfig {
    let (namespace, name, uid) = (namespace_of(pod), name_of(pod), uid_of(pod));
    let mut labels: HashMap<String, String> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(pod_labels(pod));
    let spec = pod.spec.clone().unwrap_or_default();
    let mut name_of_host = hostname(pod);
    if spec.set_hostname_as_fqdn.unwrap_or(false)
        && let Some(domain) = domain(pod, &config.cluster_domain)
    {
        name_of_host = format!("{name_of_host}.{domain}");
    }
    let sysctls = spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    let sysctls = sysctls.map(|s| (s.name.clone(), s.value.clone())).collect();
    let dns = dns_config(pod, parse(host_resolv), &config.cluster_dns, &config.cluster_domain);
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            attempt,
        }),
        hostname: if host_network(pod) { String::new() } else { name_of_host },
        log_directory: config.pod_log_dir(namespace, name, uid).display().to_string(),
        dns_config: Some(dns),
        port_mappings: if host_network(pod) { Vec::new() } else { port_mappings(pod) },
        labels,
        annotations: pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: pod_cgroup(&config.cgroup_root, pod),
            security_context: Some(sandbox_security(pod, config.seccomp_default)),
            sysctls,
            resources: Some(pod_limits(pod)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn port_mappings(pod: &Pod) -> Vec<cri::PortMapping> {
    let containers = init_containers(pod).iter().chain(app_containers(pod));
    containers
        .flat_map(|c| c.ports.iter().flatten())
        .filter(|port| port.host_port.unwrap_or(0) > 0)
        .map(|port| cri::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp.into(),
                Some("SCTP") => cri::Protocol::Sctp.into(),
                _ => cri::Protocol::Tcp.into(),
            },
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// Reads the host's resolv.conf, if it has one, and makes the configuration.
pub(crate) async fn current_config(cx: &Context, pod: &Pod, attempt: u32) -> cri::PodSandboxConfig {
    let host = tokio::fs::read_to_string(&cx.config.resolv_conf).await.unwrap_or_default();
    sandbox_config(&cx.config, pod, attempt, &host)
}

/// Makes and starts a sandbox; the event of a failure is written here.
pub(crate) async fn create_sandbox(cx: &Context, pod: &Pod, attempt: u32) -> Result<(), String> {
    let config = current_config(cx, pod, attempt).await;
    if let Err(error) = prepare(cx, pod, &config).await {
        let message = format!("error making pod data directories: {error}");
        cx.recorder.pod(pod, EventType::Warning, "Failed", message.clone());
        return Err(message);
    }
    let handler = pod.spec.as_ref().and_then(|s| s.runtime_class_name.clone());
    let request = cri::RunPodSandboxRequest {
        config: Some(config),
        runtime_handler: handler.unwrap_or_default(),
    };
    match cx.cri.runtime.clone().run_pod_sandbox(request).await {
        Ok(_) => Ok(()),
        Err(status) => {
            let message = format!("Failed to create pod sandbox: {}", reason_of(&status));
            cx.recorder.pod(pod, EventType::Warning, "FailedCreatePodSandBox", message.clone());
            Err(message)
        }
    }
}

async fn prepare(cx: &Context, pod: &Pod, config: &cri::PodSandboxConfig) -> std::io::Result<()> {
    tokio::fs::create_dir_all(cx.config.pod_dir(uid_of(pod))).await?;
    tokio::fs::create_dir_all(&config.log_directory).await?;
    if let Some(linux) = &config.linux
        && let Err(error) = cx.cgroups.create_pod(&linux.cgroup_parent, linux.resources.as_ref())
    {
        tracing::warn!(%error, pod = uid_of(pod), "pod cgroup");
    }
    Ok(())
}

/// Ends all sandboxes of a pod and what runs in them; collects errors and goes on.
pub(crate) async fn stop_sandboxes(cx: &Context, observed: &Observed) -> Result<(), String> {
    let mut errors = Vec::new();
    for sandbox in &observed.sandboxes {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        if let Err(status) = cx.cri.runtime.clone().stop_pod_sandbox(request).await
            && status.code() != tonic::Code::NotFound
        {
            errors.push(reason_of(&status));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

/// Removes all sandboxes of a pod with their containers.
pub(crate) async fn remove_sandboxes(cx: &Context, observed: &Observed) -> Result<(), String> {
    let mut errors = Vec::new();
    for container in &observed.containers {
        errors.extend(remove_container(cx, &container.id).await.err());
    }
    for sandbox in &observed.sandboxes {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.id.clone() };
        if let Err(status) = cx.cri.runtime.clone().remove_pod_sandbox(request).await
            && status.code() != tonic::Code::NotFound
        {
            errors.push(reason_of(&status));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

/// Removes one dead container.
pub(crate) async fn remove_container(cx: &Context, id: &str) -> Result<(), String> {
    let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
    match cx.cri.runtime.clone().remove_container(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(reason_of(&status)),
    }
}
