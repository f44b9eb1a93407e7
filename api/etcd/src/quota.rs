//! Quota: once the data have the size that an operator set, nothing may grow until the alarm is
//! disarmed. None is set by default, and then nothing is refused.
// upstream: etcd v3 API, "Alarm": NOSPACE

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::{ApplyError, Op};
use pb::alarm_request::AlarmAction;
use pb::request_op::Request;

use crate::error::FaceError;
use crate::face::EtcdFace;

/// What a key costs beside its bytes.
const KEY_OVERHEAD: usize = 256;
/// What a lease costs.
pub(crate) const LEASE_COST: usize = 64;

/// What a put adds.
pub(crate) fn put_cost(request: &pb::PutRequest) -> usize {
    KEY_OVERHEAD + request.key.len() + request.value.len()
}

/// What the dearer of a transaction's two lists adds.
pub(crate) fn txn_cost(request: &pb::TxnRequest) -> usize {
    let list = |ops: &[pb::RequestOp]| -> usize { ops.iter().map(op_cost).sum() };
    list(&request.success).max(list(&request.failure))
}

fn op_cost(op: &pb::RequestOp) -> usize {
    match &op.request {
        Some(Request::RequestPut(request)) => put_cost(request),
        Some(Request::RequestTxn(request)) => txn_cost(request),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    }
}

/// Refuses what would fill the data up, and raises the alarm.
pub(crate) async fn admit(face: &EtcdFace, cost: usize) -> Result<(), FaceError> {
    let quota = face.config().quota_bytes;
    if quota <= 0 || cost == 0 {
        return Ok(());
    }
    let size = face.node().view().size();
    if size.saturating_add(i64::try_from(cost).unwrap_or(i64::MAX)) < quota {
        return Ok(());
    }
    let (alarm, member_id) = (pb::AlarmType::Nospace as i32, face.node().node_id());
    if !face.node().view().alarms().contains(&(alarm, member_id)) {
        tracing::warn!(size, quota, "database space exceeded");
        let action = AlarmAction::Activate as i32;
        face.trusted().propose(Op::Alarm(pb::AlarmRequest { action, member_id, alarm })).await?;
    }
    Err(ApplyError::NoSpace.into())
}
