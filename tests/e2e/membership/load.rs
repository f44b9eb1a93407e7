//! Every member is replaced, and killed now and then, while clients write: nothing is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_client::{GrpcStore, GrpcStoreConfig, Store as _};
use keelson_proto::etcdserverpb as pb;

use super::Cluster;

/// Seats that are used in turn.
const SEATS: usize = 6;
const WRITERS: usize = 6;

/// Writes new keys until told to stop; those that were acknowledged, with their revisions.
async fn write(
    stores: Vec<GrpcStore>,
    writer: usize,
    stop: Arc<AtomicBool>,
) -> BTreeMap<String, i64> {
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("w{writer}/{number}");
        let put = pb::PutRequest {
            key: key.clone().into(),
            value: key.clone().into(),
            ..Default::default()
        };
        let store = &stores[(writer + number) % stores.len()];
        match tokio::time::timeout(Duration::from_secs(5), store.put(put)).await {
            Ok(Ok(answer)) => {
                acknowledged.insert(key, answer.header.map_or(0, |header| header.revision));
            }
            Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    acknowledged
}

#[test]
fn all_members_are_replaced_under_load() -> Result<()> {
    let mut cluster = Cluster::with(SEATS, &["--strict-reconfig-check=false"])?;
    let mut here = vec![0, 1, 2];
    cluster.found(&here)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let stores = cluster.seats.iter().map(|seat| {
        let endpoints = vec![seat.client.clone()];
        let _in_it = runtime.enter();
        GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })
    });
    let stores = stores.collect::<Result<Vec<GrpcStore>, _>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| runtime.spawn(write(stores.clone(), writer, stop.clone())))
        .collect();

    for round in 0..6 {
        let new = (0..SEATS).find(|seat| !here.contains(seat)).unwrap_or_default();
        let ask = here[round % here.len()];
        let peer = format!("--peer-urls={}", cluster.seats[new].peer);
        cluster.ctl_until(ask, &["member", "add", &format!("m{new}"), &peer])?;
        here.push(new);
        cluster.join(new, &here)?;
        // The leader is lost in the middle of things.
        let leader = cluster.leader(&here)?;
        if round % 2 == 0 {
            cluster.kill_9(leader)?;
            cluster.start(leader, &[])?;
        }
        // The oldest goes, whoever leads.
        let old = here.remove(0);
        let id = cluster.id(new, old)?;
        cluster.ctl_until(new, &["member", "remove", &id])?;
        let status = cluster.process(old)?.ended()?;
        ensure!(status.code() == Some(0), "{status}");
        std::fs::remove_dir_all(cluster.data_dir(old))?;
    }

    stop.store(true, Ordering::Relaxed);
    let mut count = 0;
    let mut revisions = std::collections::BTreeSet::new();
    for writer in writers {
        for (key, revision) in runtime.block_on(writer)? {
            count += 1;
            ensure!(revisions.insert(revision), "revision {revision} was given twice");
            let request = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
            let store = &stores[here[count % here.len()]];
            let found = runtime.block_on(store.range(request))?.kvs;
            ensure!(
                found.len() == 1 && found[0].mod_revision == revision && found[0].version == 1,
                "{key} of revision {revision} is {found:?}"
            );
        }
    }
    ensure!(count > 200, "only {count} writes were acknowledged");
    let hashes = here.iter().map(|&seat| {
        let at = cluster.json(seat, &["endpoint", "hashkv"])?;
        Ok(at[0]["HashKV"]["hash"].clone())
    });
    let hashes = hashes.collect::<Result<Vec<_>>>()?;
    ensure!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    Ok(())
}
