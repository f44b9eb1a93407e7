//! PeerNetwork: the library's network over channels; entries are pipelined.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use keelson_failpoint::failpoint;
use keelson_proto::raft as pb;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, Snapshot};
use prost::Message;

use super::channel::{Reply, reply_body};
use super::directory::{Directory, Purpose};
use super::frame::{Frame, Kind, encode, encode_bytes};
use super::measures::PeerMeasures;
use super::sending::Sending;
use super::underway::Underway;
use super::wire;
use crate::machine::{SnapshotData, blocking};
use crate::runtime::{Moment, Runtime};
use crate::types::{Append, AppendResult, CommittedLeader, Member, Types, Vote, outer_index};

/// Messages with entries on their way to one member.
const APPENDS_IN_FLIGHT: usize = 64;
/// A snapshot may stall for this long.
pub(super) const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes the library's clients of other members.
#[derive(Clone)]
pub(crate) struct PeerNetwork {
    pub(crate) directory: Directory,
    pub(crate) sending: Sending,
}

/// The library's client of one member.
pub(crate) struct PeerClient {
    directory: Directory,
    sending: Sending,
    target: u64,
    member: Member,
    purpose: Purpose,
}

impl RaftNetworkFactory<Types> for PeerNetwork {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Purpose::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Purpose::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> PeerClient {
        self.client(target, node, Purpose::Snapshot)
    }
}

impl PeerNetwork {
    fn client(&self, target: u64, member: &Member, purpose: Purpose) -> PeerClient {
        let (directory, sending) = (self.directory.clone(), self.sending.clone());
        PeerClient { directory, sending, target, member: member.clone(), purpose }
    }
}

impl PeerClient {
    async fn call<M: Message + Default>(
        &self,
        kind: Kind,
        message: &impl Message,
        limit: Duration,
    ) -> io::Result<M> {
        let exchange = async {
            let channel =
                self.directory.channel(self.target, &self.member, Purpose::Requests).await?;
            let reply = channel.call(|number| encode(kind, number, message))?;
            reply_body(reply.await)?.decode()
        };
        Runtime::timeout(limit, exchange)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

fn unreachable(error: &io::Error) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

async fn append_reply(
    reply: io::Result<Reply>,
    limit: Duration,
    measured: &Measured,
) -> io::Result<AppendResult> {
    let begun = Moment::now();
    let answered = async {
        let frame: Frame = Runtime::timeout(limit, reply?)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(reply_body)?;
        wire::from_appended(frame.decode()?)
    };
    let answer = answered.await;
    match &answer {
        Ok(_) if measured.purpose == Purpose::Heartbeats => {
            measured.peer.round_trips.observe(begun.age());
        }
        Ok(_) => {}
        Err(_) => measured.directory.failed(measured.target, measured.purpose),
    }
    answer
}

/// Whom what is counted belongs to.
struct Measured {
    directory: Directory,
    peer: Arc<PeerMeasures>,
    target: u64,
    purpose: Purpose,
}

impl NetStreamAppend<Types> for PeerClient {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<AppendResult, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = Append> + OptionalSend + Unpin + 'static,
    {
        let kind = match self.purpose {
            Purpose::Heartbeats => Kind::Heartbeat,
            Purpose::Entries | Purpose::Snapshot | Purpose::Requests => Kind::Append,
        };
        // A follower that syncs slowly is no reason to send everything again.
        let limit = option.hard_ttl().max(Duration::from_secs(5));
        let measured = Arc::new(Measured {
            directory: self.directory.clone(),
            peer: self.directory.measures().of(self.target),
            target: self.target,
            purpose: self.purpose,
        });
        async move {
            let target = self.target;
            let reachable = self.directory.reachable().clone();
            let channel = self.directory.channel(target, &self.member, self.purpose).await;
            let channel = channel.map_err(|error| {
                reachable.lost(target);
                unreachable(&error)
            })?;
            let is_heartbeat = self.purpose == Purpose::Heartbeats;
            let underway = Underway::default();
            let answers = underway.clone();
            let replies = input
                .map(move |request| {
                    underway.sent(&request);
                    failpoint!(raftBeforeLeaderSend);
                    let call = channel.call(|number| encode(kind, number, &wire::append(&request)));
                    let measured = measured.clone();
                    async move { append_reply(call, limit, &measured).await }
                })
                .buffered(APPENDS_IN_FLIGHT)
                .filter(move |result| std::future::ready(answers.answered(result)))
                .inspect(move |result| match result {
                    Ok(_) if is_heartbeat => reachable.heard(target),
                    Ok(_) => {}
                    Err(_) => reachable.lost(target),
                });
            // The stream ends after the first reply that is not "matching".
            let replies = stream::unfold(Some(Box::pin(replies)), |replies| async move {
                let mut replies = replies?;
                let result = replies.next().await?;
                let goes_on = matches!(&result, Ok(Ok(_))).then_some(replies);
                Some((result.map_err(|error| unreachable(&error)), goes_on))
            });
            let replies: BoxStream<'s, _> = Box::pin(replies);
            Ok(replies)
        }
        .boxed()
    }
}

impl NetVote<Types> for PeerClient {
    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ballot(&rpc, false, option).await.map_err(|error| unreachable(&error))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ballot(&rpc, true, option).await.map_err(|error| unreachable(&error))
    }
}

impl PeerClient {
    async fn ballot(
        &self,
        request: &VoteRequest<Types>,
        rehearsal: bool,
        option: RPCOption,
    ) -> io::Result<VoteResponse<Types>> {
        let message = wire::ballot(request, rehearsal);
        wire::from_ballot_reply(self.call(Kind::Ballot, &message, option.hard_ttl()).await?)
    }

    async fn send_snapshot(
        &self,
        head: pb::SnapshotHead,
        snapshot: SnapshotData,
    ) -> io::Result<pb::SnapshotReply> {
        let SnapshotData::Own(mut reader) = snapshot else {
            return Err(io::Error::other("a received snapshot is not sent on"));
        };
        let channel = self.directory.channel(self.target, &self.member, Purpose::Snapshot).await?;
        let mut number = 0;
        let reply = channel.call(|call| {
            number = call;
            encode(Kind::SnapshotHead, call, &head)
        })?;
        loop {
            // Reading waits for the engine: not on a thread of consensus.
            let read = move || {
                let chunk = reader.next_chunk();
                (chunk, reader)
            };
            let (chunk, rest) = blocking(read).await?;
            reader = rest;
            let chunk = match chunk.map_err(io::Error::other)? {
                Some(chunk) if chunk.is_empty() => continue,
                Some(chunk) => chunk,
                None => break,
            };
            within(channel.send(encode_bytes(Kind::SnapshotChunk, number, &chunk))).await?;
        }
        within(channel.send(encode_bytes(Kind::SnapshotChunk, number, &[]))).await?;
        Runtime::timeout(SNAPSHOT_TIMEOUT, reply)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .and_then(reply_body)?
            .decode()
    }
}

/// A step of a snapshot's transfer that takes too long has failed.
async fn within<T>(step: impl Future<Output = io::Result<T>> + Send) -> io::Result<T> {
    Runtime::timeout(SNAPSHOT_TIMEOUT, step)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl NetSnapshot<Types> for PeerClient {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<CommittedLeader, u64, Member, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let last = snapshot.meta.last_log_id;
        let membership = &snapshot.meta.last_membership;
        let head = pb::SnapshotHead {
            vote: Some(wire::vote(&vote)),
            last: last.map(wire::id),
            membership: Some(crate::log::membership_message(
                *membership.log_id(),
                membership.membership(),
            )),
        };
        let on_its_way = self.sending.begin();
        let index = last.map_or(0, |id| outer_index(id.index));
        let to = format!("{:x}", self.target);
        tracing::info!(to, "snapshot-index" = index, "sending database snapshot");
        let sent = std::pin::pin!(self.send_snapshot(head, snapshot.snapshot));
        let cancel = std::pin::pin!(cancel);
        let ended = futures::future::select(sent, cancel).await;
        match &ended {
            futures::future::Either::Left((Ok(reply), _)) if reply.refusal.is_empty() => {
                on_its_way.arrived();
                tracing::info!(to, "snapshot-index" = index, "sent database snapshot");
            }
            futures::future::Either::Left((Ok(reply), _)) => {
                tracing::warn!(to, error = reply.refusal, "failed to send database snapshot");
            }
            futures::future::Either::Left((Err(error), _)) => {
                tracing::warn!(to, %error, "failed to send database snapshot");
            }
            futures::future::Either::Right(_) => {}
        }
        match ended {
            futures::future::Either::Left((Ok(reply), _)) if reply.refusal.is_empty() => {
                let vote = wire::from_vote(reply.vote)
                    .map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
                Ok(SnapshotResponse::new(vote))
            }
            futures::future::Either::Left((Ok(reply), _)) => {
                let error = io::Error::other(reply.refusal);
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
            futures::future::Either::Left((Err(error), _)) => {
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
            futures::future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }
}

impl NetTransferLeader<Types> for PeerClient {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let message = pb::Transfer {
            from: Some(wire::vote(request.from_leader())),
            to: *request.to_node_id(),
            last: request.last_log_id().copied().map(wire::id),
        };
        let reply: pb::TransferReply = self
            .call(Kind::Transfer, &message, option.hard_ttl())
            .await
            .map_err(|error| unreachable(&error))?;
        if reply.refusal.is_empty() {
            return Ok(Ok(()));
        }
        Err(unreachable(&io::Error::other(reply.refusal)))
    }
}

impl NetBackoff<Types> for PeerClient {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}
