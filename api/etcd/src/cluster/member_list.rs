//! MemberList: the members as this member, or a quorum, knows them.

use keelson_proto::etcdserverpb as pb;

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
    let voters = face.node().voters();
    let attributes = face.node().view().member_attributes();
    let member = |(id, member): (u64, keelson_raft::Member)| {
        // What a member says of itself since it runs counts more than what it was added with.
        let said = attributes.get(&id).cloned();
        let (name, client_ur_ls) = match said {
            Some(said) => (said.name, said.client_urls),
            None => (member.name, member.client_urls),
        };
        let peer_ur_ls = member.peer_urls;
        pb::Member { id, name, peer_ur_ls, client_ur_ls, is_learner: !voters.contains(&id) }
    };
    let members = face.node().members().into_iter().map(member).collect();
    // Members are no part of the key space: their answers carry no revision.
    Ok(pb::MemberListResponse { header: Some(face.header(0)), members })
}
