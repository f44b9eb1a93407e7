//! The worker of one pod: looks at the runtime, plans, takes one step at a time in the background, and reports.
//!
//! Whatever wakes it, a pass does the same; nothing in a pass waits for an image, a hook or a container's end.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::back_off::{BackOff, INITIAL, Nanos, nanos};
use super::kill::{Victim, grace_seconds, kill_container};
use super::lookup::{
    container_spec, init_containers, is_terminal, name_of, namespace_of, pod_desc,
    restartable_init, uid_of,
};
use super::mailbox::Mailbox;
use super::observe::{ContainerState, Observed};
use super::plan::{Hold, KillReason, Memory, Plan, Step, Waiting, plan, retry_at, usable_sandbox};
use super::references::references;
use super::resources::pod_cgroup;
use super::sandbox::{create_sandbox, remove_container, remove_sandboxes, stop_sandboxes};
use super::start::{StartFailure, StartInput, start_container};
use super::status::{StatusInput, pod_status};
use super::status_patch::{merged, status_patch};
use super::termination_message::fill_messages;
use crate::agent::{Context, EventType};
use crate::probes::Prober;
use crate::volumes::{self, Mounted};

/// A step of the pod itself that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(2);
/// The first wait for volumes that cannot be mounted; doubles up to `VOLUME_RETRY_MAX`.
const VOLUME_RETRY: Duration = Duration::from_millis(500);
const VOLUME_RETRY_MAX: Duration = Duration::from_secs(122);
/// How long `ErrImagePull` shows before it is `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(3);
/// How long a step may run before the pod is looked at meanwhile.
const STEP_QUIET: Duration = Duration::from_secs(2);
/// No answer of the API server is waited for longer.
const API_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Containers are being ended.
    Ending,
    /// Nothing runs; volumes are gone.
    Ended,
}

/// What a background task did.
enum Done {
    Volumes(Result<Mounted, volumes::MountFailure>),
    Sandbox(Result<(), String>),
    Stopped(Result<(), String>),
    Started { name: String, result: Result<String, StartFailure> },
    Killed { id: String, result: Result<(), String> },
}

struct RunningStep {
    id: Id,
    cancel: CancellationToken,
    since: Instant,
}

struct Kill {
    grace_seconds: i64,
    task: AbortHandle,
}

struct PullBackOff {
    back_off: BackOff,
    image: String,
    error: String,
    shown: bool,
}

/// Whether the worker goes on.
enum Next {
    Wait(Option<Duration>),
    Gone,
}

/// See the module.
pub(crate) struct Worker {
    cx: Arc<Context>,
    pod: Arc<Pod>,
    mailbox: Arc<Mailbox>,
    memory: Memory,
    waiting: BTreeMap<String, Waiting>,
    unready: BTreeSet<String>,
    pull_back_offs: BTreeMap<String, PullBackOff>,
    stage: Stage,
    vanished: bool,
    /// Reason and message when the agent itself ends the pod.
    failure: Option<(String, String)>,
    step: Option<RunningStep>,
    kills: BTreeMap<String, Kill>,
    tasks: JoinSet<Done>,
    prober: Prober,
    volumes: Arc<BTreeMap<String, PathBuf>>,
    volumes_mounted: bool,
    volume_retry: Duration,
    refresh_at: Option<Nanos>,
    sandboxes_stopped: bool,
}

impl Worker {
    /// A worker of a pod; `vanished` when the API no longer knows it.
    pub(crate) fn new(cx: Arc<Context>, pod: Arc<Pod>, vanished: bool) -> Self {
        let mailbox = cx.mailboxes.open(uid_of(&pod));
        let prober = Prober::new(cx.clone(), mailbox.clone());
        if !vanished {
            cx.objects.follow(uid_of(&pod), &references(&pod));
        }
        Self {
            cx,
            pod,
            mailbox,
            memory: Memory::default(),
            waiting: BTreeMap::new(),
            unready: BTreeSet::new(),
            pull_back_offs: BTreeMap::new(),
            stage: Stage::Running,
            vanished,
            failure: None,
            step: None,
            kills: BTreeMap::new(),
            tasks: JoinSet::new(),
            prober,
            volumes: Arc::default(),
            volumes_mounted: false,
            volume_retry: VOLUME_RETRY,
            refresh_at: None,
            sandboxes_stopped: false,
        }
    }

    /// Works until the pod is gone from here and from the API.
    pub(crate) async fn run(mut self) {
        loop {
            self.take_mail();
            let wake = match self.pass().await {
                Ok(Next::Wait(wake)) => wake,
                Ok(Next::Gone) => break,
                Err(error) => {
                    tracing::warn!(%error, pod = pod_desc(&self.pod), "runtime");
                    Some(RETRY)
                }
            };
            let sleep = async {
                match wake {
                    Some(wake) => tokio::time::sleep(wake).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.mailbox.rung() => {}
                Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.finish(done);
                }
                () = sleep => {}
            }
        }
        self.cx.objects.follow(uid_of(&self.pod), &BTreeSet::new());
        self.cx.tokens.forget(uid_of(&self.pod));
    }

    fn take_mail(&mut self) {
        let mail = self.mailbox.take();
        if let Some(pod) = mail.pod {
            let ours = self.pod.status.clone().unwrap_or_default();
            let metadata_changed = pod.metadata.labels != self.pod.metadata.labels
                || pod.metadata.annotations != self.pod.metadata.annotations;
            let mut pod = (*pod).clone();
            if ours.start_time.is_some() {
                // The watch may be behind what this worker wrote; others' conditions are theirs.
                let theirs = pod.status.take().unwrap_or_default();
                pod.status = Some(merged(&theirs, &own_part(&ours)));
            }
            self.pod = Arc::new(pod);
            self.cx.objects.follow(uid_of(&self.pod), &references(&self.pod));
            if metadata_changed {
                self.memory.volumes_ready = false;
            }
        }
        self.vanished |= mail.vanished;
        if mail.objects_changed {
            self.memory.volumes_ready = false;
            self.memory.pod_hold = None;
            self.memory.holds.retain(|_, hold| {
                hold.waiting.as_ref().is_none_or(|w| w.reason != "CreateContainerConfigError")
            });
        }
    }

    async fn pass(&mut self) -> Result<Next, tonic::Status> {
        if let Some(left) = self.soon_done() {
            return Ok(Next::Wait(Some(left)));
        }
        let mut observed = Observed::ask(&self.cx.cri, uid_of(&self.pod)).await?;
        fill_messages(&mut observed);
        let now = now_nanos();
        let ends = self.stage != Stage::Running;
        let verdict = self.prober.reconcile(&self.pod, &observed, ends);
        self.memory.started = verdict.started;
        self.memory.unhealthy = verdict.unhealthy;
        self.unready = verdict.unready;
        let mut wake = None;
        if self.stage == Stage::Running {
            match self.advance(&observed, now) {
                Some(plan) => wake = plan.wake_at,
                None => self.begin_end(),
            }
        }
        if self.stage == Stage::Ending {
            self.end(&observed);
        }
        if self.stage == Stage::Ended {
            return Ok(self.ended(&observed).await);
        }
        let reported = self.report(&observed).await;
        let mut wait = wake.map(|at| until(now, at));
        if !reported {
            wait = Some(wait.map_or(RETRY, |wait| wait.min(RETRY)));
        }
        for at in self.refresh_at.iter().chain(self.deadline().iter()) {
            let left = until(now, *at);
            wait = Some(wait.map_or(left, |wait| wait.min(left)));
        }
        Ok(Next::Wait(wait))
    }

    /// A step that has just begun is waited for: what it does half would be looked at and reported in vain.
    fn soon_done(&self) -> Option<Duration> {
        let step = self.step.as_ref().filter(|_| self.stage == Stage::Running)?;
        if self.vanished || self.pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        STEP_QUIET.checked_sub(step.since.elapsed()).filter(|left| !left.is_zero())
    }

    /// One pass over a pod that shall run; none when it shall not any more.
    fn advance(&mut self, observed: &Observed, now: Nanos) -> Option<Plan> {
        if self.deadline().is_some_and(|at| at <= now) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.cx.recorder.pod(&self.pod, EventType::Normal, "DeadlineExceeded", message.into());
            self.failure = Some(("DeadlineExceeded".into(), message.into()));
        }
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        if self.vanished || deleted || self.failure.is_some() || is_terminal(&self.pod) {
            return None;
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.memory.volumes_ready = false;
        }
        self.show_pull_back_offs(now);
        let max = self.cx.config.max_container_restart_period;
        let mut plan = plan(&self.pod, observed, &self.memory, now, max);
        if plan.finished {
            return None;
        }
        self.tell_back_offs(&plan);
        self.waiting = plan.waiting.clone();
        for kill in &plan.kill {
            let spec = container_spec(&self.pod, &kill.name);
            let grace = grace_seconds(&self.pod, spec, kill.reason);
            self.spawn_kill(observed, &kill.id, &kill.name, grace, Some(kill.message.clone()));
        }
        for id in std::mem::take(&mut plan.remove) {
            let cx = self.cx.clone();
            // Nobody waits for it: what is left is found again by the next plan.
            tokio::spawn(async move { remove_container(&cx, &id).await });
        }
        if self.step.is_none()
            && let Some(step) = plan.step.clone()
            && !self.being_killed(&step, observed)
        {
            self.spawn_step(step, observed, now);
        }
        if let Some(at) = self.next_pull_change(now) {
            plan.wake_at = Some(plan.wake_at.map_or(at, |wake| wake.min(at)));
        }
        Some(plan)
    }

    /// A container is not started while its last run is still being ended.
    fn being_killed(&self, step: &Step, observed: &Observed) -> bool {
        let Step::StartContainer { name, .. } = step else { return false };
        observed.containers.iter().any(|c| c.name == *name && self.kills.contains_key(&c.id))
    }

    fn spawn_step(&mut self, step: Step, observed: &Observed, now: Nanos) {
        let (cx, pod) = (self.cx.clone(), self.pod.clone());
        let cancel = CancellationToken::new();
        let handle = match step {
            Step::MountVolumes => {
                let ips = observed.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default();
                self.tasks.spawn(async move {
                    Done::Volumes(volumes::mount_all(&cx, &pod, &cx.facts(ips)).await)
                })
            }
            Step::StopSandboxes => {
                if !observed.sandboxes.is_empty() {
                    let words = "Pod sandbox changed, it will be killed and re-created.";
                    cx.recorder.pod(&pod, EventType::Normal, "SandboxChanged", words.into());
                }
                let observed = observed.clone();
                self.tasks.spawn(async move { Done::Stopped(stop_sandboxes(&cx, &observed).await) })
            }
            Step::CreateSandbox { attempt } => {
                if attempt > 0 && !self.sandboxes_stopped {
                    // A dead sandbox may still hold its network.
                    self.sandboxes_stopped = true;
                    return self.spawn_step(Step::StopSandboxes, observed, now);
                }
                self.sandboxes_stopped = false;
                self.tasks
                    .spawn(async move { Done::Sandbox(create_sandbox(&cx, &pod, attempt).await) })
            }
            Step::StartContainer { name, restart_count } => {
                let Some(container) = container_spec(&pod, &name).cloned() else { return };
                let Some(sandbox) = usable_sandbox(&pod, observed) else { return };
                if let Some(last) = observed.latest(&name)
                    && last.state == ContainerState::Exited
                {
                    let max = self.cx.config.max_container_restart_period;
                    let before = self.memory.back_offs.get(&name).copied();
                    let next = BackOff::next(before, last.finished_at, now, max);
                    self.memory.back_offs.insert(name.clone(), next);
                }
                let known = pod.status.iter().flat_map(|s| {
                    s.container_statuses.iter().chain(&s.init_container_statuses).flatten()
                });
                let known =
                    known.into_iter().find(|s| s.name == name && observed.latest(&name).is_none());
                let input = StartInput {
                    container,
                    restart_count: known.map_or(restart_count, |s| {
                        let ran = s.state.as_ref().is_some_and(|s| s.waiting.is_none());
                        s.restart_count.max(restart_count) + i32::from(ran)
                    }),
                    sandbox_id: sandbox.id.clone(),
                    sandbox_attempt: sandbox.attempt,
                    pod_ips: self.pod_ips(observed),
                    volumes: self.volumes.clone(),
                    cancel: cancel.clone(),
                    pod,
                };
                self.tasks.spawn(async move {
                    Done::Started { result: start_container(&cx, &input).await, name }
                })
            }
        };
        self.step = Some(RunningStep { id: handle.id(), cancel, since: Instant::now() });
    }

    fn pod_ips(&self, observed: &Observed) -> Vec<String> {
        let sandbox = observed.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default();
        if sandbox.is_empty() {
            return self.cx.config.node_ips.iter().map(ToString::to_string).collect();
        }
        sandbox
    }

    fn spawn_kill(
        &mut self,
        observed: &Observed,
        id: &str,
        name: &str,
        grace_seconds: i64,
        message: Option<String>,
    ) {
        let mut message = message;
        if let Some(kill) = self.kills.get(id) {
            if kill.grace_seconds <= grace_seconds {
                return;
            }
            kill.task.abort();
            message = None;
        }
        let victim = Victim {
            id: id.to_owned(),
            name: name.to_owned(),
            pod_ip: self.pod_ips(observed).into_iter().next(),
            grace_seconds,
            message,
        };
        let (cx, pod) = (self.cx.clone(), self.pod.clone());
        let task = self.tasks.spawn(async move {
            let spec = container_spec(&pod, &victim.name);
            let result = kill_container(&cx, &pod, spec, &victim).await;
            Done::Killed { id: victim.id, result }
        });
        self.kills.insert(id.to_owned(), Kill { grace_seconds, task });
    }

    fn finish(&mut self, done: Result<(Id, Done), JoinError>) {
        let now = now_nanos();
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        if self.step.as_ref().is_some_and(|step| step.id == id) {
            self.step = None;
        }
        let done = match done {
            Ok((_, done)) => done,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, pod = pod_desc(&self.pod), "a step panicked");
                self.kills.retain(|_, kill| kill.task.id() != id);
                self.memory.pod_hold = Some(retry_at(now, INITIAL));
                return;
            }
        };
        match done {
            Done::Volumes(result) => self.volumes_done(result, now),
            Done::Sandbox(Ok(())) => {}
            Done::Sandbox(Err(why)) => {
                tracing::warn!(why, pod = pod_desc(&self.pod), "sandbox not made");
                self.memory.pod_hold = Some(retry_at(now, INITIAL));
            }
            Done::Stopped(result) => {
                self.sandboxes_stopped = result.is_ok();
                if let Err(why) = result {
                    tracing::warn!(why, pod = pod_desc(&self.pod), "sandbox not stopped");
                    self.memory.pod_hold = Some(retry_at(now, RETRY));
                }
            }
            Done::Started { name, result } => self.started(name, result, now),
            Done::Killed { id, result } => {
                self.kills.remove(&id);
                if let Err(why) = result {
                    tracing::warn!(why, id, "container not ended");
                }
            }
        }
    }

    fn volumes_done(&mut self, result: Result<Mounted, volumes::MountFailure>, now: Nanos) {
        match result {
            Ok(mounted) => {
                self.memory.volumes_ready = true;
                self.volumes_mounted = true;
                self.memory.pod_hold = None;
                self.volume_retry = VOLUME_RETRY;
                self.refresh_at = mounted.refresh_at.map(to_nanos);
                self.volumes = Arc::new(mounted.paths);
            }
            Err(failure) => {
                self.cx.recorder.pod(
                    &self.pod,
                    EventType::Warning,
                    "FailedMount",
                    failure.to_string(),
                );
                // Volumes that were mounted stay as they are; what failed is the update.
                self.memory.volumes_ready = self.volumes_mounted;
                if self.volumes_mounted {
                    self.refresh_at = Some(retry_at(now, INITIAL));
                } else {
                    self.memory.pod_hold = Some(retry_at(now, self.volume_retry));
                }
                self.volume_retry = (self.volume_retry * 2).min(VOLUME_RETRY_MAX);
            }
        }
    }

    fn started(&mut self, name: String, result: Result<String, StartFailure>, now: Nanos) {
        let image = container_spec(&self.pod, &name).and_then(|c| c.image.clone());
        match result {
            Ok(_) => {
                self.memory.holds.remove(&name);
                self.waiting.remove(&name);
                self.pull_back_offs.remove(&name);
            }
            Err(failure) if failure.pull_failed => {
                let max = self.cx.config.max_container_restart_period;
                let before = self.pull_back_offs.get(&name).map(|p| p.back_off);
                let back_off = BackOff::next(before, now, now, max);
                let until = retry_at(now, back_off.delay);
                let error = format!("{}: {}", failure.waiting.reason, failure.waiting.message);
                let image = image.unwrap_or_default();
                self.pull_back_offs
                    .insert(name.clone(), PullBackOff { back_off, image, error, shown: false });
                self.memory.holds.insert(name, Hold { until, waiting: Some(failure.waiting) });
            }
            Err(failure) => {
                let hold = Hold { until: retry_at(now, INITIAL), waiting: Some(failure.waiting) };
                self.memory.holds.insert(name, hold);
            }
        }
    }

    /// `ErrImagePull` becomes `ImagePullBackOff` while the next pull is waited for.
    fn show_pull_back_offs(&mut self, now: Nanos) {
        for (name, pull) in &mut self.pull_back_offs {
            let due = pull.back_off.updated_at.saturating_add(nanos(PULL_ERROR_SHOWN));
            if pull.shown || due > now {
                continue;
            }
            pull.shown = true;
            let back_off = format!("Back-off pulling image \"{}\"", pull.image);
            let message = format!("{back_off}: {}", pull.error);
            if let Some(hold) = self.memory.holds.get_mut(name) {
                hold.waiting = Some(Waiting { reason: "ImagePullBackOff", message });
                let recorder = &self.cx.recorder;
                recorder.container(&self.pod, name, EventType::Normal, "BackOff", back_off);
                let words = "Error: ImagePullBackOff".to_owned();
                recorder.container(&self.pod, name, EventType::Warning, "Failed", words);
            }
        }
    }

    fn next_pull_change(&self, now: Nanos) -> Option<Nanos> {
        let waiting = self.pull_back_offs.values().filter(|p| !p.shown);
        let due = waiting.map(|p| p.back_off.updated_at.saturating_add(nanos(PULL_ERROR_SHOWN)));
        due.min().map(|at| at.max(now))
    }

    /// The event of a back-off is written once for each wait.
    fn tell_back_offs(&self, plan: &Plan) {
        for (name, waiting) in &plan.waiting {
            if waiting.reason == "CrashLoopBackOff" && self.waiting.get(name) != Some(waiting) {
                let message = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    pod_desc(&self.pod)
                );
                self.cx.recorder.container(&self.pod, name, EventType::Warning, "BackOff", message);
            }
        }
    }

    fn deadline(&self) -> Option<Nanos> {
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let start = self.pod.status.as_ref()?.start_time.as_ref()?;
        let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        (self.stage == Stage::Running).then(|| to_nanos(start.0).saturating_add(nanos(allowed)))
    }

    fn begin_end(&mut self) {
        self.stage = Stage::Ending;
        self.sandboxes_stopped = false;
        self.waiting.clear();
        if let Some(step) = &self.step {
            step.cancel.cancel();
        }
    }

    /// One pass over a pod that ends: the containers, sidecars after the others, then the sandbox.
    fn end(&mut self, observed: &Observed) {
        if self.step.is_some() {
            return;
        }
        let sidecars: Vec<&str> = init_containers(&self.pod)
            .iter()
            .filter(|c| restartable_init(c))
            .map(|c| c.name.as_str())
            .collect();
        let (side, main): (Vec<_>, Vec<_>) =
            observed.running().partition(|c| sidecars.contains(&c.name.as_str()));
        let next = if main.is_empty() {
            // In reverse order of their start.
            let last = sidecars.iter().rev().find_map(|name| side.iter().find(|c| c.name == *name));
            last.copied().into_iter().collect()
        } else {
            main
        };
        if next.is_empty() {
            if !self.kills.is_empty() {
                return;
            }
            if self.sandboxes_stopped || observed.sandboxes.is_empty() {
                self.stage = Stage::Ended;
            } else {
                self.spawn_stop(observed);
            }
            return;
        }
        let victims: Vec<(String, String)> =
            next.iter().map(|c| (c.id.clone(), c.name.clone())).collect();
        for (id, name) in victims {
            let spec = container_spec(&self.pod, &name);
            let grace = grace_seconds(&self.pod, spec, KillReason::PodEnds);
            let message = format!("Stopping container {name}");
            self.spawn_kill(observed, &id, &name, grace, Some(message));
        }
    }

    fn spawn_stop(&mut self, observed: &Observed) {
        let (cx, observed) = (self.cx.clone(), observed.clone());
        let handle =
            self.tasks.spawn(async move { Done::Stopped(stop_sandboxes(&cx, &observed).await) });
        let cancel = CancellationToken::new();
        self.step = Some(RunningStep { id: handle.id(), cancel, since: Instant::now() });
    }

    /// Nothing runs: tear down, report the end, and when the pod is deleted remove every trace.
    async fn ended(&mut self, observed: &Observed) -> Next {
        let dir = self.cx.config.pod_dir(uid_of(&self.pod));
        if let Err(error) = volumes::tear_down(&dir) {
            tracing::warn!(%error, pod = pod_desc(&self.pod), "volumes not removed");
            return Next::Wait(Some(RETRY));
        }
        if !self.vanished && !self.report(observed).await {
            return Next::Wait(Some(RETRY));
        }
        if !self.vanished && self.pod.metadata.deletion_timestamp.is_none() {
            return Next::Wait(None);
        }
        if let Err(why) = remove_sandboxes(&self.cx, observed).await {
            tracing::warn!(why, pod = pod_desc(&self.pod), "sandbox not removed");
            return Next::Wait(Some(RETRY));
        }
        self.cx.cgroups.remove_pod(&pod_cgroup(&self.cx.config.cgroup_root, &self.pod));
        let (namespace, name) = (namespace_of(&self.pod), name_of(&self.pod));
        let logs = self.cx.config.pod_log_dir(namespace, name, uid_of(&self.pod));
        for folder in [dir, logs] {
            if let Err(error) = tokio::fs::remove_dir_all(&folder).await
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, folder = %folder.display(), "not removed");
            }
        }
        if self.vanished || self.delete().await { Next::Gone } else { Next::Wait(Some(RETRY)) }
    }

    /// The last word: the object goes, now that nothing of it is left here.
    async fn delete(&self) -> bool {
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), namespace_of(&self.pod));
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod.metadata.uid.clone(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let deleted = api.delete(name_of(&self.pod), &params);
        match tokio::time::timeout(API_TIMEOUT, deleted).await {
            Ok(Ok(_)) => true,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, pod = pod_desc(&self.pod), "pod not deleted");
                false
            }
            Err(_) => false,
        }
    }

    /// Brings the API's status up to date; whether it is.
    async fn report(&mut self, observed: &Observed) -> bool {
        if self.vanished {
            return true;
        }
        let status = pod_status(&StatusInput {
            pod: &self.pod,
            observed,
            waiting: &self.waiting,
            started: &self.memory.started,
            unready: &self.unready,
            runtime: &self.cx.runtime_name,
            node_ips: &self.cx.config.node_ips,
            now: Timestamp::now(),
            ends: self.stage != Stage::Running,
            ended: self.stage == Stage::Ended,
            failure: self.failure.as_ref(),
        });
        let Some(patch) = status_patch(&self.pod, &status) else { return true };
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), namespace_of(&self.pod));
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let sent = api.patch_status(name_of(&self.pod), &params, &patch);
        match tokio::time::timeout(API_TIMEOUT, sent).await {
            Ok(Ok(_)) => {
                let mut pod = (*self.pod).clone();
                let old = pod.status.take().unwrap_or_default();
                pod.status = Some(merged(&old, &status));
                self.pod = Arc::new(pod);
                true
            }
            // The pod is gone, or another of its name is there: the watch will say so.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, pod = pod_desc(&self.pod), "status not written");
                false
            }
            Err(_) => false,
        }
    }
}

/// The conditions that the agent owns.
const OWN_CONDITIONS: &[&str] =
    &["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

fn own_part(status: &PodStatus) -> PodStatus {
    let mut own = status.clone();
    if let Some(conditions) = &mut own.conditions {
        conditions.retain(|c| OWN_CONDITIONS.contains(&c.type_.as_str()));
    }
    own
}

fn now_nanos() -> Nanos {
    to_nanos(Timestamp::now())
}

fn to_nanos(time: Timestamp) -> Nanos {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn until(now: Nanos, at: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(at.saturating_sub(now)).unwrap_or_default())
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
