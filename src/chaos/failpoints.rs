//! Failpoints of a member, over HTTP (docs/store.md).

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A point answers at once.
const LIMIT: Duration = Duration::from_secs(2);

/// Sets a point, or clears it where `terms` is nothing.
pub async fn set(address: &str, name: &str, terms: Option<&str>) -> Result<()> {
    let (method, body) = terms.map_or(("DELETE", ""), |terms| ("PUT", terms));
    let answer = tokio::time::timeout(LIMIT, ask(address, method, name, body)).await??;
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    match status {
        "204" => Ok(()),
        // A point that is not set cannot be cleared.
        "404" if terms.is_none() => Ok(()),
        _ => bail!("failpoint {name} at {address}: {}", answer.lines().next().unwrap_or_default()),
    }
}

/// Names of all points.
pub async fn names(address: &str) -> Result<Vec<String>> {
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
