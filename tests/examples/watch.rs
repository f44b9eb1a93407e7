//! Follows a prefix over gRPC: `cargo run --example watch -- URL[,URL] PREFIX`
//!
//! Prints each change as a line of JSON, once and in order, whatever happens to the members: a stream
//! goes on at the next member with the revision after the last one. Revisions come whole, so that a
//! revision is all that has to be remembered.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keelson_client::{
    GrpcStore, GrpcStoreConfig, Store as _, StoreError, WatchItem, WatchSpec, change, prefix_end,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let urls = arguments.next().context("URL and PREFIX are needed")?;
    let prefix = arguments.next().context("a PREFIX is needed")?;
    let mut stores = Vec::new();
    for url in urls.split(',') {
        let endpoints = vec![url.to_owned()];
        stores.push(GrpcStore::new(&GrpcStoreConfig { endpoints, ..Default::default() })?);
    }
    let mut next_revision = 1;
    for store in stores.iter().cycle() {
        match follow(store, &prefix, &mut next_revision).await {
            // What comes next is no longer kept: whoever needs it lists the keys and goes on from there.
            Err(error @ StoreError::Compacted) => return Err(error.into()),
            Err(error) if !error.is_transient() => return Err(error.into()),
            Err(error) => eprintln!("{error}"),
            Ok(()) => {}
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// One stream, until it ends.
async fn follow(
    store: &GrpcStore,
    prefix: &str,
    next_revision: &mut i64,
) -> Result<(), StoreError> {
    let spec = WatchSpec {
        key: prefix.to_owned().into(),
        range_end: prefix_end(prefix.as_bytes()),
        start_revision: *next_revision,
        progress_notify: true,
        ..Default::default()
    };
    let mut watcher = store.watch(spec).await?;
    while let Some(item) = watcher.next().await.transpose()? {
        match item {
            WatchItem::Progress { revision } => *next_revision = revision + 1,
            WatchItem::Events { events, .. } => {
                let revision = |at: usize| {
                    let kv = events.get(at).and_then(|event| event.kv.as_ref());
                    kv.map(|kv| kv.mod_revision)
                };
                let mut out = std::io::stdout().lock();
                for (at, event) in events.iter().enumerate() {
                    let more = revision(at) == revision(at + 1);
                    let line = serde_json::Value::Object(change(event, more));
                    // Nobody reads on: that is the end.
                    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                        std::process::exit(0);
                    }
                }
                if let Some(last) = events.len().checked_sub(1).and_then(revision) {
                    *next_revision = last + 1;
                }
            }
        }
    }
    Ok(())
}
