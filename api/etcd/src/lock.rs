//! Lock: mutual exclusion as a queue of keys. Whoever holds a lock can show its fencing token to
//! what the lock guards: it is greater than that of every holder before.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::kv;
use crate::queue::Place;

/// Waits for its turn; breaking off gives the place up.
pub(crate) async fn lock(face: EtcdFace, request: LockRequest) -> Result<LockResponse, FaceError> {
    acquire(&face, request).await.map_err(FaceError::of_recipe)
}

/// Deletes the key; it need not be there.
pub(crate) async fn unlock(
    face: EtcdFace,
    request: UnlockRequest,
) -> Result<UnlockResponse, FaceError> {
    let delete = pb::DeleteRangeRequest { key: request.key, ..Default::default() };
    let deleted = kv::delete_range(face, delete).await.map_err(FaceError::of_recipe)?;
    Ok(UnlockResponse { header: deleted.header })
}

async fn acquire(face: &EtcdFace, request: LockRequest) -> Result<LockResponse, FaceError> {
    let place = Place::take(face, &request.name, request.lease, Bytes::new()).await?;
    place.wait().await?;
    let get = pb::RangeRequest { key: place.key.clone(), ..Default::default() };
    let held = kv::range(face.clone(), get).await?;
    if held.kvs.first().map(|kv| kv.create_revision) != Some(place.create_revision) {
        return Err(FaceError::SessionExpired);
    }
    let (key, fencing_token) = (place.key.clone(), place.create_revision);
    place.keep();
    Ok(LockResponse { header: held.header, key, fencing_token })
}
