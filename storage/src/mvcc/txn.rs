//! Txn: compares, then one of two lists of operations, all or nothing.
//!
//! Three passes: which branches run (on the state before), whether anything in them can fail (on
//! the same state), then the writes, which cannot fail any more.

use keelson_proto::etcdserverpb as pb;
use pb::request_op::Request;
use pb::response_op::Response;

use super::compare;
use super::range::{ReadError, Space, range};
use super::transaction::Transaction;
use crate::command::ApplyError;

/// What a request at apply is checked against.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// The revision before.
    pub current: i64,
    /// The compacted revision; -1: none.
    pub compacted: i64,
    /// Whether a lease exists.
    pub has_lease: &'a dyn Fn(i64) -> bool,
}

/// A request that fails at apply, or an engine that does.
#[derive(Debug)]
pub enum TxnError {
    /// Refused: nothing was written.
    Refused(ApplyError),
    /// The engine failed: the node must stop.
    Read(ReadError),
}

impl From<ReadError> for TxnError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Runs a transaction; the header of the answer is left to the caller.
pub fn txn(
    transaction: &mut Transaction<'_, '_>,
    request: &pb::TxnRequest,
    limits: Limits<'_>,
) -> Result<pb::TxnResponse, TxnError> {
    let mut path = Vec::new();
    choose(transaction.space(), request, &mut path)?;
    check(transaction.space(), request, limits, &mut path.iter())?;
    run(transaction, request, &mut path.iter())
}

/// Runs a transaction of ranges alone at `space`'s revision.
pub fn read_txn(
    space: Space<'_>,
    request: &pb::TxnRequest,
    current: i64,
    compacted: i64,
) -> Result<pb::TxnResponse, ReadError> {
    let succeeded = all_hold(space, request)?;
    let branch = if succeeded { &request.success } else { &request.failure };
    for op in branch {
        if let Some(Request::RequestRange(op)) = &op.request {
            check_range(op, current, compacted)?;
        }
    }
    let mut responses = Vec::with_capacity(branch.len());
    for op in branch {
        let Some(Request::RequestRange(op)) = &op.request else { continue };
        let space = if op.revision > 0 { Space { at: Some(op.revision), ..space } } else { space };
        let mut response = range(space, op)?;
        response.header = header(current);
        responses.push(respond(Response::ResponseRange(response)));
    }
    Ok(pb::TxnResponse { header: header(current), succeeded, responses })
}

/// Whether nothing in it can write: it needs no log entry.
pub fn is_read_only(request: &pb::TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether all its ranges may be answered by this member alone.
pub fn is_serializable(request: &pb::TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

/// Checks one put against the state.
pub fn check_put(
    space: Space<'_>,
    request: &pb::PutRequest,
    limits: Limits<'_>,
) -> Result<(), TxnError> {
    if request.lease != 0 && !(limits.has_lease)(request.lease) {
        return Err(TxnError::Refused(ApplyError::LeaseNotFound));
    }
    if (request.ignore_value || request.ignore_lease) && space.get_encoded(&request.key)?.is_none()
    {
        return Err(TxnError::Refused(ApplyError::KeyNotFound));
    }
    Ok(())
}

/// Carries out a put whose checks have passed.
pub fn run_put(
    transaction: &mut Transaction<'_, '_>,
    request: &pb::PutRequest,
) -> Result<pb::PutResponse, ReadError> {
    let before = transaction.before(&request.key)?;
    let old = before.as_ref().map(|before| &before.kv);
    let value = match old {
        Some(old) if request.ignore_value => old.value.clone(),
        _ => request.value.clone(),
    };
    let lease = match old {
        Some(old) if request.ignore_lease => old.lease,
        _ => request.lease,
    };
    let prev_kv = if request.prev_kv { old.cloned() } else { None };
    transaction.put(&request.key, value, lease, before);
    Ok(pb::PutResponse { header: header(transaction.revision()), prev_kv })
}

/// Carries out a delete.
pub fn run_delete_range(
    transaction: &mut Transaction<'_, '_>,
    request: &pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, ReadError> {
    let deleted = transaction.delete_range(&request.key, &request.range_end)?;
    Ok(pb::DeleteRangeResponse {
        header: header(transaction.revision()),
        deleted: deleted.len() as i64,
        prev_kvs: if request.prev_kv { deleted } else { Vec::new() },
    })
}

/// One entry for this transaction and, before the next one, for each nested in the branch it takes.
fn choose(
    space: Space<'_>,
    request: &pb::TxnRequest,
    path: &mut Vec<bool>,
) -> Result<(), ReadError> {
    let succeeded = all_hold(space, request)?;
    path.push(succeeded);
    for op in branch(request, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            choose(space, nested, path)?;
        }
    }
    Ok(())
}

fn check(
    space: Space<'_>,
    request: &pb::TxnRequest,
    limits: Limits<'_>,
    path: &mut std::slice::Iter<'_, bool>,
) -> Result<(), TxnError> {
    for op in branch(request, next(path)) {
        match &op.request {
            Some(Request::RequestRange(op)) => {
                check_range(op, limits.current, limits.compacted).map_err(refused)?;
            }
            Some(Request::RequestPut(op)) => check_put(space, op, limits)?,
            Some(Request::RequestTxn(op)) => check(space, op, limits, path)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

fn run(
    transaction: &mut Transaction<'_, '_>,
    request: &pb::TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
) -> Result<pb::TxnResponse, TxnError> {
    let succeeded = next(path);
    let branch = branch(request, succeeded);
    let mut responses = Vec::with_capacity(branch.len());
    for op in branch {
        let response = match &op.request {
            Some(Request::RequestRange(op)) => {
                let space = match op.revision {
                    at if at > 0 => transaction.space_at(at),
                    _ => transaction.space(),
                };
                let mut response = range(space, op)?;
                response.header = header(transaction.revision());
                Response::ResponseRange(response)
            }
            Some(Request::RequestPut(op)) => Response::ResponsePut(run_put(transaction, op)?),
            Some(Request::RequestDeleteRange(op)) => {
                Response::ResponseDeleteRange(run_delete_range(transaction, op)?)
            }
            Some(Request::RequestTxn(op)) => {
                let mut response = run(transaction, op, path)?;
                response.header = header(0);
                Response::ResponseTxn(response)
            }
            None => continue,
        };
        responses.push(respond(response));
    }
    Ok(pb::TxnResponse { header: header(transaction.revision()), succeeded, responses })
}

fn all_hold(space: Space<'_>, request: &pb::TxnRequest) -> Result<bool, ReadError> {
    for compare in &request.compare {
        if !compare::holds(space, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

// upstream: etcd v3 API, "Txn": the revision of a range inside
fn check_range(request: &pb::RangeRequest, current: i64, compacted: i64) -> Result<(), ReadError> {
    match request.revision {
        0 => Ok(()),
        wanted if wanted > current => Err(ReadError::FutureRevision { wanted, current }),
        wanted if wanted < compacted => Err(ReadError::Compacted { wanted, oldest: compacted }),
        _ => Ok(()),
    }
}

fn refused(error: ReadError) -> TxnError {
    match error {
        ReadError::Compacted { wanted, oldest } => {
            TxnError::Refused(ApplyError::Compacted { wanted, oldest })
        }
        ReadError::FutureRevision { wanted, current } => {
            TxnError::Refused(ApplyError::FutureRevision { wanted, current })
        }
        error @ (ReadError::Engine(_) | ReadError::Damaged(_)) => TxnError::Read(error),
    }
}

fn branch(request: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

fn next(path: &mut std::slice::Iter<'_, bool>) -> bool {
    *path.next().expect("the path has an entry for each transaction that runs")
}

/// What an answer inside the store says of itself: the rest of the header is the face's.
pub fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn respond(response: Response) -> pb::ResponseOp {
    pb::ResponseOp { response: Some(response) }
}
