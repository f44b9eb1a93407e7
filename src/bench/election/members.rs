//! Members on loopback whose leader can be found, killed, stopped and started again.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Options;
use crate::bench::members::{Founding, Side};

/// How long a member may take to answer, an election or an orderly end to be over.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The cluster; ended and removed when dropped.
pub(super) struct Members {
    side: Side,
    arguments: Vec<Vec<String>>,
    endpoints: Vec<String>,
    stores: Vec<GrpcStore>,
    children: Vec<Option<Child>>,
    dir: PathBuf,
}

impl Members {
    /// Starts them and waits until each answers a linearizable read.
    pub(super) async fn start(options: &Options) -> Result<Self> {
        let dir = options.work_dir.join(format!("keelson-bench-election-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let side = options.rival.clone().map_or(Side::Ours(None), Side::Rival);
        let count = options.members.max(1);
        let timings = [
            ("--heartbeat-interval", options.heartbeat_interval.to_string()),
            ("--election-timeout", options.election_timeout.to_string()),
        ];
        let Founding { arguments, endpoints } = Founding::of(&dir, count, &timings)?;
        let stores = endpoints.iter().map(|endpoint| store(endpoint)).collect::<Result<_>>()?;
        let children = (0..count).map(|_| None).collect();
        let mut members = Self { side, arguments, endpoints, stores, children, dir };
        for index in 0..count {
            members.start_one(index)?;
        }
        for index in 0..count {
            members.ready(index).await?;
        }
        Ok(members)
    }

    /// Starts one (again).
    pub(super) fn start_one(&mut self, index: usize) -> Result<()> {
        let child = self.side.spawn(&self.arguments[index], &self.dir, index)?;
        self.children[index] = Some(child);
        Ok(())
    }

    /// Until one answers a linearizable read.
    pub(super) async fn ready(&self, index: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.stores[index].revision().await.is_err() {
            if Instant::now() > end {
                bail!("member {index} does not answer; see {}", self.dir.display());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Client URLs.
    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Who leads among those that run, as soon as it says so itself; its term.
    pub(super) async fn leader(&self) -> Result<(usize, u64)> {
        let end = Instant::now() + PATIENCE;
        loop {
            for (index, store) in self.stores.iter().enumerate() {
                if self.children[index].is_none() {
                    continue;
                }
                let Ok(status) = store.status().await else { continue };
                let own = status.header.as_ref().map_or(0, |header| header.member_id);
                if own == status.leader && own != 0 {
                    return Ok((index, status.raft_term));
                }
            }
            if Instant::now() > end {
                bail!("nobody leads; see {}", self.dir.display());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self, index: usize) -> Result<()> {
        if let Some(mut child) = self.children[index].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, until it has ended.
    pub(super) async fn stop(&mut self, index: usize) -> Result<()> {
        let Some(mut child) = self.children[index].take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let end = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > end {
                let _gone = child.kill();
                bail!("member {index} does not end");
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// A client of one member.
pub(super) fn store(endpoint: &str) -> Result<GrpcStore> {
    let endpoints = vec![endpoint.to_owned()];
    Ok(GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })?)
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let _already_gone = child.kill();
            let _status = child.wait();
        }
        let _left_for_the_reader = std::fs::remove_dir_all(&self.dir);
    }
}
