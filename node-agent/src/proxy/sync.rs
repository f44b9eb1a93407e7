//! The proxy's task: hears of changes, gathers them for a moment, applies them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::config::{Family, ProxyConfig};
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
pub async fn run(
    catalog: Arc<Catalog>,
    config: ProxyConfig,
    token: CancellationToken,
) -> Result<(), ProxyError> {
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
}

struct Proxy {
    catalog: Arc<Catalog>,
    config: ProxyConfig,
    nft: Nft,
    rulesets: Vec<(Family, Ruleset)>,
    /// Whether the kernel has what `rulesets` say. Not so at first: what an earlier process left
    /// stays in force until the first complete sync replaces it in one transaction.
    in_force: bool,
    /// Whether any sync succeeded.
    started: bool,
}

impl Proxy {
    fn new(catalog: Arc<Catalog>, config: ProxyConfig) -> Self {
        let rulesets =
            config.families.iter().map(|family| (*family, Ruleset::new(*family))).collect();
        Self { catalog, config, nft: Nft, rulesets, in_force: false, started: false }
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
        for index in 0..self.rulesets.len() {
            let family = self.rulesets[index].0;
            let fragments = self.fragments(family, &keys);
            let ruleset = &mut self.rulesets[index].1;
            let batch = ruleset.update(&self.config, fragments);
            if self.in_force {
                let Batch { change: more, clean_up: later } = batch;
                change.push_str(&more);
                clean_up.push_str(&later);
            } else {
                change.push_str(&ruleset.rebuild(&self.config));
            }
        }
        self.apply(&change, &clean_up).await?;
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
