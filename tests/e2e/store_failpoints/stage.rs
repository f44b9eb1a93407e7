//! Stage: the members as processes, each with its interface for failpoints.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use keelson_proto::etcdserverpb as pb;
use keelson_tests::members::founders;
use keelson_tests::store::{StoreProcess, curl, failpoint_binary};
use keelson_tests::{ports, scratch};
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;

/// The log is released early, so that few writes are enough to need a snapshot.
const FLAGS: [&str; 2] = ["--snapshot-count=40", "--snapshot-catchup-entries=50"];
/// For an election, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who comes back has what it missed by then.
const CATCHES_UP: Duration = Duration::from_secs(3);

/// Members and where they listen.
pub(super) struct Stage {
    binary: PathBuf,
    dir: tempfile::TempDir,
    endpoints: Vec<String>,
    flags: Vec<Vec<String>>,
    /// Where each is told of failpoints.
    addresses: Vec<String>,
    processes: Vec<Option<StoreProcess>>,
}

impl Stage {
    /// Of so many members, none of which is started.
    pub(super) fn new(count: usize) -> Result<Self> {
        Self::with(count, &FLAGS.map(str::to_owned))
    }

    /// The same with other flags.
    pub(super) fn with(count: usize, flags: &[String]) -> Result<Self> {
        let binary = failpoint_binary()?;
        let dir = scratch::dir("failpoints")?;
        let (endpoints, flags) = founders(dir.path(), count, "http", flags)?;
        let address = |port| format!("127.0.0.1:{port}");
        let addresses = ports::free(count)?.into_iter().map(address).collect();
        let processes = (0..count).map(|_| None).collect();
        Ok(Self { binary, dir, endpoints, flags, addresses, processes })
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// A client of one member.
    pub(super) fn store(&self, member: usize) -> Result<GrpcStore> {
        store(&self.endpoints[member])
    }

    fn launch(&mut self, member: usize, points: &str) -> Result<&mut StoreProcess> {
        let log = self.dir.path().join(format!("m{member}.log"));
        let variables =
            [("GOFAIL_HTTP", self.addresses[member].as_str()), ("GOFAIL_FAILPOINTS", points)];
        let process = StoreProcess::start_of(&self.binary, &self.flags[member], &variables, &log)?;
        Ok(self.processes[member].insert(process))
    }

    /// Starts a member, and waits until it serves.
    pub(super) fn start(&mut self, member: usize) -> Result<()> {
        let process = self.launch(member, "")?;
        tokio::task::block_in_place(|| process.ready())
    }

    /// Starts all, and waits until they serve.
    pub(super) fn start_all(&mut self) -> Result<()> {
        for member in 0..self.processes.len() {
            self.launch(member, "")?;
        }
        tokio::task::block_in_place(|| {
            self.processes.iter_mut().flatten().try_for_each(StoreProcess::ready)
        })
    }

    /// Starts a member that ends at a point.
    pub(super) fn start_armed(&mut self, member: usize, point: &str) -> Result<()> {
        self.launch(member, &format!("{point}=panic")).map(drop)
    }

    /// From now on a member ends at a point.
    pub(super) fn arm(&self, member: usize, point: &str) -> Result<()> {
        self.put(member, point, "panic")
    }

    /// Whether a member ends by itself before it must have caught up.
    pub(super) fn dies(&mut self, member: usize) -> bool {
        let Some(process) = &mut self.processes[member] else { return true };
        tokio::task::block_in_place(|| process.ended_within(CATCHES_UP)).is_ok()
    }

    /// Waits until a member has ended, at this point and no other.
    pub(super) fn died(&mut self, member: usize, point: &str) -> Result<()> {
        let mut process = self.processes[member].take().context("it is not running")?;
        tokio::task::block_in_place(|| process.ended())?;
        let said = format!("failpoint panic: {point}\n");
        ensure!(process.log().contains(&said), "it ended otherwise:\n{}", process.log());
        Ok(())
    }

    /// `kill -9` of a member.
    pub(super) fn kill_9(&mut self, member: usize) -> Result<()> {
        self.processes[member].take().context("it is not running")?.kill_9()
    }

    /// What a member has logged since its last start.
    pub(super) fn log(&self, member: usize) -> String {
        let log = self.dir.path().join(format!("m{member}.log"));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Where a member tells of a point.
    pub(super) fn url(&self, member: usize, path: &str) -> String {
        format!("http://{}/{path}", self.addresses[member])
    }

    /// Sets a point.
    pub(super) fn put(&self, member: usize, point: &str, terms: &str) -> Result<()> {
        let url = self.url(member, point);
        let answer = tokio::task::block_in_place(|| curl(&["-X", "PUT", "-d", terms, &url]))?;
        ensure!(answer == (204, String::new()), "PUT {url}: {answer:?}");
        Ok(())
    }

    /// Clears a point.
    pub(super) fn clear(&self, member: usize, point: &str) -> Result<()> {
        let url = self.url(member, point);
        let answer = tokio::task::block_in_place(|| curl(&["-X", "DELETE", &url]))?;
        ensure!(answer == (204, String::new()), "DELETE {url}: {answer:?}");
        Ok(())
    }

    /// Adds a member that is never started: the answer does not matter, nor does it to the others.
    pub(super) async fn change_members(&self) -> Result<()> {
        let mut client = ClusterClient::connect(self.endpoints[0].clone()).await?;
        let peer_ur_ls = vec![format!("http://127.0.0.1:{}", ports::free(1)?[0])];
        let request = pb::MemberAddRequest { peer_ur_ls, is_learner: true };
        let _died_at_it = client.member_add(request).await;
        Ok(())
    }

    /// Has the first member rewrite its files; what it says of it.
    pub(super) async fn defragment(&self) -> Result<Result<(), tonic::Status>> {
        let mut client = MaintenanceClient::connect(self.endpoints[0].clone()).await?;
        Ok(client.defragment(pb::DefragmentRequest {}).await.map(drop))
    }

    /// Who leads, as soon as one does and says so.
    pub(super) async fn leader(&self) -> Result<usize> {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            for (member, endpoint) in self.endpoints.iter().enumerate() {
                let status = store(endpoint)?.status().await;
                let own = |status: &pb::StatusResponse| {
                    status.header.as_ref().is_some_and(|header| header.member_id == status.leader)
                };
                if status.as_ref().is_ok_and(own) {
                    return Ok(member);
                }
            }
            ensure!(std::time::Instant::now() < end, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A client of one member.
pub(super) fn store(endpoint: &str) -> Result<GrpcStore> {
    let endpoints = vec![endpoint.to_owned()];
    Ok(GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })?)
}
