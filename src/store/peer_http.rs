//! What is told on peer URLs over HTTP: who the members are, and the version.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use keelson_etcd_api::{CLUSTER_VERSION, ETCD_VERSION};
use keelson_raft::Node;
use keelson_raft::peer::{Connection, PeerHttp};

use super::bootstrap::{CLUSTER_ID_HEADER, MEMBERS_PATH, RemoteMember, VERSION_PATH};

/// The member that is told of, once it has started.
pub type Told = Arc<OnceLock<Node>>;

/// Answers on connections of other members.
pub fn serve(told: Told) -> PeerHttp {
    Arc::new(move |Connection { reader, writer }| {
        let told = told.clone();
        Box::pin(async move {
            let service = hyper::service::service_fn(move |request| {
                std::future::ready(Ok::<_, Infallible>(answer(told.get(), &request)))
            });
            let io = TokioIo::new(Box::pin(tokio::io::join(reader, writer)));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .serve_connection(io, service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a peer's HTTP connection ended");
            }
        })
    })
}

fn answer(node: Option<&Node>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(node) = node else { return plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    if request.method() != Method::GET {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET"));
        return refused;
    }
    match request.uri().path() {
        MEMBERS_PATH => json(node, serde_json::to_vec(&members(node))),
        VERSION_PATH => {
            let cluster = node.view().downgrade_target();
            let cluster = cluster.unwrap_or_else(|| CLUSTER_VERSION.to_owned());
            let version = serde_json::json!({
                "etcdserver": ETCD_VERSION, "etcdcluster": cluster, "storage": cluster,
            });
            json(node, serde_json::to_vec(&version))
        }
        _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn members(node: &Node) -> Vec<RemoteMember> {
    let mut said = node.view().member_attributes();
    let members = node.members().into_iter().map(|(id, member)| {
        let said = said.remove(&id).unwrap_or_default();
        RemoteMember {
            id,
            peer_urls: member.peer_urls,
            is_learner: member.learner,
            name: said.name,
            client_urls: said.client_urls,
        }
    });
    members.collect()
}

fn json(node: &Node, body: serde_json::Result<Vec<u8>>) -> Response<Full<Bytes>> {
    let Ok(mut body) = body else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "no JSON\n");
    };
    body.push(b'\n');
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    let json = header::HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    if let Ok(id) = format!("{:x}", node.cluster_id()).parse() {
        headers.insert(CLUSTER_ID_HEADER, id);
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
