//! Who may do what: asked for each request while authentication is on, at apply for what goes
//! through the log.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use pb::request_op::Request;

use super::AuthError;
use super::state::{AuthState, ROOT};
use crate::command::Op;

/// On whose behalf a request is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authority {
    /// The user; empty: nobody.
    pub user: String,
    /// The auth revision at which the user was known; 0: never.
    pub revision: u64,
}

/// The keys that are attached to a lease.
pub(crate) type KeysOf<'a> = &'a dyn Fn(i64) -> Vec<Bytes>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl AuthState {
    /// Whether a range may be read.
    pub fn may_read(&self, by: &Authority, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        self.may(by, key, range_end, Access::Read)
    }

    /// Whether a range may be written.
    pub fn may_write(&self, by: &Authority, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        self.may(by, key, range_end, Access::Write)
    }

    /// Whether it is somebody.
    pub fn is_somebody(&self, by: &Authority) -> Result<(), AuthError> {
        match self.enabled && by.revision == 0 {
            true => Err(AuthError::UserEmpty),
            false => Ok(()),
        }
    }

    /// Whether users, members and the whole of the data may be dealt with.
    pub fn may_administer(&self, by: &Authority) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        if by.user.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        if self.user(&by.user).is_none() {
            return Err(AuthError::UserNotFound);
        }
        match self.has_role(&by.user, ROOT) {
            true => Ok(()),
            false => Err(AuthError::PermissionDenied),
        }
    }

    /// Whether keys that a lease has may be read, or end with it.
    pub fn may_read_all(&self, by: &Authority, keys: &[Bytes]) -> Result<(), AuthError> {
        self.may_all(by, keys, Access::Read)
    }

    /// The same for writing: who may not write a key may not end it, or keep it, by its lease.
    pub fn may_write_all(&self, by: &Authority, keys: &[Bytes]) -> Result<(), AuthError> {
        self.may_all(by, keys, Access::Write)
    }

    /// Whether a transaction may be run, whichever way its comparisons go.
    pub fn may_run(
        &self,
        by: &Authority,
        request: &pb::TxnRequest,
        keys_of: KeysOf<'_>,
    ) -> Result<(), AuthError> {
        for compare in &request.compare {
            self.may_read(by, &compare.key, &compare.range_end)?;
        }
        for op in request.success.iter().chain(&request.failure) {
            match &op.request {
                Some(Request::RequestRange(op)) => self.may_read(by, &op.key, &op.range_end)?,
                Some(Request::RequestPut(op)) => self.may_put(by, op, keys_of)?,
                Some(Request::RequestDeleteRange(op)) => self.may_delete(by, op)?,
                Some(Request::RequestTxn(op)) => self.may_run(by, op, keys_of)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Whether a command of the log may be applied.
    pub(crate) fn may_apply(
        &self,
        by: &Authority,
        op: &Op,
        keys_of: KeysOf<'_>,
    ) -> Result<(), AuthError> {
        match op {
            Op::Put(request) => self.may_put(by, request, keys_of),
            Op::DeleteRange(request) => self.may_delete(by, request),
            Op::Txn(request) => self.may_run(by, request, keys_of),
            Op::LeaseGrant(_) => self.is_somebody(by),
            Op::LeaseRevoke(request) if request.expired => Ok(()),
            Op::LeaseRevoke(request) => {
                self.is_somebody(by)?;
                request.ids.iter().try_for_each(|id| self.may_write_all(by, &keys_of(*id)))
            }
            Op::Compaction(_) | Op::Alarm(_) | Op::AuthChange(_) | Op::Downgrade(_) => {
                self.may_administer(by)
            }
            // By members themselves, or answered by a password.
            Op::LeaseCheckpoints(_) | Op::MemberAttributes(_) | Op::Authenticate(_) => Ok(()),
        }
    }

    fn may_put(
        &self,
        by: &Authority,
        request: &pb::PutRequest,
        keys_of: KeysOf<'_>,
    ) -> Result<(), AuthError> {
        self.may_write(by, &request.key, b"")?;
        if request.lease != 0 {
            // Or the key could be ended by somebody who may not write the lease's other keys.
            self.may_write_all(by, &keys_of(request.lease))?;
        }
        match request.prev_kv {
            true => self.may_read(by, &request.key, b""),
            false => Ok(()),
        }
    }

    fn may_delete(
        &self,
        by: &Authority,
        request: &pb::DeleteRangeRequest,
    ) -> Result<(), AuthError> {
        self.may_write(by, &request.key, &request.range_end)?;
        match request.prev_kv {
            true => self.may_read(by, &request.key, &request.range_end),
            false => Ok(()),
        }
    }

    fn may_all(&self, by: &Authority, keys: &[Bytes], access: Access) -> Result<(), AuthError> {
        if self.may_administer(by).is_ok() {
            return Ok(());
        }
        keys.iter().try_for_each(|key| self.may(by, key, b"", access))
    }

    fn may(
        &self,
        by: &Authority,
        key: &[u8],
        range_end: &[u8],
        access: Access,
    ) -> Result<(), AuthError> {
        self.is_somebody(by)?;
        if !self.enabled {
            return Ok(());
        }
        if by.revision < self.revision {
            return Err(AuthError::OldRevision);
        }
        let touchable = self.touchable(&by.user).ok_or(AuthError::PermissionDenied)?;
        let ranges = match access {
            Access::Read => &touchable.read,
            Access::Write => &touchable.write,
        };
        match self.has_role(&by.user, ROOT) || ranges.cover(key, range_end) {
            true => Ok(()),
            false => Err(AuthError::PermissionDenied),
        }
    }
}
