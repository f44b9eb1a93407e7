//! Directory: the connections to other members, made when they are first needed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::raft as pb;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::channel::{Channel, framed};
use super::frame::{FORMAT_VERSION, Kind, encode};
use super::transport::Transport;
use crate::leadership;
use crate::membership::Reachable;
use crate::runtime::Runtime;
use crate::types::{Member, StoredMembership};

/// The greeting must be answered within this.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is for: each purpose has its own, so that none waits behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Entries,
    Heartbeats,
    Snapshot,
    Requests,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Channel>>>>;

/// Connections by member and purpose; clones share them.
#[derive(Clone)]
pub(crate) struct Directory {
    transport: Arc<dyn Transport>,
    cluster_id: u64,
    own: u64,
    slots: Arc<Mutex<BTreeMap<(u64, Purpose), Slot>>>,
    membership: watch::Receiver<StoredMembership>,
    reachable: Reachable,
    /// Told when another member says that this one has been removed.
    removed: watch::Sender<bool>,
}

impl Directory {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        cluster_id: u64,
        own: u64,
        membership: watch::Receiver<StoredMembership>,
        removed: watch::Sender<bool>,
    ) -> Self {
        let (slots, reachable) = (Arc::default(), Reachable::default());
        Self { transport, cluster_id, own, slots, membership, reachable, removed }
    }

    /// Which members answer.
    pub(crate) fn reachable(&self) -> &Reachable {
        &self.reachable
    }

    /// This member's id.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// The connection for a purpose; a lost one is made anew. `member` is where the target is
    /// looked for while it is no known member.
    pub(crate) async fn channel(
        &self,
        target: u64,
        member: &Member,
        purpose: Purpose,
    ) -> io::Result<Arc<Channel>> {
        let slot = self.slots.lock().entry((target, purpose)).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(channel) = slot.as_ref().filter(|channel| !channel.is_closed()) {
            return Ok(channel.clone());
        }
        *slot = None;
        let channel = Arc::new(self.connect(target, member).await?);
        *slot = Some(channel.clone());
        Ok(channel)
    }

    async fn connect(&self, target: u64, member: &Member) -> io::Result<Channel> {
        let known = leadership::member(&self.membership, target);
        let member = known.as_ref().unwrap_or(member);
        let connection = self.transport.connect(target, member).await?;
        let (mut reader, mut writer) = framed(connection);
        let hello = pb::Hello {
            format_version: FORMAT_VERSION,
            cluster_id: self.cluster_id,
            from: self.own,
            to: target,
        };
        let greeting = async {
            writer.write_all(&encode(Kind::Hello, 0, &hello)).await?;
            writer.flush().await?;
            reader.next().await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        let welcome = Runtime::timeout(GREETING_TIMEOUT, greeting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let welcome: pb::Welcome = welcome.decode()?;
        if welcome.removed {
            self.removed.send_replace(true);
        }
        if !welcome.refusal.is_empty() {
            tracing::warn!(member = target, reason = welcome.refusal, "a peer refuses this member");
            return Err(io::Error::other(welcome.refusal));
        }
        Ok(Channel::start(reader, writer))
    }
}
