//! Peers: the calls that this crate makes beside the library's.

use std::io;
use std::time::Duration;

use keelson_proto::raft as pb;
use prost::Message;
use tokio::sync::watch;

use crate::leadership::member;
use crate::leases::Question;
use crate::peer::{Directory, Kind, Purpose, encode, reply_body};
use crate::runtime::Runtime;
use crate::types::{Member, StoredMembership};

/// To tell a member that it has been removed.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Calls to members, by id; clones share connections.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) directory: Directory,
    pub(crate) membership: watch::Receiver<StoredMembership>,
    /// A call is given up after this long.
    pub(crate) limit: Duration,
}

impl Peers {
    /// Hands payloads to the leader. An error of kind `NotConnected`: nothing was sent.
    pub(crate) async fn propose(
        &self,
        leader: u64,
        proposals: &pb::Proposals,
    ) -> io::Result<pb::ProposalsReply> {
        self.call(leader, Kind::Proposals, proposals).await
    }

    /// Asks the leader what is committed.
    pub(crate) async fn read_index(&self, leader: u64) -> io::Result<pb::ReadIndexReply> {
        self.call(leader, Kind::ReadIndex, &pb::TimeToLive { id: 0 }).await
    }

    /// Asks the leader to renew leases, or what is left of them.
    pub(crate) async fn leases(
        &self,
        question: Question,
        leader: u64,
        ids: Vec<i64>,
    ) -> io::Result<Vec<pb::KeepAliveReply>> {
        let kind = match question {
            Question::Renew => Kind::KeepAlive,
            Question::Remaining => Kind::TimeToLive,
        };
        let count = ids.len();
        let answer = self.call(leader, kind, &pb::KeepAlive { ids }).await;
        let replies = answer.map(|answer: pb::KeepAliveReplies| answer.replies)?;
        match replies.len() == count {
            true => Ok(replies),
            false => Err(io::Error::other("not as many answers as questions")),
        }
    }

    /// Asks a member for the hash of its history.
    pub(crate) async fn hash(&self, member: u64, revision: i64) -> io::Result<pb::HashReply> {
        self.call(member, Kind::Hash, &pb::Hash { revision }).await
    }

    /// Asks the leader to change the members. An error of kind `NotConnected`: nothing was sent.
    pub(crate) async fn reconfigure(
        &self,
        leader: u64,
        request: &pb::Reconfigure,
    ) -> io::Result<pb::ReconfigureReply> {
        self.call(leader, Kind::Reconfigure, request).await
    }

    /// Asks a member whether the leader is gone for it too.
    pub(crate) async fn vacancy(
        &self,
        member: u64,
        question: &pb::Vacancy,
    ) -> io::Result<pb::VacancyReply> {
        self.call(member, Kind::Vacancy, question).await
    }

    /// Tells a member that it is none any more, if it can be reached soon.
    pub(crate) async fn farewell(&self, target: u64, member: &Member) {
        let told = Runtime::timeout(FAREWELL_MAX, async {
            let channel = self.directory.channel(target, member, Purpose::Requests).await?;
            channel.send(encode(Kind::Farewell, 0, &pb::Farewell { member: target })).await
        });
        // It hears of it in another way too: when it comes back.
        let _ = told.await;
    }

    async fn call<M: Message + Default>(
        &self,
        target: u64,
        kind: Kind,
        message: &impl Message,
    ) -> io::Result<M> {
        let member = member(&self.membership, target).ok_or(io::ErrorKind::NotConnected)?;
        let channel = self.directory.channel(target, &member, Purpose::Requests);
        let channel = Runtime::timeout(self.limit, channel)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::NotConnected))?
            .map_err(|error| io::Error::new(io::ErrorKind::NotConnected, error))?;
        let reply = channel.call(|number| encode(kind, number, message))?;
        let frame = Runtime::timeout(self.limit, reply)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        reply_body(frame)?.decode()
    }
}
