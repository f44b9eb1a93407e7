//! LeaseTimeToLive: what is left of a lease, and its keys.

use keelson_proto::etcdserverpb::{LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};
use keelson_raft::LeaseError;

use super::attached;
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn time_to_live(
    face: EtcdFace,
    request: LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse, FaceError> {
    face.read_index().await?;
    let (view, id) = (face.node().view(), request.id);
    let authorized = face.authorize(|auth, by| {
        auth.is_somebody(by)?;
        match request.keys {
            true => auth.may_read_all(by, &attached(&face, id)?),
            false => Ok(()),
        }
    })?;
    let unknown = LeaseTimeToLiveResponse { id, ttl: -1, ..Default::default() };
    let answer = match (view.lease(id), face.node().lease_remaining(id).await) {
        (Some(lease), Ok(remaining)) => LeaseTimeToLiveResponse {
            ttl: remaining,
            granted_ttl: lease.ttl_seconds,
            keys: if request.keys { view.lease_keys(id)? } else { Vec::new() },
            ..unknown
        },
        (None, _) | (_, Err(LeaseError::NotFound)) => unknown,
        (_, Err(error)) => return Err(error.into()),
    };
    face.still(&authorized)?;
    Ok(LeaseTimeToLiveResponse { header: Some(face.header_now()), ..answer })
}
