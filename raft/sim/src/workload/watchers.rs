//! Watchers: each reads what one member tells it, goes to another now and then, and goes on there
//! after the last event or bookmark.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use keelson_proto::mvccpb::KeyValue;
use keelson_raft::Node;
use keelson_raft::runtime::Runtime;
use keelson_storage::mvcc::ChangeKind;
use keelson_storage::watch::{Output, SharedEvent, WatchSpec};
use prost::Message;
use rand::Rng;

use super::Client;
use crate::invariants::Told;
use crate::monitor::Monitor;

/// How many there are.
pub(crate) const WATCHERS: u64 = 3;
/// A member that is stopped says nothing; a watcher does not wait for it for ever.
const SILENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(mut client: Client) {
    let monitor = client.shared.cluster.monitor.clone();
    let name = client.number;
    let range: (Bytes, Bytes) = match client.place {
        0 => (Bytes::from_static(b"\x01"), Bytes::from_static(b"\xff")),
        1 => (Bytes::from_static(b"k/"), Bytes::from_static(b"k0")),
        _ => (Bytes::from_static(b"r/1"), Bytes::new()),
    };
    monitor.watches(name, range.clone(), 1);
    let session = Arc::new(AtomicU64::new(0));
    // It goes on after the end of the others: it is to be told everything.
    while !monitor.is_broken() {
        let own = session.fetch_add(1, Ordering::Relaxed) + 1;
        let stays = Duration::from_millis(client.random.random_range(50..4000));
        let spec = WatchSpec {
            key: range.0.clone(),
            range_end: range.1.clone(),
            start_revision: monitor.watched(name),
            prev_kv: client.random.random(),
            progress_notify: client.random.random(),
            ..WatchSpec::default()
        };
        let asks = client.random.random_range(0..3) > 0;
        let home = client.home();
        let cluster = client.shared.cluster.clone();
        let (watched, now) = (monitor.clone(), session.clone());
        // Whoever has gone to another member does not hear the last one any more.
        let listens = move || now.load(Ordering::Relaxed) == own;
        let reading = cluster.call(home, move |node| async move {
            read(&node, &watched, name, spec, asks, stays, listens).await
        });
        if Runtime::timeout(stays + SILENCE, reading).await.ok().flatten().is_none() {
            client.leave();
        }
        session.fetch_add(1, Ordering::Relaxed);
        Runtime::sleep(Duration::from_millis(client.random.random_range(1..100))).await;
        if client.random.random_range(0..3) == 0 {
            client.leave();
        }
    }
}

/// Reads a watcher's outputs for a while.
async fn read(
    node: &Node,
    monitor: &Monitor,
    name: u64,
    spec: WatchSpec,
    asks: bool,
    stays: Duration,
    listens: impl Fn() -> bool,
) -> Option<()> {
    let Ok(mut watcher) = node.hub().subscribe(spec) else { return None };
    let mut left = stays;
    while left > Duration::ZERO {
        let step = Duration::from_millis(5 + Runtime::random() % 200).min(left);
        let _something = Runtime::timeout(step, watcher.ready()).await;
        left = left.saturating_sub(step);
        if asks && Runtime::random().is_multiple_of(4) {
            watcher.request_progress();
        } else if Runtime::random().is_multiple_of(8) {
            watcher.tick();
        }
        while listens() {
            let outputs = watcher.poll().ok()?;
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                match output {
                    Output::Events { events, .. } => {
                        let told: Vec<Told> = events.iter().filter_map(|one| told(one)).collect();
                        monitor.told(name, &told);
                    }
                    Output::Progress { revision, .. } => monitor.progressed(name, revision),
                    Output::Compacted { compacted, .. } => {
                        monitor.compacted(name, compacted);
                        return Some(());
                    }
                }
            }
        }
    }
    Some(())
}

fn told(event: &SharedEvent) -> Option<Told> {
    let change = event.change();
    let now = match change.kind {
        ChangeKind::Put => {
            let kv = KeyValue::decode(change.kv.clone()).ok()?;
            Some((kv.value, kv.create_revision, kv.version))
        }
        ChangeKind::Delete => None,
    };
    Some(Told { revision: change.revision.main, key: change.key.clone(), now })
}
