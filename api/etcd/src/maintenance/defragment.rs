//! Defragment: nothing needs it here; the engine gives space back by itself.

use keelson_proto::etcdserverpb::{DefragmentRequest, DefragmentResponse};

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn defragment(
    _face: EtcdFace,
    _request: DefragmentRequest,
) -> Result<DefragmentResponse, FaceError> {
    Ok(DefragmentResponse { header: None })
}
