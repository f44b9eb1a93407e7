//! Clusters of five and of seven: a minority may go.

use anyhow::{Result, ensure};

use super::Cluster;

fn a_minority_goes(count: usize) -> Result<()> {
    let mut cluster = Cluster::new(count)?;
    let all: Vec<usize> = (0..count).collect();
    cluster.found(&all)?;
    ensure!(cluster.members(count - 1)?.len() == count);
    cluster.put(0, "a", "1")?;
    // The leader among them.
    let leader = cluster.leader(&all)?;
    let gone: Vec<usize> = (0..count / 2).map(|more| (leader + more) % count).collect();
    for &seat in &gone {
        cluster.kill_9(seat)?;
    }
    let left: Vec<usize> = all.into_iter().filter(|seat| !gone.contains(seat)).collect();
    cluster.put(left[0], "a", "2")?;
    for &seat in &left {
        cluster.expect(seat, "a", "2")?;
    }
    for &seat in &gone {
        cluster.start(seat, &[])?;
    }
    for &seat in &gone {
        cluster.ready(seat)?;
        cluster.expect(seat, "a", "2")?;
    }
    Ok(())
}

#[test]
fn two_of_five_go() -> Result<()> {
    a_minority_goes(5)
}

#[test]
fn three_of_seven_go() -> Result<()> {
    a_minority_goes(7)
}

#[test]
fn a_founder_that_lost_its_data_is_refused() -> Result<()> {
    let mut cluster = Cluster::new(3)?;
    cluster.found(&[0, 1, 2])?;
    cluster.put(0, "a", "1")?;
    let id = cluster.id(0, 2)?;
    cluster.kill_9(2)?;
    std::fs::remove_dir_all(cluster.data_dir(2))?;
    let list = format!("--initial-cluster={}", cluster.list(&[0, 1, 2]));
    for state in ["new", "existing"] {
        cluster.start(2, &[&list, &format!("--initial-cluster-state={state}")])?;
        let status = cluster.process(2)?.ended()?;
        let log = cluster.process(2)?.log();
        ensure!(status.code() == Some(1), "{status}");
        ensure!(log.contains(&format!("member {id} has already been bootstrapped")), "{log}");
    }
    Ok(())
}
