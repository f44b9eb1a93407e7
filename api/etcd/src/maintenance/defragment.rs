//! Defragment: nothing needs it here; the engine gives space back by itself.

use keelson_proto::etcdserverpb::{DefragmentRequest, DefragmentResponse};

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn defragment(
    face: EtcdFace,
    _request: DefragmentRequest,
) -> Result<DefragmentResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    Ok(DefragmentResponse { header: None })
}
