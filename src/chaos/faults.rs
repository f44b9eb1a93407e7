//! Faults: what each of them does to the cluster, and how it is undone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use keelson_check::Line;
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::cluster::{Cluster, Program, name};
use super::failpoints::{self, SYNC_FAILS};
use super::network::{Links, good};
use super::record::Record;
use super::scenario::{Fault, Step, Who};
use super::shapes;

/// How long a fault lasts that does not say.
const LASTS: Duration = Duration::from_secs(2);
/// How much later than that a member may end whose sync has failed.
const END_MAX: Duration = Duration::from_secs(5);
/// Between two turns of a flapping member.
const FLAP_MS: i64 = 400;
/// Looks for a leader, where a fault is for one.
const LOOKS: usize = 40;
/// Between two of them.
const LOOK: Duration = Duration::from_millis(100);
/// What a sync says that fails.
const SYNC_ERROR: &str = "return(\"input/output error\")";
/// How the detail of a fault begins that could not be made.
pub const NOT_DONE: &str = "not done";
/// So many large values are written to a full disk.
const PRESSED: usize = 24;
/// One of them.
const PRESSED_BYTES: usize = 128 << 10;
/// How long one may take.
const PRESS_MAX: Duration = Duration::from_millis(500);
/// What fills a disk.
const BALLAST: &str = "ballast";

/// What faults work on; shared by those that happen at once.
pub struct Faults {
    cluster: Arc<Cluster>,
    record: Record,
    upgrade_to: Option<PathBuf>,
    /// Disturbed links, by fault.
    disturbed: Mutex<BTreeMap<u64, Links>>,
    next: AtomicU64,
    ends: Mutex<Ends>,
}

/// Members that end by themselves.
#[derive(Default)]
struct Ends {
    /// Whose disk was full or failed: they may.
    may: BTreeSet<usize>,
    /// Whoever did and may not, in words.
    wrong: Vec<String>,
}

impl Faults {
    /// For this cluster.
    pub fn new(cluster: Arc<Cluster>, record: Record, upgrade_to: Option<PathBuf>) -> Self {
        let (disturbed, next, ends) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        Self { cluster, record, upgrade_to, disturbed, next, ends }
    }

    /// Whether the members, which run, have the failpoints that these faults need.
    pub async fn are_possible(&self, steps: &[Step]) -> Result<()> {
        for step in steps.iter().filter(|step| failpoints::are_needed(step.fault)) {
            for at in 0..self.cluster.size() {
                let address = self.cluster.addresses(at).failpoints;
                failpoints::point(&address, step.fault).await.with_context(|| {
                    let (fault, program) = (step.fault.name(), self.cluster.program(at));
                    format!("the fault {fault} needs a server with failpoints; {program} is none")
                })?;
            }
        }
        Ok(())
    }

    /// Members that ended by themselves and had no reason to.
    pub fn wrong_ends(&self) -> Vec<String> {
        self.ends().wrong.clone()
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One fault, from its beginning to its end; what cannot be done is noted.
    pub async fn happen(&self, step: &Step, seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        let members = self.members(&step.who, &mut random).await;
        let at = self.record.now();
        let links = shapes::links(step, self.cluster.size(), &members, &mut random);
        let detail = match (step.ms, step.percent) {
            (Some(ms), _) => format!("{ms} ms"),
            (_, Some(percent)) => format!("{percent} % of packets"),
            (None, None) => String::new(),
        };
        let done = self.carry_out(step, &members, links).await;
        let detail = match &done {
            Ok(_) => detail,
            Err(error) => format!("{NOT_DONE}: {error:#}"),
        };
        self.record.write(Line::Fault {
            at,
            until: Some(self.record.now()),
            fault: step.fault.name(),
            members: members.iter().map(|at| name(*at)).collect(),
            links: done.unwrap_or_default(),
            detail,
        });
        self.revive().await;
    }

    /// Whom a fault hits now.
    async fn members(&self, who: &Who, random: &mut SmallRng) -> Vec<usize> {
        let size = self.cluster.size();
        let mut leader = None;
        if matches!(who, Who::Leader | Who::Follower) {
            for _ in 0..LOOKS {
                leader = self.cluster.leader().await;
                if leader.is_some() {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        let mut others: Vec<usize> = (0..size).filter(|at| Some(*at) != leader).collect();
        others.shuffle(random);
        match who {
            Who::All => (0..size).collect(),
            Who::Member(at) => vec![(*at).min(size - 1)],
            Who::Leader => vec![leader.unwrap_or_else(|| random.random_range(0..size))],
            Who::Any => vec![random.random_range(0..size)],
            Who::Follower => others.into_iter().take(1).collect(),
        }
    }

    /// Does it and undoes it; the links it disturbed.
    async fn carry_out(
        &self,
        step: &Step,
        members: &[usize],
        links: Option<Links>,
    ) -> Result<Vec<(String, String)>> {
        let lasts = step.lasts.unwrap_or(LASTS);
        let pause = || tokio::time::sleep(lasts);
        if let Some(links) = links {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let disturbed = shapes::named(&links);
            if step.fault == Fault::Flap {
                self.flap(id, &links, lasts, step.ms.unwrap_or(FLAP_MS)).await?;
            } else {
                self.disturb(id, Some(links))?;
                pause().await;
                self.disturb(id, None)?;
            }
            return Ok(disturbed);
        }
        match step.fault {
            Fault::Kill => {
                members.iter().try_for_each(|at| self.cluster.kill(*at))?;
                pause().await;
                members.iter().try_for_each(|at| self.cluster.start(*at))?;
            }
            Fault::Pause => {
                members.iter().try_for_each(|at| self.cluster.pause(*at, true))?;
                pause().await;
                members.iter().try_for_each(|at| self.cluster.pause(*at, false))?;
            }
            Fault::SlowDisk => {
                let terms = format!("sleep({})", step.ms.unwrap_or(500));
                self.set_points(members, step.fault, &terms).await?;
                pause().await;
                self.clear_points(members, step.fault).await?;
            }
            Fault::FailSync => self.fail_sync(members, lasts).await?,
            Fault::ClockJump => {
                let terms = format!("return(\"{}\")", step.ms.unwrap_or(10_000));
                self.set_points(members, step.fault, &terms).await?;
                pause().await;
                self.clear_points(members, step.fault).await?;
            }
            Fault::DiskFull => {
                self.ends().may.extend(members);
                for at in members {
                    let name = name(*at);
                    ensure!(self.cluster.has_small_disk(*at), "{name} has no disk of its own");
                    fill(&self.ballast(*at))?;
                }
                for at in members {
                    self.press(*at).await;
                }
                pause().await;
                for at in members {
                    std::fs::remove_file(self.ballast(*at)).context("empty the disk")?;
                }
            }
            Fault::Replace => {
                for at in members {
                    self.cluster.replace(*at).await?;
                    self.cluster.ready(*at).await?;
                }
            }
            Fault::RollingRestart => self.roll(None).await?,
            Fault::Upgrade => {
                let path = self.upgrade_to.clone().context("--upgrade-to names no binary")?;
                self.roll(Some(&Program { path })).await?;
            }
            Fault::Isolate
            | Fault::Deaf
            | Fault::Mute
            | Fault::Halves
            | Fault::Bridge
            | Fault::Ring
            | Fault::HalfOpen
            | Fault::Flap
            | Fault::Delay
            | Fault::Loss => bail!("so few members have no such links"),
        }
        Ok(Vec::new())
    }

    /// Adds or takes back what one fault does to links.
    fn disturb(&self, id: u64, links: Option<Links>) -> Result<()> {
        let mut disturbed = self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
        match links {
            Some(links) => disturbed.insert(id, links),
            None => disturbed.remove(&id),
        };
        let mut all = good(self.cluster.size());
        for links in disturbed.values() {
            for (row, other) in all.iter_mut().zip(links) {
                for (link, other) in row.iter_mut().zip(other) {
                    *link = link.and(*other);
                }
            }
        }
        self.cluster.network().set(&all)
    }

    async fn flap(&self, id: u64, links: &Links, lasts: Duration, ms: i64) -> Result<()> {
        let turn = Duration::from_millis(u64::try_from(ms).unwrap_or(1).max(1));
        let end = tokio::time::Instant::now() + lasts;
        let mut is_cut = false;
        while tokio::time::Instant::now() < end {
            is_cut = !is_cut;
            self.disturb(id, is_cut.then(|| links.clone()))?;
            tokio::time::sleep(turn).await;
        }
        self.disturb(id, None)
    }

    /// Sets, at each member, the failpoint by which a fault is made.
    async fn set_points(&self, members: &[usize], fault: Fault, terms: &str) -> Result<()> {
        for at in members {
            let address = self.cluster.addresses(*at).failpoints;
            let name = failpoints::point(&address, fault).await?;
            // A sync that cannot be told to fail can be told to end everything, which is the same.
            let terms = if terms == SYNC_ERROR && name != SYNC_FAILS { "panic" } else { terms };
            failpoints::set(&address, name, Some(terms)).await?;
        }
        Ok(())
    }

    /// Takes that back; a point that is gone has ended with its process.
    async fn clear_points(&self, members: &[usize], fault: Fault) -> Result<()> {
        for at in members.iter().filter(|at| self.cluster.condition(**at) != Some("down")) {
            let address = self.cluster.addresses(*at).failpoints;
            let name = failpoints::point(&address, fault).await?;
            failpoints::set(&address, name, None).await?;
        }
        Ok(())
    }

    /// A sync that fails ends a member; it is started again.
    async fn fail_sync(&self, members: &[usize], lasts: Duration) -> Result<()> {
        self.ends().may.extend(members);
        self.set_points(members, Fault::FailSync, SYNC_ERROR).await?;
        tokio::time::sleep(lasts).await;
        // A member takes its time to end.
        let late = tokio::time::Instant::now() + END_MAX;
        let has_ended = || members.iter().any(|at| self.cluster.condition(*at) == Some("down"));
        while !has_ended() && tokio::time::Instant::now() < late {
            tokio::time::sleep(LOOK).await;
        }
        let ended = has_ended();
        self.clear_points(members, Fault::FailSync).await?;
        self.revive().await;
        ensure!(ended, "it has ended nobody");
        Ok(())
    }

    /// One member after the other is stopped and started.
    async fn roll(&self, program: Option<&Program>) -> Result<()> {
        for at in 0..self.cluster.size() {
            self.cluster.stop(at).await?;
            if let Some(program) = program {
                self.cluster.set_program(at, program);
            }
            self.cluster.start(at)?;
            self.cluster.ready(at).await?;
        }
        Ok(())
    }

    /// Writes so much through a member that its log has to grow: it is made longer before it is filled.
    async fn press(&self, at: usize) {
        let Ok(store) = self.cluster.store(at) else { return };
        for _ in 0..PRESSED {
            let (key, value) = (BALLAST.into(), vec![1; PRESSED_BYTES].into());
            let put = store.put(pb::PutRequest { key, value, ..Default::default() });
            let _refused_or_not = tokio::time::timeout(PRESS_MAX, put).await;
        }
    }

    fn ballast(&self, at: usize) -> PathBuf {
        self.cluster.dir(at).join(BALLAST)
    }

    /// Starts whoever has ended by itself.
    async fn revive(&self) {
        for at in 0..self.cluster.size() {
            let Some(status) = self.cluster.ended(at) else { continue };
            let text = format!("{} ended by itself ({status})", name(at));
            if !self.ends().may.contains(&at) {
                let words = self.cluster.last_words(at);
                self.ends().wrong.push(format!("{text}, and its disk was well:\n{words}"));
            }
            self.record.note(text);
            if let Err(error) = self.cluster.start(at) {
                self.record.note(format!("{} does not start: {error:#}", name(at)));
            }
        }
    }

    /// Undoes everything: links are whole, and everybody runs.
    pub async fn heal(&self) -> Result<()> {
        self.disturbed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.cluster.network().set(&good(self.cluster.size()))?;
        for at in 0..self.cluster.size() {
            if self.cluster.condition(at) == Some("paused") {
                self.cluster.pause(at, false)?;
            }
            let _none_there = std::fs::remove_file(self.ballast(at));
        }
        self.revive().await;
        (0..self.cluster.size()).try_for_each(|at| self.cluster.start(at))
    }
}

/// Writes until nothing more fits.
fn fill(ballast: &Path) -> Result<()> {
    let mut file = std::fs::File::create(ballast)?;
    let chunk = vec![1; 1 << 20];
    for size in [chunk.len(), 4096] {
        while file.write_all(&chunk[..size]).is_ok() {}
    }
    Ok(())
}
