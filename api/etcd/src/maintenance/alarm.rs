//! Alarm: shows, raises and ends alarms.

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::{Op, Reply};
use pb::alarm_request::AlarmAction;

use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn alarm(
    face: EtcdFace,
    mut request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, FaceError> {
    let alarms = match request.action() {
        AlarmAction::Get => {
            face.read_index().await?;
            let _asked = face.authorize(|auth, by| auth.is_somebody(by))?;
            raised(&face, request.alarm)
        }
        AlarmAction::Activate | AlarmAction::Deactivate => {
            if request.member_id == 0 {
                request.member_id = face.node().node_id();
            }
            let Reply::Alarm(response) = face.propose(Op::Alarm(request)).await? else {
                return Err(FaceError::Unexpected);
            };
            response.alarms
        }
    };
    Ok(pb::AlarmResponse { header: Some(face.header_now()), alarms })
}

/// Alarms that are raised: of one kind, or all.
pub(super) fn raised(face: &EtcdFace, kind: i32) -> Vec<pb::AlarmMember> {
    let wanted = |(alarm, _): &(i32, u64)| kind == pb::AlarmType::None as i32 || *alarm == kind;
    let alarms = face.node().view().alarms().into_iter().filter(wanted);
    alarms.map(|(alarm, member_id)| pb::AlarmMember { member_id, alarm }).collect()
}
