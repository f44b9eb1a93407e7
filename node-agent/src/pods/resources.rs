//! From requests and limits to quality of service, cgroup values and OOM scores. Pure.
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use keelson_proto::cri;

use super::lookup::{app_containers, init_containers, restartable_init, uid_of};
use super::quantity::Quantity;

const CPU_PERIOD_MICROS: i64 = 100_000;
const CPU_QUOTA_MICROS_MIN: i64 = 1000;
const CPU_SHARES_MIN: i64 = 2;
const CPU_SHARES_MAX: i64 = 262_144;
const GUARANTEED_OOM_SCORE: i64 = -997;
const BEST_EFFORT_OOM_SCORE: i64 = 1000;

/// The quality of service class of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    /// As the status names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

fn amount(map: Option<&BTreeMap<String, ApiQuantity>>, name: &str) -> Option<Quantity> {
    map.and_then(|m| m.get(name)).map(Quantity::of).filter(|q| *q > Quantity::default())
}

/// What a container asks for; a limit without a request counts as one.
pub(crate) fn request(container: &Container, name: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    amount(resources.requests.as_ref(), name).or_else(|| limit(container, name))
}

/// What a container may have at most.
pub(crate) fn limit(container: &Container, name: &str) -> Option<Quantity> {
    amount(container.resources.as_ref()?.limits.as_ref(), name)
}

/// The class that requests and limits of all containers give.
pub(crate) fn qos_class(pod: &Pod) -> QosClass {
    let mut any = false;
    let mut guaranteed = true;
    for container in init_containers(pod).iter().chain(app_containers(pod)) {
        for name in ["cpu", "memory"] {
            let (request, limit) = (request(container, name), limit(container, name));
            any |= request.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

/// The cgroup of a pod below the agent's root, as cgroupfs paths are written.
pub(crate) fn pod_cgroup(root: &str, pod: &Pod) -> String {
    let class = match qos_class(pod) {
        QosClass::Guaranteed => "",
        QosClass::Burstable => "burstable/",
        QosClass::BestEffort => "besteffort/",
    };
    format!("{}/kubepods/{class}pod{}", root.trim_end_matches('/'), uid_of(pod))
}

/// What `milli` thousandths of a CPU weigh.
pub(crate) fn cpu_shares(milli: i64) -> i64 {
    (milli * 1024 / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn cpu_quota(milli: i64) -> i64 {
    (milli * CPU_PERIOD_MICROS / 1000).max(CPU_QUOTA_MICROS_MIN)
}

fn limits(
    cpu_request: i64,
    cpu_limit: Option<i64>,
    memory: Option<i64>,
) -> cri::LinuxContainerResources {
    cri::LinuxContainerResources {
        cpu_shares: cpu_shares(cpu_request),
        cpu_period: CPU_PERIOD_MICROS,
        cpu_quota: cpu_limit.map(cpu_quota).unwrap_or_default(),
        memory_limit_in_bytes: memory.unwrap_or_default(),
        ..Default::default()
    }
}

/// The values of one container's cgroup.
pub(crate) fn container_limits(
    pod: &Pod,
    container: &Container,
    node_memory_bytes: i64,
) -> cri::LinuxContainerResources {
    let mut values = limits(
        request(container, "cpu").map_or(0, Quantity::milli),
        limit(container, "cpu").map(Quantity::milli),
        limit(container, "memory").map(Quantity::value),
    );
    values.oom_score_adj = oom_score(pod, container, node_memory_bytes);
    values
}

/// The values of the cgroup that holds the whole pod: limited only when every container is.
pub(crate) fn pod_limits(pod: &Pod) -> cri::LinuxContainerResources {
    let containers: Vec<&Container> = app_containers(pod)
        .iter()
        .chain(init_containers(pod).iter().filter(|c| restartable_init(c)))
        .collect();
    let sum = |values: Vec<Option<i64>>| values.into_iter().sum::<Option<i64>>();
    let of = |name: &str, read: fn(Quantity) -> i64| {
        let all = sum(containers.iter().map(|c| limit(c, name).map(read)).collect());
        let init = init_containers(pod).iter().filter(|c| !restartable_init(c));
        let init: Vec<Option<i64>> = init.map(|c| limit(c, name).map(read)).collect();
        if init.contains(&None) {
            return None;
        }
        all.map(|all| init.into_iter().flatten().fold(all, i64::max))
    };
    let cpu = containers.iter().filter_map(|c| request(c, "cpu")).map(Quantity::milli).sum();
    limits(cpu, of("cpu", Quantity::milli), of("memory", Quantity::value))
}

/// How readily the kernel kills a container when memory runs out.
// upstream: kubelet qos/policy.go, GetContainerOOMScoreAdjust
pub(crate) fn oom_score(pod: &Pod, container: &Container, node_memory_bytes: i64) -> i64 {
    let critical = pod.spec.as_ref().and_then(|s| s.priority).is_some_and(|p| p >= 2_000_000_000);
    if critical {
        return GUARANTEED_OOM_SCORE;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => GUARANTEED_OOM_SCORE,
        QosClass::BestEffort => BEST_EFFORT_OOM_SCORE,
        QosClass::Burstable => {
            let asked = request(container, "memory").map_or(0, Quantity::value);
            let score = 1000 - (1000 * asked).checked_div(node_memory_bytes).unwrap_or(0);
            let score = if score < 1000 + GUARANTEED_OOM_SCORE {
                1000 + GUARANTEED_OOM_SCORE
            } else {
                score
            };
            if score == BEST_EFFORT_OOM_SCORE { score - 1 } else { score }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [{"name": "c", "resources": resources}]},
        }))
        .unwrap()
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        let check = |resources, class, cgroup: &str| {
            let pod = pod(resources);
            assert_eq!(qos_class(&pod), class);
            assert_eq!(pod_cgroup("/", &pod), cgroup);
        };
        check(json!({}), QosClass::BestEffort, "/kubepods/besteffort/podu");
        check(json!({"requests": {"cpu": "1"}}), QosClass::Burstable, "/kubepods/burstable/podu");
        let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        check(both, QosClass::Guaranteed, "/kubepods/podu");
    }

    #[test]
    fn cgroup_values_are_those_of_the_kubelet() {
        let pod = pod(json!({
            "requests": {"cpu": "250m", "memory": "64Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        }));
        let values = container_limits(&pod, &app_containers(&pod)[0], 1 << 30);
        assert_eq!(
            (values.cpu_shares, values.cpu_quota, values.cpu_period),
            (256, 50_000, 100_000)
        );
        assert_eq!(values.memory_limit_in_bytes, 134_217_728);
        assert_eq!(values.oom_score_adj, 1000 - 62);
        assert_eq!(pod_limits(&pod).memory_limit_in_bytes, 134_217_728);
    }
}
