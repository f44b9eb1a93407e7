//! A reflector: one list, then a watch from its version, again and again; every change once, in
//! order.
//!
//! kube's own watcher hides the version of the list that it starts from. Informers need it, to
//! know whether an object they wrote themselves is older or newer than what they have seen, so
//! this one hands it out with every change.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;

use crate::backoff::Backoff;
use crate::object::{Watched, resource_version};

/// A watch ends by itself after this long at most (and up to half of it earlier, so that many do
/// not end together) and is taken up where it ended.
const WATCH_TIMEOUT_SECONDS: u32 = 290;
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// What to reflect: a collection, perhaps a part of it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// URL path of the collection, such as `/api/v1/pods`.
    pub path: String,
    /// Label selector, or none.
    pub labels: Option<String>,
    /// Field selector, or none.
    pub fields: Option<String>,
    /// Ask the server for metadata alone.
    pub metadata_only: bool,
}

impl Source {
    /// All objects of a kind, in all namespaces.
    pub fn all<K: kube::Resource<DynamicType = ()>>() -> Self {
        Self { path: K::url_path(&(), None), ..Self::default() }
    }

    /// All objects of a kind in one namespace.
    pub fn in_namespace<K: kube::Resource<DynamicType = ()>>(namespace: &str) -> Self {
        Self { path: K::url_path(&(), Some(namespace)), ..Self::default() }
    }

    /// The same, but only objects whose fields match.
    pub fn fields(self, selector: &str) -> Self {
        Self { fields: Some(selector.to_owned()), ..self }
    }
}

/// One change of the collection.
#[derive(Debug)]
pub enum Delta<K> {
    /// The whole collection as it is: what is not in it is gone.
    Restarted(Vec<K>),
    /// An object was created or changed.
    Applied(K),
    /// An object was deleted; this is its last state.
    Deleted(K),
    /// Nothing but time has passed.
    Progress,
}

type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

#[derive(Deserialize)]
struct List<K> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<K>,
}

enum State<K> {
    Unknown,
    Listed(u64),
    Watching(u64, Events<K>),
}

/// Follows one collection. Dropping it ends the watch.
pub struct Reflector<K> {
    client: Client,
    source: Source,
    state: State<K>,
    retry: Backoff,
    failures: u32,
}

impl<K: Watched> Reflector<K> {
    /// A reflector that has not asked anything yet.
    pub fn new(client: Client, source: Source) -> Self {
        let retry = Backoff::new(RETRY_FIRST, RETRY_LAST);
        Self { client, source, state: State::Unknown, retry, failures: 0 }
    }

    /// The next change, and the version of the collection after it. Waits and retries as long as
    /// the server does not answer. Not cancel safe between list and answer: a dropped call lists
    /// again.
    pub async fn next(&mut self) -> (Delta<K>, u64) {
        loop {
            match self.step().await {
                Ok(Some(delta)) => {
                    self.retry.reset();
                    self.failures = 0;
                    return delta;
                }
                Ok(None) => {}
                Err(error) => {
                    self.failures += 1;
                    // The first failures are normal while a server starts or goes.
                    if self.failures < 5 {
                        tracing::debug!(path = self.source.path, %error, "watch interrupted");
                    } else {
                        tracing::warn!(path = self.source.path, %error, "watch interrupted");
                    }
                    tokio::time::sleep(self.retry.wait()).await;
                }
            }
        }
    }

    async fn step(&mut self) -> kube::Result<Option<(Delta<K>, u64)>> {
        match &mut self.state {
            State::Unknown => {
                let list = list(&self.client, &self.source).await?;
                let version = resource_version(list.metadata.resource_version.as_deref());
                self.state = State::Listed(version);
                Ok(Some((Delta::Restarted(list.items), version)))
            }
            State::Listed(version) => {
                let version = *version;
                match watch(&self.client, &self.source, version).await {
                    Ok(events) => self.state = State::Watching(version, events),
                    Err(error) => {
                        if is_expired(&error) {
                            self.state = State::Unknown;
                        }
                        return Err(error);
                    }
                }
                Ok(None)
            }
            State::Watching(version, events) => match events.next().await {
                Some(Ok(event)) => {
                    let delta = match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            *version = (*version).max(object.version());
                            Delta::Applied(object)
                        }
                        WatchEvent::Deleted(object) => {
                            *version = (*version).max(object.version());
                            Delta::Deleted(object)
                        }
                        WatchEvent::Bookmark(mark) => {
                            let seen = resource_version(Some(&mark.metadata.resource_version));
                            *version = (*version).max(seen);
                            Delta::Progress
                        }
                        WatchEvent::Error(status) => {
                            self.state = if status.code == 410 {
                                State::Unknown
                            } else {
                                State::Listed(*version)
                            };
                            return Err(kube::Error::Api(status));
                        }
                    };
                    Ok(Some((delta, *version)))
                }
                Some(Err(error)) => {
                    self.state =
                        if is_expired(&error) { State::Unknown } else { State::Listed(*version) };
                    Err(error)
                }
                None => {
                    self.state = State::Listed(*version);
                    // A server that ends watches at once must not be asked in a tight loop.
                    tokio::time::sleep(RETRY_FIRST).await;
                    Ok(None)
                }
            },
        }
    }
}

async fn list<K: Watched>(client: &Client, source: &Source) -> kube::Result<List<K>> {
    let params = ListParams {
        label_selector: source.labels.clone(),
        field_selector: source.fields.clone(),
        ..ListParams::default()
    };
    let request = Request::new(&source.path);
    let request =
        if source.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

async fn watch<K: Watched>(
    client: &Client,
    source: &Source,
    version: u64,
) -> kube::Result<Events<K>> {
    let spread = rand::random::<u32>() % (WATCH_TIMEOUT_SECONDS / 2);
    let params = WatchParams {
        label_selector: source.labels.clone(),
        field_selector: source.fields.clone(),
        // kube refuses timeouts of 295 s and more.
        timeout: Some(WATCH_TIMEOUT_SECONDS - spread),
        bookmarks: true,
        send_initial_events: false,
    };
    let request = Request::new(&source.path);
    let version = version.to_string();
    let request = if source.metadata_only {
        request.watch_metadata(&params, &version)
    } else {
        request.watch(&params, &version)
    };
    let events = client.request_events::<K>(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(events.boxed())
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}
