//! Add, promote, remove, update: what stays, and what is refused.

use anyhow::{Result, ensure};
use keelson_tests::store::curl;
use serde_json::Value;

use super::Cluster;

#[test]
fn one_member_grows_to_three_and_loses_its_first() -> Result<()> {
    let mut cluster = Cluster::with(3, &["--strict-reconfig-check=false"])?;
    cluster.found(&[0])?;
    cluster.put(0, "a", "1")?;

    let peer = cluster.seats[1].peer.clone();
    let added = cluster.ctl(0, &["member", "add", "m1", &format!("--peer-urls={peer}")])?.ok()?;
    ensure!(added.contains("ETCD_INITIAL_CLUSTER_STATE=\"existing\""), "{added}");
    // The new one has not started, and nothing stands still.
    cluster.put(0, "a", "2")?;
    let member = &cluster.members(0)?[..];
    let unstarted = member.iter().find(|member| member["peerURLs"][0] == *peer);
    ensure!(unstarted.is_some_and(|one| one["name"].is_null() && one["clientURLs"].is_null()));
    cluster.join(1, &[0, 1])?;
    cluster.expect(1, "a", "2")?;

    // A learner answers little until it is promoted.
    let peer = cluster.seats[2].peer.clone();
    let learner = ["member", "add", "m2", "--learner", &format!("--peer-urls={peer}")];
    cluster.ctl(0, &learner)?.ok()?;
    let more = ["member", "add", "m3", "--learner", "--peer-urls=http://127.0.0.1:1"];
    let refused = cluster.ctl(0, &more)?.failed()?;
    ensure!(refused.contains("etcdserver: too many learner members in cluster"), "{refused}");
    let list = format!("--initial-cluster={}", cluster.list(&[0, 1, 2]));
    cluster.start(2, &[&list, "--initial-cluster-state=existing"])?;
    cluster.ctl_until(2, &["get", "a", "--consistency=s"])?;
    for arguments in [&["get", "a"][..], &["put", "a", "x"], &["member", "list"]] {
        let refused = cluster.ctl(2, arguments)?.failed()?;
        ensure!(refused.contains("etcdserver: rpc not supported for learner"), "{refused}");
    }
    ensure!(cluster.status(2)?["isLearner"] == true);
    let (code, ready) = curl(&[&format!("{}/readyz?verbose", cluster.seats[2].client)])?;
    ensure!(code == 503 && ready.contains("[-]non_learner failed"), "{code} {ready}");
    let (own, learner) = (cluster.id(0, 0)?, cluster.id(0, 2)?);
    let refused = cluster.ctl(1, &["member", "promote", &own])?.failed()?;
    ensure!(refused.contains("etcdserver: can only promote a learner member"), "{refused}");
    let refused = cluster.ctl(1, &["move-leader", &learner])?.failed()?;
    ensure!(refused.contains("no leader endpoint given") || refused.contains("transferee"));
    cluster.ctl_until(1, &["member", "promote", &learner])?;
    cluster.expect(2, "a", "2")?;
    cluster.ready(2)?;

    // The first goes, and ends by itself; the others have everything, also after a restart.
    let removed = cluster.ctl(2, &["member", "remove", &own])?.ok()?;
    ensure!(removed.contains(&own), "{removed}");
    let status = cluster.process(0)?.ended()?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(cluster.process(0)?.log().contains("permanently removed from the cluster"));
    cluster.put(1, "b", "3")?;
    let refused = cluster.ctl(2, &["member", "remove", &own])?.failed()?;
    ensure!(refused.contains("etcdserver: member not found"), "{refused}");
    for seat in [1, 2] {
        cluster.kill_9(seat)?;
    }
    for seat in [1, 2] {
        cluster.start(seat, &[])?;
    }
    for seat in [1, 2] {
        cluster.ready(seat)?;
        cluster.expect(seat, "b", "3")?;
        ensure!(cluster.members(seat)?.len() == 2);
    }
    Ok(())
}

#[test]
fn a_member_moves_to_another_address() -> Result<()> {
    let mut cluster = Cluster::new(4)?;
    cluster.found(&[0, 1, 2])?;
    cluster.put(0, "a", "1")?;
    let id = cluster.id(0, 2)?;
    let new = cluster.seats[3].peer.clone();
    let taken = format!("--peer-urls={}", cluster.seats[1].peer);
    let refused = cluster.ctl(0, &["member", "update", &id, &taken])?.failed()?;
    ensure!(refused.contains("etcdserver: Peer URLs already exists"), "{refused}");
    let refused = cluster.ctl(0, &["member", "update", "77", &format!("--peer-urls={new}")])?;
    ensure!(refused.failed()?.contains("etcdserver: member not found"));
    let update = format!("{}/v3/cluster/member/update", cluster.seats[0].client);
    let (code, refused) = curl(&["-d", r#"{"ID":1,"peerURLs":["nowhere"]}"#, &update])?;
    ensure!(code == 400 && refused.contains("etcdserver: given member URLs are invalid"));
    cluster.ctl(0, &["member", "update", &id, &format!("--peer-urls={new}")])?.ok()?;

    cluster.kill_9(2)?;
    cluster.put(1, "a", "2")?;
    cluster.seats[2].peer = new.clone();
    cluster.start(2, &[])?;
    cluster.ready(2)?;
    cluster.expect(2, "a", "2")?;
    // It counts: with one of the others gone there is still a majority.
    cluster.kill_9(0)?;
    cluster.put(2, "a", "3")?;
    cluster.expect(1, "a", "3")?;
    ensure!(cluster.id(1, 2)? == id);
    let (code, told) = curl(&[&format!("{new}/members")])?;
    let told: Vec<Value> = serde_json::from_str(&told)?;
    ensure!(code == 200 && told.len() == 3);
    ensure!(told.iter().any(|member| member["peerURLs"][0] == *new && member["name"] == "m2"));
    Ok(())
}

#[test]
fn changes_that_would_endanger_the_majority_are_refused() -> Result<()> {
    let mut cluster = Cluster::new(4)?;
    cluster.found(&[0])?;
    let own = cluster.id(0, 0)?;
    let refused = cluster.ctl(0, &["member", "remove", &own])?.failed()?;
    let few = "etcdserver: re-configuration failed due to not enough started members";
    ensure!(refused.contains(few), "{refused}");
    let add = |cluster: &Cluster, seat: usize| {
        let peer = format!("--peer-urls={}", cluster.seats[seat].peer);
        cluster.ctl(0, &["member", "add", &format!("m{seat}"), &peer])
    };
    add(&cluster, 1)?.ok()?;
    ensure!(add(&cluster, 1)?.failed()?.contains(few));
    ensure!(add(&cluster, 2)?.failed()?.contains(few));
    cluster.join(1, &[0, 1])?;
    // One that has just come is not counted on at once.
    let peer = format!("--peer-urls={}", cluster.seats[2].peer);
    cluster.ctl_until(0, &["member", "add", "m2", &peer])?;
    cluster.join(2, &[0, 1, 2])?;
    let refused = add(&cluster, 1)?.failed()?;
    ensure!(refused.contains("exists") || refused.contains("unhealthy"), "{refused}");

    // Of three with one dead only that one may go.
    cluster.kill_9(2)?;
    let (alive, dead) = (cluster.id(0, 1)?, cluster.id(0, 2)?);
    for number in 0..5 {
        cluster.put(0, "missed", &number.to_string())?;
    }
    let refused = cluster.ctl(0, &["member", "remove", &alive])?.failed()?;
    ensure!(refused.contains("etcdserver: unhealthy cluster"), "{refused}");
    cluster.ctl(0, &["member", "remove", &dead])?.ok()?;
    cluster.put(1, "a", "1")?;
    // It hears of that when it comes back.
    cluster.start(2, &[])?;
    let status = cluster.process(2)?.ended()?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}
