//! Election: leaders as a queue of keys, the oldest of which leads. `LeaderKey.rev`, its create
//! revision, is a fencing token: it is greater than that of every leader before.

use std::collections::VecDeque;

use bytes::Bytes;
use keelson_client::{Store, WatchItem, WatchSpec, Watcher, prefix_end};
use keelson_proto::etcdserverpb::ResponseHeader;
use keelson_proto::mvccpb::{Event, KeyValue, event::EventType};
use keelson_proto::v3electionpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::queue::{self, Place};

/// Answers that wait for an observer.
const QUEUE: usize = 16;

/// Waits until it leads; breaking off gives the candidature up.
pub(crate) async fn campaign(
    face: EtcdFace,
    request: pb::CampaignRequest,
) -> Result<pb::CampaignResponse, FaceError> {
    stand(&face, request).await.map_err(FaceError::of_recipe)
}

/// Changes the leader's value without another election.
pub(crate) async fn proclaim(
    face: EtcdFace,
    request: pb::ProclaimRequest,
) -> Result<pb::ProclaimResponse, FaceError> {
    let leader = request.leader.ok_or(FaceError::LeaderMissing)?;
    let proclaimed = async {
        let lease = queue::lease_or_new(&face, leader.lease).await?;
        queue::replace(&face, leader.key, leader.rev, lease, request.value).await
    };
    let answer = proclaimed.await.map_err(FaceError::of_recipe)?;
    match answer.succeeded {
        true => Ok(pb::ProclaimResponse { header: answer.header }),
        false => Err(FaceError::NotElected),
    }
}

/// Who leads now.
pub(crate) async fn leader(
    face: EtcdFace,
    request: pb::LeaderRequest,
) -> Result<pb::LeaderResponse, FaceError> {
    let mut found = queue::oldest(&face, &request.name).await.map_err(FaceError::of_recipe)?;
    let kv = found.kvs.pop().ok_or(FaceError::NobodyElected)?;
    Ok(pb::LeaderResponse { header: found.header, kv: Some(kv) })
}

/// Gives leadership, or candidature, up; who has none gives up nothing.
pub(crate) async fn resign(
    face: EtcdFace,
    request: pb::ResignRequest,
) -> Result<pb::ResignResponse, FaceError> {
    let leader = request.leader.ok_or(FaceError::LeaderMissing)?;
    let resigned = queue::withdraw(&face, leader.key, leader.rev).await;
    let header = resigned.map_err(FaceError::of_recipe)?.header;
    Ok(pb::ResignResponse { header })
}

/// Every value of every leader, from the present one.
pub(crate) async fn observe(
    face: EtcdFace,
    request: pb::LeaderRequest,
) -> Result<ReceiverStream<Result<pb::LeaderResponse, Status>>, FaceError> {
    let (answers, outgoing) = mpsc::channel(QUEUE);
    let observer = Observer { face, name: request.name, answers };
    tokio::spawn(async move {
        let gone = observer.answers.clone();
        tokio::select! {
            () = gone.closed() => {}
            ended = observer.run() => if let Err(error) = ended {
                let _gone = gone.send(Err(FaceError::of_recipe(error).status())).await;
            }
        }
    });
    Ok(ReceiverStream::new(outgoing))
}

async fn stand(
    face: &EtcdFace,
    request: pb::CampaignRequest,
) -> Result<pb::CampaignResponse, FaceError> {
    let pb::CampaignRequest { name, lease, value } = request;
    let place = Place::take(face, &name, lease, value.clone()).await?;
    if place.existing.as_ref().is_some_and(|kv| kv.value != value) {
        let (key, revision) = (place.key.clone(), place.create_revision);
        let replaced = queue::replace(face, key, revision, place.lease, value).await?;
        if !replaced.succeeded {
            return Err(FaceError::NotElected);
        }
    }
    place.wait().await?;
    let header = place.header;
    let leader = pb::LeaderKey {
        name,
        key: place.key.clone(),
        rev: place.create_revision,
        lease: place.lease,
    };
    place.keep();
    Ok(pb::CampaignResponse { header, leader: Some(leader) })
}

/// What the client has gone away from, or an error.
enum Ended {
    Gone,
    Error(FaceError),
}

impl From<FaceError> for Ended {
    fn from(error: FaceError) -> Self {
        Self::Error(error)
    }
}

struct Observer {
    face: EtcdFace,
    name: Bytes,
    answers: mpsc::Sender<Result<pb::LeaderResponse, Status>>,
}

impl Observer {
    async fn run(&self) -> Result<(), FaceError> {
        loop {
            match self.follow().await {
                Ok(()) => {}
                Err(Ended::Gone) => return Ok(()),
                Err(Ended::Error(error)) => return Err(error),
            }
        }
    }

    /// One leader, from the first value to the end.
    async fn follow(&self) -> Result<(), Ended> {
        let mut found = queue::oldest(&self.face, &self.name).await?;
        let now = found.header.map_or(0, |header| header.revision);
        let (leader, from) = match found.kvs.pop() {
            Some(leader) => (leader, now + 1),
            None => {
                let Some((revision, leader)) = self.first_candidate(now + 1).await? else {
                    return Ok(());
                };
                (leader, revision + 1)
            }
        };
        let key = leader.key.clone();
        self.tell(self.face.header(from - 1), leader).await?;
        let mut watcher = self.watch(key, Bytes::new(), from).await?;
        while let Some((revision, event)) = watcher.next().await {
            if event.r#type() == EventType::Delete {
                break;
            }
            self.tell(self.face.header(revision), event.kv.unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn first_candidate(&self, from: i64) -> Result<Option<(i64, KeyValue)>, Ended> {
        let prefix = queue::prefix(&self.name);
        let end = prefix_end(&prefix);
        let mut watcher = self.watch(prefix, end, from).await?;
        while let Some((revision, event)) = watcher.next().await {
            if event.r#type() == EventType::Put {
                return Ok(event.kv.map(|kv| (revision, kv)));
            }
        }
        Ok(None)
    }

    async fn watch(&self, key: Bytes, range_end: Bytes, from: i64) -> Result<Events, Ended> {
        let asked = self.face.authorize(|auth, by| auth.may_read(by, &key, &range_end))?;
        self.face.still(&asked)?;
        let spec = WatchSpec { key, range_end, start_revision: from, ..Default::default() };
        let watcher = self.face.watch(spec).await.ok();
        Ok(Events { watcher, waiting: VecDeque::new() })
    }

    async fn tell(&self, header: ResponseHeader, kv: KeyValue) -> Result<(), Ended> {
        let answer = pb::LeaderResponse { header: Some(header), kv: Some(kv) };
        self.answers.send(Ok(answer)).await.map_err(|_| Ended::Gone)
    }
}

/// Events one by one; none: the watcher has ended, and the queue is looked at once more.
struct Events {
    watcher: Option<Watcher>,
    waiting: VecDeque<(i64, Event)>,
}

impl Events {
    async fn next(&mut self) -> Option<(i64, Event)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if let Ok(WatchItem::Events { revision, events }) =
                self.watcher.as_mut()?.next().await?
            {
                self.waiting.extend(events.into_iter().map(|event| (revision, event)));
            }
        }
    }
}
