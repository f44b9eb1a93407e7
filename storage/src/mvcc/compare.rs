//! Compares: the conditions of a transaction.

use std::cmp::Ordering;

use keelson_proto::etcdserverpb::Compare;
use keelson_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_proto::mvccpb::KeyValue;
use prost::Message;

use super::{ReadError, Space};

/// Whether every key of the compare's range satisfies it. Where there is none, numbers count as 0
/// and a value satisfies nothing.
// upstream: etcd v3 API, "Compare"
pub(super) fn holds(space: Space<'_>, compare: &Compare) -> Result<bool, ReadError> {
    let (mut any, mut all) = (false, true);
    space.walk(&compare.key, &compare.range_end, 0, &mut |encoded| {
        any = true;
        let kv = KeyValue::decode(encoded).map_err(|_| ReadError::Damaged("a key's value"))?;
        all &= satisfies(compare, &kv);
        Ok(())
    })?;
    if any {
        return Ok(all);
    }
    if compare.target == CompareTarget::Value as i32 {
        return Ok(false);
    }
    Ok(satisfies(compare, &KeyValue::default()))
}

fn satisfies(compare: &Compare, kv: &KeyValue) -> bool {
    let union = compare.target_union.as_ref();
    let order = match compare.target() {
        CompareTarget::Value => {
            let wanted = match union {
                Some(TargetUnion::Value(value)) => value.as_ref(),
                _ => &[],
            };
            kv.value.as_ref().cmp(wanted)
        }
        CompareTarget::Create => kv.create_revision.cmp(&match union {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        CompareTarget::Mod => kv.mod_revision.cmp(&match union {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        CompareTarget::Version => kv.version.cmp(&match union {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        CompareTarget::Lease => kv.lease.cmp(&match union {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        Err(_) => true,
    }
}
