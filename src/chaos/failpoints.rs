//! Failpoints of a member, over HTTP (docs/store.md).

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::scenario::Fault;

/// A point answers at once.
const LIMIT: Duration = Duration::from_secs(2);

/// Makes a sync fail.
pub const SYNC_FAILS: &str = "walSyncError";

/// The points by one of which a fault is made; nothing where it needs none.
fn points(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::SlowDisk => &["walDuringSync", "walBeforeSync"],
        Fault::FailSync => &[SYNC_FAILS, "walBeforeSync"],
        Fault::ClockJump => &["clockJump"],
        _ => &[],
    }
}

/// Whether a fault is made by failpoints.
pub fn are_needed(fault: Fault) -> bool {
    !points(fault).is_empty()
}

/// The first of a fault's points that the member at this address has.
pub async fn point(address: &str, fault: Fault) -> Result<&'static str> {
    let known = names(address).await.context("it has none (docs/store.md)")?;
    let found = points(fault).iter().find(|name| known.iter().any(|one| one == *name));
    found.copied().with_context(|| format!("none is called {}", points(fault).join(" or ")))
}

/// Sets a point, or clears it where `terms` is nothing.
pub async fn set(address: &str, name: &str, terms: Option<&str>) -> Result<()> {
    let (method, body) = terms.map_or(("DELETE", ""), |terms| ("PUT", terms));
    let answer = tokio::time::timeout(LIMIT, ask(address, method, name, body)).await??;
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    match status {
        "204" => Ok(()),
        // A point that is not set cannot be cleared.
        "400" | "404" if terms.is_none() => Ok(()),
        _ => bail!("failpoint {name} at {address}: {}", answer.lines().next().unwrap_or_default()),
    }
}

/// Names of all points.
async fn names(address: &str) -> Result<Vec<String>> {
    let answer = tokio::time::timeout(LIMIT, ask(address, "GET", "", "")).await??;
    ensure!(answer.contains(" 200 "), "no failpoints at {address}");
    let names =
        answer.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned());
    Ok(names.collect())
}

async fn ask(address: &str, method: &str, name: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} /{name} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
