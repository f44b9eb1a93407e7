//! Joining with flags that do not fit: refused, by name.

use anyhow::{Result, ensure};

use super::Cluster;

fn refused(cluster: &mut Cluster, list: &str, wanted: &str) -> Result<()> {
    let list = format!("--initial-cluster={list}");
    cluster.start(1, &[&list, "--initial-cluster-state=existing"])?;
    let status = cluster.process(1)?.ended()?;
    let log = cluster.process(1)?.log();
    ensure!(status.code() == Some(1), "{list}: {status}");
    ensure!(log.contains(wanted), "no {wanted:?} for {list}: {log}");
    Ok(())
}

#[test]
fn who_was_not_added_or_names_others_is_refused() -> Result<()> {
    let mut cluster = Cluster::with(3, &["--strict-reconfig-check=false"])?;
    cluster.found(&[0])?;
    let both = cluster.list(&[0, 1]);
    let own = cluster.list(&[1]);
    refused(&mut cluster, &both, "member count is unequal")?;
    refused(&mut cluster, &own, "cannot fetch cluster info from peer urls")?;
    let third = cluster.seats[2].peer.clone();
    cluster.ctl(0, &["member", "add", "m2", &format!("--peer-urls={third}")])?.ok()?;
    refused(&mut cluster, &both, "PeerURLs: no match found for existing member")?;
    let others = cluster.list(&[0, 2]);
    refused(&mut cluster, &others, "couldn't find local name \\\"m1\\\"")?;
    let nothing = "m1=";
    refused(&mut cluster, nothing, "empty URL given for")?;
    // Nothing of that is left in the way of the one that was added.
    cluster.put(0, "a", "1")?;
    cluster.join(2, &[0, 2])?;
    cluster.expect(2, "a", "1")
}
