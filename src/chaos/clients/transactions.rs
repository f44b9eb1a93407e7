//! Transactions over several keys: reads and writes of two of them, at times on a condition.

use keelson_check::{Compare, OpRequest, Response, TxnStep};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use rand::Rng as _;

use super::{Client, get, is, ops, put, revision, values};

/// Keys that clients share.
const KEYS: usize = 4;

impl Client {
    /// One turn.
    pub(super) async fn transaction(&mut self) {
        let key = |number: usize| format!("txn/{}", number % KEYS);
        let first = self.random.random_range(0..KEYS);
        let (one, other) = (key(first), key(first + self.random.random_range(1..KEYS)));
        let value = self.value();
        let read = |key: &String| TxnStep::Read { key: key.clone() };
        let write = |key: &String| TxnStep::Write { key: key.clone(), value: Some(value.clone()) };
        let reads = vec![read(&one), read(&other)];
        let all = vec![read(&one), read(&other), write(&one), write(&other)];
        let get_both = [get(&one), get(&other)];
        let put_both = [put(&one, &value), put(&other, &value)];
        let (compares, then, otherwise) = match self.random.random_range(0..10) {
            0..4 => (Vec::new(), reads, Vec::new()),
            4..7 => (Vec::new(), all, Vec::new()),
            _ => {
                let Some(found) = self.read(&one, false).await else { return };
                let compare = Compare { key: one.clone(), value: found.value.flatten() };
                (vec![compare], all, reads)
            }
        };
        let success = match then.len() {
            2 => ops(get_both.clone()),
            _ => ops(get_both.clone().into_iter().chain(put_both)),
        };
        let txn = pb::TxnRequest {
            compare: compares.iter().map(|one| is(&one.key, one.value.as_deref())).collect(),
            success,
            failure: if otherwise.is_empty() { Vec::new() } else { ops(get_both) },
        };
        let store = self.store();
        self.ask(OpRequest::Txn { compares, then, otherwise }, async move {
            let answer = store.txn(txn).await?;
            let (succeeded, values) = (Some(answer.succeeded), Some(values(&answer)));
            let revision = revision(answer.header);
            Ok(Response { succeeded, values, revision, ..Response::default() })
        })
        .await;
    }
}
