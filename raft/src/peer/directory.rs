//! Directory: the connections to other members, made when they are first needed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::raft as pb;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::channel::{Channel, OUTBOX_FRAMES, framed};
use super::frame::{FORMAT_VERSION, Kind, encode};
use super::measures::{AllPeers, Meter};
use super::transport::Transport;
use crate::leadership;
use crate::membership::Reachable;
use crate::runtime::{Moment, Runtime};
use crate::types::{Member, StoredMembership};

/// The greeting must be answered within this.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// After a connection could not be made, before the next try.
const REDIAL_PAUSE: Duration = Duration::from_millis(50);

/// What a connection is for: each purpose has its own, so that none waits behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Entries,
    Heartbeats,
    Snapshot,
    Requests,
}

/// Chunks of a snapshot that wait to be written: it is read no faster than it goes out.
const SNAPSHOT_FRAMES: usize = 8;

impl Purpose {
    fn outbox_frames(self) -> usize {
        match self {
            Self::Snapshot => SNAPSHOT_FRAMES,
            Self::Entries | Self::Heartbeats | Self::Requests => OUTBOX_FRAMES,
        }
    }
}

type Slot = Arc<tokio::sync::Mutex<Connecting>>;

#[derive(Default)]
struct Connecting {
    channel: Option<Arc<Channel>>,
    /// When it was last tried in vain.
    failed: Option<Moment>,
}

/// Connections by member and purpose; clones share them.
#[derive(Clone)]
pub(crate) struct Directory {
    transport: Arc<dyn Transport>,
    cluster_id: u64,
    own: u64,
    slots: Arc<Mutex<BTreeMap<(u64, Purpose), Slot>>>,
    measures: AllPeers,
    membership: watch::Receiver<StoredMembership>,
    reachable: Reachable,
    /// What was last said of members that cannot be reached.
    told: Arc<Mutex<BTreeMap<u64, String>>>,
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
        let (slots, told, reachable) = (Arc::default(), Arc::default(), Reachable::new());
        let measures = AllPeers::default();
        Self { transport, cluster_id, own, slots, measures, membership, reachable, told, removed }
    }

    /// Which members answer.
    pub(crate) fn reachable(&self) -> &Reachable {
        &self.reachable
    }

    /// This member's id.
    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// What goes to and comes from the others.
    pub(crate) fn measures(&self) -> &AllPeers {
        &self.measures
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
        if let Some(channel) = slot.channel.as_ref().filter(|channel| !channel.is_closed()) {
            return Ok(channel.clone());
        }
        slot.channel = None;
        // Whoever refuses at once is not asked without end.
        let rest = slot.failed.map_or(Duration::ZERO, |at| REDIAL_PAUSE.saturating_sub(at.age()));
        if !rest.is_zero() {
            Runtime::sleep(rest).await;
        }
        let connected = self.connect(target, member, purpose.outbox_frames()).await;
        slot.failed = connected.is_err().then(Moment::now);
        self.tell(target, connected.as_ref().err());
        let connected = connected.inspect_err(|_| self.failed(target, purpose));
        let channel = Arc::new(connected?);
        slot.channel = Some(channel.clone());
        Ok(channel)
    }

    /// Whether a member answers a connection that is made for that alone.
    pub(crate) async fn knock(&self, target: u64) -> io::Result<()> {
        self.connect(target, &Member::default(), 1).await.map(drop)
    }

    /// Logs why a member cannot be reached, once for each reason, and that it can be again.
    fn tell(&self, target: u64, error: Option<&io::Error>) {
        let id = format!("{target:x}");
        let mut told = self.told.lock();
        match error.map(in_words) {
            Some(error) if told.get(&target) == Some(&error) => {}
            Some(error) => {
                tracing::warn!("remote-peer-id" = id, error, "failed to connect to a peer");
                told.insert(target, error);
            }
            None if told.remove(&target).is_some() => {
                tracing::info!("remote-peer-id" = id, "peer became active");
            }
            None => {}
        }
    }

    /// A message did not go, or was not answered.
    pub(crate) fn failed(&self, target: u64, purpose: Purpose) {
        let measures = self.measures.of(target);
        measures.send_failures.add(1);
        measures.heartbeat_failures.add((purpose == Purpose::Heartbeats).into());
    }

    async fn connect(&self, target: u64, member: &Member, frames: usize) -> io::Result<Channel> {
        let known = leadership::member(&self.membership, target);
        let member = known.as_ref().unwrap_or(member);
        let connection = self.transport.connect(target, member).await?;
        let meter = Meter::default();
        meter.is_of(self.measures.of(target));
        let (mut reader, mut writer) = framed(connection, &meter);
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
            return Err(io::Error::other(welcome.refusal));
        }
        Ok(Channel::start(reader, writer, frames))
    }
}

/// An error as the logs of etcd have it: what the other side's TLS objects to in Go's words.
fn in_words(error: &io::Error) -> String {
    use rustls::AlertDescription as Alert;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = inner else { return error.to_string() };
    let words = match alert {
        Alert::BadCertificate => "bad certificate",
        Alert::UnsupportedCertificate => "unsupported certificate",
        Alert::CertificateRevoked => "revoked certificate",
        Alert::CertificateExpired => "expired certificate",
        Alert::CertificateUnknown => "unknown certificate",
        Alert::UnknownCA => "unknown certificate authority",
        Alert::CertificateRequired => "certificate required",
        Alert::HandshakeFailure => "handshake failure",
        Alert::ProtocolVersion => "protocol version not supported",
        other => return format!("remote error: tls: {other:?}"),
    };
    format!("remote error: tls: {words}")
}
