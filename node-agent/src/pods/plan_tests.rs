//! Tests of `plan`.

use super::*;
use serde_json::json;

const SECOND: Nanos = 1_000_000_000;
const MAX: Duration = Duration::from_secs(300);

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": spec,
    }))
    .unwrap()
}

fn one(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}))
}

fn sandbox(ready: bool) -> ObservedSandbox {
    ObservedSandbox { id: "s".into(), ready, ips: vec!["10.0.0.1".into()], ..Default::default() }
}

fn container(name: &str, state: ContainerState, exit_code: i32) -> ObservedContainer {
    ObservedContainer {
        id: format!("{name}-0"),
        name: name.into(),
        sandbox: "s".into(),
        state,
        exit_code,
        finished_at: 100 * SECOND,
        ..Default::default()
    }
}

fn with(containers: Vec<ObservedContainer>) -> Observed {
    Observed { sandboxes: vec![sandbox(true)], containers }
}

fn mounted() -> Memory {
    Memory { volumes_ready: true, ..Default::default() }
}

fn next(pod: &Pod, observed: &Observed, memory: &Memory) -> Plan {
    plan(pod, observed, memory, 101 * SECOND, MAX)
}

fn start(name: &str, restart_count: i32) -> Option<Step> {
    Some(Step::StartContainer { name: name.into(), restart_count })
}

#[test]
fn a_new_pod_gets_volumes_then_a_sandbox_then_its_container() {
    let pod = one("Always");
    let nothing = Observed::default();
    assert_eq!(next(&pod, &nothing, &Memory::default()).step, Some(Step::MountVolumes));
    let step = next(&pod, &nothing, &mounted()).step;
    assert_eq!(step, Some(Step::CreateSandbox { attempt: 0 }));
    assert_eq!(next(&pod, &with(vec![]), &mounted()).step, start("c", 0));
    let running = with(vec![container("c", ContainerState::Running, 0)]);
    assert_eq!(next(&pod, &running, &mounted()), Plan::default());
}

#[test]
fn what_runs_is_adopted_after_a_restart_of_the_agent() {
    let running = with(vec![container("c", ContainerState::Running, 0)]);
    let plan = next(&one("Always"), &running, &Memory::default());
    assert_eq!(plan.step, Some(Step::MountVolumes));
    assert!(plan.kill.is_empty());
}

#[test]
fn restart_policies_decide_about_ended_containers() {
    let check = |policy, exit_code, restarts: bool| {
        let ended = with(vec![container("c", ContainerState::Exited, exit_code)]);
        let plan = next(&one(policy), &ended, &mounted());
        assert_eq!(plan.step, if restarts { start("c", 1) } else { None }, "{policy} {exit_code}");
        assert_eq!(plan.finished, !restarts, "{policy} {exit_code}");
    };
    check("Always", 0, true);
    check("Always", 1, true);
    check("OnFailure", 0, false);
    check("OnFailure", 1, true);
    check("Never", 0, false);
    check("Never", 1, false);
}

#[test]
fn a_crashing_container_waits_in_back_off() {
    let ended = with(vec![container("c", ContainerState::Exited, 1)]);
    let mut memory = mounted();
    let back_off = BackOff { delay: Duration::from_secs(10), updated_at: 99 * SECOND };
    memory.back_offs.insert("c".into(), back_off);
    let plan = next(&one("Always"), &ended, &memory);
    assert_eq!(plan.step, None);
    assert_eq!(plan.wake_at, Some(110 * SECOND));
    let waiting = &plan.waiting["c"];
    assert_eq!(waiting.reason, "CrashLoopBackOff");
    assert_eq!(waiting.message, "back-off 10s restarting failed container=c pod=p_n(u)");
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let pod = pod(json!({
        "initContainers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "c"}, {"name": "d"}],
    }));
    let done = |name| container(name, ContainerState::Exited, 0);
    let run = |name| container(name, ContainerState::Running, 0);
    let step = |containers| next(&pod, &with(containers), &mounted()).step;
    assert_eq!(step(vec![]), start("a", 0));
    assert_eq!(step(vec![run("a")]), None);
    assert_eq!(step(vec![done("a")]), start("b", 0));
    assert_eq!(step(vec![done("a"), done("b")]), start("c", 0));
    assert_eq!(step(vec![run("c"), done("a"), done("b")]), start("d", 0));
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let spec = |policy| {
        pod(json!({"restartPolicy": policy, "initContainers": [{"name": "a"}],
            "containers": [{"name": "c"}]}))
    };
    let failed = with(vec![container("a", ContainerState::Exited, 1)]);
    assert!(next(&spec("Never"), &failed, &mounted()).finished);
    assert_eq!(next(&spec("OnFailure"), &failed, &mounted()).step, start("a", 1));
}

#[test]
fn a_sidecar_gates_the_next_until_it_has_started_and_does_not_keep_the_pod_alive() {
    let pod = pod(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "a", "restartPolicy": "Always"}],
        "containers": [{"name": "c"}],
    }));
    let side = container("a", ContainerState::Running, 0);
    let mut memory = mounted();
    assert_eq!(next(&pod, &with(vec![side.clone()]), &memory).step, None);
    memory.started.insert(side.id.clone());
    assert_eq!(next(&pod, &with(vec![side.clone()]), &memory).step, start("c", 0));
    let ended = with(vec![container("c", ContainerState::Exited, 0), side]);
    assert!(next(&pod, &ended, &memory).finished);
}

#[test]
fn a_failed_liveness_probe_kills_with_the_words_of_the_kubelet() {
    let mut memory = mounted();
    memory.unhealthy.insert("c-0".into(), Unhealthy::Liveness);
    let running = with(vec![container("c", ContainerState::Running, 0)]);
    let plan = next(&one("Always"), &running, &memory);
    assert_eq!(plan.kill[0].message, "Container c failed liveness probe, will be restarted");
    assert!(!plan.finished);
    let plan = next(&one("Never"), &running, &memory);
    assert_eq!(plan.kill[0].message, "Container c failed liveness probe");
}

#[test]
fn a_lost_sandbox_is_made_anew_with_the_next_attempt() {
    let observed = Observed {
        sandboxes: vec![sandbox(false)],
        containers: vec![container("c", ContainerState::Exited, 137)],
    };
    let step = next(&one("Always"), &observed, &mounted()).step;
    assert_eq!(step, Some(Step::CreateSandbox { attempt: 1 }));
    assert!(next(&one("Never"), &observed, &mounted()).finished);
    let mut running = observed;
    running.containers[0].state = ContainerState::Running;
    assert_eq!(next(&one("Always"), &running, &mounted()).step, Some(Step::StopSandboxes));
}

#[test]
fn of_dead_containers_one_is_kept() {
    let dead =
        |id: &str| ObservedContainer { id: id.into(), ..container("c", ContainerState::Exited, 1) };
    let plan = next(&one("Always"), &with(vec![dead("3"), dead("2"), dead("1")]), &mounted());
    assert_eq!(plan.remove, ["1"]);
}

#[test]
fn a_container_that_failed_to_start_waits_with_its_reason() {
    let mut memory = mounted();
    let waiting = Waiting { reason: "ErrImagePull", message: "m".into() };
    let hold = Hold { until: 110 * SECOND, waiting: Some(waiting.clone()) };
    memory.holds.insert("c".into(), hold);
    let plan = next(&one("Always"), &with(vec![]), &memory);
    assert_eq!((plan.step, plan.wake_at), (None, Some(110 * SECOND)));
    assert_eq!(plan.waiting["c"], waiting);
}
