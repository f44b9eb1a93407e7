//! Txn: compares, then one of two lists of operations. One of ranges alone needs no log entry.

use keelson_proto::etcdserverpb::{TxnRequest, TxnResponse};
use keelson_storage::command::{Op, Reply};
use keelson_storage::mvcc::{self, check};

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::quota;

pub(crate) async fn txn(face: EtcdFace, request: TxnRequest) -> Result<TxnResponse, FaceError> {
    check::txn(&request, face.config().max_txn_ops)?;
    let mut response = if mvcc::is_read_only(&request) {
        if !mvcc::is_serializable(&request) {
            face.read_index().await?;
        }
        let authorized = face.authorize(|auth, by| auth.may_run(by, &request, &|_| Vec::new()))?;
        let view = face.node().view().clone();
        let read = tokio::task::spawn_blocking(move || view.read_txn(&request));
        let response = read.await.map_err(|_| FaceError::Stopped)??;
        face.still(&authorized)?;
        response
    } else {
        quota::admit(&face, quota::txn_cost(&request)).await?;
        match face.propose(Op::Txn(request)).await? {
            Reply::Txn(response) => response,
            _ => return Err(FaceError::Unexpected),
        }
    };
    face.complete(&mut response.header);
    Ok(response)
}
