//! Stores on loopback for a measurement: ours, or a rival with etcd's flags.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ports;
use super::target::Target;

/// How long a cluster may take to answer its first linearizable read, or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Whose store.
#[derive(Debug, Clone)]
pub(crate) enum Side {
    /// Our own, of that binary; this one if none is named.
    Ours(Option<PathBuf>),
    /// Another binary, started with etcd's flags.
    Rival(PathBuf),
}

impl Side {
    /// Its word in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "keelson",
            Self::Rival(_) => "rival",
        }
    }

    fn command(&self) -> Result<Command> {
        Ok(match self {
            Self::Ours(binary) => {
                let this = std::env::current_exe()?;
                let mut command = Command::new(binary.as_ref().unwrap_or(&this));
                command.arg("store");
                command
            }
            Self::Rival(binary) => Command::new(binary),
        })
    }

    /// Starts a member; what it says goes behind what is in its log.
    pub(crate) fn spawn(&self, arguments: &[String], dir: &Path, index: usize) -> Result<Child> {
        let log = dir.join(format!("m{index}.log"));
        let log = File::options().append(true).create(true).open(log)?;
        self.command()?
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.binary()))
    }

    /// The first line of what it says of its version.
    pub(crate) fn version(&self) -> Result<String> {
        let output = self
            .command()?
            .arg("--version")
            .output()
            .with_context(|| format!("start {}", self.binary()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn binary(&self) -> String {
        match self {
            Self::Ours(None) => "keelson".to_owned(),
            Self::Ours(Some(binary)) | Self::Rival(binary) => binary.display().to_string(),
        }
    }
}

/// What a new cluster's members are started with, and where clients reach them.
pub(crate) struct Founding {
    pub(crate) arguments: Vec<Vec<String>>,
    pub(crate) endpoints: Vec<String>,
}

impl Founding {
    /// Of so many members on ports of loopback that nobody uses, whose data lie in `dir`.
    pub(crate) fn of(dir: &Path, count: usize, more: &[(&str, String)]) -> Result<Self> {
        let ports = ports::free(count * 2)?;
        let url = |port: usize| format!("http://127.0.0.1:{}", ports[port]);
        let initial: Vec<String> =
            (0..count).map(|index| format!("m{index}={}", url(index * 2 + 1))).collect();
        let arguments = (0..count).map(|index| {
            let (client, peer) = (url(index * 2), url(index * 2 + 1));
            let flags = [
                ("--name", format!("m{index}")),
                ("--data-dir", dir.join(format!("m{index}")).display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", initial.join(",")),
                ("--initial-cluster-state", "new".to_owned()),
            ];
            let flags = flags.into_iter().chain(more.iter().cloned());
            flags.flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
        });
        let endpoints = (0..count).map(|index| url(index * 2)).collect();
        Ok(Self { arguments: arguments.collect(), endpoints })
    }
}

/// Members; ended and removed when dropped.
pub(crate) struct Members {
    side: Side,
    arguments: Vec<Vec<String>>,
    children: Vec<Child>,
    endpoints: Vec<String>,
    dir: PathBuf,
}

impl Members {
    /// Founds a cluster and waits until each member answers a linearizable read.
    pub(crate) async fn start(side: &Side, count: usize, work_dir: &Path) -> Result<Self> {
        if count == 0 {
            bail!("--members must be at least 1");
        }
        let dir = work_dir.join(format!("keelson-bench-{}", std::process::id()));
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        // As much data as a measurement wants, on both sides.
        let quota = ("--quota-backend-bytes", (64_u64 << 30).to_string());
        let Founding { arguments, endpoints } = Founding::of(&dir, count, &[quota])?;
        let side = side.clone();
        let mut members = Self { side, arguments, children: Vec::new(), endpoints, dir };
        members.begin()?;
        members.ready().await?;
        Ok(members)
    }

    /// Starts all processes.
    pub(crate) fn begin(&mut self) -> Result<()> {
        for (index, arguments) in self.arguments.iter().enumerate() {
            let child = self.side.spawn(arguments, &self.dir, index)?;
            self.children.push(child);
        }
        Ok(())
    }

    /// Until every member answers a linearizable read.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        for endpoint in self.endpoints.clone() {
            let endpoints = vec![endpoint.clone()];
            let store =
                GrpcStore::new(&GrpcStoreConfig { endpoints, ..GrpcStoreConfig::default() })?;
            while store.revision().await.is_err() {
                for child in &mut self.children {
                    if let Some(status) = child.try_wait()? {
                        let log = std::fs::read_to_string(self.dir.join("m0.log"));
                        let log = log.unwrap_or_default();
                        let last: Vec<&str> = log.lines().rev().take(5).collect();
                        let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                        bail!("a member ended early ({status}); it said:\n{said}");
                    }
                }
                if Instant::now() > end {
                    bail!("{endpoint} did not answer within {} s", PATIENCE.as_secs());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Ends all processes with a signal, and waits for their ends.
    pub(crate) async fn end(&mut self, signal: Signal) -> Result<()> {
        for child in &self.children {
            kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        }
        let end = Instant::now() + PATIENCE;
        for mut child in std::mem::take(&mut self.children) {
            while child.try_wait()?.is_none() {
                if Instant::now() > end {
                    let _gone = child.kill();
                    bail!("a member does not end");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Where clients reach them.
    pub(crate) fn target(&self) -> Target {
        Target { endpoints: self.endpoints.clone(), ..Target::default() }
    }

    /// The processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Bytes in their data directories.
    pub(crate) fn disk_bytes(&self) -> u64 {
        size(&self.dir)
    }
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _already_gone = child.kill();
            let _status = child.wait();
        }
        let _left_for_the_reader = std::fs::remove_dir_all(&self.dir);
    }
}
