//! LeaseKeepAlive: renews leases, one answer a request.

use std::future::ready;
use std::pin::pin;

use futures::StreamExt as _;
use keelson_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use keelson_raft::LeaseError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::attached;
use crate::error::FaceError;
use crate::face::EtcdFace;

/// Answers that wait for the client.
const QUEUE: usize = 16;
/// Renewals of one stream on their way at once: they share proofs of leadership.
const RENEWALS_IN_FLIGHT: usize = 256;

/// The seconds granted, 0 where there is no such lease. The header is made before the renewal.
pub(crate) async fn renew(face: &EtcdFace, id: i64) -> Result<LeaseKeepAliveResponse, FaceError> {
    let header = Some(face.header_now());
    let authorized = face.authorize(|auth, by| {
        auth.is_somebody(by)?;
        auth.may_write_all(by, &attached(face, id)?)
    })?;
    face.still(&authorized)?;
    let ttl = match face.node().renew_lease(id).await {
        Ok(ttl) => ttl,
        Err(LeaseError::NotFound) => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(LeaseKeepAliveResponse { header, id, ttl })
}

pub(crate) fn keep_alive(
    face: EtcdFace,
    requests: tonic::Request<Streaming<LeaseKeepAliveRequest>>,
) -> Result<ReceiverStream<Result<LeaseKeepAliveResponse, Status>>, FaceError> {
    let requests = requests.into_inner().take_while(|request| ready(request.is_ok()));
    let (answers, outgoing) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let renewals = requests.filter_map(|request| ready(request.ok())).map(|request| {
            let face = face.clone();
            async move { renew(&face, request.id).await.map_err(Status::from) }
        });
        let mut renewals = pin!(renewals.buffered(RENEWALS_IN_FLIGHT));
        loop {
            let answer = tokio::select! {
                () = answers.closed() => return,
                answer = renewals.next() => answer,
            };
            let Some(answer) = answer else { return };
            let last = answer.is_err();
            if answers.send(answer).await.is_err() || last {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(outgoing))
}
