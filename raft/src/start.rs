//! Starts a member: opens the log, replays the state, joins its parts, and waits for what can be
//! promised.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keelson_storage::command::Command;
use keelson_storage::machine::StateMachine;
use keelson_storage::wal::Identity;
use openraft::errors::{InitializeError, RaftError};
use openraft::{EntryPayload, Raft};
use tokio::sync::{Notify, mpsc, watch};

use crate::config::NodeConfig;
use crate::corruption::{After, CorruptionCheck};
use crate::error::StartError;
use crate::leadership::{self, Leadership, Transfer};
use crate::lease_keeper::LeaseKeeper;
use crate::leases::Leases;
use crate::log::{LogOptions, LogStore, decode_membership};
use crate::machine::{Machine, SnapshotAfter};
use crate::membership::{MembershipKeeper, Reconfigurer, Seeker};
use crate::node::{Inner, Node, Stop};
use crate::peer::{
    Directory, Landing, PeerNetwork, PeerServer, Sending, Service, SocketTransport, Transport,
};
use crate::peers::Peers;
use crate::pressure::{self, Pressure};
use crate::proofs::Proofs;
use crate::proposals::Proposals;
use crate::propose::{Propose, Proposer, ProposerTask, Work};
use crate::reads::ReadsTask;
use crate::renewals::{Renewals, RenewalsTask};
use crate::rounds::QUEUE_WAITERS;
use crate::runtime::{Runtime, current};
use crate::succession::{QUEUE_ENDS, Succession};
use crate::ticker::{self, Heard, Ticker};
use crate::timeline::Timeline;
use crate::types::{Entry, Member, Membership, StoredMembership, Types, log_id, outer_index};

/// Proposals that waited too long are looked for this often.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn start(config: NodeConfig, machine: StateMachine) -> Result<Node, StartError> {
    if current().is_some() {
        return assemble(config, machine, None).await;
    }
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .thread_name("raft")
        .enable_all()
        .build()
        .map_err(|source| StartError::Io { action: "start threads", source })?;
    let handle = threads.handle().clone();
    let started = handle.spawn(assemble(config, machine, Some(threads))).await;
    started.map_err(|error| StartError::Consensus(error.to_string()))?
}

async fn assemble(
    mut config: NodeConfig,
    machine: StateMachine,
    threads: Option<tokio::runtime::Runtime>,
) -> Result<Node, StartError> {
    let mut threads = ShutOnDrop(threads);
    let consensus = Arc::new(config.consensus()?);
    let transport = transport(&mut config)?;
    let identity = Identity { cluster_id: config.cluster_id, node_id: config.node_id };
    let log = LogStore::open(
        config.disk.clone(),
        &LogOptions {
            wal: config.wal,
            observer: config.observer.clone(),
            ..LogOptions::new(config.data_dir.join("wal"), identity)
        },
    )?;
    let pristine = log.is_pristine();
    if let Some(own) = config.force_new_cluster.take() {
        force_new_cluster(&log, machine.applied(), config.node_id, own)
            .await
            .map_err(|source| StartError::Io { action: "force a new cluster", source })?;
    }

    let (view, hub) = (machine.view(), machine.hub());
    let proposals = Proposals::new();
    let after = SnapshotAfter { entries: config.snapshot_entries, bytes: config.snapshot_bytes };
    let machine = Machine::new(
        machine,
        proposals.clone(),
        after,
        config.apply_warning,
        config.observer.take(),
    );
    let (applied, snapshot_due) = (machine.applied(), machine.snapshot_due());
    let failure = machine.failure();
    let (leader_sender, leadership) = watch::channel(Leadership::default());
    let (member_sender, membership) = watch::channel(StoredMembership::default());
    let (stopped_sender, stopped) = watch::channel(None);
    let (removed, _) = watch::channel(view.is_removed_member(config.node_id));
    let directory = Directory::new(
        transport.clone(),
        config.cluster_id,
        config.node_id,
        membership.clone(),
        removed.clone(),
    );
    let sending = Sending::new();
    let network = PeerNetwork { directory: directory.clone(), sending: sending.clone() };
    let raft = Raft::new(config.node_id, consensus, network, log.clone(), machine)
        .await
        .map_err(|error| StartError::Consensus(error.to_string()))?;

    let peers =
        Peers { directory, membership: membership.clone(), limit: config.request_timeout() };
    let (proposer, work) = Proposer::new();
    let pressure = Pressure::new(log.clone(), applied.clone());
    let (readers, reads) = mpsc::channel(QUEUE_WAITERS);
    let proofs = Proofs::start(raft.clone(), applied.clone(), config.election);
    let propose: Propose = Arc::new({
        let (proposals, proposer, pressure) =
            (proposals.clone(), proposer.clone(), pressure.clone());
        move |command| {
            propose(proposals.clone(), proposer.clone(), pressure.clone(), command).boxed()
        }
    });
    let leases = Leases::new(view.clone(), proofs, propose.clone());
    let (timeline, heard) = (Timeline::default(), Heard::default());

    drop(Runtime::spawn({
        let (raft, log, proposals) = (raft.clone(), log.clone(), proposals.clone());
        let (stopped_sender, written) = (stopped_sender.clone(), timeline.clone());
        let heard = heard.clone();
        async move {
            leadership::follow(raft, leader_sender, member_sender, written, heard).await;
            proposals.close();
            let reason = log.failure().or_else(|| failure.reason());
            let reason = reason.unwrap_or_else(|| "consensus has stopped".to_owned());
            stopped_sender.send_if_modified(|stop| {
                let first = stop.is_none();
                stop.get_or_insert(Stop::Failed(reason));
                first
            });
        }
    }));
    drop(Runtime::spawn({
        let (ended, raft) = (log.ended(), raft.clone());
        async move {
            // Who cannot write must not lead either, also while nobody asks it to write.
            ended.await;
            let _ = raft.shutdown().await;
        }
    }));
    drop(Runtime::spawn({
        let (mut removed, stopped) = (removed.subscribe(), stopped_sender);
        async move {
            if removed.wait_for(|removed| *removed).await.is_ok() {
                stopped.send_replace(Some(Stop::Removed));
            }
        }
    }));
    let task = ProposerTask {
        raft: raft.clone(),
        proposals: proposals.clone(),
        peers: peers.clone(),
        pressure: pressure.clone(),
        leadership: leadership.clone(),
        patience: config.request_timeout(),
    };
    drop(Runtime::spawn(task.run(work)));
    let task = ReadsTask {
        raft: raft.clone(),
        peers: peers.clone(),
        leadership: leadership.clone(),
        applied: applied.clone(),
        patience: config.request_timeout(),
    };
    drop(Runtime::spawn(task.run(reads)));
    let (renewals, waiting) = Renewals::new();
    let task = RenewalsTask {
        leases: leases.clone(),
        peers: peers.clone(),
        leadership: leadership.clone(),
        patience: config.request_timeout(),
    };
    drop(Runtime::spawn(task.run(waiting)));
    let transfer = Transfer {
        raft: raft.clone(),
        leadership: leadership.clone(),
        own: config.node_id,
        limit: config.election,
    };
    let reconfigurer = Reconfigurer {
        raft: raft.clone(),
        view: view.clone(),
        peers: peers.clone(),
        leadership: leadership.clone(),
        transfer: transfer.clone(),
        propose: propose.clone(),
        limit: config.request_timeout(),
        election: config.election,
        turn: Arc::default(),
    };
    let keeper = MembershipKeeper {
        reconfigurer: reconfigurer.clone(),
        leadership: leadership.clone(),
        membership: membership.clone(),
    };
    drop(Runtime::spawn(keeper.run()));
    let seeker = Seeker {
        peers: peers.clone(),
        leadership: leadership.clone(),
        membership: membership.clone(),
        patience: config.election * 2,
    };
    drop(Runtime::spawn(seeker.run()));
    let keeper = LeaseKeeper {
        leases: leases.clone(),
        leadership: leadership.clone(),
        grace: config.election,
    };
    drop(Runtime::spawn(keeper.run()));
    for (interval, after) in
        [(config.corrupt_check, After::Interval), (config.compact_hash_check, After::Compaction)]
    {
        let Some(interval) = interval else { continue };
        let check = CorruptionCheck {
            view: view.clone(),
            peers: peers.clone(),
            leadership: leadership.clone(),
            interval,
            after,
            propose: propose.clone(),
        };
        drop(Runtime::spawn(check.run()));
    }
    drop(Runtime::spawn(snapshots(raft.clone(), snapshot_due, sending, leadership.clone())));
    drop(Runtime::spawn(pressure::tell(raft.clone(), view.clone(), stopped.clone())));
    drop(Runtime::spawn(expire(proposals.clone(), config.request_timeout(), stopped.clone())));
    let succession = Succession {
        raft: raft.clone(),
        log: log.clone(),
        peers: peers.clone(),
        leadership: leadership.clone(),
        membership: membership.clone(),
        turn: config.election / 5,
        limit: config.election,
        heir: Arc::default(),
    };
    let (ends, ended) = mpsc::channel(QUEUE_ENDS);
    drop(Runtime::spawn(succession.clone().run(ended)));
    let ticker = Ticker {
        raft: raft.clone(),
        log: log.clone(),
        leadership: leadership.clone(),
        membership: membership.clone(),
        heard: heard.clone(),
        heartbeat: config.heartbeat,
        idle_pause: ticker::idle_pause(config.heartbeat, config.election),
    };
    drop(Runtime::spawn(ticker.run()));
    let service = Service {
        cluster_id: config.cluster_id,
        node_id: config.node_id,
        raft: raft.clone(),
        log: log.clone(),
        proposer: proposer.clone(),
        leases: leases.clone(),
        view: view.clone(),
        reconfigurer: reconfigurer.clone(),
        succession,
        ends,
        heard,
        removed,
        http: config.peer_http.take(),
        measures: peers.directory.measures().clone(),
        landing: match threads.0 {
            Some(_) => Landing::file(config.data_dir.join("snapshot.partial")),
            None => Landing::Memory,
        },
    };
    drop(Runtime::spawn(PeerServer { transport, service }.run()));

    // Who joins is told by the others what has been.
    let joins = pristine && config.members.is_empty();
    if pristine && !joins {
        initialize(&raft, config.members.clone()).await?;
    }
    let inner = Inner {
        node_id: config.node_id,
        cluster_id: config.cluster_id,
        joins,
        view,
        hub,
        raft,
        log,
        proposals,
        proposer,
        pressure,
        readers,
        leases,
        renewals,
        peers,
        leadership,
        timeline,
        membership,
        applied,
        transfer,
        reconfigurer,
        stopped,
        threads: threads.0.take(),
    };
    let node = Node { inner: Arc::new(inner) };
    if !joins {
        ready_if_alone(&node, config.election).await?;
    }
    Ok(node)
}

/// A runtime must not be dropped by one of its own tasks.
struct ShutOnDrop(Option<tokio::runtime::Runtime>);

impl Drop for ShutOnDrop {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

fn transport(config: &mut NodeConfig) -> Result<Arc<dyn Transport>, StartError> {
    if let Some(transport) = config.transport.take() {
        return Ok(transport);
    }
    let transport =
        SocketTransport::new(std::mem::take(&mut config.peer_listeners), config.peer_tls.take())
            .map_err(|source| StartError::Io { action: "listen for peers", source })?;
    Ok(Arc::new(transport))
}

async fn initialize(
    raft: &Raft<Types, Machine>,
    members: BTreeMap<u64, Member>,
) -> Result<(), StartError> {
    match raft.initialize(members).await {
        // Another member was faster, and this one has heard of it.
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(StartError::Consensus(error.to_string())),
    }
}

/// A cluster of one needs no election timeout; all it has on disk is committed.
async fn ready_if_alone(node: &Node, election: Duration) -> Result<(), StartError> {
    let inner = &node.inner;
    let mut membership = inner.membership.clone();
    let voters = Runtime::timeout(election * 4, async {
        let known = membership.wait_for(|known| known.voter_ids().next().is_some()).await;
        known.map(|known| known.voter_ids().collect::<Vec<u64>>()).unwrap_or_default()
    });
    if voters.await.unwrap_or_default() != [inner.node_id] {
        return Ok(());
    }
    let last = inner.log.last().map_or(0, |id| outer_index(id.index));
    let mut leadership = inner.leadership.clone();
    if !leadership.borrow().is_own {
        let _ = inner.raft.trigger().elect(false).await;
    }
    let mut applied = inner.applied.clone();
    let ready = Runtime::timeout(election * 10 + Duration::from_secs(60), async {
        let _ = leadership.wait_for(|now| now.is_own).await;
        let _ = applied.wait_for(|applied| *applied >= last).await;
    });
    ready
        .await
        .map_err(|_| StartError::Consensus("a cluster of one has not elected itself".to_owned()))
}

/// Ends the log with a membership of this member alone: it needs nobody to elect itself.
async fn force_new_cluster(
    log: &LogStore,
    applied: keelson_storage::machine::Applied,
    own_id: u64,
    own: Member,
) -> io::Result<()> {
    let term = log.vote().map_or(applied.term, |vote| vote.leader_id.term).max(applied.term);
    let last = log.last().map_or(0, |id| outer_index(id.index)).max(applied.index);
    let id = log_id(term, last + 1).ok_or(io::ErrorKind::InvalidData)?;
    let known = applied.membership.map(decode_membership).transpose()?;
    let known = known.and_then(|known| known.get_node(&own_id).cloned());
    let own = Member { learner: false, ..known.unwrap_or(own) };
    let membership =
        Membership::new([BTreeSet::from([own_id])].into(), BTreeMap::from([(own_id, own)]))
            .map_err(io::Error::other)?;
    log.append_durably(Entry { log_id: id, payload: EntryPayload::Membership(membership) }).await
}

async fn propose(
    proposals: Proposals,
    proposer: Proposer,
    pressure: Pressure,
    command: Command,
) -> bool {
    let Ok((payload, sequence, outcome)) = proposals.register(&command) else { return false };
    pressure.enter(payload.0.len());
    proposer.submit(Work::Local { sequence, payload }).await;
    matches!(outcome.await, Ok(Ok(Ok(_))))
}

/// Makes the state durable, and releases the log, whenever enough was applied.
async fn snapshots(
    raft: Raft<Types, Machine>,
    due: Arc<Notify>,
    sending: Sending,
    mut leadership: watch::Receiver<Leadership>,
) {
    loop {
        tokio::select! {
            biased;
            () = due.notified() => {
                sending.idle().await;
                if raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

async fn expire(proposals: Proposals, limit: Duration, mut stopped: watch::Receiver<Option<Stop>>) {
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => return,
            () = Runtime::sleep(EXPIRY_INTERVAL) => proposals.expire(limit),
        }
    }
}
