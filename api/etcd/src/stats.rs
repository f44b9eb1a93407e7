//! `request stats`: a line of the log for each unary request, or only for those that took too long.
//!
//! Values are never shown: they may be secret, and long.

use std::any::Any;
use std::time::Instant;

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use keelson_storage::disk::wall_clock;
use prost::Message;
use tracing::Level;

use crate::face::EtcdFace;

/// What is kept of a request until it is answered.
pub(crate) struct Asked {
    size: usize,
    content: Content,
}

enum Content {
    Range(pb::RangeRequest),
    Put { key: Bytes, value_bytes: usize, lease: i64 },
    DeleteRange(pb::DeleteRangeRequest),
    Txn { compares: usize, success: usize, failure: usize },
    Other,
}

impl Asked {
    pub(crate) fn of<Q: Message + Any>(request: &Q) -> Self {
        let any: &dyn Any = request;
        let content = if let Some(range) = any.downcast_ref::<pb::RangeRequest>() {
            Content::Range(range.clone())
        } else if let Some(put) = any.downcast_ref::<pb::PutRequest>() {
            let (key, lease) = (put.key.clone(), put.lease);
            Content::Put { key, value_bytes: put.value.len(), lease }
        } else if let Some(delete) = any.downcast_ref::<pb::DeleteRangeRequest>() {
            Content::DeleteRange(delete.clone())
        } else if let Some(txn) = any.downcast_ref::<pb::TxnRequest>() {
            let (success, failure) = (txn.success.len(), txn.failure.len());
            Content::Txn { compares: txn.compare.len(), success, failure }
        } else {
            Content::Other
        };
        let size = match content {
            Content::Other => 0,
            _ => request.encoded_len(),
        };
        Self { size, content }
    }

    /// Logs it, if it took too long or everything is logged.
    // upstream: etcd v3.7, "request stats"
    pub(crate) fn log<R: Message + Any>(
        &self,
        answer: &R,
        face: &EtcdFace,
        path: &str,
        began: Instant,
    ) {
        let took = began.elapsed();
        let is_slow = took > face.config().unary_warning;
        if !is_slow && !tracing::enabled!(Level::DEBUG) {
            return;
        }
        let (request_count, response_count) = self.counts(answer);
        let known = !matches!(self.content, Content::Other);
        let size = |bytes: usize| if known { i64::try_from(bytes).unwrap_or(-1) } else { -1 };
        let start = wall_clock().saturating_sub(took);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    "start time" = start.as_secs_f64(),
                    "time spent" = ?took,
                    remote = face.remote(),
                    "response type" = path,
                    "request count" = request_count,
                    "request size" = size(self.size),
                    "response count" = response_count,
                    "response size" = size(answer.encoded_len()),
                    "request content" = self.describe(),
                    "request stats"
                )
            };
        }
        match is_slow {
            true => line!(warn),
            false => line!(debug),
        }
    }

    fn counts<R: Any>(&self, answer: &R) -> (i64, i64) {
        let any: &dyn Any = answer;
        match &self.content {
            Content::Range(_) => {
                (0, any.downcast_ref::<pb::RangeResponse>().map_or(0, |answer| answer.count))
            }
            Content::Put { .. } => (1, 0),
            Content::DeleteRange(_) => {
                let deleted = any.downcast_ref::<pb::DeleteRangeResponse>();
                (0, deleted.map_or(0, |answer| answer.deleted))
            }
            Content::Txn { success, failure, .. } => {
                let succeeded =
                    any.downcast_ref::<pb::TxnResponse>().is_some_and(|answer| answer.succeeded);
                let ran = if succeeded { *success } else { *failure };
                (i64::try_from(ran).unwrap_or(-1), 0)
            }
            Content::Other => (-1, -1),
        }
    }

    fn describe(&self) -> String {
        let text = |bytes: &Bytes| bytes.escape_ascii().to_string();
        match &self.content {
            Content::Range(range) => format!(
                "key:\"{}\" range_end:\"{}\" limit:{} revision:{}",
                text(&range.key),
                text(&range.range_end),
                range.limit,
                range.revision
            ),
            Content::Put { key, value_bytes, lease } => {
                format!("key:\"{}\" value_size:{value_bytes} lease:{lease}", text(key))
            }
            Content::DeleteRange(delete) => {
                let (key, end) = (text(&delete.key), text(&delete.range_end));
                format!("key:\"{key}\" range_end:\"{end}\"")
            }
            Content::Txn { compares, success, failure } => {
                format!("compare:{compares} success:{success} failure:{failure}")
            }
            Content::Other => String::new(),
        }
    }
}
