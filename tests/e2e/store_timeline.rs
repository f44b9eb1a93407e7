//! What members remember of themselves: `/debug/elections`, and `keelson store status --timeline`.

use std::time::Duration;

use anyhow::{Result, ensure};
use keelson_tests::{Members, store};

/// For an election, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who leads, as soon as one does that is not this one.
async fn leader_but(members: &Members, not: Option<usize>) -> Result<usize> {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        for index in (0..3).filter(|index| Some(*index) != not) {
            if let Ok(Some(leader)) = members.leader(index).await
                && Some(leader) != not
            {
                return Ok(leader);
            }
        }
        ensure!(std::time::Instant::now() < end, "nobody leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_tell_what_they_were_and_why() -> Result<()> {
    let mut members = Members::start(3).await?;
    let first = leader_but(&members, None).await?;
    members.kill_9(first)?;
    let second = leader_but(&members, Some(first)).await?;
    let (code, body) = store::curl(&[&format!("{}/debug/elections", members.endpoints()[second])])?;
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("\"role\":\"leader\"") && body.contains("\"unixMicros\":"), "{body}");
    let endpoints = members.endpoints().join(",");
    let asked = ["store", "status", "--timeline", "--endpoints", &endpoints];
    let told = store::run_as("keelson", &asked, &[])?;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("a quorum voted for it in term"), "{told:?}");
    assert!(told.err.contains("not asked: ") && told.err.contains(&members.endpoints()[first]));
    let lines = store::run_as("keelson", &[&asked[..], &["-w", "json"]].concat(), &[])?;
    assert!(lines.out.lines().all(|line| line.starts_with("{\"time\":")), "{lines:?}");
    let nobody = ["store", "status", "--timeline", "--endpoints", "http://127.0.0.1:9"];
    let refused = store::run_as("keelson", &nobody, &[])?;
    assert!(refused.code == 1 && refused.err.contains("127.0.0.1:9"), "{refused:?}");
    Ok(())
}
