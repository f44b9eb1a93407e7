//! Joining a cluster that runs: who this member is there.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keelson_raft::peer::PeerTls;
use keelson_storage::wal::Identity;
use tokio::time::Instant;

use super::remote::{RemoteCluster, cluster};
use crate::store::config::{Founders, same_places};

/// A member that was asked may not have heard of this one yet.
const PATIENCE: Duration = Duration::from_secs(5);
/// For an answer from those who are known to run.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// And from those who may just be starting, like this member.
const FOUNDER_MAX: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(200);

/// Asks the others that are listed; this member's id is that of its peer URLs.
// upstream: etcd v3.7 `bootstrapExistingClusterNoWAL`
pub(super) async fn existing(
    name: &str,
    listed: &Founders,
    tls: Option<&PeerTls>,
) -> Result<Identity> {
    let others = others(name, listed);
    let begun = Instant::now();
    loop {
        let known = cluster(&others, tls, ANSWER_MAX)
            .await
            .context("cannot fetch cluster info from peer urls")?;
        match matched(name, listed, &known) {
            Ok(identity) => return Ok(identity),
            Err(error) if begun.elapsed() >= PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Whether the cluster runs, and this member has been part of it before: its data is lost.
pub(super) async fn is_bootstrapped(
    name: &str,
    id: u64,
    founders: &Founders,
    tls: Option<&PeerTls>,
) -> bool {
    let others = others(name, founders);
    if others.is_empty() {
        return false;
    }
    let Ok(known) = cluster(&others, tls, FOUNDER_MAX).await else { return false };
    known.members.iter().any(|member| member.id == id && !member.client_urls.is_empty())
}

/// Peer URLs of everybody but one.
fn others(name: &str, listed: &Founders) -> Vec<String> {
    listed.iter().filter(|(other, _)| *other != name).flat_map(|(_, urls)| urls).cloned().collect()
}

/// This member's place in the cluster, of which everybody must be listed.
// upstream: etcd v3.7 `membership.ValidateClusterAndAssignIDs`
fn matched(name: &str, listed: &Founders, known: &RemoteCluster) -> Result<Identity> {
    let text = serde_json::to_string(&known.members)?;
    if known.members.len() != listed.len() {
        bail!("error validating peerURLs {text}: member count is unequal");
    }
    let mut own = None;
    for member in &known.members {
        let found = listed.iter().find(|(_, urls)| same_places(urls, &member.peer_urls));
        let Some((found, _)) = found else {
            bail!(
                "error validating peerURLs {text}: PeerURLs: no match found for existing member \
                 ({:x}, {:?})",
                member.id,
                member.peer_urls
            );
        };
        if found == name {
            own = Some(member);
        }
    }
    let Some(own) = own else {
        bail!("couldn't find local name {name:?} in the initial cluster configuration");
    };
    if !own.client_urls.is_empty() {
        // Without its log it could vote a second time, and forget what it acknowledged.
        bail!(
            "member {:x} has already been bootstrapped, and its data is not here; remove the \
             member and add it again",
            own.id
        );
    }
    Ok(Identity { cluster_id: known.id, node_id: own.id })
}

#[cfg(test)]
mod tests {
    use super::super::remote::RemoteMember;
    use super::*;

    fn listed(text: &str) -> Founders {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        let mut listed = Founders::new();
        for (name, url) in pairs {
            listed.entry(name.to_owned()).or_default().push(url.to_owned());
        }
        listed
    }

    fn known(members: &[(u64, &str, bool)]) -> RemoteCluster {
        let members = members.iter().map(|(id, url, started)| RemoteMember {
            id: *id,
            peer_urls: vec![(*url).to_owned()],
            client_urls: started.then(|| "http://c:1".to_owned()).into_iter().collect(),
            ..RemoteMember::default()
        });
        RemoteCluster { id: 7, members: members.collect() }
    }

    #[test]
    fn a_member_is_found_by_its_urls() {
        let three = known(&[
            (1, "http://127.0.0.1:1", true),
            (2, "http://127.0.0.1:2", false),
            (3, "http://127.0.0.1:3", true),
        ]);
        let all = "a=http://localhost:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
        let identity = matched("b", &listed(all), &three).unwrap();
        assert_eq!(identity, Identity { cluster_id: 7, node_id: 2 });
        let wrong = |name: &str, list: &str, part: &str| {
            let error = matched(name, &listed(list), &three).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        wrong("b", "b=http://127.0.0.1:2", "member count is unequal");
        wrong("b", &all.replace(":2", ":4"), "no match found for existing member (2,");
        wrong("z", all, "couldn't find local name \"z\"");
        wrong("a", all, "member 1 has already been bootstrapped");
    }
}
