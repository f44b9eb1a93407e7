//! Serves the kubelet API: on TLS with callers checked, and on connections that are trusted.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::auth::{Caller, authorize};
use crate::connection::Connection;

const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One trusted connection, HTTP/1.1 or HTTP/2, to its end.
pub(crate) async fn serve_connection(router: Router, stream: Connection) {
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
    let server = auto::Builder::new(TokioExecutor::new());
    let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(error, "kubelet connection");
    }
}

/// Accepts connections until dropped.
pub(crate) async fn serve_tls(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    client: kube::Client,
    node: String,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "kubelet API: accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        let (client, node) = (client.clone(), node.clone());
        tokio::spawn(async move {
            let _place = place;
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
            let stream = match handshake.await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "kubelet API: TLS");
                    return;
                }
                Err(_) => return,
            };
            let certificates = stream.get_ref().1.peer_certificates();
            let leaf = certificates.and_then(|certificates| certificates.first());
            let caller = leaf.and_then(|leaf| Caller::of_certificate(leaf));
            let checked = router.layer(axum::middleware::from_fn(
                move |request: axum::extract::Request, next: axum::middleware::Next| {
                    let (client, node, caller) = (client.clone(), node.clone(), caller.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        match authorize(&client, &node, caller.as_ref(), &head).await {
                            Ok(()) => {
                                next.run(axum::extract::Request::from_parts(head, body)).await
                            }
                            Err(response) => *response,
                        }
                    }
                },
            ));
            serve_connection(checked, Connection::new(stream)).await;
        });
    }
}
