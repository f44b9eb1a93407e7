//! Outcomes: what applying a command answers, in the form in which the model and the store are
//! compared.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use keelson_storage::command::{ApplyError, ApplyResult, Reply};
use pb::response_op::Response;

/// A key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) created: i64,
    pub(crate) changed: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl From<&KeyValue> for Found {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: kv.key.clone(),
            value: kv.value.clone(),
            created: kv.create_revision,
            changed: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Put,
    Delete(i64),
    Range(Vec<Found>),
}

/// What a command answered, with the store's revision after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Put(i64),
    Delete(i64, i64),
    Txn(i64, bool, Vec<Part>),
    Compact(i64),
    Grant(i64, i64),
    Revoke(i64),
    Done(i64),
    Refused(ApplyError),
}

impl Outcome {
    /// The revision that it tells, if it tells one.
    pub(crate) fn revision(&self) -> Option<i64> {
        match self {
            Self::Put(at)
            | Self::Delete(at, _)
            | Self::Txn(at, ..)
            | Self::Compact(at)
            | Self::Grant(at, _)
            | Self::Revoke(at)
            | Self::Done(at) => Some(*at),
            Self::Refused(_) => None,
        }
    }

    pub(crate) fn of(result: &ApplyResult) -> Self {
        let at =
            |header: &Option<pb::ResponseHeader>| header.as_ref().map_or(0, |one| one.revision);
        match result {
            Ok(Reply::Put(reply)) => Self::Put(at(&reply.header)),
            Ok(Reply::DeleteRange(reply)) => Self::Delete(at(&reply.header), reply.deleted),
            Ok(Reply::Txn(reply)) => {
                let parts = reply.responses.iter().filter_map(|one| part(one.response.as_ref()?));
                Self::Txn(at(&reply.header), reply.succeeded, parts.collect())
            }
            Ok(Reply::Compaction(reply)) => Self::Compact(at(&reply.header)),
            Ok(Reply::LeaseGrant(reply)) => Self::Grant(at(&reply.header), reply.id),
            Ok(Reply::LeaseRevoke(reply)) => Self::Revoke(at(&reply.header)),
            Ok(Reply::Alarm(reply)) => Self::Done(at(&reply.header)),
            Ok(Reply::Done { revision }) => Self::Done(*revision),
            Ok(Reply::Token(_)) => Self::Done(0),
            Err(error) => Self::Refused(error.clone()),
        }
    }
}

fn part(response: &Response) -> Option<Part> {
    Some(match response {
        Response::ResponsePut(_) => Part::Put,
        Response::ResponseDeleteRange(reply) => Part::Delete(reply.deleted),
        Response::ResponseRange(reply) => Part::Range(reply.kvs.iter().map(Found::from).collect()),
        Response::ResponseTxn(_) => return None,
    })
}
