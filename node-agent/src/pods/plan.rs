//! Compares a pod that shall run with what the runtime has, and says what to do next. Pure: no rule of the worker's is elsewhere.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::back_off::{BackOff, Nanos, go_duration, nanos};
use super::container::hash_of;
use super::lookup::{
    app_containers, host_network, init_containers, pod_desc, restart_policy, restartable_init,
    restarts,
};
use super::observe::{ContainerState, Observed, ObservedContainer, ObservedSandbox};

/// Dead containers of one name that are kept, for `lastState` and `logs --previous`.
const DEAD_KEPT: usize = 1;

/// Why a container waits, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// A container, the sandbox or the volumes failed: what the status says meanwhile, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) until: Nanos,
    pub(crate) waiting: Option<Waiting>,
}

/// What the worker remembers between two plans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) volumes_ready: bool,
    /// By container name.
    pub(crate) back_offs: BTreeMap<String, BackOff>,
    /// By container name.
    pub(crate) holds: BTreeMap<String, Hold>,
    /// Of volumes and sandbox.
    pub(crate) pod_hold: Option<Nanos>,
    /// Containers that failed a probe for good, by id.
    pub(crate) unhealthy: BTreeMap<String, Unhealthy>,
    /// Containers whose startup is finished, by id.
    pub(crate) started: BTreeSet<String>,
}

/// Which probe condemned a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unhealthy {
    Liveness,
    Startup,
}

/// Why a container is killed; decides its grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillReason {
    PodEnds,
    Changed,
    Liveness,
    Startup,
}

/// The one step forward that is due; steps are taken one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The sandbox is gone or not the wanted one: end what is left of it.
    StopSandboxes,
    MountVolumes,
    CreateSandbox {
        attempt: u32,
    },
    StartContainer {
        name: String,
        restart_count: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) reason: KillReason,
    pub(crate) message: String,
}

/// What is due now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) step: Option<Step>,
    pub(crate) kill: Vec<Kill>,
    /// Dead containers that nobody looks at any more, by id.
    pub(crate) remove: Vec<String>,
    /// Containers that wait, by name.
    pub(crate) waiting: BTreeMap<String, Waiting>,
    /// When to plan again if nothing happens before.
    pub(crate) wake_at: Option<Nanos>,
    /// Nothing runs and nothing will: the pod ended by itself.
    pub(crate) finished: bool,
}

/// What to do for a pod that shall run. Idempotent; may be asked at any time.
pub(crate) fn plan(
    pod: &Pod,
    observed: &Observed,
    memory: &Memory,
    now: Nanos,
    back_off_max: Duration,
) -> Plan {
    let mut planner = Planner { pod, observed, memory, now, back_off_max, plan: Plan::default() };
    planner.run();
    planner.plan.remove = superseded(observed);
    planner.plan
}

struct Planner<'a> {
    pod: &'a Pod,
    observed: &'a Observed,
    memory: &'a Memory,
    now: Nanos,
    back_off_max: Duration,
    plan: Plan,
}

/// How far the init containers are.
enum Init {
    Done,
    Waits,
    Failed,
}

impl Planner<'_> {
    fn run(&mut self) {
        match usable_sandbox(self.pod, self.observed) {
            Some(sandbox) => self.with_sandbox(&sandbox.id),
            None => self.without_sandbox(),
        }
    }

    fn without_sandbox(&mut self) {
        let newest = self.observed.sandboxes.first();
        let ran = app_containers(self.pod).iter().any(|c| self.observed.latest(&c.name).is_some());
        if newest.is_some() && !self.observed.containers.is_empty() {
            let anything_left = app_containers(self.pod).iter().any(|container| {
                self.observed.latest(&container.name).is_none_or(|last| {
                    last.state != ContainerState::Exited
                        || restarts(self.pod, container, last.exit_code)
                })
            });
            let never = restart_policy(self.pod) == "Never";
            if never || (ran && !anything_left) {
                self.plan.finished = true;
                return;
            }
        }
        if self.held(self.memory.pod_hold) {
            return;
        }
        let leftovers = self.observed.running().next().is_some()
            || self.observed.sandboxes.iter().any(|s| s.ready);
        let step = if leftovers {
            Step::StopSandboxes
        } else if !self.memory.volumes_ready {
            Step::MountVolumes
        } else {
            Step::CreateSandbox { attempt: newest.map_or(0, |s| s.attempt + 1) }
        };
        self.plan.step = Some(step);
    }

    fn with_sandbox(&mut self, sandbox: &str) {
        if !self.memory.volumes_ready && !self.held(self.memory.pod_hold) {
            // After a restart of the agent too: what the volumes hold is kept up to date from here on.
            self.plan.step = Some(Step::MountVolumes);
        }
        match self.init(sandbox) {
            Init::Done => self.apps(sandbox),
            Init::Waits => {}
            Init::Failed => self.plan.finished = self.observed.running().next().is_none(),
        }
    }

    fn init(&mut self, sandbox: &str) -> Init {
        let pod = self.pod;
        let initialized = app_containers(pod)
            .iter()
            .any(|c| self.observed.latest(&c.name).is_some_and(|o| o.sandbox == sandbox));
        for container in init_containers(pod) {
            let last = self.observed.latest(&container.name).filter(|c| c.sandbox == sandbox);
            if restartable_init(container) {
                match last {
                    Some(last) if last.state == ContainerState::Running => {
                        if self.condemn(container, last) {
                            return if initialized { continue } else { Init::Waits };
                        }
                        if !initialized && !self.memory.started.contains(&last.id) {
                            return Init::Waits;
                        }
                    }
                    last => {
                        self.start(container, last);
                        if !initialized {
                            return Init::Waits;
                        }
                    }
                }
                continue;
            }
            if initialized {
                continue;
            }
            match last {
                Some(last) if last.state == ContainerState::Running => {
                    self.condemn(container, last);
                    return Init::Waits;
                }
                Some(last) if last.state == ContainerState::Exited => {
                    if last.exit_code == 0 {
                        continue;
                    }
                    if !restarts(pod, container, last.exit_code) {
                        return Init::Failed;
                    }
                    self.start(container, Some(last));
                    return Init::Waits;
                }
                last => {
                    self.start(container, last);
                    return Init::Waits;
                }
            }
        }
        Init::Done
    }

    fn apps(&mut self, sandbox: &str) {
        let mut kept = 0;
        for container in app_containers(self.pod) {
            let last = self.observed.latest(&container.name);
            match last {
                Some(last) if last.state == ContainerState::Running => {
                    let restarts_after = restart_policy(self.pod) != "Never";
                    if last.sandbox == sandbox && (!self.condemn(container, last) || restarts_after)
                    {
                        kept += 1;
                    }
                }
                Some(last) if last.state == ContainerState::Exited => {
                    if restarts(self.pod, container, last.exit_code) {
                        kept += 1;
                        self.start(container, Some(last));
                    }
                }
                last => {
                    kept += 1;
                    self.start(container, last);
                }
            }
        }
        if kept == 0 && self.plan.kill.is_empty() {
            self.plan.finished = true;
            // Sidecars are not restarted for a pod whose work is done.
            self.plan.step = None;
        }
    }

    /// Plans the start of a container that does not run, unless it has to wait.
    fn start(&mut self, container: &Container, last: Option<&ObservedContainer>) {
        let name = &container.name;
        let exited = last.filter(|l| l.state == ContainerState::Exited);
        if let (Some(last), Some(back_off)) = (exited, self.memory.back_offs.get(name)) {
            let until = back_off.until(last.finished_at, self.now, self.back_off_max);
            if self.held(until) {
                let message = format!(
                    "back-off {} restarting failed container={name} pod={}",
                    go_duration(back_off.delay),
                    pod_desc(self.pod)
                );
                let waiting = Waiting { reason: "CrashLoopBackOff", message };
                self.plan.waiting.insert(name.clone(), waiting);
                return;
            }
        }
        if let Some(hold) = self.memory.holds.get(name) {
            if let Some(waiting) = &hold.waiting {
                self.plan.waiting.insert(name.clone(), waiting.clone());
            }
            if self.held(Some(hold.until)) {
                return;
            }
        }
        if self.plan.step.is_none() && self.memory.volumes_ready {
            let restart_count = last.map_or(0, |last| last.restart_count + 1);
            self.plan.step = Some(Step::StartContainer { name: name.clone(), restart_count });
        }
    }

    /// Plans the end of a running container that is not to run on as it is.
    fn condemn(&mut self, container: &Container, running: &ObservedContainer) -> bool {
        let changed = !running.hash.is_empty() && running.hash != hash_of(container);
        let (reason, what) = match self.memory.unhealthy.get(&running.id) {
            _ if changed => (KillReason::Changed, "definition changed"),
            Some(Unhealthy::Liveness) => (KillReason::Liveness, "failed liveness probe"),
            Some(Unhealthy::Startup) => (KillReason::Startup, "failed startup probe"),
            None => return false,
        };
        let restarts = changed || restart_policy(self.pod) != "Never";
        let tail = if restarts { ", will be restarted" } else { "" };
        self.plan.kill.push(Kill {
            id: running.id.clone(),
            name: container.name.clone(),
            reason,
            message: format!("Container {} {what}{tail}", container.name),
        });
        true
    }

    fn held(&mut self, until: Option<Nanos>) -> bool {
        let Some(until) = until.filter(|until| *until > self.now) else { return false };
        self.plan.wake_at = Some(self.plan.wake_at.map_or(until, |at| at.min(until)));
        true
    }
}

/// The newest sandbox if it is the only ready one, with an address unless the pod is on the host's network.
pub(crate) fn usable_sandbox<'a>(pod: &Pod, observed: &'a Observed) -> Option<&'a ObservedSandbox> {
    let newest = observed.ready_sandbox()?;
    let alone = observed.sandboxes.iter().filter(|s| s.ready).count() == 1;
    (alone && (host_network(pod) || !newest.ips.is_empty())).then_some(newest)
}

fn superseded(observed: &Observed) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut remove = Vec::new();
    for container in &observed.containers {
        let count = seen.entry(&container.name).or_default();
        if *count > DEAD_KEPT && container.state != ContainerState::Running {
            remove.push(container.id.clone());
        }
        *count += 1;
    }
    remove
}

/// When a step that failed is tried again.
pub(crate) fn retry_at(now: Nanos, after: Duration) -> Nanos {
    now.saturating_add(nanos(after))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
