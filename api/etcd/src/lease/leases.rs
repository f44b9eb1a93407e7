//! LeaseLeases: the leases there are.

use keelson_proto::etcdserverpb::{LeaseLeasesRequest, LeaseLeasesResponse, LeaseStatus};

use super::attached;
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn leases(
    face: EtcdFace,
    _request: LeaseLeasesRequest,
) -> Result<LeaseLeasesResponse, FaceError> {
    face.read_index().await?;
    let leases = face.node().leases();
    let authorized = face.authorize(|auth, by| {
        auth.is_somebody(by)?;
        leases.iter().try_for_each(|id| auth.may_read_all(by, &attached(&face, *id)?))
    })?;
    face.still(&authorized)?;
    let leases = leases.into_iter().map(|id| LeaseStatus { id }).collect();
    Ok(LeaseLeasesResponse { header: Some(face.header_now()), leases })
}
