//! The pods that are bound to this node, from the API server to the workers.
use std::collections::BTreeSet;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};

use crate::pods::Workers;

/// Follows the pods until dropped.
pub(crate) async fn run(client: kube::Client, node: &str, workers: &Workers) {
    let api: Api<Pod> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.metadata.uid.clone());
                workers.apply(pod);
            }
            Ok(Event::InitDone) => workers.listed(&listed).await,
            Ok(Event::Apply(pod)) => workers.apply(pod),
            Ok(Event::Delete(pod)) => {
                pod.metadata.uid.iter().for_each(|uid| workers.vanish(uid));
            }
            Err(error) => tracing::warn!(%error, "watch of pods"),
        }
    }
}
