//! A runtime on a folder of its own, an image made here, and short ways to say things to them.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keelson_node_agent::network::{
    PodNetwork, PodNetworkError, PodNetworkRequest, PodNetworkStatus,
};
use keelson_node_agent::runtime::{EmbeddedRuntime, RuntimeConfig, tear_down};
use keelson_proto::cri;
use keelson_proto::cri::image_service_client::ImageServiceClient;
use keelson_proto::cri::runtime_service_client::RuntimeServiceClient;
use sha2::{Digest, Sha256};
use tonic::transport::Channel;

pub(crate) const IMAGE: &str = "localhost/busybox:test";

/// Whether containers can be made here; says so if not.
pub(crate) fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let busybox = Path::new("/bin/busybox").exists();
    if !root || !busybox {
        eprintln!("skipped: needs root and /bin/busybox");
    }
    root && busybox
}

/// Gives every sandbox the same address and makes no links.
#[derive(Debug)]
pub(crate) struct FakeNetwork;

#[async_trait::async_trait]
impl PodNetwork for FakeNetwork {
    async fn add(&self, request: PodNetworkRequest) -> Result<PodNetworkStatus, PodNetworkError> {
        assert!(request.netns_path.exists(), "{}", request.netns_path.display());
        Ok(PodNetworkStatus { ips: vec![IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))] })
    }

    async fn del(&self, _: &str, _: &Path) -> Result<(), PodNetworkError> {
        Ok(())
    }

    async fn status(&self, _: &str) -> Option<PodNetworkStatus> {
        None
    }

    async fn retain(&self, _: &[String]) -> Result<(), PodNetworkError> {
        Ok(())
    }
}

/// The program that is runtime or shim, of the same build as this test.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples/runtime");
    assert!(program.exists(), "{}", program.display());
    program
}

/// A runtime with clients. Dropping it takes everything away.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Option<EmbeddedRuntime>,
    pub(crate) cri: RuntimeServiceClient<Channel>,
    pub(crate) images: ImageServiceClient<Channel>,
    pub(crate) cgroup: String,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cgroup = format!("/keelson-test-{}", uuid::Uuid::new_v4().simple());
        let (runtime, channel) = start(folder.path(), &cgroup).await;
        let layout = folder.path().join("layout");
        write_layout(&layout, &busybox_layer(), &serde_json::json!({ "Cmd": ["sh"] }));
        runtime.import(&layout, None).await.unwrap();
        Self {
            folder,
            runtime: Some(runtime),
            cri: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            cgroup,
        }
    }

    /// Starts the runtime again on what an earlier one left.
    pub(crate) async fn resume(&mut self, folder: &Path) {
        let (runtime, channel) = start(folder, &self.cgroup).await;
        self.runtime = Some(runtime);
        self.cri = RuntimeServiceClient::new(channel.clone());
        self.images = ImageServiceClient::new(channel);
    }

    /// Runs the runtime as a process of its own, and turns the clients to it.
    pub(crate) async fn serve(&mut self) -> tokio::process::Child {
        let socket = self.folder.path().join("cri.sock");
        let process = tokio::process::Command::new(program())
            .arg("serve")
            .arg(self.folder.path().join("runtime"))
            .arg(&socket)
            .arg(format!("{}-shims", self.cgroup))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let connect = move |_: tonic::transport::Uri| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        };
        let endpoint = tonic::transport::Endpoint::from_static("http://cri.invalid");
        for _ in 0..500 {
            let connector = tower::service_fn(connect.clone());
            if let Ok(channel) = endpoint.connect_with_connector(connector).await {
                self.cri = RuntimeServiceClient::new(channel.clone());
                self.images = ImageServiceClient::new(channel);
                return process;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the runtime does not answer");
    }

    pub(crate) fn sandbox_config(&self, name: &str) -> cri::PodSandboxConfig {
        cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.folder.path().join("logs").join(name).display().to_string(),
            dns_config: Some(cri::DnsConfig {
                servers: vec!["10.96.0.10".to_owned()],
                searches: vec!["default.svc.cluster.local".to_owned()],
                options: vec!["ndots:5".to_owned()],
            }),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/pod{name}", self.cgroup),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub(crate) async fn run_sandbox(&mut self, config: &cri::PodSandboxConfig) -> String {
        let request = cri::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        self.cri.run_pod_sandbox(request).await.unwrap().into_inner().pod_sandbox_id
    }

    pub(crate) async fn create(&mut self, sandbox: &str, config: cri::ContainerConfig) -> String {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: None,
        };
        self.cri.create_container(request).await.unwrap().into_inner().container_id
    }

    pub(crate) async fn start(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.cri.start_container(request).await.map(drop)
    }

    pub(crate) async fn run(&mut self, sandbox: &str, config: cri::ContainerConfig) -> String {
        let id = self.create(sandbox, config).await;
        self.start(&id).await.unwrap();
        id
    }

    pub(crate) async fn status(&mut self, id: &str) -> cri::ContainerStatus {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        self.cri.container_status(request).await.unwrap().into_inner().status.unwrap()
    }

    /// Waits for a container's end.
    pub(crate) async fn ended(&mut self, id: &str) -> cri::ContainerStatus {
        for _ in 0..1500 {
            let status = self.status(id).await;
            if status.state() == cri::ContainerState::ContainerExited {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("container {id} does not end: {:?}", self.status(id).await);
    }

    pub(crate) async fn exec(&mut self, id: &str, command: &[&str]) -> cri::ExecSyncResponse {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 20,
        };
        self.cri.exec_sync(request).await.unwrap().into_inner()
    }

    /// A command's standard output, trimmed.
    pub(crate) async fn output(&mut self, id: &str, script: &str) -> String {
        let response = self.exec(id, &["sh", "-c", script]).await;
        let stderr = String::from_utf8_lossy(&response.stderr).into_owned();
        assert_eq!(response.exit_code, 0, "{script}: {stderr}");
        String::from_utf8(response.stdout.to_vec()).unwrap().trim().to_owned()
    }

    pub(crate) async fn remove_sandbox(&mut self, id: &str) {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.cri.remove_pod_sandbox(request).await.unwrap();
    }

    pub(crate) fn log(&self, pod: &str, file: &str) -> String {
        let path = self.folder.path().join("logs").join(pod).join(file);
        std::fs::read_to_string(path).unwrap()
    }

    /// What is left outside of the folder: mounts, cgroups, processes.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let folder = self.folder.path().canonicalize().unwrap();
        let root = folder.display().to_string();
        let mut left = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned));
        for entry in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            for name in [self.cgroup.clone(), format!("{}-shims", self.cgroup)] {
                let path = entry.path().join(name.trim_start_matches('/'));
                if path.is_dir() {
                    for below in std::fs::read_dir(&path).unwrap().flatten() {
                        if below.path().is_dir() {
                            left.push(below.path().display().to_string());
                        }
                    }
                }
            }
        }
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&root) {
                left.push(format!("process {}", entry.path().display()));
            }
        }
        left
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let shims = format!("{}-shims", self.cgroup);
        let problems = tear_down(&self.folder.path().join("runtime"), &shims);
        for entry in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let path = entry.path().join(self.cgroup.trim_start_matches('/'));
            for below in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(below.path());
            }
            let _ = std::fs::remove_dir(path);
        }
        if !std::thread::panicking() {
            assert_eq!(problems, Vec::<String>::new());
            assert_eq!(self.leftovers(), Vec::<String>::new());
        }
    }
}

async fn start(folder: &Path, cgroup: &str) -> (EmbeddedRuntime, Channel) {
    let mut config = RuntimeConfig::new(folder.join("runtime"), Arc::new(FakeNetwork));
    config.shim_command = vec![program().into(), "shim".into()];
    config.shim_cgroup = format!("{cgroup}-shims");
    let runtime = EmbeddedRuntime::start(config).await.unwrap();
    let channel = runtime.connector().channel();
    (runtime, channel)
}

/// A container that runs a shell script.
pub(crate) fn script(name: &str, script: &str) -> cri::ContainerConfig {
    command(name, &["sh", "-c", script])
}

pub(crate) fn command(name: &str, command: &[&str]) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(cri::ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}/0.log"),
        linux: Some(cri::LinuxContainerConfig {
            resources: None,
            security_context: Some(cri::LinuxContainerSecurityContext {
                namespace_options: Some(cri::NamespaceOption {
                    pid: cri::NamespaceMode::Container as i32,
                    ..Default::default()
                }),
                seccomp: Some(cri::SecurityProfile {
                    profile_type: cri::security_profile::ProfileType::RuntimeDefault as i32,
                    localhost_ref: String::new(),
                }),
                masked_paths: vec!["/proc/kcore".to_owned(), "/proc/scsi".to_owned()],
                readonly_paths: vec!["/proc/sys".to_owned()],
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

pub(crate) fn security(
    config: &mut cri::ContainerConfig,
) -> &mut cri::LinuxContainerSecurityContext {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

/// A root file system of busybox, as an uncompressed layer.
pub(crate) fn busybox_layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, data: &[u8], link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        tar.append_data(&mut header, path, data).unwrap();
    };
    use tar::EntryType::{Directory, Regular, Symlink};
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        add(folder, Directory, if folder == "tmp" { 0o1777 } else { 0o755 }, b"", "");
    }
    add("bin/busybox", Regular, 0o755, &std::fs::read("/bin/busybox").unwrap(), "");
    for applet in [
        "sh", "cat", "echo", "sleep", "id", "ls", "chmod", "hostname", "tail", "head", "env",
        "grep", "dd", "mount", "unshare", "stty", "ps", "kill", "true", "printf", "touch", "tty",
        "pwd", "wc", "nc", "httpd", "ip",
    ] {
        add(&format!("bin/{applet}"), Symlink, 0o777, b"", "busybox");
    }
    let passwd = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    add("etc/passwd", Regular, 0o644, passwd, "");
    add("etc/group", Regular, 0o644, b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n", "");
    tar.into_inner().unwrap()
}

/// An OCI layout of one image of one layer, compressed by gzip.
pub(crate) fn write_layout(folder: &Path, layer: &[u8], run: &serde_json::Value) {
    let diff_id = digest(layer);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(layer).unwrap();
    let blob = put(folder, &gzip.finish().unwrap());
    let config = serde_json::json!({
        "architecture": keelson_node_agent::image::manifest::architecture(),
        "os": "linux", "config": run, "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let config = put(folder, config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &blob)],
    });
    let manifest = put(folder, manifest.to_string().as_bytes());
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": IMAGE });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn put(folder: &Path, bytes: &[u8]) -> (String, usize) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let digest = digest(bytes);
    std::fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
    (digest, bytes.len())
}

fn descriptor(media_type: &str, blob: &(String, usize)) -> serde_json::Value {
    serde_json::json!({ "mediaType": media_type, "digest": blob.0, "size": blob.1 })
}

/// Every blob of a layout by digest, and its one manifest.
pub(crate) fn read_layout(folder: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<u8>) {
    let mut blobs = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join("blobs/sha256")).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        blobs.insert(digest(&bytes), bytes);
    }
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let manifest = blobs[&manifest].clone();
    (blobs, manifest)
}

/// A path under the fixture's folder.
pub(crate) fn under(fixture: &Fixture, path: &str) -> PathBuf {
    fixture.folder.path().join(path)
}
