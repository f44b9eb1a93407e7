//! PeerServer: answers the calls of other members.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use keelson_failpoint::failpoint;
use keelson_proto::raft as pb;
use keelson_storage::view::View;
use openraft::raft::TransferLeaderRequest;
use openraft::{Raft, Snapshot};
use prost::Message;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, watch};

use super::channel::{framed, write_frames};
use super::frame::{FORMAT_VERSION, Frame, FrameReader, Kind, encode, encode_bytes};
use super::measures::{AllPeers, Meter};
use super::network::SNAPSHOT_TIMEOUT;
use super::reception::Landing;
use super::transport::{Connection, PeerHttp, Transport};
use super::wire;
use crate::corruption::hash_here;
use crate::leases::{Leases, Question};
use crate::log::{LogStore, stored_membership};
use crate::machine::Machine;
use crate::membership::{self, Reconfigurer};
use crate::propose::{Proposer, Work};
use crate::reads::confirmed_index;
use crate::runtime::Runtime;
use crate::succession::Succession;
use crate::ticker::Heard;
use crate::types::{Append, Payload, SnapshotMeta, Types, outer_index};

/// Replies that wait to be written.
const OUTBOX_FRAMES: usize = 4096;
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What calls are answered from; clones share it.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) cluster_id: u64,
    pub(crate) node_id: u64,
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) log: LogStore,
    pub(crate) proposer: Proposer,
    pub(crate) leases: Leases,
    pub(crate) view: View,
    pub(crate) reconfigurer: Reconfigurer,
    pub(crate) succession: Succession,
    /// Told whose connection has ended.
    pub(crate) ends: mpsc::Sender<u64>,
    pub(crate) heard: Heard,
    /// Told when another member says that this one has been removed.
    pub(crate) removed: watch::Sender<bool>,
    /// Takes connections of those who speak HTTP.
    pub(crate) http: Option<PeerHttp>,
    pub(crate) measures: AllPeers,
    /// Where a snapshot is kept while it arrives.
    pub(crate) landing: Landing,
}

/// Accepts connections and answers on them.
pub(crate) struct PeerServer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) service: Service,
}

impl PeerServer {
    /// Serves until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            match self.transport.accept().await {
                Ok(connection) => {
                    let service = self.service.clone();
                    drop(Runtime::spawn(async move {
                        if let Err(error) = service.serve(connection).await {
                            tracing::debug!(%error, "a peer connection ended");
                        }
                    }));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a peer connection");
                    Runtime::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

type Reader = FrameReader<Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>>;

impl Service {
    async fn serve(self, connection: Connection) -> io::Result<()> {
        let connection = match speaks_http(connection).await? {
            (connection, false) => connection,
            (connection, true) => {
                if let Some(http) = &self.http {
                    http(connection).await;
                }
                return Ok(());
            }
        };
        let meter = Meter::default();
        let (mut reader, writer) = framed(connection, &meter);
        let (outbox, inbox) = mpsc::channel(OUTBOX_FRAMES);
        drop(Runtime::spawn(write_frames(writer, inbox)));
        let from = self.greet(&mut reader, &outbox).await?;
        meter.is_of(self.measures.of(from));
        let served = self.serve_member(from, reader, outbox).await;
        // Where many have ended at once, one of them is enough.
        let _ = self.ends.try_send(from);
        served
    }

    /// Answers a member's calls until the connection ends.
    async fn serve_member(
        &self,
        from: u64,
        mut reader: Reader,
        outbox: mpsc::Sender<Bytes>,
    ) -> io::Result<()> {
        let mut appends: FuturesUnordered<BoxFuture<'static, Bytes>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(reply) = appends.next(), if !appends.is_empty() => {
                    failpoint!(await raftBeforeFollowerSend);
                    send(&outbox, reply).await?;
                }
                frame = reader.next() => {
                    let Some(frame) = frame? else { return Ok(()) };
                    if self.view.is_removed_member(from) {
                        // It is told why when it comes back.
                        return Err(io::Error::other("the member has been removed"));
                    }
                    if frame.kind != Kind::SnapshotHead {
                        failpoint!(await raftDropHeartbeat => continue);
                    }
                    match frame.kind {
                        Kind::Append | Kind::Heartbeat => {
                            self.heard.from(from);
                            // Polled once at once: entries reach consensus in the order they came.
                            let mut reply = self.append(&frame)?;
                            match (&mut reply).now_or_never() {
                                Some(reply) => {
                                    failpoint!(await raftBeforeFollowerSend);
                                    send(&outbox, reply).await?;
                                }
                                None => appends.push(reply),
                            }
                        }
                        Kind::Farewell => {
                            let farewell: pb::Farewell = frame.decode()?;
                            if farewell.member == self.node_id {
                                self.removed.send_replace(true);
                            }
                        }
                        Kind::SnapshotHead => {
                            let reply = self.receive_snapshot(from, &frame, &mut reader).await?;
                            send(&outbox, reply).await?;
                        }
                        _ => {
                            let service = self.clone();
                            let outbox = outbox.clone();
                            drop(Runtime::spawn(async move {
                                let reply = service.answer(&frame).await.unwrap_or_else(|error| {
                                    let reason = error.to_string();
                                    encode_bytes(Kind::Refusal, frame.call, reason.as_bytes())
                                });
                                let _ = outbox.send(reply).await;
                            }));
                        }
                    }
                }
            }
        }
    }

    /// Exchanges greetings; who is there.
    async fn greet(&self, reader: &mut Reader, outbox: &mpsc::Sender<Bytes>) -> io::Result<u64> {
        let hello = Runtime::timeout(GREETING_TIMEOUT, reader.next())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if hello.kind != Kind::Hello {
            return Err(io::Error::other("a peer that does not greet"));
        }
        let hello: pb::Hello = hello.decode()?;
        let removed =
            hello.cluster_id == self.cluster_id && self.view.is_removed_member(hello.from);
        let refusal = if removed {
            "the member has been permanently removed from the cluster".to_owned()
        } else if hello.format_version != FORMAT_VERSION {
            format!("peer protocol version {} is not {FORMAT_VERSION}", hello.format_version)
        } else if hello.cluster_id != self.cluster_id {
            format!("cluster {:x} is not {:x}", hello.cluster_id, self.cluster_id)
        } else if hello.to != self.node_id {
            format!("member {:x} is not {:x}", hello.to, self.node_id)
        } else {
            String::new()
        };
        let welcome =
            pb::Welcome { format_version: FORMAT_VERSION, refusal: refusal.clone(), removed };
        send(outbox, encode(Kind::Welcome, 0, &welcome)).await?;
        if refusal.is_empty() { Ok(hello.from) } else { Err(io::Error::other(refusal)) }
    }

    /// Hands entries to consensus; the reply follows when they are on disk. A heartbeat of the
    /// leader that is already followed is answered at once, once consensus has it: it must not
    /// wait for the disk.
    fn append(&self, frame: &Frame) -> io::Result<BoxFuture<'static, Bytes>> {
        let request: Append = wire::from_append(frame.decode()?)?;
        let call = frame.call;
        let early = (frame.kind == Kind::Heartbeat
            && request.vote.committed
            && self.log.vote() == Some(request.vote)
            && self.log.holds(request.prev_log_id))
        .then(|| reply(call, &wire::appended(Ok(request.prev_log_id))));
        let range = (request.prev_log_id, request.entries.last().map(|entry| entry.log_id));
        let raft = self.raft.clone();
        let mut appended = async move {
            match raft.append_entries(request).await {
                Ok(result) => {
                    let last = range.1.or(range.0);
                    reply(call, &wire::appended(result.into_stream_result(range.0, last)))
                }
                Err(error) => encode_bytes(Kind::Refusal, call, error.to_string().as_bytes()),
            }
        }
        .boxed();
        Ok(match early {
            Some(early) => {
                let _ = (&mut appended).now_or_never();
                std::future::ready(early).boxed()
            }
            None => appended,
        })
    }

    async fn answer(&self, frame: &Frame) -> io::Result<Bytes> {
        match frame.kind {
            Kind::Ballot => {
                let ballot: pb::Ballot = frame.decode()?;
                let rehearsal = ballot.rehearsal;
                let request = wire::from_ballot(ballot)?;
                let answer = if rehearsal {
                    self.raft.pre_vote(request).await
                } else {
                    self.raft.vote(request).await
                };
                let answer = answer.map_err(|error| io::Error::other(error.to_string()))?;
                Ok(reply(frame.call, &wire::ballot_reply(&answer)))
            }
            Kind::Transfer => {
                let transfer: pb::Transfer = frame.decode()?;
                let request = TransferLeaderRequest::new(
                    wire::from_vote(transfer.from)?,
                    transfer.to,
                    wire::from_id(transfer.last),
                );
                let answer = self.raft.handle_transfer_leader(request).await;
                let refusal = match answer {
                    Ok(Ok(())) => String::new(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                Ok(reply(frame.call, &pb::TransferReply { refusal }))
            }
            Kind::Proposals => {
                let proposals: pb::Proposals = frame.decode()?;
                let payloads = proposals.payloads.into_iter().map(Payload).collect();
                let (done, fates) = tokio::sync::oneshot::channel();
                self.proposer.submit(Work::Foreign { payloads, done }).await;
                let fates = fates.await.map_err(io::Error::other)?;
                let fates = fates.into_iter().map(|fate| fate as i32).collect();
                Ok(reply(frame.call, &pb::ProposalsReply { fates }))
            }
            Kind::ReadIndex => {
                let index = confirmed_index(&self.raft).await.ok();
                let message =
                    pb::ReadIndexReply { leader: index.is_some(), index: index.unwrap_or(0) };
                Ok(reply(frame.call, &message))
            }
            Kind::KeepAlive => {
                let wanted: pb::KeepAlive = frame.decode()?;
                failpoint!(await beforeServeHTTPLeaseRenew);
                let replies = self.leases.answer_here(Question::Renew, wanted.ids).await;
                Ok(reply(frame.call, &pb::KeepAliveReplies { replies }))
            }
            Kind::TimeToLive => {
                let wanted: pb::KeepAlive = frame.decode()?;
                failpoint!(await beforeLookupWhenForwardLeaseTimeToLive);
                let replies = self.leases.answer_here(Question::Remaining, wanted.ids).await;
                Ok(reply(frame.call, &pb::KeepAliveReplies { replies }))
            }
            Kind::Vacancy => {
                let agreed = self.succession.agrees(frame.decode()?).await?;
                Ok(reply(frame.call, &pb::VacancyReply { agreed }))
            }
            Kind::Hash => {
                let wanted: pb::Hash = frame.decode()?;
                Ok(reply(frame.call, &hash_here(&self.view, wanted.revision).await?))
            }
            Kind::Reconfigure => {
                let (change, limits) = membership::from_request(frame.decode()?)
                    .ok_or_else(|| io::Error::other("a change of an unknown kind"))?;
                let outcome = self.reconfigurer.change(&change, limits).await;
                Ok(reply(frame.call, &membership::reply(outcome)))
            }
            Kind::Hello
            | Kind::Farewell
            | Kind::Welcome
            | Kind::Append
            | Kind::Heartbeat
            | Kind::SnapshotHead
            | Kind::SnapshotChunk
            | Kind::Reply
            | Kind::Refusal => Err(io::Error::other("a peer frame out of place")),
        }
    }

    async fn receive_snapshot(
        &self,
        from: u64,
        frame: &Frame,
        reader: &mut Reader,
    ) -> io::Result<Bytes> {
        let head: pb::SnapshotHead = frame.decode()?;
        let vote = wire::from_vote(head.vote)?;
        let last_membership = stored_membership(head.membership.unwrap_or_default())?;
        let meta = SnapshotMeta { last_log_id: wire::from_id(head.last), last_membership };
        let mut reception = self.landing.begin()?;
        let mut bytes = 0;
        loop {
            let chunk = Runtime::timeout(SNAPSHOT_TIMEOUT, reader.next())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            if chunk.kind != Kind::SnapshotChunk || chunk.call != frame.call {
                return Err(io::Error::other("a snapshot is interrupted by another call"));
            }
            if chunk.body.is_empty() {
                break;
            }
            bytes += chunk.body.len();
            reception.write(&chunk.body)?;
        }
        let snapshot = match reception.finish(meta.last_log_id).await {
            Ok(snapshot) => Snapshot { meta, snapshot },
            Err(error) => {
                tracing::error!(%error, bytes, "a received database snapshot is not whole");
                let refusal = error.to_string();
                return Ok(reply(frame.call, &pb::SnapshotReply { vote: None, refusal }));
            }
        };
        tracing::info!(
            "remote-peer-id" = format!("{from:x}"),
            "snapshot-index" = snapshot.meta.last_log_id.map_or(0, |id| outer_index(id.index)),
            bytes,
            "received database snapshot"
        );
        let message = match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(answer) => {
                pb::SnapshotReply { vote: Some(wire::vote(&answer.vote)), refusal: String::new() }
            }
            Err(error) => pb::SnapshotReply { vote: None, refusal: error.to_string() },
        };
        Ok(reply(frame.call, &message))
    }
}

/// Whether a connection begins as a request of HTTP does; no frame is as long as those letters say.
async fn speaks_http(mut connection: Connection) -> io::Result<(Connection, bool)> {
    let mut start = [0; 4];
    Runtime::timeout(GREETING_TIMEOUT, connection.reader.read_exact(&mut start))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let is_http = start.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b' ');
    connection.reader = Box::new(Cursor::new(start).chain(connection.reader));
    Ok((connection, is_http))
}

fn reply(call: u64, message: &impl Message) -> Bytes {
    encode(Kind::Reply, call, message)
}

async fn send(outbox: &mpsc::Sender<Bytes>, frame: Bytes) -> io::Result<()> {
    outbox.send(frame).await.map_err(|_| io::ErrorKind::ConnectionReset.into())
}
