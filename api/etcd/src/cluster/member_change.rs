//! MemberAdd, MemberRemove, MemberUpdate, MemberPromote: whoever is asked has the leader do it.

use keelson_proto::etcdserverpb as pb;
use keelson_raft::{Member, MemberChange, MemberLimits, Members, identity};

use super::{shown, urls};
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn member_add(
    face: EtcdFace,
    request: pb::MemberAddRequest,
) -> Result<pb::MemberAddResponse, FaceError> {
    let peer_urls = urls::checked(request.peer_ur_ls)?;
    let member = Member { peer_urls, learner: request.is_learner, ..Member::default() };
    let id = identity::added(&member.peer_urls, rand::random());
    let members = change(&face, MemberChange::Add { id, member }).await?;
    let members = shown(&face, members);
    let member = members.iter().find(|member| member.id == id).cloned();
    Ok(pb::MemberAddResponse { header: Some(face.header(0)), member, members })
}

pub(crate) async fn member_remove(
    face: EtcdFace,
    request: pb::MemberRemoveRequest,
) -> Result<pb::MemberRemoveResponse, FaceError> {
    let members = change(&face, MemberChange::Remove(request.id)).await?;
    let members = shown(&face, members);
    Ok(pb::MemberRemoveResponse { header: Some(face.header(0)), members })
}

pub(crate) async fn member_update(
    face: EtcdFace,
    request: pb::MemberUpdateRequest,
) -> Result<pb::MemberUpdateResponse, FaceError> {
    let peer_urls = urls::checked(request.peer_ur_ls)?;
    let members = change(&face, MemberChange::Update { id: request.id, peer_urls }).await?;
    let members = shown(&face, members);
    Ok(pb::MemberUpdateResponse { header: Some(face.header(0)), members })
}

pub(crate) async fn member_promote(
    face: EtcdFace,
    request: pb::MemberPromoteRequest,
) -> Result<pb::MemberPromoteResponse, FaceError> {
    let members = change(&face, MemberChange::Promote(request.id)).await?;
    let members = shown(&face, members);
    Ok(pb::MemberPromoteResponse { header: Some(face.header(0)), members })
}

async fn change(face: &EtcdFace, change: MemberChange) -> Result<Members, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    let config = face.config();
    let limits = MemberLimits { strict: config.strict_reconfig, learners_max: config.learners_max };
    Ok(face.node().change_members(change, limits).await?)
}
