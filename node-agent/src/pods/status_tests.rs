//! Tests of `status`.

use super::*;
use crate::pods::observe::ObservedSandbox;
use serde_json::json;

fn pod(spec: serde_json::Value, status: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
        "spec": spec,
        "status": status,
    }))
    .unwrap()
}

fn one(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}), json!({}))
}

fn observed(containers: Vec<ObservedContainer>) -> Observed {
    let sandbox = ObservedSandbox {
        id: "s".into(),
        ready: true,
        ips: vec!["10.1.0.2".into()],
        ..Default::default()
    };
    Observed { sandboxes: vec![sandbox], containers }
}

fn container(name: &str, state: ContainerState, exit_code: i32) -> ObservedContainer {
    ObservedContainer {
        id: name.into(),
        name: name.into(),
        sandbox: "s".into(),
        state,
        exit_code,
        started_at: 1_700_000_000_000_000_000,
        ..Default::default()
    }
}

struct Case {
    waiting: BTreeMap<String, Waiting>,
    started: BTreeSet<String>,
    unready: BTreeSet<String>,
    ends: bool,
    ended: bool,
}

impl Default for Case {
    fn default() -> Self {
        let started = ["a", "b", "c", "d"].map(str::to_owned).into();
        Self {
            waiting: BTreeMap::new(),
            started,
            unready: BTreeSet::new(),
            ends: false,
            ended: false,
        }
    }
}

impl Case {
    fn status(&self, pod: &Pod, observed: &Observed) -> PodStatus {
        pod_status(&StatusInput {
            pod,
            observed,
            waiting: &self.waiting,
            started: &self.started,
            unready: &self.unready,
            runtime: "keelson",
            node_ips: &["192.0.2.1".parse().unwrap()],
            now: Timestamp::from_second(1_700_000_100).unwrap(),
            ends: self.ends,
            ended: self.ended,
            failure: None,
        })
    }
}

fn condition_of(status: &PodStatus, type_: &str) -> PodCondition {
    status.conditions.iter().flatten().find(|c| c.type_ == type_).unwrap().clone()
}

fn state_of(status: &PodStatus) -> ApiState {
    status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap()
}

#[test]
fn a_pod_without_a_sandbox_is_pending_and_its_container_is_being_created() {
    let status = Case::default().status(&one("Always"), &Observed::default());
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(state_of(&status).waiting.unwrap().reason.as_deref(), Some("ContainerCreating"));
    assert_eq!(condition_of(&status, "PodReadyToStartContainers").status, "False");
    assert_eq!(condition_of(&status, "Initialized").status, "True");
    let ready = condition_of(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [c]"));
}

#[test]
fn a_running_pod_is_ready_with_its_addresses() {
    let running = observed(vec![container("c", ContainerState::Running, 0)]);
    let status = Case::default().status(&one("Always"), &running);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition_of(&status, "Ready").status, "True");
    assert_eq!(status.pod_ip.as_deref(), Some("10.1.0.2"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("keelson://c"));
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn an_unready_container_keeps_the_pod_from_being_ready() {
    let running = observed(vec![container("c", ContainerState::Running, 0)]);
    let case = Case { unready: ["c".to_owned()].into(), ..Default::default() };
    let status = case.status(&one("Always"), &running);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition_of(&status, "ContainersReady").status, "False");
}

#[test]
fn phases_of_ended_pods_follow_the_restart_policy() {
    let check = |policy, exit, phase: &str| {
        let ended = observed(vec![container("c", ContainerState::Exited, exit)]);
        let status = Case::default().status(&one(policy), &ended);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {exit}");
    };
    check("Always", 1, "Running");
    check("OnFailure", 1, "Running");
    check("OnFailure", 0, "Succeeded");
    check("Never", 0, "Succeeded");
    check("Never", 1, "Failed");
    let ended = observed(vec![container("c", ContainerState::Exited, 137)]);
    let status = Case { ends: true, ..Default::default() }.status(&one("Always"), &ended);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
}

#[test]
fn a_crash_loop_shows_the_wait_and_the_last_end() {
    let ended = observed(vec![container("c", ContainerState::Exited, 3)]);
    let waiting = Waiting { reason: "CrashLoopBackOff", message: "m".into() };
    let case = Case { waiting: [("c".to_owned(), waiting)].into(), ..Default::default() };
    let status = case.status(&one("Always"), &ended);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(state_of(&status).waiting.unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    let last = status.container_statuses.unwrap()[0].last_state.clone().unwrap();
    assert_eq!(last.terminated.unwrap().exit_code, 3);
}

#[test]
fn init_containers_hold_the_pod_pending() {
    let pod = pod(
        json!({"initContainers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "c"}]}),
        json!({}),
    );
    let running = observed(vec![
        container("b", ContainerState::Running, 0),
        container("a", ContainerState::Exited, 0),
    ]);
    let status = Case::default().status(&pod, &running);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(state_of(&status).waiting.unwrap().reason.as_deref(), Some("PodInitializing"));
    let initialized = condition_of(&status, "Initialized");
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [b]"));
    let first = &status.init_container_statuses.unwrap()[0];
    assert_eq!(
        first.state.clone().unwrap().terminated.unwrap().reason.as_deref(),
        Some("Completed")
    );
    assert!(first.ready);
}

#[test]
fn a_container_that_the_runtime_lost_is_unknown_and_counted() {
    let old = json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true,
        "restartCount": 2, "state": {"running": {}}}]});
    let pod = pod(json!({"containers": [{"name": "c", "image": "i"}]}), old);
    let status = Case::default().status(&pod, &observed(vec![]));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!(container.restart_count, 3);
    let last = container.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(last.reason.as_deref(), Some("ContainerStatusUnknown"));
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn transition_times_stay_while_nothing_changes() {
    let old = json!({"conditions": [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]});
    let pod = pod(json!({"containers": [{"name": "c"}]}), old);
    let running = observed(vec![container("c", ContainerState::Running, 0)]);
    let status = Case::default().status(&pod, &running);
    let time = condition_of(&status, "Ready").last_transition_time.unwrap();
    assert_eq!(time.0.to_string(), "2020-01-01T00:00:00Z");
}

#[test]
fn a_pod_that_ended_before_its_container_ran_has_failed() {
    let case = Case { ends: true, ended: true, ..Default::default() };
    let status = case.status(&one("Always"), &Observed::default());
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let state = state_of(&status).terminated.unwrap();
    assert_eq!(state.reason.as_deref(), Some("ContainerStatusUnknown"));
}
