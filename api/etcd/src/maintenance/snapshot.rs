//! Snapshot: the whole state at one position as a file, in our own format, with its SHA-256 behind
//! it as etcd has it.

use std::time::Instant;

use keelson_proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use keelson_storage::background;
use keelson_storage::backup::Backup;
use keelson_storage::snapshot::SnapshotError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::CLUSTER_VERSION;
use crate::error::FaceError;
use crate::face::EtcdFace;

/// Parts that wait for the client.
const QUEUE: usize = 4;

pub(crate) async fn snapshot(
    face: EtcdFace,
    _request: SnapshotRequest,
) -> Result<ReceiverStream<Result<SnapshotResponse, Status>>, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    let (parts, outgoing) = mpsc::channel(QUEUE);
    let view = face.node().view().clone();
    let run = move || {
        let began = Instant::now();
        if let Err(error) = send(view.backup(), &parts) {
            tracing::warn!(%error, "a snapshot cannot be sent");
            let _client_gone = parts.blocking_send(Err(Status::internal(error.to_string())));
        }
        face.metrics().whole.snapshots.observe(began.elapsed());
    };
    background::spawn("snapshot", run).map_err(|error| {
        tracing::error!(%error, "no thread for a snapshot");
        FaceError::Unexpected
    })?;
    Ok(ReceiverStream::new(outgoing))
}

fn send(
    backup: Result<Backup, SnapshotError>,
    parts: &mpsc::Sender<Result<SnapshotResponse, Status>>,
) -> Result<(), SnapshotError> {
    let mut backup = backup?;
    while let Some(blob) = backup.next_part()? {
        let part = SnapshotResponse {
            header: None,
            remaining_bytes: backup.remaining(),
            blob,
            version: CLUSTER_VERSION.to_owned(),
        };
        if parts.blocking_send(Ok(part)).is_err() {
            return Ok(());
        }
    }
    tracing::info!("sent database snapshot");
    Ok(())
}
