//! Who a member is, and who founds the cluster with it: from its log, its flags, the members that
//! run already, or a place where founders meet.

mod discovery;
mod join;
mod remote;
mod srv;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use keelson_raft::peer::PeerTls;
use keelson_raft::{Member, identity};
use keelson_storage::wal::Identity;

use super::config::{Config, Founders};
use super::files;

pub use remote::{CLUSTER_ID_HEADER, MEMBERS_PATH, RemoteMember, VERSION_PATH};

/// What a member starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Itself and its cluster.
    pub identity: Identity,
    /// Those who found the cluster; none, where it has been founded.
    pub founders: BTreeMap<u64, Member>,
}

/// Finds out.
// upstream: etcd v3.7 `etcdserver.bootstrapCluster`
pub async fn bootstrap(config: &Config, dir: &Path, tls: Option<&PeerTls>) -> Result<Bootstrap> {
    if let Some(identity) = files::started(dir)? {
        // A member that has data knows its cluster: `--initial-*` counts no more.
        return Ok(Bootstrap { identity, founders: BTreeMap::new() });
    }
    let settings = &config.0;
    if settings.text("initial-cluster-state") == "existing" {
        let listed = config.listed().map_err(anyhow::Error::msg)?;
        let identity = join::existing(config.name(), &listed, tls).await?;
        return Ok(Bootstrap { identity, founders: BTreeMap::new() });
    }
    let token = settings.text("initial-cluster-token");
    let (founders, token) = if !settings.list("discovery-endpoints").is_empty() {
        let token = settings.text("discovery-token");
        let found = discovery::discover(config, token).await?;
        (config.checked(found).map_err(anyhow::Error::msg)?, token)
    } else if !settings.text("discovery-srv").is_empty() {
        let found = srv::founders(config).await?;
        (config.checked(found).map_err(anyhow::Error::msg)?, token)
    } else {
        (config.founders().map_err(anyhow::Error::msg)?, token)
    };
    let bootstrap = found(config.name(), &founders, token)?;
    let own = bootstrap.identity.node_id;
    if join::is_bootstrapped(config.name(), own, &founders, tls).await {
        bail!("member {own:x} has already been bootstrapped");
    }
    Ok(bootstrap)
}

/// The cluster that these founders make.
pub fn found(name: &str, founders: &Founders, token: &str) -> Result<Bootstrap> {
    let ids = founders.iter().map(|(name, peer_urls)| {
        let member =
            Member { name: name.clone(), peer_urls: peer_urls.clone(), ..Member::default() };
        (identity::member(peer_urls, token), member)
    });
    let members: BTreeMap<u64, Member> = ids.collect();
    let cluster_id = identity::cluster(members.keys().copied().collect());
    let own = members.iter().find(|(_, member)| member.name == name);
    let Some((&node_id, _)) = own else {
        bail!("couldn't find local name {name:?} in the initial cluster configuration");
    };
    Ok(Bootstrap { identity: Identity { cluster_id, node_id }, founders: members })
}
