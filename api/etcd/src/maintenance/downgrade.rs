//! Downgrade: our data have formats of their own, so that there is no older version to go to.

use keelson_proto::etcdserverpb as pb;

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn downgrade(
    face: EtcdFace,
    _request: pb::DowngradeRequest,
) -> Result<pb::DowngradeResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    Err(FaceError::NotCapable)
}
