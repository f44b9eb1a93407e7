//! What can be refused about a request without looking at the state.

use keelson_proto::etcdserverpb as pb;
use pb::request_op::Request;
use thiserror::Error;

/// A request that can never succeed. Texts are etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// An operation of a transaction is empty.
    #[error("etcdserver: key not found")]
    EmptyOperation,
    /// `ignore_value` with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More operations than a transaction may have.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// A transaction would change a key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// An order or target that does not exist.
    #[error("etcdserver: invalid sort option")]
    InvalidSort,
}

/// Checks a range.
pub fn range(request: &pb::RangeRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        return Err(RequestError::EmptyKey);
    }
    let order = pb::range_request::SortOrder::try_from(request.sort_order);
    let target = pb::range_request::SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() {
        return Err(RequestError::InvalidSort);
    }
    Ok(())
}

/// Checks a put.
pub fn put(request: &pb::PutRequest) -> Result<(), RequestError> {
    if request.key.is_empty() {
        return Err(RequestError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(RequestError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(RequestError::LeaseProvided);
    }
    Ok(())
}

/// Checks a delete.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> Result<(), RequestError> {
    if request.key.is_empty() { Err(RequestError::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction: sizes and operations first, then that no key is changed twice.
pub fn txn(request: &pb::TxnRequest, operations_max: usize) -> Result<(), RequestError> {
    operations(request, operations_max)?;
    for branch in [&request.success, &request.failure] {
        changes(branch)?;
    }
    Ok(())
}

// upstream: etcd v3 API, "Txn": a nested transaction gets what its parent left of the limit
fn operations(request: &pb::TxnRequest, max: usize) -> Result<(), RequestError> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = max.checked_sub(longest) else {
        return Err(RequestError::TooManyOperations);
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(RequestError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match op.request.as_ref().ok_or(RequestError::EmptyOperation)? {
            Request::RequestRange(op) => range(op)?,
            Request::RequestPut(op) => put(op)?,
            Request::RequestDeleteRange(op) => delete_range(op)?,
            Request::RequestTxn(op) => operations(op, left)?,
        }
    }
    Ok(())
}

/// Keys that one way through a branch may set, and ranges it may delete.
#[derive(Default)]
struct Changes<'a> {
    puts: Vec<&'a [u8]>,
    deletes: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Changes<'a> {
    fn deletes_one_of(&self, puts: &[&[u8]]) -> bool {
        puts.iter().any(|put| self.deletes.iter().any(|(key, end)| deletes(key, end, put)))
    }

    fn add(&mut self, other: Changes<'a>) {
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
    }
}

/// Whether a delete counts as one of this key. To the check an open end (`"\0"`) is no range at
/// all, so that such a delete may go with any put: a key may then change twice in a revision.
fn deletes(start: &[u8], range_end: &[u8], key: &[u8]) -> bool {
    range_end != b"\0" && contains(start, range_end, key)
}

/// Among sibling transactions an earlier one's deletes are held against a later one's puts, not
/// the other way round: what etcd accepts is accepted.
// upstream: etcd v3, the check of a transaction's intervals
fn changes(branch: &[pb::RequestOp]) -> Result<Changes<'_>, RequestError> {
    let mut all = Changes::default();
    for op in branch {
        if let Some(Request::RequestDeleteRange(op)) = &op.request {
            all.deletes.push((&op.key, &op.range_end));
        }
    }
    for op in branch {
        let Some(Request::RequestTxn(nested)) = &op.request else { continue };
        let mut both = Changes::default();
        for nested in [&nested.success, &nested.failure] {
            // The two branches never run together, so they may repeat keys.
            let nested = changes(nested)?;
            let repeated = nested.puts.iter().any(|put| all.puts.contains(put));
            if repeated || all.deletes_one_of(&nested.puts) {
                return Err(RequestError::DuplicateKey);
            }
            both.add(nested);
        }
        all.add(both);
    }
    let mut own: Vec<&[u8]> = Vec::new();
    for op in branch {
        let Some(Request::RequestPut(op)) = &op.request else { continue };
        let key: &[u8] = &op.key;
        if all.puts.contains(&key) || own.contains(&key) || all.deletes_one_of(&[key]) {
            return Err(RequestError::DuplicateKey);
        }
        own.push(key);
    }
    all.puts.extend(own);
    Ok(all)
}

/// Whether a range, by etcd's convention, has this key.
pub fn contains(start: &[u8], range_end: &[u8], key: &[u8]) -> bool {
    match range_end {
        b"" => key == start,
        b"\0" => key >= start,
        end => key >= start && key < end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn op(request: Request) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn put_of(key: &'static str) -> pb::RequestOp {
        op(Request::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() }))
    }

    fn delete_of(key: &'static str, end: &'static str) -> pb::RequestOp {
        let (key, range_end) = (Bytes::from(key), Bytes::from(end));
        op(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: false }))
    }

    fn txn_of(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
        op(Request::RequestTxn(pb::TxnRequest { compare: vec![], success, failure }))
    }

    // upstream: etcd v3 API, "Txn": duplicate keys
    #[test]
    fn a_key_is_changed_once_at_most() {
        let duplicate = Err(RequestError::DuplicateKey);
        let cases = [
            (vec![put_of("a"), put_of("b")], Ok(())),
            (vec![put_of("a"), put_of("a")], duplicate),
            (vec![put_of("a"), delete_of("a", "")], duplicate),
            (vec![delete_of("a", "c"), put_of("b")], duplicate),
            (vec![delete_of("a", "c"), put_of("c")], Ok(())),
            (vec![delete_of("a", "\0"), put_of("z")], Ok(())),
            (vec![delete_of("a", "c"), delete_of("b", "d")], Ok(())),
            (vec![put_of("a"), txn_of(vec![put_of("a")], vec![])], duplicate),
            (vec![txn_of(vec![put_of("a")], vec![put_of("a")])], Ok(())),
            (vec![txn_of(vec![put_of("a")], vec![]), txn_of(vec![], vec![put_of("a")])], duplicate),
            (vec![txn_of(vec![delete_of("a", "")], vec![put_of("a")])], Ok(())),
            (
                vec![txn_of(vec![delete_of("a", "")], vec![]), txn_of(vec![put_of("a")], vec![])],
                duplicate,
            ),
            (
                vec![txn_of(vec![put_of("a")], vec![]), txn_of(vec![delete_of("a", "")], vec![])],
                Ok(()),
            ),
        ];
        for (number, (success, expected)) in cases.into_iter().enumerate() {
            let request = pb::TxnRequest { success, ..Default::default() };
            assert_eq!(txn(&request, 128), expected, "case {number}");
            let request = pb::TxnRequest { failure: request.success, ..Default::default() };
            assert_eq!(txn(&request, 128), expected, "case {number}, failure");
        }
    }

    #[test]
    fn a_nested_transaction_gets_what_its_parent_left() {
        let inner = |ops: usize| txn_of((0..ops).map(|_| delete_of("a", "")).collect(), vec![]);
        let outer = |op| pb::TxnRequest { success: vec![op], ..Default::default() };
        assert_eq!(txn(&outer(inner(127)), 128), Ok(()));
        assert_eq!(txn(&outer(inner(128)), 128), Err(RequestError::TooManyOperations));
    }

    #[test]
    fn requests_without_sense_are_refused() {
        use pb::{PutRequest, RangeRequest};
        assert_eq!(range(&RangeRequest::default()), Err(RequestError::EmptyKey));
        let request = RangeRequest { key: "a".into(), sort_order: 9, ..Default::default() };
        assert_eq!(range(&request), Err(RequestError::InvalidSort));
        let base =
            PutRequest { key: "a".into(), value: "v".into(), lease: 1, ..Default::default() };
        assert_eq!(put(&base), Ok(()));
        let request = PutRequest { ignore_value: true, ..base.clone() };
        assert_eq!(put(&request), Err(RequestError::ValueProvided));
        let request = PutRequest { ignore_lease: true, ..base };
        assert_eq!(put(&request), Err(RequestError::LeaseProvided));
        let request =
            pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..Default::default() };
        assert_eq!(txn(&request, 128), Err(RequestError::EmptyOperation));
    }
}
