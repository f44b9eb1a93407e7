//! MemberList: the members as this member, or a quorum, knows them.

use keelson_proto::etcdserverpb as pb;

use super::shown;
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn member_list(
    face: EtcdFace,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, FaceError> {
    if request.linearizable {
        face.read_index().await?;
    }
    let _asked = face.authorize(|auth, by| auth.is_somebody(by))?;
    let members = shown(&face, face.node().members());
    // Members are no part of the key space: their answers carry no revision.
    Ok(pb::MemberListResponse { header: Some(face.header(0)), members })
}
