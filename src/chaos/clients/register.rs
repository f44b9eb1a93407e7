//! Registers: a few keys that everybody reads and writes.

use keelson_check::{OpRequest, Response};
use keelson_client::Store as _;
use keelson_proto::etcdserverpb as pb;
use rand::Rng as _;

use super::{Client, revision};

/// Keys that clients share.
const KEYS: u32 = 4;

impl Client {
    /// One turn.
    pub(super) async fn register(&mut self) {
        let key = format!("register/{}", self.random.random_range(0..KEYS));
        // Every other one only reads, at one member after the other: at one that has been left behind
        // whoever writes too would be held up.
        if self.rank % 2 == 1 {
            self.at = (self.at + 1) % self.stores.len();
            self.read(&key, false).await;
            return;
        }
        match self.random.random_range(0..100) {
            0..35 => {
                self.read(&key, false).await;
            }
            35..45 => {
                self.read(&key, true).await;
            }
            45..75 => self.write(key, 0).await,
            75..80 => self.delete(key).await,
            _ => {
                let Some(found) = self.read(&key, false).await else { return };
                let value = self.value();
                self.swap(&key, found.value.flatten(), Some(value)).await;
            }
        }
    }

    /// Writes a key, on a lease where `lease` is not 0.
    pub(super) async fn write(&mut self, key: String, lease: i64) {
        let (store, value) = (self.store(), self.value());
        let bytes = (key.clone().into(), value.clone().into());
        let put = pb::PutRequest { key: bytes.0, value: bytes.1, lease, ..Default::default() };
        let request = OpRequest::Write { key, value, lease: (lease != 0).then_some(lease) };
        self.ask(request, async move {
            let answer = store.put(put).await?;
            Ok(Response { revision: revision(answer.header), ..Response::default() })
        })
        .await;
    }

    async fn delete(&mut self, key: String) {
        let store = self.store();
        let delete = pb::DeleteRangeRequest { key: key.clone().into(), ..Default::default() };
        self.ask(OpRequest::Delete { key }, async move {
            let answer = store.delete_range(delete).await?;
            let succeeded = Some(answer.deleted > 0);
            Ok(Response { succeeded, revision: revision(answer.header), ..Response::default() })
        })
        .await;
    }
}
