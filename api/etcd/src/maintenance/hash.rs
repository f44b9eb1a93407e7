//! Hash and HashKV: what members compare.

use std::time::Instant;

use keelson_proto::etcdserverpb as pb;

use crate::error::FaceError;
use crate::face::EtcdFace;

/// Hash: of all that is kept now.
pub(crate) async fn hash(
    face: EtcdFace,
    _request: pb::HashRequest,
) -> Result<pb::HashResponse, FaceError> {
    let began = Instant::now();
    let hashed = run(&face, 0).await?;
    face.metrics().whole.hashes.observe(began.elapsed());
    Ok(pb::HashResponse { header: Some(face.header_now()), hash: hashed.hash })
}

/// HashKV: of the history up to a revision.
pub(crate) async fn hash_kv(
    face: EtcdFace,
    request: pb::HashKvRequest,
) -> Result<pb::HashKvResponse, FaceError> {
    let began = Instant::now();
    let hashed = run(&face, request.revision).await?;
    face.metrics().whole.hashes_at.observe(began.elapsed());
    Ok(pb::HashKvResponse {
        header: Some(face.header_now()),
        hash: hashed.hash,
        compact_revision: hashed.compacted,
        hash_revision: hashed.revision,
    })
}

async fn run(face: &EtcdFace, revision: i64) -> Result<keelson_storage::mvcc::HashKv, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    let view = face.node().view().clone();
    let hashed = tokio::task::spawn_blocking(move || view.hash_kv(revision));
    Ok(hashed.await.map_err(|_| FaceError::Stopped)??)
}
