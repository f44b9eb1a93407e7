//! Defragment: rewrites the engine's files; everything else goes on meanwhile.

use keelson_proto::etcdserverpb::{DefragmentRequest, DefragmentResponse};
use keelson_storage::mvcc::ReadError;

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn defragment(
    face: EtcdFace,
    _request: DefragmentRequest,
) -> Result<DefragmentResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    let _refuses = face.config().stop_on_defragment.then(|| face.serving().pause());
    let view = face.node().view().clone();
    let done = tokio::task::spawn_blocking(move || view.defragment());
    done.await.map_err(|_| FaceError::Stopped)?.map_err(ReadError::from)?;
    Ok(DefragmentResponse { header: None })
}
