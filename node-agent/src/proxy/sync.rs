//! The proxy's task: hears of changes, gathers them for a moment, applies them.

use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::config::{Family, ProxyConfig};
use super::conntrack::{Conntrack, Flows};
use super::fragment::{Fragment, fragment};
use super::ruleset::{Batch, Ruleset};
use crate::network::services::{Catalog, ServiceKey};
use crate::network::{Nft, NftError};

/// First and longest wait after a batch that was refused.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// Why the proxy cannot run on this node.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The node has no nftables tool.
    #[error("service proxy: {0}")]
    Tool(NftError),
}

/// Keeps the node's tables as the catalog has the Services, until `token` is cancelled. The tables
/// stay then: connections go on, and the next process takes over. Needs root.
pub fn run(
    catalog: Arc<Catalog>,
    config: ProxyConfig,
    token: CancellationToken,
) -> BoxFuture<'static, Result<(), ProxyError>> {
    Box::pin(async move {
        let mut changes = catalog.subscribe();
        let mut proxy = Proxy::new(catalog, config);
        let mut pending = BTreeSet::new();
        let mut wait = RETRY[0];
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                // After a failure everything is tried again, whether or not something changes.
                changed = changes.next() => pending.extend(changed),
                () = tokio::time::sleep(wait), if !proxy.in_force => {}
            }
            tokio::time::sleep(proxy.config.gather).await;
            pending.extend(changes.take());
            match proxy.sync(std::mem::take(&mut pending)).await {
                Ok(()) => wait = RETRY[0],
                Err(error @ NftError::Start(_)) if !proxy.started => {
                    return Err(ProxyError::Tool(error));
                }
                Err(error) => {
                    tracing::warn!(%error, "service rules were refused: making them anew");
                    wait = (wait * 2).min(RETRY[1]);
                }
            }
        }
    })
}

struct Proxy {
    catalog: Arc<Catalog>,
    config: ProxyConfig,
    nft: Nft,
    rulesets: Vec<(Family, Ruleset)>,
    /// Whether the kernel has what `rulesets` say. Not so at first: what an earlier process left
    /// stays in force until the first complete sync replaces it in one transaction.
    in_force: bool,
    /// UDP ports of a batch that was refused.
    flows: Vec<Flows>,
    /// Whether any sync succeeded.
    started: bool,
}

impl Proxy {
    fn new(catalog: Arc<Catalog>, config: ProxyConfig) -> Self {
        let rulesets =
            config.families.iter().map(|family| (*family, Ruleset::new(*family))).collect();
        Self {
            catalog,
            config,
            nft: Nft,
            rulesets,
            in_force: false,
            flows: Vec::new(),
            started: false,
        }
    }

    async fn sync(&mut self, mut keys: BTreeSet<ServiceKey>) -> Result<(), NftError> {
        if !self.in_force {
            if !self.catalog.is_synced() {
                return Ok(());
            }
            keys.extend(self.catalog.keys());
        }
        let started = std::time::Instant::now();
        let mut change = String::new();
        let mut clean_up = String::new();
        let mut flows = std::mem::take(&mut self.flows);
        for index in 0..self.rulesets.len() {
            let family = self.rulesets[index].0;
            let fragments = self.fragments(family, &keys);
            let ruleset = &mut self.rulesets[index].1;
            let batch = ruleset.update(&self.config, fragments);
            let Batch { change: more, clean_up: later, flows: ports } = batch;
            flows.extend(ports);
            if self.in_force {
                change.push_str(&more);
                clean_up.push_str(&later);
            } else {
                change.push_str(&ruleset.rebuild(&self.config));
            }
        }
        if let Err(error) = self.apply(&change, &clean_up).await {
            self.flows = flows;
            return Err(error);
        }
        forget(flows).await;
        tracing::debug!(services = keys.len(), took = ?started.elapsed(), "service rules in force");
        Ok(())
    }

    async fn apply(&mut self, change: &str, clean_up: &str) -> Result<(), NftError> {
        self.in_force = false;
        self.nft.apply(change).await?;
        self.nft.apply(clean_up).await?;
        self.in_force = true;
        self.started = true;
        Ok(())
    }

    fn fragments(
        &self,
        family: Family,
        keys: &BTreeSet<ServiceKey>,
    ) -> BTreeMap<ServiceKey, Fragment> {
        let of = |key: &ServiceKey| match self.catalog.service(key) {
            Some(service) => {
                fragment(&self.config, family, key, &service, &self.catalog.slices(key))
            }
            None => Fragment::default(),
        };
        keys.iter().map(|key| (key.clone(), of(key))).collect()
    }
}

/// Forgets flows after the rules are in force, so that none is made anew by the old ones. A kernel
/// without a table of flows has nothing to forget.
async fn forget(flows: Vec<Flows>) {
    if flows.is_empty() {
        return;
    }
    let done = match Conntrack::open() {
        Ok(conntrack) => {
            let work = tokio::task::spawn_blocking(move || conntrack.forget(&flows)).await;
            work.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(count) => tracing::debug!(count, "forgot stale UDP flows"),
        Err(error) => tracing::warn!(%error, "cannot forget stale UDP flows"),
    }
}
