//! Ends a container: the event, the preStop hook within the grace, TERM, and KILL when the grace is over.
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use keelson_proto::cri;

use super::plan::KillReason;
use crate::agent::{Context, EventType, reason_of};
use crate::probes;

/// A container always gets this long, to spare it a needless KILL.
const GRACE_SECONDS_MIN: i64 = 2;

/// How long a container has to end.
// upstream: kuberuntime, setTerminationGracePeriod
pub(crate) fn grace_seconds(pod: &Pod, container: Option<&Container>, reason: KillReason) -> i64 {
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        return grace;
    }
    let probe = container.and_then(|c| match reason {
        KillReason::Liveness => c.liveness_probe.as_ref(),
        KillReason::Startup => c.startup_probe.as_ref(),
        KillReason::PodEnds | KillReason::Changed => None,
    });
    let pods = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    probe.and_then(|p| p.termination_grace_period_seconds).or(pods).unwrap_or(GRACE_SECONDS_MIN)
}

/// One container that shall end.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) pod_ip: Option<String>,
    pub(crate) grace_seconds: i64,
    /// The event's text; none when it was told before and only the grace got shorter.
    pub(crate) message: Option<String>,
}

/// Ends it; returns when it has ended.
pub(crate) async fn kill_container(
    cx: &Context,
    pod: &Pod,
    container: Option<&Container>,
    victim: &Victim,
) -> Result<(), String> {
    if let Some(message) = &victim.message {
        cx.recorder.container(pod, &victim.name, EventType::Normal, "Killing", message.clone());
    }
    let start = Instant::now();
    let hook = container.and_then(|c| c.lifecycle.as_ref()).and_then(|l| l.pre_stop.as_ref());
    if let (Some(container), Some(hook), true) = (container, hook, victim.grace_seconds > 0) {
        let within = Duration::from_secs(u64::try_from(victim.grace_seconds).unwrap_or_default());
        let run = run_hook(cx, container, &victim.id, victim.pod_ip.as_deref(), hook);
        let failed = match tokio::time::timeout(within, run).await {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("grace period expired".to_owned()),
        };
        if let Some(why) = failed {
            tracing::debug!(container = victim.name, why, "preStop hook failed");
            let message = "PreStopHook failed".to_owned();
            cx.recorder.container(
                pod,
                &victim.name,
                EventType::Warning,
                "FailedPreStopHook",
                message,
            );
        }
    }
    let used = i64::try_from(start.elapsed().as_secs()).unwrap_or(i64::MAX);
    let timeout = (victim.grace_seconds - used).max(GRACE_SECONDS_MIN);
    let request = cri::StopContainerRequest { container_id: victim.id.clone(), timeout };
    match cx.cri.runtime.clone().stop_container(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        Err(status) => Err(reason_of(&status)),
    }
}

/// Runs a life-cycle hook to its end.
pub(crate) async fn run_hook(
    cx: &Context,
    container: &Container,
    id: &str,
    pod_ip: Option<&str>,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: exec.command.clone().unwrap_or_default(),
            timeout: 0,
        };
        let answer = cx.cri.runtime.clone().exec_sync(request).await;
        let answer = answer.map_err(|status| reason_of(&status))?.into_inner();
        return match answer.exit_code {
            0 => Ok(()),
            code => Err(format!("command terminated with exit code {code}")),
        };
    }
    if let Some(get) = &hook.http_get {
        let target = probes::http_target(get, container, pod_ip.unwrap_or_default())?;
        return probes::http_get(&target).await.map(|_| ());
    }
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or_default();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_grace_comes_from_deletion_then_probe_then_pod() {
        let pod = |meta: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": meta, "spec": {
                "terminationGracePeriodSeconds": 20,
                "containers": [{"name": "c", "livenessProbe":
                    {"terminationGracePeriodSeconds": 5}}]}}))
            .unwrap()
        };
        let check = |meta, reason, expected| {
            let pod = pod(meta);
            let container = &pod.spec.as_ref().unwrap().containers[0];
            assert_eq!(grace_seconds(&pod, Some(container), reason), expected);
        };
        check(json!({"deletionGracePeriodSeconds": 3}), KillReason::Liveness, 3);
        check(json!({}), KillReason::Liveness, 5);
        check(json!({}), KillReason::PodEnds, 20);
    }
}
