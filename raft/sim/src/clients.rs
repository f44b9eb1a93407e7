//! Clients: each asks any member, waits for the answer as a client would, and writes down both.

use std::sync::Arc;
use std::time::Duration;

use keelson_check::{Action, History, Operation};
use keelson_proto::etcdserverpb as pb;
use keelson_raft::ProposeError;
use keelson_raft::runtime::Runtime;
use keelson_storage::command::{Op, command};
use parking_lot::Mutex;

use crate::cluster::Cluster;

const KEYS: u64 = 4;
/// A client does not wait longer than this.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What all clients saw.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    state: Arc<Mutex<(u64, History)>>,
}

impl Recorder {
    /// A clock that never stands still, so that any two events have an order.
    fn tick(&self) -> u64 {
        let mut state = self.state.lock();
        state.0 += 1;
        state.0
    }

    fn record(&self, operation: Operation) {
        self.state.lock().1.operations.push(operation);
    }

    pub(crate) fn history(&self) -> History {
        self.state.lock().1.clone()
    }
}

/// One client's life, until `until` says that it ends.
pub(crate) async fn run(
    client: u64,
    cluster: Cluster,
    recorder: Recorder,
    until: impl Fn() -> bool + Send,
) {
    let ids = cluster.ids();
    let mut number = 0;
    while !until() {
        let pause = Duration::from_micros(200 + Runtime::random() % 20_000);
        Runtime::sleep(pause).await;
        let id = ids[usize::try_from(Runtime::random()).unwrap_or(0) % ids.len()];
        let key = format!("k{}", Runtime::random() % KEYS);
        number += 1;
        match Runtime::random() % 8 {
            0..4 => {
                let action = Action::Write(format!("{client}.{number}"));
                write(client, &cluster, &recorder, id, key, action).await;
            }
            4 => write(client, &cluster, &recorder, id, key, Action::Delete).await,
            _ => read(client, &cluster, &recorder, id, key).await,
        }
    }
}

async fn write(
    client: u64,
    cluster: &Cluster,
    recorder: &Recorder,
    id: u64,
    key: String,
    action: Action,
) {
    let Some((_, node)) = cluster.node(id) else { return };
    let op = match &action {
        Action::Write(value) => Op::Put(pb::PutRequest {
            key: key.clone().into(),
            value: value.clone().into(),
            ..Default::default()
        }),
        _ => Op::DeleteRange(pb::DeleteRangeRequest {
            key: key.clone().into(),
            ..Default::default()
        }),
    };
    let called = recorder.tick();
    let answer = Runtime::timeout(PATIENCE, node.propose(command(op))).await;
    let returned = match answer {
        Ok(Ok(_)) => Some(recorder.tick()),
        // These promise that nothing happened.
        Ok(Err(ProposeError::NoLeader | ProposeError::TooManyRequests)) => return,
        Ok(Err(_)) | Err(_) => None,
    };
    recorder.record(Operation { client, key, action, called, returned });
}

async fn read(client: u64, cluster: &Cluster, recorder: &Recorder, id: u64, key: String) {
    let Some((life, node)) = cluster.node(id) else { return };
    let called = recorder.tick();
    let answer = Runtime::timeout(PATIENCE, node.read_index()).await;
    // The memory of a member that crashed says nothing.
    if !matches!(answer, Ok(Ok(()))) || !cluster.lives(id, life) {
        return;
    }
    let request = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
    let Ok(response) = node.view().range(&request) else { return };
    let value = response.kvs.first();
    let value = value.map(|found| String::from_utf8_lossy(&found.value).into_owned());
    let returned = Some(recorder.tick());
    recorder.record(Operation { client, key, action: Action::Read(value), called, returned });
}
