//! A node and its pods for tests: network namespaces of their own, removed at the end in any case.

// Every test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod api;

use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keelson_node_agent::network::{HostPort, PodNetworkRequest};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace pinned to a file.
pub(crate) struct Namespace {
    pub(crate) path: PathBuf,
}

impl Namespace {
    /// Makes one; its name is unlike any other test's.
    pub(crate) fn new(what: &str) -> Self {
        let dir = PathBuf::from(format!("/run/kln-test-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        File::create(&path).unwrap();
        let target = path.clone();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let own = Path::new("/proc/thread-self/ns/net");
            mount(Some(own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        })
        .join()
        .unwrap();
        Self { path }
    }

    /// Runs a future on a thread and a runtime of its own inside the namespace.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T>>(
        &self,
        body: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let path = self.path.clone();
        let inside = std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, body())
        });
        match inside.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
        // Goes with the last of them.
        let _ = fs::remove_dir(self.path.parent().unwrap());
    }
}

/// Whether this process may make namespaces; says so when not.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        println!("skipped: network namespaces need root");
    }
    root
}

/// What the runtime would ask for a pod.
pub(crate) fn request(id: &str, pod: &Namespace, host_ports: Vec<HostPort>) -> PodNetworkRequest {
    PodNetworkRequest {
        sandbox_id: id.into(),
        namespace: "default".into(),
        name: id.into(),
        uid: id.into(),
        netns_path: pod.path.clone(),
        host_ports,
    }
}

/// A server in the namespace that tells whoever connects his address, and under which address he
/// found us, until the test process ends.
pub(crate) fn serve(namespace: &Namespace, port: u16) {
    let path = namespace.path.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind(("::", port)).await.unwrap();
            ready.send(()).unwrap();
            loop {
                let (mut stream, peer) = listener.accept().await.unwrap();
                let own = stream.local_addr().unwrap();
                let text = format!("{} {}", peer.ip().to_canonical(), own.ip().to_canonical());
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
    });
    is_ready.recv().unwrap();
}

/// Who the server at `to` says we are.
pub(crate) async fn ask(to: SocketAddr) -> Result<IpAddr, String> {
    ask_both(to).await.map(|(client, _)| client)
}

/// Who the server at `to` says we are, and who it is.
pub(crate) async fn ask_both(to: SocketAddr) -> Result<(IpAddr, IpAddr), String> {
    let conversation = async {
        let mut stream = TcpStream::connect(to).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = tokio::time::timeout(Duration::from_secs(3), conversation)
        .await
        .map_err(|_| String::from("timed out"))?
        .map_err(|error| error.to_string())?;
    let (client, server) = text.split_once(' ').ok_or_else(|| text.clone())?;
    Ok((client.parse().unwrap(), server.parse().unwrap()))
}

/// What a command prints.
pub(crate) fn command(name: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(name).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
