//! LeaseGrant: makes a lease. Its id and its time are fixed here, before the log.

use keelson_proto::etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse};
use keelson_storage::command::{ApplyError, Op, Reply};
use keelson_storage::lease::TTL_SECONDS_MAX;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::quota;

/// Ids tried before giving up; a second one is next to never needed.
const TRIES: usize = 8;

pub(crate) async fn grant(
    face: EtcdFace,
    request: LeaseGrantRequest,
) -> Result<LeaseGrantResponse, FaceError> {
    if request.ttl > TTL_SECONDS_MAX {
        return Err(FaceError::TtlTooLarge);
    }
    quota::admit(&face, quota::LEASE_COST).await?;
    let ttl = request.ttl.max(face.config().lease_ttl_seconds_min);
    let mut last = FaceError::Apply(ApplyError::LeaseExists);
    for _ in 0..TRIES {
        let id = match request.id {
            0 => rand::random_range(1..=i64::MAX),
            id => id,
        };
        match face.propose(Op::LeaseGrant(LeaseGrantRequest { ttl, id })).await {
            Ok(Reply::LeaseGrant(mut response)) => {
                face.complete(&mut response.header);
                return Ok(response);
            }
            Ok(_) => return Err(FaceError::Unexpected),
            Err(error @ FaceError::Apply(ApplyError::LeaseExists)) if request.id == 0 => {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
