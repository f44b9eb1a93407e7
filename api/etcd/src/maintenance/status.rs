//! Status: how this member is. Answered without a leader too.

use keelson_proto::etcdserverpb as pb;

use super::alarm::raised;
use crate::ETCD_VERSION;
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn status(
    face: EtcdFace,
    _request: pb::StatusRequest,
) -> Result<pb::StatusResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.is_somebody(by))?;
    let status = face.node().status();
    let size = face.node().view().size();
    let downgrade = face.node().view().downgrade_target();
    let mut errors = Vec::new();
    if status.leader.is_none() {
        errors.push(FaceError::NoLeader.to_string());
    }
    errors.extend(raised(&face, 0).iter().map(|alarm| {
        format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name())
    }));
    Ok(pb::StatusResponse {
        header: Some(face.header_now()),
        version: ETCD_VERSION.to_owned(),
        db_size: size,
        db_size_in_use: size,
        db_size_quota: face.config().quota_bytes,
        leader: status.leader.unwrap_or(0),
        raft_index: status.committed,
        raft_term: status.term,
        raft_applied_index: status.applied,
        errors,
        is_learner: status.is_learner,
        storage_version: face.cluster_version(),
        downgrade_info: Some(pb::DowngradeInfo {
            enabled: downgrade.is_some(),
            target_version: downgrade.unwrap_or_default(),
        }),
    })
}
