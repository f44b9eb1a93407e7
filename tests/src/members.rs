//! Members of a store as processes of their own (`keelson store`), on loopback.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use keelson_proto::etcdserverpb as pb;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pb::maintenance_client::MaintenanceClient;

use crate::cluster::binary;
use crate::{ports, scratch, wait};

/// What is one member's own.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// What its environment has beside ours.
    pub variables: Vec<(String, String)>,
    /// The port where others look for it, and the one where it listens for them.
    pub peer_ports: Option<(u16, u16)>,
}

/// A cluster of store members; ended when dropped.
pub struct Members {
    children: Vec<Option<Child>>,
    arguments: Vec<Vec<String>>,
    endpoints: Vec<String>,
    dir: tempfile::TempDir,
    paused: BTreeSet<usize>,
    own: Vec<Own>,
}

impl Members {
    /// Starts `count` members and waits until each answers a linearizable read.
    pub async fn start(count: usize) -> Result<Self> {
        Self::start_with(count, "http", &[]).await
    }

    /// The same with another scheme between the members, and flags beside the usual ones.
    pub async fn start_with(count: usize, scheme: &str, flags: &[String]) -> Result<Self> {
        let own = vec![Own::default(); count];
        Self::start_in(scratch::dir("members")?, scheme, flags, own).await
    }

    /// The same below a directory, whose `m0` and so on may be there already; as many as are in
    /// `own`.
    pub async fn start_in(
        dir: tempfile::TempDir,
        scheme: &str,
        flags: &[String],
        own: Vec<Own>,
    ) -> Result<Self> {
        let count = own.len();
        let (endpoints, mut arguments) = founders(dir.path(), count, scheme, flags)?;
        for (index, own) in own.iter().enumerate() {
            let Some((looked_for, listens)) = own.peer_ports else { continue };
            let place = arguments[index].iter().position(|flag| flag == "--listen-peer-urls");
            let place = place.context("where it listens")? + 1;
            let url = arguments[index][place].clone();
            for argument in arguments.iter_mut().flatten() {
                *argument = argument.replace(&url, &format!("{scheme}://127.0.0.1:{looked_for}"));
            }
            arguments[index][place] = format!("{scheme}://127.0.0.1:{listens}");
        }
        let children = (0..count).map(|_| None).collect();
        let paused = BTreeSet::new();
        let mut members = Self { children, arguments, endpoints, dir, paused, own };
        for index in 0..count {
            members.start_one(index)?;
        }
        for index in 0..count {
            members.ready(index).await?;
        }
        Ok(members)
    }

    /// Starts one member (again).
    pub fn start_one(&mut self, index: usize) -> Result<()> {
        let log = File::options().append(true).create(true).open(self.log(index))?;
        let child = Command::new(binary())
            .arg("store")
            .args(&self.arguments[index])
            .envs(self.own[index].variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary().display()))?;
        self.children[index] = Some(child);
        Ok(())
    }

    /// Waits until a member answers a linearizable read.
    pub async fn ready(&self, index: usize) -> Result<()> {
        let store = self.client(index)?;
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            match store.revision().await {
                Ok(_) => return Ok(()),
                Err(error) if std::time::Instant::now() > end => {
                    let log = std::fs::read_to_string(self.log(index)).unwrap_or_default();
                    anyhow::bail!("member {index} does not answer: {error}\n{log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A client of one member.
    pub fn client(&self, index: usize) -> Result<GrpcStore> {
        let endpoints = vec![self.endpoints[index].clone()];
        Ok(GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })?)
    }

    /// Client URLs of all members.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Where a member keeps its data.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("m{index}"))
    }

    /// What a member has logged.
    pub fn log(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("m{index}.log"))
    }

    /// `kill -9` of one member.
    pub fn kill_9(&mut self, index: usize) -> Result<()> {
        if let Some(mut child) = self.children[index].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP: the member does nothing until it is resumed, and its sockets stay open.
    pub fn pause(&mut self, index: usize) -> Result<()> {
        self.signal(index, Signal::SIGSTOP)?;
        self.paused.insert(index);
        Ok(())
    }

    /// SIGCONT: the member goes on, and knows nothing of the pause.
    pub fn resume(&mut self, index: usize) -> Result<()> {
        self.paused.remove(&index);
        self.signal(index, Signal::SIGCONT)
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        let child = self.children[index].as_ref().context("it is not running")?;
        Ok(kill(Pid::from_raw(i32::try_from(child.id())?), signal)?)
    }

    /// Waits until a member ends by itself; its exit code.
    pub fn ended(&mut self, index: usize) -> Result<i32> {
        let child = self.children[index].as_mut().context("it is not running")?;
        let status =
            wait::until("the member to end", Duration::from_secs(20), || Ok(child.try_wait()?))?;
        self.children[index] = None;
        Ok(status.code().unwrap_or(-1))
    }

    /// Has a member lead, and waits until it does.
    pub async fn lead(&self, index: usize) -> Result<()> {
        let own = self.client(index)?.status().await?.header.map_or(0, |header| header.member_id);
        let end = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let leader = self.leader(index).await?;
            if leader == Some(index) {
                return Ok(());
            }
            anyhow::ensure!(std::time::Instant::now() < end, "{index} does not lead: {leader:?}");
            if let Some(leader) = leader {
                let mut old = MaintenanceClient::connect(self.endpoints[leader].clone()).await?;
                // It may have to catch up first.
                let _later = old.move_leader(pb::MoveLeaderRequest { target_id: own }).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The index of the member that leads, as member `ask` knows it.
    /// One that is paused is nobody's leader here.
    pub async fn leader(&self, ask: usize) -> Result<Option<usize>> {
        let leader = self.client(ask)?.status().await?.leader;
        for index in 0..self.children.len() {
            if self.children[index].is_none() || self.paused.contains(&index) {
                continue;
            }
            let own =
                self.client(index)?.status().await?.header.map_or(0, |header| header.member_id);
            if own == leader && leader != 0 {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _already_gone = child.kill();
            let _status = child.wait();
        }
    }
}

/// Client URLs and flags of members that found a cluster, on free ports and below `dir`.
pub fn founders(
    dir: &Path,
    count: usize,
    scheme: &str,
    flags: &[String],
) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let ports = ports::free(count * 2)?;
    let peer = |index: usize| format!("{scheme}://127.0.0.1:{}", ports[index * 2 + 1]);
    let initial: Vec<String> =
        (0..count).map(|index| format!("m{index}={}", peer(index))).collect();
    let endpoints: Vec<String> =
        (0..count).map(|index| format!("http://127.0.0.1:{}", ports[index * 2])).collect();
    let arguments = (0..count)
        .map(|index| {
            let data = dir.join(format!("m{index}"));
            [
                ("--name", format!("m{index}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-client-urls", endpoints[index].clone()),
                ("--advertise-client-urls", endpoints[index].clone()),
                ("--listen-peer-urls", peer(index)),
                ("--initial-advertise-peer-urls", peer(index)),
                ("--initial-cluster", initial.join(",")),
                ("--initial-cluster-state", "new".to_owned()),
            ]
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .chain(flags.iter().cloned())
            .collect()
        })
        .collect();
    Ok((endpoints, arguments))
}
