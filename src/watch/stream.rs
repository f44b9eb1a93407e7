//! One Watch stream of one member, and what the member is asked beside it.

use std::time::Duration;

use bytes::Bytes;
use keelson_client::{GrpcStore, GrpcStoreConfig};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::Event;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// Largest answer taken.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;
/// The watcher that progress of a whole stream is told for.
const WHOLE_STREAM: i64 = -1;
/// Requests of a stream that wait to be sent.
const QUEUE: usize = 2;

/// What is watched.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The first key.
    pub key: Bytes,
    /// The end, by etcd's convention.
    pub range_end: Bytes,
    /// Whether the keys as they were are wanted.
    pub prev_kv: bool,
}

/// Why a member is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Another may be, or the same one later.
    Away(String),
    /// The token is no good any more.
    Token(String),
    /// What comes next is compacted away; the oldest that is kept.
    Compacted(i64),
    /// None will be.
    Refused(String),
}

/// What a stream tells.
#[derive(Debug)]
pub enum Told {
    /// Whole revisions.
    Changes(Vec<Event>),
    /// Nothing up to here is still to come.
    Progress(i64),
    /// A sign of life.
    Nothing,
}

/// One member.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its URL.
    pub endpoint: String,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// A watch at a member.
pub struct Stream {
    /// Who tells.
    pub member: Member,
    /// Of which cluster it is.
    pub cluster: u64,
    /// The member's revision when the stream began.
    pub revision: i64,
    answers: Streaming<pb::WatchResponse>,
    requests: mpsc::Sender<pb::WatchRequest>,
    progress_is_in_order: bool,
}

impl Member {
    /// The member at a URL, over a connection of its own; `user` with a password.
    pub async fn connect(
        config: &GrpcStoreConfig,
        user: Option<&(String, String)>,
    ) -> Result<Self, Fault> {
        let endpoint = config.endpoints.first().cloned().unwrap_or_default();
        let store = GrpcStore::new(config).map_err(|error| Fault::Refused(error.to_string()))?;
        let mut member = Self { endpoint, channel: store.channel(), token: None };
        if let Some((name, password)) = user {
            let request =
                pb::AuthenticateRequest { name: name.clone(), password: password.clone() };
            let mut auth = pb::auth_client::AuthClient::new(member.channel.clone());
            member.token = match auth.authenticate(request).await {
                Ok(answer) => answer.into_inner().token.parse().ok(),
                // Then nobody needs to be anybody.
                Err(status) if status.message().contains("authentication is not enabled") => None,
                Err(status) => return Err(Fault::of(&status)),
            };
        }
        Ok(member)
    }

    /// Begins a stream with the changes of a revision; 0: the next one.
    pub async fn watch(self, keys: &Keys, from: i64) -> Result<Stream, Fault> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let create = pb::WatchCreateRequest {
            key: keys.key.clone(),
            range_end: keys.range_end.clone(),
            start_revision: from,
            prev_kv: keys.prev_kv,
            progress_notify: true,
            ..Default::default()
        };
        let create = RequestUnion::CreateRequest(create);
        let _has_room = requests.try_send(pb::WatchRequest { request_union: Some(create) });
        let mut request = self.request(ReceiverStream::new(outgoing));
        // One that has lost its leader says so, and is not waited for.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut client =
            WatchClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut answers =
            client.watch(request).await.map_err(|status| Fault::of(&status))?.into_inner();
        let created = answers.message().await.map_err(|status| Fault::of(&status))?;
        let created = created.ok_or_else(ended)?;
        if created.canceled {
            return Err(Fault::of_cancel(&created));
        }
        let header = created.header.unwrap_or_default();
        let progress_is_in_order =
            self.version().await.is_ok_and(|version| progress_is_in_order(&version));
        let (cluster, revision) = (header.cluster_id, header.revision);
        let member = self;
        Ok(Stream { member, cluster, revision, answers, requests, progress_is_in_order })
    }

    /// The member's version.
    async fn version(&self) -> Result<String, Fault> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        match client.status(self.request(pb::StatusRequest {})).await {
            Ok(status) => Ok(status.into_inner().version),
            Err(status) => Err(Fault::of(&status)),
        }
    }

    /// A piece of the keys as they are at a revision; 0: now, whoever is asked.
    pub async fn range(
        &self,
        keys: &Keys,
        revision: i64,
        limit: i64,
    ) -> Result<pb::RangeResponse, Fault> {
        let request = pb::RangeRequest {
            key: keys.key.clone(),
            range_end: keys.range_end.clone(),
            revision,
            limit,
            ..Default::default()
        };
        let mut client =
            KvClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = client.range(self.request(request)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| Fault::of(&status))
    }

    /// The newest revision that there is, whoever is asked: a sign of life of a majority.
    pub async fn revision(&self, keys: &Keys) -> Result<i64, Fault> {
        Ok(self.range(keys, 0, 1).await?.header.unwrap_or_default().revision)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

impl Stream {
    /// What comes next. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Told, Fault> {
        let answer = self.answers.message().await.map_err(|status| Fault::of(&status))?;
        let answer = answer.ok_or_else(ended)?;
        if answer.canceled {
            return Err(Fault::of_cancel(&answer));
        }
        if !answer.events.is_empty() {
            return Ok(Told::Changes(answer.events));
        }
        let revision = answer.header.unwrap_or_default().revision;
        let in_order = answer.watch_id != WHOLE_STREAM || self.progress_is_in_order;
        Ok(if in_order && !answer.created { Told::Progress(revision) } else { Told::Nothing })
    }

    /// Asks how far the store is.
    pub fn ask_progress(&self) {
        let ask = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
        let _asked_already = self.requests.try_send(pb::WatchRequest { request_union: Some(ask) });
    }
}

impl Fault {
    fn of(status: &Status) -> Self {
        let message = status.message().to_owned();
        if message.contains("has been compacted") {
            return Self::Compacted(0);
        }
        if is_about_the_token(&message) {
            return Self::Token(message);
        }
        // Made on this side, by a connection that broke or was never there.
        if let Some(source) = std::error::Error::source(status) {
            let mut deepest = source;
            while let Some(next) = deepest.source() {
                deepest = next;
            }
            return Self::Away(deepest.to_string());
        }
        match status.code() {
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Unauthenticated
            | Code::Unimplemented => Self::Refused(message),
            _ => Self::Away(message),
        }
    }

    fn of_cancel(answer: &pb::WatchResponse) -> Self {
        let reason = answer.cancel_reason.clone();
        if answer.compact_revision > 0 {
            Self::Compacted(answer.compact_revision)
        } else if is_about_the_token(&reason) {
            Self::Token(reason)
        } else if reason.contains("no leader") || reason.is_empty() {
            Self::Away(format!("the watch was ended: {reason}"))
        } else {
            let words = reason.split_once(" desc = ").map_or(&reason[..], |(_, words)| words);
            Self::Refused(words.to_owned())
        }
    }
}

fn is_about_the_token(message: &str) -> bool {
    message.contains("invalid auth token") || message.contains("revision of auth store is old")
}

fn ended() -> Fault {
    Fault::Away("the stream was closed".to_owned())
}

/// Whether a member's answer to a request for progress comes after all events before it: it may
/// overtake some in etcd before 3.4.25 and 3.5.8.
fn progress_is_in_order(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0_u32);
    match (part(), part(), part()) {
        (3, 4, patch) => patch >= 25,
        (3, 5, patch) => patch >= 8,
        (major, minor, _) => (major, minor) >= (3, 6),
    }
}

/// How long a member may take to answer anything.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_members_are_not_believed_when_asked_for_progress() {
        for (version, expected) in [
            ("3.3.27", false),
            ("3.4.23", false),
            ("3.4.25", true),
            ("3.5.7", false),
            ("3.5.12", true),
            ("3.6.0-rc.1", true),
            ("3.7.1", true),
            ("", false),
        ] {
            assert_eq!(progress_is_in_order(version), expected, "{version}");
        }
    }
}
