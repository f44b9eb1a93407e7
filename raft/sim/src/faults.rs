//! Faults: crashes, cuts and failing disks, at moments that the seed decides.

use std::time::Duration;

use keelson_raft::runtime::Runtime;

use crate::cluster::Cluster;

/// Breaks things until `until` says so, then repairs everything.
pub(crate) async fn run(cluster: Cluster, until: impl Fn() -> bool + Send) {
    while !until() {
        Runtime::sleep(Duration::from_millis(100 + Runtime::random() % 900)).await;
        match Runtime::random() % 8 {
            0..3 => crash_one(&cluster).await,
            3..6 => isolate_one(&cluster).await,
            6 => fail_one_disk(&cluster).await,
            _ => crash_all(&cluster).await,
        }
    }
    cluster.network.heal();
    for id in cluster.ids() {
        if cluster.is_down(id) {
            cluster.start(id);
        }
    }
    cluster.note("healed".to_owned());
}

fn any(cluster: &Cluster) -> u64 {
    let ids = cluster.ids();
    ids[usize::try_from(Runtime::random()).unwrap_or(0) % ids.len()]
}

async fn pause(most: u64) {
    Runtime::sleep(Duration::from_millis(Runtime::random() % most)).await;
}

async fn crash_one(cluster: &Cluster) {
    let id = any(cluster);
    cluster.crash(id);
    pause(800).await;
    cluster.start(id);
}

async fn crash_all(cluster: &Cluster) {
    for id in cluster.ids() {
        cluster.crash(id);
    }
    pause(300).await;
    for id in cluster.ids() {
        cluster.start(id);
        pause(100).await;
    }
}

async fn isolate_one(cluster: &Cluster) {
    let id = any(cluster);
    cluster.note(format!("isolate {id}"));
    for other in cluster.ids() {
        // Now and then only half: it still hears one of the others.
        if other != id && !Runtime::random().is_multiple_of(4) {
            cluster.network.cut(id, other);
        }
    }
    pause(1500).await;
    cluster.network.heal();
    cluster.note("heal".to_owned());
}

async fn fail_one_disk(cluster: &Cluster) {
    let id = any(cluster);
    cluster.fail_disk(id);
    pause(300).await;
    cluster.crash(id);
    pause(300).await;
    cluster.start(id);
}
