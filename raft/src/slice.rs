//! Slice: entries that are applied together, decoded, and how long that may take.

use std::io;

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::Op;
use keelson_storage::entry::{LogEntry, Payload};
use openraft::EntryPayload;
use pb::request_op::Request;

use crate::log::encode_membership;
use crate::proposals::{Proposals, decode_command};
use crate::types::{Entry, outer_index};

/// More operations at once may keep a thread for long.
const LIGHT_MAX: usize = 16;

/// Entries that follow each other.
pub(crate) struct Slice {
    pub(crate) log: Vec<LogEntry>,
    /// Callers of this process: place, number.
    pub(crate) own: Vec<(usize, u64)>,
    /// Of all payloads.
    pub(crate) bytes: usize,
}

impl Slice {
    pub(crate) fn decode(entries: &[Entry], proposals: &Proposals) -> io::Result<Self> {
        let mut slice = Self { log: Vec::with_capacity(entries.len()), own: Vec::new(), bytes: 0 };
        for (place, entry) in entries.iter().enumerate() {
            if let EntryPayload::Normal(payload) = &entry.payload {
                slice.bytes += payload.0.len();
                let own = proposals.own_sequence(payload);
                slice.own.extend(own.map(|sequence| (place, sequence)));
            }
            slice.log.push(log_entry(entry)?);
        }
        Ok(slice)
    }

    /// Whether applying it takes no longer than handing it to another thread: few operations, each
    /// on one key.
    pub(crate) fn is_light(&self) -> bool {
        let mut operations = 0;
        self.log.iter().all(|entry| {
            operations += match &entry.payload {
                Payload::Blank | Payload::Membership(_) => 1,
                Payload::Command(command) => command.op.as_ref().map_or(1, operations_of),
            };
            operations <= LIGHT_MAX
        })
    }
}

/// Keys that it touches; very many, if that is not known.
fn operations_of(op: &Op) -> usize {
    const MANY: usize = LIGHT_MAX + 1;
    let range = |end: &[u8]| if end.is_empty() { 1 } else { MANY };
    match op {
        Op::Put(_) => 1,
        Op::DeleteRange(request) => range(&request.range_end),
        Op::Txn(request) => {
            let all = request.success.iter().chain(&request.failure);
            let compares = request.compare.iter().map(|compare| range(&compare.range_end));
            let operations = all.map(|operation| match &operation.request {
                Some(Request::RequestPut(_)) | None => 1,
                Some(Request::RequestRange(request)) => range(&request.range_end),
                Some(Request::RequestDeleteRange(request)) => range(&request.range_end),
                Some(Request::RequestTxn(_)) => MANY,
            });
            compares.chain(operations).sum()
        }
        // It deletes the keys that are attached.
        Op::LeaseRevoke(_) | Op::AuthChange(_) => MANY,
        Op::Compaction(_) | Op::LeaseGrant(_) | Op::LeaseCheckpoints(_) => 1,
        Op::MemberAttributes(_) | Op::Downgrade(_) | Op::Alarm(_) | Op::Authenticate(_) => 1,
    }
}

fn log_entry(entry: &Entry) -> io::Result<LogEntry> {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(payload) => {
            Payload::Command(decode_command(payload).map_err(io::Error::other)?)
        }
        EntryPayload::Membership(membership) => {
            Payload::Membership(encode_membership(Some(entry.log_id), membership))
        }
    };
    let index = outer_index(entry.log_id.index);
    Ok(LogEntry { term: entry.log_id.leader_id.term, index, payload })
}

#[cfg(test)]
mod tests {
    use keelson_storage::command::command;

    use super::*;

    fn slice(ops: Vec<Op>) -> Slice {
        let entry = |op| LogEntry { term: 1, index: 1, payload: Payload::Command(command(op)) };
        Slice { log: ops.into_iter().map(entry).collect(), own: Vec::new(), bytes: 0 }
    }

    #[test]
    fn few_operations_on_single_keys_are_light() {
        let put = || Op::Put(pb::PutRequest::default());
        assert!(slice(vec![put(); LIGHT_MAX]).is_light());
        assert!(!slice(vec![put(); LIGHT_MAX + 1]).is_light());
        let range = |range_end: &'static [u8]| {
            let request = pb::RangeRequest { range_end: range_end.into(), ..Default::default() };
            let success = vec![pb::RequestOp { request: Some(Request::RequestRange(request)) }];
            Op::Txn(pb::TxnRequest { success, ..Default::default() })
        };
        assert!(slice(vec![range(b"")]).is_light());
        assert!(!slice(vec![range(b"\0")]).is_light());
        let delete = pb::DeleteRangeRequest { range_end: b"z"[..].into(), ..Default::default() };
        assert!(!slice(vec![Op::DeleteRange(delete)]).is_light());
    }
}
