//! Txn: compares, then one of two lists of operations. One of ranges alone needs no log entry.

use std::time::Instant;

use keelson_proto::etcdserverpb::{TxnRequest, TxnResponse};
use keelson_storage::command::{Op, Reply};
use keelson_storage::measures::Operation;
use keelson_storage::mvcc::{self, check};
use prost::Message as _;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::quota;

pub(crate) async fn txn(face: EtcdFace, request: TxnRequest) -> Result<TxnResponse, FaceError> {
    check::txn(&request, face.config().max_txn_ops)?;
    let mut response = if mvcc::is_read_only(&request) {
        let began = Instant::now();
        let answer = read(&face, request).await;
        face.metrics().requests.ended(Operation::READ_TXN, answer.is_ok(), began.elapsed());
        answer?
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

async fn read(face: &EtcdFace, request: TxnRequest) -> Result<TxnResponse, FaceError> {
    if !mvcc::is_serializable(&request) {
        face.read_index().await?;
    }
    let authorized = face.authorize(|auth, by| auth.may_run(by, &request, &|_| Vec::new()))?;
    let view = face.node().view().clone();
    let began = Instant::now();
    let read = tokio::task::spawn_blocking(move || view.read_txn(&request));
    let read = read.await.map_err(|_| FaceError::Stopped)?;
    let found = || read.as_ref().map_or(0, |response| response.encoded_len()).to_string();
    let found = || format!("size:{}", found());
    let answered: Option<&dyn Fn() -> String> = if read.is_ok() { Some(&found) } else { None };
    face.has_read(Operation::READ_TXN, began.elapsed(), answered);
    let response = read?;
    face.still(&authorized)?;
    Ok(response)
}
