//! What is left when others are gone: removed while away, and a new cluster by force.

use anyhow::{Result, ensure};

use super::Cluster;

#[test]
fn a_learner_that_was_removed_while_it_was_away_ends() -> Result<()> {
    let mut cluster = Cluster::with(2, &["--strict-reconfig-check=false"])?;
    cluster.found(&[0])?;
    let peer = format!("--peer-urls={}", cluster.seats[1].peer);
    cluster.ctl(0, &["member", "add", "m1", "--learner", &peer])?.ok()?;
    let list = format!("--initial-cluster={}", cluster.list(&[0, 1]));
    cluster.start(1, &[&list, "--initial-cluster-state=existing"])?;
    cluster.ctl_until(1, &["get", "a", "--consistency=s"])?;
    keelson_tests::wait::until("the learner's name", super::LIMIT, || {
        let members = cluster.members(0)?;
        Ok(members.iter().any(|member| member["name"] == "m1").then_some(()))
    })?;
    let id = cluster.id(0, 1)?;
    cluster.kill_9(1)?;
    cluster.ctl(0, &["member", "remove", &id])?.ok()?;
    cluster.start(1, &[])?;
    let status = cluster.process(1)?.ended()?;
    ensure!(status.code() == Some(0), "{status}");
    // Its data lets it in no more; a new member takes its place.
    let peer = format!("--peer-urls={}", cluster.seats[1].peer);
    cluster.ctl_until(0, &["member", "add", "m1", &peer])?;
    std::fs::remove_dir_all(cluster.data_dir(1))?;
    cluster.join(1, &[0, 1])?;
    ensure!(cluster.id(0, 1)? != id);
    Ok(())
}

#[test]
fn one_of_three_goes_on_alone_by_force() -> Result<()> {
    let mut cluster = Cluster::new(4)?;
    cluster.found(&[0, 1, 2])?;
    for number in 0..20 {
        cluster.put(number % 3, &format!("k{number}"), &number.to_string())?;
    }
    for seat in 0..3 {
        cluster.kill_9(seat)?;
    }
    cluster.start(1, &["--force-new-cluster"])?;
    cluster.ready(1)?;
    for number in 0..20 {
        cluster.expect(1, &format!("k{number}"), &number.to_string())?;
    }
    let members = cluster.members(1)?;
    ensure!(members.len() == 1 && members[0]["name"] == "m1", "{members:?}");
    ensure!(members[0]["peerURLs"][0] == *cluster.seats[1].peer);
    cluster.put(1, "after", "1")?;

    // Those that were forgotten are told so.
    cluster.start(0, &[])?;
    let status = cluster.process(0)?.ended()?;
    ensure!(status.code() == Some(0), "{status}");

    // Without the flag it stays as it is, and grows again.
    cluster.kill_9(1)?;
    cluster.start(1, &[])?;
    cluster.ready(1)?;
    cluster.expect(1, "after", "1")?;
    let peer = format!("--peer-urls={}", cluster.seats[3].peer);
    cluster.ctl(1, &["member", "add", "m3", &peer])?.ok()?;
    cluster.join(3, &[1, 3])?;
    cluster.expect(3, "k7", "7")
}
