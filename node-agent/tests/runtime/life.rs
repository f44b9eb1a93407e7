//! Life and death: stopping, restarts of the runtime, shims that die.

use std::time::Duration;

use keelson_proto::cri;

use crate::support::{Fixture, can_run, command, script, under};

#[tokio::test]
async fn a_stop_asks_first_and_then_kills() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("stop");
    let sandbox = fixture.run_sandbox(&config).await;
    let polite = "trap 'exit 9' TERM; echo ready; while true; do sleep 0.05; done";
    let id = fixture.run(&sandbox, script("a", polite)).await;
    await_log(&fixture, "stop", "a/0.log", "ready").await;
    let request = cri::StopContainerRequest { container_id: id.clone(), timeout: 20 };
    fixture.cri.stop_container(request).await.unwrap();
    assert_eq!(fixture.status(&id).await.exit_code, 9);

    let deaf = "trap '' TERM; echo ready; while true; do sleep 0.05; done";
    let id = fixture.run(&sandbox, script("b", deaf)).await;
    await_log(&fixture, "stop", "b/0.log", "ready").await;
    let request = cri::StopContainerRequest { container_id: id.clone(), timeout: 1 };
    fixture.cri.stop_container(request).await.unwrap();
    assert_eq!(fixture.status(&id).await.exit_code, 137);
}

#[tokio::test]
async fn containers_outlive_the_runtime() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("adopt");
    let sandbox = fixture.run_sandbox(&config).await;
    let runs = fixture.run(&sandbox, script("a", "echo one; sleep 1000")).await;
    let ends = under(&fixture, "go");
    let mut waits = script("b", "until [ -e /host/go ]; do sleep 0.02; done; echo late; exit 5");
    waits.mounts.push(cri::Mount {
        container_path: "/host".to_owned(),
        host_path: fixture.folder.path().display().to_string(),
        readonly: true,
        ..Default::default()
    });
    let meanwhile = fixture.run(&sandbox, waits).await;
    let created = fixture.create(&sandbox, command("c", &["true"])).await;
    let before = fixture.status(&runs).await;

    fixture.runtime.take().unwrap().stop().await;
    std::fs::write(&ends, "").unwrap();
    let exit_file = under(&fixture, &format!("runtime/containers/{meanwhile}/exit.json"));
    for _ in 0..500 {
        if exit_file.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(exit_file.exists());
    let folder = fixture.folder.path().to_owned();
    fixture.resume(&folder).await;

    assert_eq!(fixture.status(&runs).await, before);
    let status = fixture.status(&meanwhile).await;
    assert_eq!((status.state(), status.exit_code), (cri::ContainerState::ContainerExited, 5));
    assert!(fixture.log("adopt", "b/0.log").contains("stdout F late"));
    assert_eq!(fixture.output(&runs, "echo still").await, "still");
    assert_eq!(fixture.status(&created).await.state(), cri::ContainerState::ContainerCreated);
    fixture.start(&created).await.unwrap();
    assert_eq!(fixture.ended(&created).await.exit_code, 0);
    fixture.remove_sandbox(&sandbox).await;
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dead_shim_ends_its_sandbox() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("dead");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, command("a", &["sleep", "1000"])).await;
    let shim = shim_pid(&sandbox);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    let list = fixture.cri.list_pod_sandbox(cri::ListPodSandboxRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().items[0].state(), cri::PodSandboxState::SandboxNotready);
    fixture.remove_sandbox(&sandbox).await;
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_shim_is_small() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("small");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, command("a", &["sleep", "1000"])).await;
    fixture.output(&id, "true").await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim_pid(&sandbox))).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    println!("shim: {} kB resident, of it {} kB its own", field("VmRSS:"), field("RssAnon:"));
    assert!(field("RssAnon:") < 3 << 10, "{status}");
}

#[tokio::test]
async fn a_pod_can_share_its_processes() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let mut config = fixture.sandbox_config("share");
    let shared = cri::NamespaceOption { pid: cri::NamespaceMode::Pod as i32, ..Default::default() };
    config.linux.as_mut().unwrap().security_context = Some(cri::LinuxSandboxSecurityContext {
        namespace_options: Some(shared.clone()),
        ..Default::default()
    });
    let sandbox = fixture.run_sandbox(&config).await;
    let container = |name: &str, text: &str| {
        let mut config = script(name, text);
        crate::support::security(&mut config).namespace_options = Some(shared.clone());
        config
    };
    let one = fixture.run(&sandbox, container("a", "sleep 1001 & sleep 1000")).await;
    let two = fixture.run(&sandbox, container("b", "sleep 2000")).await;
    let seen = fixture.output(&two, "ps").await;
    assert!(seen.contains("sleep 1000") && seen.contains("sleep 1001"), "{seen}");
    let request = cri::StopContainerRequest { container_id: one.clone(), timeout: 0 };
    fixture.cri.stop_container(request).await.unwrap();
    assert_eq!(fixture.status(&one).await.exit_code, 137);
    // Its other process went with it, and nothing else did.
    for _ in 0..250 {
        if !fixture.output(&two, "ps").await.contains("sleep 1001") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!fixture.output(&two, "ps").await.contains("sleep 1001"));
    fixture.remove_sandbox(&sandbox).await;
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

async fn await_log(fixture: &Fixture, pod: &str, file: &str, text: &str) {
    for _ in 0..500 {
        if fixture.log(pod, file).contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{text:?} is not in the log");
}

fn shim_pid(sandbox: &str) -> i32 {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        if command.contains(sandbox) {
            return entry.file_name().to_str().unwrap().parse().unwrap();
        }
    }
    panic!("no shim of {sandbox}");
}

#[tokio::test]
async fn a_killed_runtime_finds_its_containers_again() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    fixture.runtime.take().unwrap().stop().await;
    let mut process = fixture.serve().await;
    let config = fixture.sandbox_config("killed");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, script("a", "echo one; sleep 1000")).await;
    let before = fixture.status(&id).await;
    process.kill().await.unwrap(); // SIGKILL, and waited for

    let mut process = fixture.serve().await;
    assert_eq!(fixture.status(&id).await, before);
    assert_eq!(fixture.output(&id, "echo still").await, "still");
    fixture.remove_sandbox(&sandbox).await;
    assert_eq!(fixture.leftovers().iter().filter(|one| !one.starts_with("process")).count(), 0);
    process.kill().await.unwrap();
}

#[tokio::test]
async fn logs_go_on_in_a_new_file() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("logs");
    let sandbox = fixture.run_sandbox(&config).await;
    let talk = "echo one; until [ -e /tmp/go ]; do sleep 0.02; done; echo two; sleep 1000";
    let id = fixture.run(&sandbox, script("a", talk)).await;
    await_log(&fixture, "logs", "a/0.log", "one").await;
    let folder = under(&fixture, "logs/logs/a");
    std::fs::rename(folder.join("0.log"), folder.join("0.log.old")).unwrap();
    let request = cri::ReopenContainerLogRequest { container_id: id.clone() };
    fixture.cri.reopen_container_log(request).await.unwrap();
    fixture.output(&id, "touch /tmp/go").await;
    await_log(&fixture, "logs", "a/0.log", "two").await;
    assert!(!fixture.log("logs", "a/0.log").contains("one"));
}

#[tokio::test]
async fn events_tell_of_every_change() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("events");
    let sandbox = fixture.run_sandbox(&config).await;
    let events = fixture.cri.get_container_events(cri::GetEventsRequest {}).await.unwrap();
    let mut events = events.into_inner();
    let id = fixture.run(&sandbox, command("a", &["true"])).await;
    fixture.ended(&id).await;
    let request = cri::RemoveContainerRequest { container_id: id.clone() };
    fixture.cri.remove_container(request).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = events.message().await.unwrap().unwrap();
        assert_eq!(event.container_id, id);
        assert!(event.pod_sandbox_status.is_some());
        seen.push(event.container_event_type());
    }
    use cri::ContainerEventType::*;
    let all = [
        ContainerCreatedEvent,
        ContainerStartedEvent,
        ContainerStoppedEvent,
        ContainerDeletedEvent,
    ];
    assert!(all.iter().all(|kind| seen.contains(kind)), "{seen:?}");
}
