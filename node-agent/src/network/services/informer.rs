//! Fills the catalog from the API server: one list and one watch a kind.

use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::catalog::{Catalog, key_of};
use super::model::ServiceKey;

/// Objects asked for at a time.
const PAGE_SIZE: u32 = 500;

/// Keeps the catalog as the API server has it until `token` is cancelled. The client must be allowed
/// to list and watch Services and EndpointSlices in all namespaces.
pub fn run(
    catalog: Arc<Catalog>,
    client: Client,
    token: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (services_listed, mut services) = watch::channel(false);
        let (slices_listed, mut slices) = watch::channel(false);
        let sync = async {
            // Senders live in the futures beside this one.
            let _ = services.wait_for(|listed| *listed).await;
            let _ = slices.wait_for(|listed| *listed).await;
            catalog.set_synced();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = follow(Api::<Service>::all(client.clone()), ServiceSide::new(&catalog), services_listed) => {}
            () = follow(Api::<EndpointSlice>::all(client), SliceSide::new(&catalog), slices_listed) => {}
            () = sync => {}
        }
    })
}

/// Where the events of one kind go.
trait Side<K> {
    fn begin(&mut self);
    fn apply(&mut self, object: &K);
    fn delete(&mut self, object: &K);
    fn end(&mut self);
}

async fn follow<K>(api: Api<K>, mut side: impl Side<K>, listed: watch::Sender<bool>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    let events = watcher(api, config).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => side.begin(),
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                side.apply(&object)
            }
            Ok(watcher::Event::Delete(object)) => side.delete(&object),
            Ok(watcher::Event::InitDone) => {
                side.end();
                listed.send_replace(true);
            }
            Err(error) => tracing::debug!(%error, "watching services: trying again"),
        }
    }
}

struct ServiceSide<'a> {
    catalog: &'a Catalog,
    seen: Option<BTreeSet<ServiceKey>>,
}

impl<'a> ServiceSide<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, seen: None }
    }
}

impl Side<Service> for ServiceSide<'_> {
    fn begin(&mut self) {
        self.seen = Some(BTreeSet::new());
    }

    fn apply(&mut self, object: &Service) {
        if let (Some(seen), Some(key)) = (&mut self.seen, key_of(&object.metadata)) {
            seen.insert(key);
        }
        self.catalog.apply_service(object);
    }

    fn delete(&mut self, object: &Service) {
        if let Some(key) = key_of(&object.metadata) {
            self.catalog.delete_service(&key);
        }
    }

    fn end(&mut self) {
        if let Some(seen) = self.seen.take() {
            self.catalog.retain_services(&seen);
        }
    }
}

struct SliceSide<'a> {
    catalog: &'a Catalog,
    seen: Option<BTreeSet<(String, String)>>,
}

impl<'a> SliceSide<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self { catalog, seen: None }
    }
}

impl Side<EndpointSlice> for SliceSide<'_> {
    fn begin(&mut self) {
        self.seen = Some(BTreeSet::new());
    }

    fn apply(&mut self, object: &EndpointSlice) {
        if let (Some(seen), Some(key)) = (&mut self.seen, key_of(&object.metadata)) {
            seen.insert((key.namespace, key.name));
        }
        self.catalog.apply_slice(object);
    }

    fn delete(&mut self, object: &EndpointSlice) {
        if let Some(key) = key_of(&object.metadata) {
            self.catalog.delete_slice(&key.namespace, &key.name);
        }
    }

    fn end(&mut self) {
        if let Some(seen) = self.seen.take() {
            self.catalog.retain_slices(&seen);
        }
    }
}
