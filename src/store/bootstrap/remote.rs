//! What members tell on their peer URLs: `GET /members`, `GET /version`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use keelson_raft::Member;
use keelson_raft::peer::{Connection, PeerTls, SocketTransport, Transport as _};
use serde::{Deserialize, Serialize};

/// Where the members are told.
pub const MEMBERS_PATH: &str = "/members";
/// Where the version is told.
pub const VERSION_PATH: &str = "/version";
/// Beside the members, the cluster's id in hexadecimal digits.
pub const CLUSTER_ID_HEADER: &str = "x-etcd-cluster-id";
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A member, as it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteMember {
    /// Its id.
    pub id: u64,
    /// Where members reach it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Whether it has no vote.
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Empty until it has started.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients reach it; none until it has started.
    #[serde(rename = "clientURLs", skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

/// A cluster, as one of its members tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteCluster {
    pub(super) id: u64,
    pub(super) members: Vec<RemoteMember>,
}

/// The cluster of the one that answers first; all are asked at once, for so long.
pub(super) async fn cluster(
    urls: &[String],
    tls: Option<&PeerTls>,
    limit: Duration,
) -> Result<RemoteCluster> {
    let asked = urls.iter().map(|url| {
        Box::pin(async move {
            let answer = tokio::time::timeout(limit, ask(url, tls)).await;
            let answer = answer.unwrap_or_else(|_| bail!("no answer in time"));
            answer.inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::info!(address = %url, error, "failed to get cluster response");
            })
        })
    });
    let asked: Vec<_> = asked.collect();
    if !asked.is_empty()
        && let Ok((cluster, _)) = futures::future::select_ok(asked).await
    {
        return Ok(cluster);
    }
    bail!("could not retrieve cluster information from the given URLs")
}

async fn ask(url: &str, tls: Option<&PeerTls>) -> Result<RemoteCluster> {
    let transport = SocketTransport::new(Vec::new(), tls.cloned())?;
    let there = Member { peer_urls: vec![url.to_owned()], ..Member::default() };
    let Connection { reader, writer } = transport.connect(0, &there).await?;
    let io = TokioIo::new(Box::pin(tokio::io::join(reader, writer)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(async move {
        let _ends_with_the_answer = connection.await;
    });
    let host = url.split_once("://").map_or(url, |(_, host)| host);
    let request =
        Request::get(MEMBERS_PATH).header(header::HOST, host).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        bail!("{url} answers {}", response.status());
    }
    let id = response.headers().get(CLUSTER_ID_HEADER).context("no cluster id")?.to_str()?;
    let id = u64::from_str_radix(id, 16).with_context(|| format!("cluster id {id:?}"))?;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    let members = serde_json::from_slice(&body).with_context(|| format!("members by {url}"))?;
    Ok(RemoteCluster { id, members })
}
