//! Compactions: now and then all but a little of the history goes.

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::Op;
use rand::Rng;

use super::Client;

pub(super) async fn run(mut client: Client) {
    while client.pause(3000).await {
        let kept = match client.random.random_range(0..4) {
            0 => 0,
            _ => client.random.random_range(1..150),
        };
        let revision = client.shared.cluster.monitor.revision() - kept;
        if revision > 1 {
            let compaction = pb::CompactionRequest { revision, physical: false };
            client.propose(Op::Compaction(compaction)).await;
        }
    }
}
