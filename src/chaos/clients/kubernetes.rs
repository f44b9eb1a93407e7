//! What an API server does: objects are made where there is none, changed and deleted on the
//! condition that nobody else has changed them, and listed all at one revision.

use keelson_check::{OpRequest, Response, TxnStep};
use keelson_client::{Store as _, prefix_end};
use keelson_proto::etcdserverpb as pb;
use rand::Rng as _;

use super::{Client, revision, text};

/// Objects that clients share.
const OBJECTS: u32 = 6;
/// Where they stand.
const PREFIX: &str = "/registry/pods/default/";

impl Client {
    /// One turn.
    pub(super) async fn kubernetes(&mut self) {
        if self.random.random_ratio(1, 5) {
            return self.list().await;
        }
        let key = format!("{PREFIX}p{}", self.random.random_range(0..OBJECTS));
        let Some(found) = self.read(&key, false).await else { return };
        let found = found.value.flatten();
        let object = format!("{{\"kind\":\"Pod\",\"status\":\"{}\"}}", self.value());
        let gone = found.is_some() && self.random.random_ratio(1, 6);
        self.swap(&key, found, (!gone).then_some(object)).await;
    }

    async fn list(&mut self) {
        let keys: Vec<String> = (0..OBJECTS).map(|number| format!("{PREFIX}p{number}")).collect();
        let then = keys.iter().map(|key| TxnStep::Read { key: key.clone() }).collect();
        let range = pb::RangeRequest {
            key: PREFIX.into(),
            range_end: prefix_end(PREFIX.as_bytes()),
            ..Default::default()
        };
        let store = self.store();
        let request = OpRequest::Txn { compares: Vec::new(), then, otherwise: Vec::new() };
        self.ask(request, async move {
            let answer = store.range(range).await?;
            let value = |key: &String| {
                let found = answer.kvs.iter().find(|kv| kv.key == key.as_bytes());
                found.map(|kv| text(&kv.value))
            };
            let values = Some(keys.iter().map(value).collect());
            let revision = revision(answer.header);
            Ok(Response { succeeded: Some(true), values, revision, ..Response::default() })
        })
        .await;
    }
}
