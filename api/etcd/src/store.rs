//! The store for clients in this process: the same functions, without gRPC.

use async_trait::async_trait;
use keelson_client::{Store, StoreError, WatchItem, WatchSpec, Watcher};
use keelson_proto::etcdserverpb as pb;
use keelson_storage::watch::{Output, WatchSpec as Spec, WatchStream};
use tokio::sync::mpsc;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::{kv, lease, maintenance};

/// Items that wait for the reader; then the watcher falls behind, at no cost to others.
const WATCH_QUEUE: usize = 64;

#[async_trait]
impl Store for EtcdFace {
    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, StoreError> {
        Ok(kv::range(self.clone(), request).await?)
    }

    async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, StoreError> {
        Ok(kv::put(self.clone(), request).await?)
    }

    async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, StoreError> {
        Ok(kv::delete_range(self.clone(), request).await?)
    }

    async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, StoreError> {
        Ok(kv::txn(self.clone(), request).await?)
    }

    async fn compact(&self, revision: i64, physical: bool) -> Result<(), StoreError> {
        kv::compact(self.clone(), pb::CompactionRequest { revision, physical }).await?;
        Ok(())
    }

    async fn watch(&self, spec: WatchSpec) -> Result<Watcher, StoreError> {
        let mut stream = self.node().hub().stream();
        let spec = Spec {
            key: spec.key,
            range_end: spec.range_end,
            start_revision: spec.start_revision,
            prev_kv: spec.prev_kv,
            progress_notify: spec.progress_notify,
            ..Spec::default()
        };
        let created = stream.create(spec, 0).map_err(|error| StoreError::Refused {
            code: tonic::Code::InvalidArgument as i32,
            message: error.to_string(),
        })?;
        let (items, received) = mpsc::channel(WATCH_QUEUE);
        let (progress, asked) = mpsc::channel(1);
        let interval = self.progress_interval();
        tokio::spawn(pump(stream, items, asked, interval));
        Ok(Watcher::new(received, progress, created.revision))
    }

    async fn lease_grant(&self, id: i64, ttl_seconds: i64) -> Result<i64, StoreError> {
        let request = pb::LeaseGrantRequest { id, ttl: ttl_seconds };
        Ok(lease::grant(self.clone(), request).await?.id)
    }

    async fn lease_keep_alive(&self, id: i64) -> Result<i64, StoreError> {
        Ok(lease::renew(self, id).await?.ttl)
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError> {
        lease::revoke(self.clone(), pb::LeaseRevokeRequest { id }).await?;
        Ok(())
    }

    async fn status(&self) -> Result<pb::StatusResponse, StoreError> {
        Ok(maintenance::status(self.clone(), pb::StatusRequest {}).await?)
    }

    async fn revision(&self) -> Result<i64, StoreError> {
        self.read_index().await?;
        Ok(self.node().view().revision())
    }
}

type Items = mpsc::Sender<Result<WatchItem, StoreError>>;

/// Carries a watcher's outputs to its reader until either ends.
async fn pump(
    mut stream: WatchStream,
    items: Items,
    mut asked: mpsc::Receiver<()>,
    progress_interval: std::time::Duration,
) {
    let mut tick = tokio::time::interval(progress_interval);
    tick.reset();
    loop {
        let mut outputs = stream.take();
        if outputs.is_empty() && stream.is_behind() {
            let reading = tokio::task::spawn_blocking(move || {
                let outputs = stream.catch_up();
                (stream, outputs)
            });
            let Ok((back, read)) = reading.await else { return };
            stream = back;
            match read.map_err(FaceError::Read) {
                Ok(read) => outputs = read,
                Err(error) => {
                    let _reader_gone = items.send(Err(error.into())).await;
                    return;
                }
            }
            if outputs.is_empty() && !items.is_closed() {
                continue;
            }
        }
        for output in outputs {
            let item = item(output);
            let last = item.is_err();
            if items.send(item).await.is_err() || last {
                return;
            }
        }
        if stream.is_behind() {
            continue;
        }
        tokio::select! {
            () = stream.ready() => {}
            Some(()) = asked.recv() => stream.request_progress(),
            _ = tick.tick() => stream.tick(),
            () = items.closed() => return,
        }
    }
}

fn item(output: Output) -> Result<WatchItem, StoreError> {
    match output {
        Output::Events { prev_kv, revision, events, .. } => {
            let events = events.iter().map(|event| event.decoded(prev_kv)).collect::<Option<_>>();
            let events = events.ok_or(FaceError::Unexpected)?;
            Ok(WatchItem::Events { revision, events })
        }
        Output::Progress { revision, .. } => Ok(WatchItem::Progress { revision }),
        Output::Compacted { .. } => Err(StoreError::Compacted),
    }
}
