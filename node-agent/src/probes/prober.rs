//! The probes of one pod: a task for each probe of each running container, and what they found.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use parking_lot::Mutex;
use rand::Rng;
use tokio::task::JoinHandle;

use super::Outcome;
use super::run::{Target, attempt};
use super::verdict::{ProbeKind, Streak};
use crate::agent::{Context, EventType};
use crate::pods::{
    Mailbox, Observed, ObservedContainer, Unhealthy, container_spec, restartable_init,
};

const PERIOD_DEFAULT: i32 = 10;
const FAILURES_DEFAULT: i32 = 3;

type ProbeId = (String, ProbeKind);

/// What all probes together say, by container id.
#[derive(Debug, Default)]
pub(crate) struct ProbeVerdict {
    pub(crate) started: BTreeSet<String>,
    pub(crate) unready: BTreeSet<String>,
    pub(crate) unhealthy: BTreeMap<String, Unhealthy>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// See the module.
pub(crate) struct Prober {
    cx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    tasks: BTreeMap<ProbeId, Task>,
    results: Arc<Mutex<BTreeMap<ProbeId, bool>>>,
    /// Containers that ran before this worker: their readiness is believed until the first result.
    adopted: Option<BTreeSet<String>>,
}

impl Prober {
    pub(crate) fn new(cx: Arc<Context>, mailbox: Arc<Mailbox>) -> Self {
        Self { cx, mailbox, tasks: BTreeMap::new(), results: Arc::default(), adopted: None }
    }

    /// Starts and ends tasks as containers come and go, and says what is known.
    pub(crate) fn reconcile(&mut self, pod: &Pod, observed: &Observed, ends: bool) -> ProbeVerdict {
        let adopted = self.adopted.get_or_insert_with(|| ready_before(pod)).clone();
        let mut verdict = ProbeVerdict::default();
        let mut wanted = BTreeSet::new();
        let ip = match observed.sandboxes.first().and_then(|s| s.ips.first()) {
            Some(ip) => ip.clone(),
            None => self.cx.config.primary_ip().map(|ip| ip.to_string()).unwrap_or_default(),
        };
        for running in observed.running() {
            let Some(spec) = container_spec(pod, &running.name) else { continue };
            let own_init = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
            let is_init = own_init.into_iter().any(|c| c.name == spec.name);
            if is_init && !restartable_init(spec) {
                verdict.started.insert(running.id.clone());
                continue;
            }
            let was_ready = adopted.contains(&running.id);
            self.judge(spec, running, was_ready, &mut verdict);
            for (kind, probe) in due(spec, verdict.started.contains(&running.id)) {
                // An ending container is not restarted; whether it is ready still matters.
                if ends && kind != ProbeKind::Readiness {
                    continue;
                }
                let id = (running.id.clone(), kind);
                wanted.insert(id.clone());
                if !self.tasks.contains_key(&id) {
                    let task = self.spawn(pod, spec, probe, &ip, id.clone(), was_ready);
                    self.tasks.insert(id, task);
                }
            }
        }
        self.tasks.retain(|id, _| wanted.contains(id));
        let running: BTreeSet<&str> = observed.running().map(|c| c.id.as_str()).collect();
        self.results.lock().retain(|(id, _), _| running.contains(id.as_str()));
        verdict
    }

    fn judge(
        &self,
        spec: &Container,
        running: &ObservedContainer,
        was_ready: bool,
        verdict: &mut ProbeVerdict,
    ) {
        let results = self.results.lock();
        let result = |kind| results.get(&(running.id.clone(), kind)).copied();
        let startup = match &spec.startup_probe {
            Some(_) => result(ProbeKind::Startup).or(was_ready.then_some(true)),
            None => Some(true),
        };
        match startup {
            Some(true) => {
                verdict.started.insert(running.id.clone());
            }
            Some(false) => {
                verdict.unhealthy.insert(running.id.clone(), Unhealthy::Startup);
            }
            None => {}
        }
        if spec.readiness_probe.is_some() && !result(ProbeKind::Readiness).unwrap_or(was_ready) {
            verdict.unready.insert(running.id.clone());
        }
        if result(ProbeKind::Liveness) == Some(false) {
            verdict.unhealthy.insert(running.id.clone(), Unhealthy::Liveness);
        }
    }

    fn spawn(
        &self,
        pod: &Pod,
        container: &Container,
        probe: &Probe,
        ip: &str,
        id: ProbeId,
        was_ready: bool,
    ) -> Task {
        let loop_ = ProbeLoop {
            cx: self.cx.clone(),
            mailbox: self.mailbox.clone(),
            results: self.results.clone(),
            pod: pod.clone(),
            container: container.clone(),
            probe: probe.clone(),
            ip: ip.to_owned(),
            id,
            was_ready,
        };
        Task(tokio::spawn(loop_.run()))
    }
}

/// Containers that the API called ready when the worker began.
fn ready_before(pod: &Pod) -> BTreeSet<String> {
    let statuses = pod.status.iter().flat_map(|status| {
        status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
    });
    let ready = statuses.filter(|status| status.ready).filter_map(|s| s.container_id.as_deref());
    ready.filter_map(|id| id.split_once("://")).map(|(_, id)| id.to_owned()).collect()
}

/// The probes that run now: startup alone first, then the others.
fn due(container: &Container, started: bool) -> Vec<(ProbeKind, &Probe)> {
    let probes = if started {
        [
            (ProbeKind::Liveness, container.liveness_probe.as_ref()),
            (ProbeKind::Readiness, container.readiness_probe.as_ref()),
        ]
    } else {
        [(ProbeKind::Startup, container.startup_probe.as_ref()), (ProbeKind::Liveness, None)]
    };
    probes.into_iter().filter_map(|(kind, probe)| Some((kind, probe?))).collect()
}

struct ProbeLoop {
    cx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    results: Arc<Mutex<BTreeMap<ProbeId, bool>>>,
    pod: Pod,
    container: Container,
    probe: Probe,
    ip: String,
    id: ProbeId,
    was_ready: bool,
}

impl ProbeLoop {
    async fn run(self) {
        let count = |value: Option<i32>, default: i32| {
            u32::try_from(value.unwrap_or(default)).unwrap_or(1).max(1)
        };
        let period = Duration::from_secs(count(self.probe.period_seconds, PERIOD_DEFAULT).into());
        let success = count(self.probe.success_threshold, 1);
        let failure = count(self.probe.failure_threshold, FAILURES_DEFAULT);
        let delay = self.probe.initial_delay_seconds.unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(u64::try_from(delay).unwrap_or_default())).await;
        if self.was_ready {
            // After a restart of the agent all probes would run at once.
            let spread = rand::rng().random_range(0.0..1.0);
            tokio::time::sleep(period.mul_f64(spread)).await;
        }
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut streak = Streak::default();
        loop {
            ticks.tick().await;
            let healthy = self.once().await;
            if let Some(verdict) = streak.count(healthy, success, failure) {
                let before = self.results.lock().insert(self.id.clone(), verdict);
                if before != Some(verdict) {
                    self.mailbox.nudge();
                }
                let finished = match self.id.1 {
                    ProbeKind::Startup => true,
                    ProbeKind::Liveness => !verdict,
                    ProbeKind::Readiness => false,
                };
                if finished {
                    return;
                }
            }
        }
    }

    async fn once(&self) -> bool {
        let (id, kind) = &self.id;
        let target = Target { container: &self.container, id, pod_ip: &self.ip };
        let event = |reason, message| {
            let recorder = &self.cx.recorder;
            let name = &self.container.name;
            recorder.container(&self.pod, name, EventType::Warning, reason, message);
        };
        let kind = kind.name();
        match attempt(&self.cx, target, &self.probe).await {
            Outcome::Healthy => true,
            Outcome::Warning(why) => {
                event("ProbeWarning", format!("{kind} probe warning: {why}"));
                true
            }
            Outcome::Unhealthy(why) => {
                event("Unhealthy", format!("{kind} probe failed: {why}"));
                false
            }
            Outcome::Error(why) => {
                let words = "probe errored and resulted in failure state";
                event("Unhealthy", format!("{kind} {words}: {why}"));
                false
            }
        }
    }
}
