//! The status of a pod as the API shows it, from what is wanted, what the runtime has, and why containers wait. Pure.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, HostIP, LinuxContainerUser, Pod,
    PodCondition, PodIP, PodStatus, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::lookup::{app_containers, host_network, init_containers, restartable_init, restarts};
use super::observe::{ContainerState, Observed, ObservedContainer};
use super::plan::{Waiting, usable_sandbox};
use super::resources::qos_class;
use super::time_of;

/// Everything that the status follows from.
pub(crate) struct StatusInput<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) observed: &'a Observed,
    pub(crate) waiting: &'a BTreeMap<String, Waiting>,
    /// Containers whose startup is finished, by id.
    pub(crate) started: &'a BTreeSet<String>,
    /// Containers whose readiness probe says no, or has not said yes yet, by id.
    pub(crate) unready: &'a BTreeSet<String>,
    pub(crate) runtime: &'a str,
    pub(crate) node_ips: &'a [IpAddr],
    pub(crate) now: Timestamp,
    /// Nothing will be started any more.
    pub(crate) ends: bool,
    /// Nothing runs any more either: what did not end by itself was never seen to end.
    pub(crate) ended: bool,
    /// Why the agent ends the pod: phase Failed with this reason and message.
    pub(crate) failure: Option<&'a (String, String)>,
}

/// The status. Conditions that others own are not in it.
pub(crate) fn pod_status(input: &StatusInput<'_>) -> PodStatus {
    let pod = input.pod;
    let old = pod.status.clone().unwrap_or_default();
    let has_init = !init_containers(pod).is_empty();
    let initialized = any_app_created(input);
    let init: Vec<ContainerStatus> = init_containers(pod)
        .iter()
        .map(|c| container_status(input, c, old.init_container_statuses.as_deref(), Kind::Init))
        .collect();
    let apps: Vec<ContainerStatus> = {
        let kind = if has_init && !initialized { Kind::AppAfterInit } else { Kind::App };
        let old = old.container_statuses.as_deref();
        let mut apps: Vec<_> =
            app_containers(pod).iter().map(|c| container_status(input, c, old, kind)).collect();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        apps
    };
    let mut phase = phase(input, &init, &apps);
    if input.failure.is_some() || (input.ended && matches!(phase, "Pending" | "Running")) {
        phase = "Failed";
    }
    if let Some(ended @ ("Succeeded" | "Failed")) = old.phase.as_deref() {
        // A phase that says the end is never taken back.
        phase = if ended == "Failed" { "Failed" } else { "Succeeded" };
    }
    let ips = pod_ips(input, &old);
    let host_ips: Vec<HostIP> =
        input.node_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect();
    let mut status = PodStatus {
        phase: Some(phase.into()),
        host_ip: host_ips.first().map(|ip| ip.ip.clone()),
        host_ips: Some(host_ips).filter(|ips| !ips.is_empty()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>())
            .filter(|ips| !ips.is_empty()),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| qos_class(pod).name().into())),
        start_time: Some(old.start_time.clone().unwrap_or_else(|| seconds(input.now))),
        observed_generation: pod.metadata.generation,
        reason: input.failure.map(|(reason, _)| reason.clone()).or(old.reason.clone()),
        message: input.failure.map(|(_, message)| message.clone()).or(old.message.clone()),
        ..Default::default()
    };
    status.conditions = Some(conditions(input, &old, phase, &init, &apps));
    status.init_container_statuses = Some(init).filter(|list| !list.is_empty());
    status.container_statuses = Some(apps);
    status
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Init,
    App,
    AppAfterInit,
}

fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn any_app_created(input: &StatusInput<'_>) -> bool {
    app_containers(input.pod).iter().any(|c| input.observed.latest(&c.name).is_some())
}

fn pod_ips(input: &StatusInput<'_>, old: &PodStatus) -> Vec<String> {
    if host_network(input.pod) {
        return input.node_ips.iter().map(ToString::to_string).collect();
    }
    let sandbox = input.observed.sandboxes.first();
    match sandbox.filter(|s| !s.ips.is_empty()) {
        Some(sandbox) => sandbox.ips.clone(),
        // The addresses of a pod that ended stay in its status.
        None => old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(),
    }
}

fn container_status(
    input: &StatusInput<'_>,
    container: &Container,
    old: Option<&[ContainerStatus]>,
    kind: Kind,
) -> ContainerStatus {
    let old = old.unwrap_or_default().iter().find(|s| s.name == container.name);
    let mut of_name = input.observed.containers.iter().filter(|c| c.name == container.name);
    let (latest, previous) = (of_name.next(), of_name.next());
    let mut status = match latest {
        Some(latest) => observed_status(input, latest, previous, old),
        None => absent_status(input, container, old, kind),
    };
    status.volume_mounts = volume_mounts(container);
    if latest.is_some() {
        status.resources = container.resources.clone();
        status.allocated_resources = container.resources.as_ref().and_then(|r| r.requests.clone());
    }
    let restarts_next = match latest {
        Some(latest) if latest.state == ContainerState::Exited => {
            let finished_init =
                kind == Kind::Init && !restartable_init(container) && latest.exit_code == 0;
            !finished_init && restarts(input.pod, container, latest.exit_code)
        }
        Some(latest) => latest.state != ContainerState::Running,
        None => true,
    };
    if let Some(waiting) =
        input.waiting.get(&container.name).filter(|_| restarts_next && !input.ends)
    {
        if let Some(state) = status.state.take().filter(|s| s.terminated.is_some()) {
            status.last_state = Some(state);
        }
        status.state = Some(waiting_state(waiting.reason, Some(&waiting.message)));
    }
    if input.ended && status.state.as_ref().is_none_or(|s| s.terminated.is_none()) {
        status.state =
            Some(lost_state("The container could not be located when the pod was terminated"));
    }
    ready_and_started(input, container, latest, kind, &mut status);
    status
}

fn observed_status(
    input: &StatusInput<'_>,
    latest: &ObservedContainer,
    previous: Option<&ObservedContainer>,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let id = format!("{}://{}", input.runtime, latest.id);
    let mut last_state = previous
        .filter(|p| p.state == ContainerState::Exited)
        .map(|p| terminated_state(input.runtime, p));
    if last_state.is_none() {
        // The runtime forgot it, the API did not.
        last_state = old.and_then(|old| match &old.state {
            Some(state) if state.terminated.is_some() && old.container_id.as_ref() != Some(&id) => {
                Some(state.clone())
            }
            Some(_) | None => old.last_state.clone(),
        });
    }
    let state = match latest.state {
        ContainerState::Running => ApiState {
            running: Some(ContainerStateRunning { started_at: Some(time_of(latest.started_at)) }),
            ..Default::default()
        },
        ContainerState::Exited => terminated_state(input.runtime, latest),
        ContainerState::Created | ContainerState::Unknown => {
            waiting_state("ContainerCreating", None)
        }
    };
    let restart_count = latest.restart_count.max(old.map_or(0, |old| old.restart_count));
    ContainerStatus {
        name: latest.name.clone(),
        container_id: Some(id),
        image: latest.image.clone(),
        image_id: latest.image_id.clone(),
        restart_count,
        state: Some(state),
        last_state,
        user: latest.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: Some(user.supplemental_groups.clone()),
            }),
        }),
        ..Default::default()
    }
}

fn absent_status(
    input: &StatusInput<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
    kind: Kind,
) -> ContainerStatus {
    let default_reason = match kind {
        Kind::AppAfterInit | Kind::Init => "PodInitializing",
        Kind::App => "ContainerCreating",
    };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting_state(default_reason, None)),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    let old_state = old.state.clone().unwrap_or_default();
    if old_state.terminated.is_some() {
        return ContainerStatus { started: None, ready: false, ..old.clone() };
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old_state.running.is_some() {
        // It ran, and the runtime knows nothing of it: the end that nobody saw.
        status.last_state = Some(lost_state(
            "The container could not be located when the pod was deleted.  The container used to be Running",
        ));
        if input.pod.metadata.deletion_timestamp.is_none() {
            status.restart_count += 1;
        }
    }
    status
}

fn lost_state(message: &str) -> ApiState {
    let lost = ContainerStateTerminated {
        reason: Some("ContainerStatusUnknown".into()),
        message: Some(message.to_owned()),
        exit_code: 137,
        ..Default::default()
    };
    ApiState { terminated: Some(lost), ..Default::default() }
}

fn waiting_state(reason: &str, message: Option<&str>) -> ApiState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: message.filter(|m| !m.is_empty()).map(str::to_owned),
    };
    ApiState { waiting: Some(waiting), ..Default::default() }
}

fn terminated_state(runtime: &str, container: &ObservedContainer) -> ApiState {
    let reason = match container.reason.as_str() {
        "" if container.exit_code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    let terminated = ContainerStateTerminated {
        exit_code: container.exit_code,
        reason: Some(reason.to_owned()),
        message: Some(container.message.clone()).filter(|m| !m.is_empty()),
        started_at: Some(time_of(container.started_at)),
        finished_at: Some(time_of(container.finished_at)),
        container_id: Some(format!("{runtime}://{}", container.id)),
        signal: None,
    };
    ApiState { terminated: Some(terminated), ..Default::default() }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?;
    let list = mounts.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.filter(|r| *r).map(|_| "Disabled".to_owned()),
        ..Default::default()
    });
    Some(list.collect()).filter(|list: &Vec<_>| !list.is_empty())
}

fn ready_and_started(
    input: &StatusInput<'_>,
    container: &Container,
    latest: Option<&ObservedContainer>,
    kind: Kind,
    status: &mut ContainerStatus,
) {
    let running = latest.filter(|c| c.state == ContainerState::Running);
    let runs = running.is_some() && status.state.as_ref().is_some_and(|s| s.running.is_some());
    let started = runs && running.is_some_and(|c| input.started.contains(&c.id));
    status.started = Some(started);
    if kind == Kind::Init && !restartable_init(container) {
        let terminated = status.state.as_ref().and_then(|s| s.terminated.as_ref());
        status.ready = terminated.is_some_and(|t| t.exit_code == 0);
        return;
    }
    status.ready = started && running.is_some_and(|c| !input.unready.contains(&c.id));
}

/// Counts as the kubelet counts them.
#[derive(Default)]
struct Counts {
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

// upstream: kubelet, getPhase
fn phase(
    input: &StatusInput<'_>,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> &'static str {
    let pod = input.pod;
    let mut pending_init = 0;
    let mut pending_sidecars = 0;
    let mut counts = Counts::default();
    for (container, status) in init_containers(pod).iter().zip(init) {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
        if restartable_init(container) {
            if state.running.is_some() {
                pending_sidecars += usize::from(status.started != Some(true));
                counts.running += 1;
            } else if state.terminated.is_none() && last.is_none() {
                pending_sidecars += 1;
                counts.waiting += 1;
            }
            continue;
        }
        match state.terminated.as_ref().or(last.filter(|_| state.waiting.is_some())) {
            Some(ended) if ended.exit_code != 0 => {
                if !restarts(pod, container, ended.exit_code) {
                    return "Failed";
                }
                pending_init += 1;
            }
            Some(_) => {}
            None => pending_init += 1,
        }
    }
    for status in apps {
        count(pod, status, &mut counts);
    }
    if pending_init > 0 && !input.ends {
        return "Pending";
    }
    if (pending_sidecars > 0 && !any_app_created(input)) || counts.waiting > 0 {
        return if input.ends && counts.running == 0 && counts.stopped > 0 {
            "Failed"
        } else {
            "Pending"
        };
    }
    if counts.running > 0 && counts.unknown == 0 {
        return "Running";
    }
    if counts.stopped == 0 || counts.unknown > 0 {
        return "Pending";
    }
    if !input.ends && counts.stopped != counts.stopped_for_good {
        return "Running";
    }
    if counts.stopped == counts.succeeded { "Succeeded" } else { "Failed" }
}

fn count(pod: &Pod, status: &ContainerStatus, counts: &mut Counts) {
    let Some(container) = app_containers(pod).iter().find(|c| c.name == status.name) else {
        return;
    };
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    if state.running.is_some() {
        counts.running += 1;
    } else if let Some(ended) = &state.terminated {
        counts.stopped += 1;
        counts.stopped_for_good += usize::from(!restarts(pod, container, ended.exit_code));
        counts.succeeded += usize::from(ended.exit_code == 0);
    } else if let Some(ended) = last {
        counts.stopped += 1;
        counts.stopped_for_good += usize::from(!restarts(pod, container, ended.exit_code));
    } else {
        counts.waiting += 1;
    }
}

/// Status, reason and message of a condition.
type Verdict = (bool, Option<&'static str>, Option<String>);

fn conditions(
    input: &StatusInput<'_>,
    old: &PodStatus,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(input.pod, phase, init, apps);
    let ready = ready(input.pod, old, &containers_ready);
    let sandbox = usable_sandbox(input.pod, input.observed).is_some();
    let verdicts = [
        ("PodReadyToStartContainers", (sandbox, None, None)),
        ("Initialized", initialized(input, phase, init, apps)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", (true, None, None)),
    ];
    verdicts.into_iter().map(|(type_, verdict)| condition(input, old, type_, verdict)).collect()
}

fn condition(
    input: &StatusInput<'_>,
    old: &PodStatus,
    type_: &str,
    verdict: Verdict,
) -> PodCondition {
    let (is_true, reason, message) = verdict;
    let status = if is_true { "True" } else { "False" };
    let before = old.conditions.iter().flatten().find(|c| c.type_ == type_);
    let since = before
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone())
        .unwrap_or_else(|| seconds(input.now));
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        last_transition_time: Some(since),
        observed_generation: input.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn initialized(
    input: &StatusInput<'_>,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Verdict {
    if phase == "Succeeded" {
        return (true, Some("PodCompleted"), None);
    }
    let started = apps.iter().any(|s| {
        let state = s.state.clone().unwrap_or_default();
        state.running.is_some() || state.terminated.is_some() || s.last_state.is_some()
    });
    if started {
        return (true, None, None);
    }
    let incomplete: Vec<&str> = init_containers(input.pod)
        .iter()
        .zip(init)
        .filter(|(container, status)| {
            let done = if restartable_init(container) {
                status.started == Some(true)
            } else {
                status.ready
            };
            !done
        })
        .map(|(container, _)| container.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return (true, None, None);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    (false, Some("ContainersNotInitialized"), Some(message))
}

fn containers_ready(
    pod: &Pod,
    phase: &str,
    init: &[ContainerStatus],
    apps: &[ContainerStatus],
) -> Verdict {
    match phase {
        "Succeeded" => return (false, Some("PodCompleted"), None),
        "Failed" => return (false, Some("PodFailed"), None),
        _ => {}
    }
    let sidecars = init_containers(pod).iter().filter(|c| restartable_init(c));
    let unready: Vec<&str> = sidecars
        .chain(app_containers(pod))
        .filter(|c| {
            let status = init.iter().chain(apps).find(|s| s.name == c.name);
            !status.is_some_and(|s| s.ready)
        })
        .map(|c| c.name.as_str())
        .collect();
    if unready.is_empty() {
        return (true, None, None);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    (false, Some("ContainersNotReady"), Some(message))
}

fn ready(pod: &Pod, old: &PodStatus, containers_ready: &Verdict) -> Verdict {
    if !containers_ready.0 {
        return containers_ready.clone();
    }
    let gates = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let problems: Vec<String> = gates
        .filter_map(|gate| {
            let found = old.conditions.iter().flatten().find(|c| c.type_ == gate.condition_type);
            match found {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{}\" does not exist.",
                    gate.condition_type
                )),
                Some(found) if found.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                    gate.condition_type, found.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if problems.is_empty() {
        return (true, None, None);
    }
    (false, Some("ReadinessGatesNotReady"), Some(problems.join(", ")))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
