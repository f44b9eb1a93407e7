//! The cluster under test: members as processes, which can be killed, paused, stopped, replaced.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use keelson_node_agent::sys::process::kill_with_parent;
use keelson_proto::etcdserverpb as pb;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pb::cluster_client::ClusterClient;

use super::clients::Named;
use super::network::{Addresses, Network};

/// How long a member may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long who leads may take to tell.
const STATUS_MAX: Duration = Duration::from_millis(500);
/// How long a change of the membership may be refused.
const CHANGE_MAX: Duration = Duration::from_secs(15);

/// A program that runs as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
}

impl Program {
    /// What stands before the flags: ours is a member as `keelson store`.
    fn before_flags(&self) -> &'static [&'static str] {
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        if name.starts_with("keelson") { &["store"] } else { &[] }
    }
}

/// One member's process and what it was started with.
struct Member {
    child: Option<Child>,
    /// How it has ended, if nobody ended it.
    ended: Option<String>,
    paused: bool,
    data: PathBuf,
    /// `--initial-cluster` and its state.
    founding: (String, &'static str),
    program: Program,
}

/// The members.
pub struct Cluster {
    members: Vec<Mutex<Member>>,
    network: Network,
    dir: PathBuf,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Cluster {
    /// Founders on this network, not yet started.
    pub fn new(
        network: Network,
        count: usize,
        dir: &Path,
        program: Program,
        flags: Vec<String>,
    ) -> Self {
        let founders: Vec<String> =
            (0..count).map(|at| format!("{}={}", name(at), network.addresses(at).peer)).collect();
        let member = |at: usize| {
            Mutex::new(Member {
                child: None,
                ended: None,
                paused: false,
                data: dir.join(name(at)).join("data"),
                founding: (founders.join(","), "new"),
                program: program.clone(),
            })
        };
        let members = (0..count).map(member).collect();
        Self { members, network, dir: dir.to_owned(), flags, variables: Vec::new() }
    }

    /// From the next start on, members have this in their environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The network between them.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where a member is.
    pub fn addresses(&self, at: usize) -> Addresses {
        self.network.addresses(at)
    }

    /// A member's directory: its data is in it, and nothing of others.
    pub fn dir(&self, at: usize) -> PathBuf {
        self.dir.join(name(at))
    }

    /// Puts each member's directory on a small file system of its own. Needs root, and mounts of
    /// one's own: they end with those.
    pub fn give_small_disks(&self, bytes: u64) -> Result<()> {
        for at in 0..self.size() {
            let image = self.dir.join(format!("{}.disk", name(at)));
            File::create(&image)?.set_len(bytes)?;
            std::fs::create_dir_all(self.dir(at))?;
            tool(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-F"]).arg(&image))?;
            tool(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(self.dir(at)))?;
        }
        Ok(())
    }

    /// Whether a member has a disk that may be filled.
    pub fn has_small_disk(&self, at: usize) -> bool {
        let dir = self.dir(at).display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(&dir))
    }

    /// A member as it is now: whether it has ended has been looked at.
    fn member(&self, at: usize) -> MutexGuard<'_, Member> {
        let mut member = self.members[at].lock().unwrap_or_else(PoisonError::into_inner);
        let status = member.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = status {
            member.child = None;
            member.ended = Some(status.to_string());
        }
        member
    }

    /// Starts a member, if it does not run.
    pub fn start(&self, at: usize) -> Result<()> {
        let mut member = self.member(at);
        if member.child.is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(self.dir(at))?;
        let log = File::options().append(true).create(true).open(self.log(at))?;
        let addresses = self.addresses(at);
        let program = member.program.clone();
        let mut command: Command = self.network.command(at, &program.path);
        command
            .args(program.before_flags())
            .args(["--name", &name(at), "--data-dir"])
            .arg(&member.data)
            .args(["--listen-client-urls", &addresses.client])
            .args(["--advertise-client-urls", &addresses.client])
            .args(["--listen-peer-urls", &addresses.peer_listen])
            .args(["--initial-advertise-peer-urls", &addresses.peer])
            .args(["--initial-cluster", &member.founding.0])
            .args(["--initial-cluster-state", member.founding.1])
            .args(&self.flags)
            .env("GOFAIL_HTTP", &addresses.failpoints)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        kill_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("start {}", program.path.display()))?;
        self.network.started(at, child.id());
        member.child = Some(child);
        member.ended = None;
        member.paused = false;
        Ok(())
    }

    /// Where a member's words go.
    pub fn log(&self, at: usize) -> PathBuf {
        self.dir.join(format!("{}.log", name(at)))
    }

    /// Waits until a member answers a linearizable read.
    pub async fn ready(&self, at: usize) -> Result<()> {
        let store = self.store(at)?;
        let end = Instant::now() + START_MAX;
        loop {
            let answer = tokio::time::timeout(STATUS_MAX * 2, store.revision()).await;
            if matches!(answer, Ok(Ok(_))) {
                return Ok(());
            }
            if let Some(status) = self.ended(at) {
                bail!("{} ended ({status}):\n{}", name(at), self.last_words(at));
            }
            if Instant::now() > end {
                let seconds = START_MAX.as_secs();
                bail!("{} does not answer for {seconds} s:\n{}", name(at), self.last_words(at));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// The end of a member's log.
    pub fn last_words(&self, at: usize) -> String {
        let log = std::fs::read_to_string(self.log(at)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// How a member has ended by itself, if it has; told once. It can be started again then.
    pub fn ended(&self, at: usize) -> Option<String> {
        self.member(at).ended.take()
    }

    /// `down`, `paused`, or nothing of these.
    pub fn condition(&self, at: usize) -> Option<&'static str> {
        let member = self.member(at);
        match &member.child {
            None => Some("down"),
            Some(_) if member.paused => Some("paused"),
            Some(_) => None,
        }
    }

    /// `kill -9`.
    pub fn kill(&self, at: usize) -> Result<()> {
        if let Some(mut child) = self.member(at).child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks a member to end, and waits until it has.
    pub async fn stop(&self, at: usize) -> Result<()> {
        self.signal(at, Signal::SIGTERM)?;
        let end = Instant::now() + STOP_MAX;
        while self.condition(at) != Some("down") {
            ensure!(Instant::now() < end, "{} does not end", name(at));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It was asked to.
        self.ended(at);
        Ok(())
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, at: usize, paused: bool) -> Result<()> {
        self.signal(at, if paused { Signal::SIGSTOP } else { Signal::SIGCONT })?;
        self.member(at).paused = paused;
        Ok(())
    }

    fn signal(&self, at: usize, signal: Signal) -> Result<()> {
        let member = self.member(at);
        if let Some(child) = &member.child {
            kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        }
        Ok(())
    }

    /// What a member runs.
    pub fn program(&self, at: usize) -> String {
        self.member(at).program.path.display().to_string()
    }

    /// From its next start on, a member runs this.
    pub fn set_program(&self, at: usize, program: &Program) {
        self.member(at).program = program.clone();
    }

    /// A client of one member.
    pub fn store(&self, at: usize) -> Result<GrpcStore> {
        let endpoints = vec![self.addresses(at).client];
        Ok(GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })?)
    }

    /// A client of each member, with its name.
    pub fn stores(&self) -> Result<Vec<Named>> {
        (0..self.size()).map(|at| Ok((self.store(at)?, name(at)))).collect()
    }

    /// What a member says of itself.
    pub async fn status(&self, at: usize) -> Option<pb::StatusResponse> {
        if self.condition(at).is_some() {
            return None;
        }
        let store = self.store(at).ok()?;
        tokio::time::timeout(STATUS_MAX, store.status()).await.ok()?.ok()
    }

    /// Who says that it leads, in the newest term.
    pub async fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for at in 0..self.size() {
            let Some(status) = self.status(at).await else { continue };
            let own = status.header.map_or(0, |header| header.member_id);
            if status.leader == own {
                newest = newest.max(Some((status.raft_term, at)));
            }
        }
        newest.map(|(_, at)| at)
    }

    /// Removes a member with all it has; a new one takes its place.
    pub async fn replace(&self, at: usize) -> Result<()> {
        let others: Vec<usize> = (0..self.size()).filter(|other| *other != at).collect();
        let own = self.addresses(at).peer;
        self.kill(at)?;
        self.change(&others, &own, Change::Remove).await.context("remove it")?;
        let members = self.change(&others, &own, Change::Add).await.context("add a new one")?;
        let known = |peer: &str| (0..self.size()).find(|at| self.addresses(*at).peer == peer);
        let peers: BTreeSet<String> = members.into_iter().flat_map(|one| one.peer_ur_ls).collect();
        let cluster: Vec<String> = peers
            .iter()
            .filter_map(|peer| Some(format!("{}={peer}", name(known(peer)?))))
            .collect();
        {
            let mut member = self.member(at);
            let _nothing_there = std::fs::remove_dir_all(&member.data);
            member.founding = (cluster.join(","), "existing");
        }
        self.start(at)
    }

    /// Asks members in turn for a change of the membership, until one does it.
    async fn change(&self, ask: &[usize], peer: &str, change: Change) -> Result<Vec<pb::Member>> {
        let end = Instant::now() + CHANGE_MAX;
        for at in ask.iter().cycle() {
            let client = ClusterClient::new(self.store(*at)?.channel());
            let said =
                match tokio::time::timeout(STATUS_MAX * 6, change.attempt(client, peer)).await {
                    Ok(Ok(members)) => return Ok(members),
                    Ok(Err(status)) => status.message().to_owned(),
                    Err(_) => "no answer".to_owned(),
                };
            ensure!(Instant::now() < end, "refused for {} s: {said}", CHANGE_MAX.as_secs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("there is nobody to ask")
    }
}

/// A change of the membership; what is so already is not asked for again.
#[derive(Debug, Clone, Copy)]
enum Change {
    Remove,
    Add,
}

impl Change {
    /// The members afterwards.
    async fn attempt(
        self,
        mut client: ClusterClient<tonic::transport::Channel>,
        peer: &str,
    ) -> Result<Vec<pb::Member>, tonic::Status> {
        let members = client.member_list(pb::MemberListRequest::default()).await?.into_inner();
        let has_it = |member: &&pb::Member| member.peer_ur_ls.iter().any(|url| url == peer);
        let found = members.members.iter().find(has_it).map(|member| member.id);
        match (self, found) {
            (Self::Remove, Some(id)) => {
                let removed = client.member_remove(pb::MemberRemoveRequest { id }).await?;
                Ok(removed.into_inner().members)
            }
            (Self::Add, None) => {
                let peer_ur_ls = vec![peer.to_owned()];
                let add = pb::MemberAddRequest { peer_ur_ls, is_learner: false };
                Ok(client.member_add(add).await?.into_inner().members)
            }
            (Self::Remove, None) | (Self::Add, Some(_)) => Ok(members.members),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for at in 0..self.size() {
            let _already_gone = self.kill(at);
        }
    }
}

fn tool(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}

/// What members are called.
pub fn name(at: usize) -> String {
    format!("m{at}")
}
