//! What a container is like from the inside, and how its end is told.

use keelson_proto::cri;

use crate::support::{Fixture, can_run, command, script, security};

#[tokio::test]
async fn a_container_runs_logs_and_ends() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("one");
    let sandbox = fixture.run_sandbox(&config).await;
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: false };
    let status = fixture.cri.pod_sandbox_status(request).await.unwrap().into_inner();
    let status = status.status.unwrap();
    assert_eq!(status.state(), cri::PodSandboxState::SandboxReady);
    assert_eq!(status.network.unwrap().ip, "10.1.2.3");

    let id =
        fixture.run(&sandbox, script("a", "echo out; echo err >&2; printf rest; exit 3")).await;
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at > 0 && status.finished_at >= status.started_at);
    let log = fixture.log("one", "a/0.log");
    let mut lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout F rest"]);

    let id = fixture.run(&sandbox, command("b", &["true"])).await;
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));

    fixture.remove_sandbox(&sandbox).await;
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn commands_run_in_a_container() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("exec");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, command("a", &["sleep", "1000"])).await;
    let response = fixture.exec(&id, &["sh", "-c", "echo hello; echo no >&2; exit 7"]).await;
    assert_eq!(response.exit_code, 7);
    assert_eq!(response.stdout.as_ref(), b"hello\n");
    assert_eq!(response.stderr.as_ref(), b"no\n");
    assert_eq!(fixture.output(&id, "hostname").await, "exec");
    assert_eq!(
        fixture.output(&id, "cat /etc/resolv.conf").await,
        "search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5"
    );
    // Neither the container nor a command in it may change a limit of the host's.
    assert_eq!(fixture.output(&id, "grep Seccomp: /proc/1/status | tail -c 2").await, "2");
    assert_eq!(fixture.output(&id, "grep Seccomp: /proc/self/status | tail -c 2").await, "2");
    let caps = "grep CapEff /proc/self/status | tail -c 17";
    assert_eq!(fixture.output(&id, caps).await, "00000000a80425fb");
    let inside = "grep CapEff /proc/1/status | tail -c 17";
    assert_eq!(fixture.output(&id, inside).await, "00000000a80425fb");
    assert_eq!(
        fixture.output(&id, "unshare -r true 2>&1 || echo denied").await.lines().last(),
        Some("denied")
    );

    let request = cri::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["nothing-like-it".to_owned()],
        timeout: 5,
    };
    let error = fixture.cri.exec_sync(request).await.unwrap_err();
    assert!(
        error.message().contains("exec: \"nothing-like-it\": executable file not found in $PATH"),
        "{error}"
    );
    let request = cri::ExecSyncRequest {
        container_id: id.clone(),
        cmd: vec!["sleep".to_owned(), "100".to_owned()],
        timeout: 1,
    };
    let error = fixture.cri.exec_sync(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    // What took too long was killed.
    for _ in 0..250 {
        if !fixture.output(&id, "ps").await.contains("sleep 100\n") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!fixture.output(&id, "ps").await.contains("sleep 100\n"));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("bad");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.create(&sandbox, command("a", &["nothing-like-it"])).await;
    let error = fixture.start(&id).await.unwrap_err();
    let text = "exec: \"nothing-like-it\": executable file not found in $PATH";
    assert!(error.message().contains(text), "{error}");
    let status = fixture.status(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    assert!(status.message.contains(text), "{}", status.message);

    let request = cri::CreateContainerRequest {
        pod_sandbox_id: sandbox,
        config: Some(cri::ContainerConfig {
            image: Some(cri::ImageSpec { image: "localhost/no:such".into(), ..Default::default() }),
            ..command("b", &["true"])
        }),
        sandbox_config: None,
    };
    let error = fixture.cri.create_container(request).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn limits_hold() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("limits");
    let sandbox = fixture.run_sandbox(&config).await;
    let limited = |name: &str, text: &str| {
        let mut config = script(name, text);
        config.linux.as_mut().unwrap().resources = Some(cri::LinuxContainerResources {
            memory_limit_in_bytes: 32 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            oom_score_adj: 999,
            ..Default::default()
        });
        config
    };
    let id = fixture.run(&sandbox, limited("a", "sleep 1000")).await;
    let request = cri::ContainerStatsRequest { container_id: id.clone() };
    let stats = fixture.cri.container_stats(request).await.unwrap().into_inner().stats.unwrap();
    let memory = stats.memory.unwrap();
    let (available, used) =
        (memory.available_bytes.unwrap().value, memory.working_set_bytes.unwrap().value);
    assert_eq!(available + used, 32 << 20);
    assert_eq!(fixture.output(&id, "cat /proc/1/oom_score_adj").await, "999");
    assert_eq!(fixture.output(&id, "cat /proc/self/oom_score_adj").await, "999");
    let request = cri::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(cri::LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            ..Default::default()
        }),
        ..Default::default()
    };
    fixture.cri.update_container_resources(request).await.unwrap();
    let resources = fixture.status(&id).await.resources.unwrap().linux.unwrap();
    assert_eq!(resources.memory_limit_in_bytes, 64 << 20);
    assert_eq!(resources.cpu_shares, 512);

    let hungry = "tail -c 200m /dev/zero; exit 1";
    let id = fixture.run(&sandbox, limited("b", hungry)).await;
    let status = fixture.ended(&id).await;
    assert_eq!(status.reason, "OOMKilled", "{status:?}");
}

#[tokio::test]
async fn users_and_confinement() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("users");
    let sandbox = fixture.run_sandbox(&config).await;
    let mut config = script("a", "id; touch /x; cat /proc/sys/kernel/hostname; sleep 1000");
    {
        let context = security(&mut config);
        context.run_as_user = Some(cri::Int64Value { value: 1000 });
        context.supplemental_groups = vec![3000];
        context.readonly_rootfs = true;
        context.no_new_privs = true;
    }
    let id = fixture.run(&sandbox, config).await;
    let groups = "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra),3000";
    assert_eq!(fixture.output(&id, "id").await, groups);
    assert_eq!(fixture.output(&id, "grep NoNewPrivs /proc/self/status | tail -c 2").await, "1");
    assert_eq!(fixture.output(&id, "grep Seccomp: /proc/self/status | tail -c 2").await, "2");
    assert_eq!(fixture.output(&id, "echo $HOME").await, "/home/app");
    let denied = fixture.output(&id, "touch /bin/x 2>&1 || true").await;
    assert!(denied.contains("Read-only file system"), "{denied}");
    let user = fixture.status(&id).await.user.unwrap().linux.unwrap();
    assert_eq!(
        (user.uid, user.gid, user.supplemental_groups),
        (1000, 1000, vec![1000, 2000, 3000])
    );
}

#[tokio::test]
async fn a_container_sees_its_control_groups_and_cannot_change_them() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("groups");
    let sandbox = fixture.run_sandbox(&config).await;
    let id = fixture.run(&sandbox, command("a", &["sleep", "1000"])).await;
    let change = "cd /sys/fs/cgroup; for f in cgroup.procs */cgroup.procs; do \
                  test -f $f && echo $f && echo 1 > $f; done 2>&1 || true";
    let said = fixture.output(&id, change).await;
    let (seen, refused) = (said.matches("cgroup.procs").count(), said.matches("Read-only").count());
    assert!(refused > 0 && seen == refused * 2, "{said}");
}

#[tokio::test]
async fn a_privileged_container_is_not_confined() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("priv");
    let sandbox = fixture.run_sandbox(&config).await;
    let mut config = command("a", &["sleep", "1000"]);
    security(&mut config).privileged = true;
    let id = fixture.run(&sandbox, config).await;
    assert_eq!(fixture.output(&id, "mount -t tmpfs none /tmp && echo yes").await, "yes");
    assert_eq!(fixture.output(&id, "grep Seccomp: /proc/self/status | tail -c 2").await, "0");
}

#[tokio::test]
async fn the_image_and_mounts_and_environment() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let config = fixture.sandbox_config("env");
    let sandbox = fixture.run_sandbox(&config).await;
    let shared = crate::support::under(&fixture, "shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "content").unwrap();
    let mount = |path: &str, readonly| cri::Mount {
        container_path: path.to_owned(),
        host_path: shared.display().to_string(),
        readonly,
        ..Default::default()
    };
    let mut config = command("a", &["sleep", "1000"]);
    config.mounts = vec![mount("/data/ro", true), mount("/data", false)];
    config.working_dir = "/data".to_owned();
    config.envs = vec![cri::KeyValue { key: "A".into(), value: bytes::Bytes::from("b=c") }];
    let id = fixture.run(&sandbox, config).await;
    assert_eq!(
        fixture.output(&id, "pwd; cat file; echo; echo $A; echo $HOSTNAME").await,
        "/data\ncontent\nb=c\nenv"
    );
    assert_eq!(fixture.output(&id, "touch /data/new && echo yes").await, "yes");
    assert!(shared.join("new").exists());
    let denied = fixture.output(&id, "touch /data/ro/new 2>&1 || true").await;
    assert!(denied.contains("Read-only"), "{denied}");
    assert_eq!(fixture.output(&id, "ls /dev/shm; touch /dev/shm/x && echo yes").await, "yes");
}
