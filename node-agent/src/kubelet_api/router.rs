//! The routes of the kubelet API.
use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;

use super::{logs, metrics, stats, stream};
use crate::agent::Context;
use crate::pods::Workers;

/// What handlers work with.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) cx: Arc<Context>,
    pub(super) workers: Arc<Workers>,
}

/// The API, without authentication.
pub(crate) fn router(cx: Arc<Context>, workers: Arc<Workers>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/healthz/{check}", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/pods/", get(pods))
        .route("/runningpods/", get(pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", any(exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec))
        .route("/attach/{namespace}/{pod}/{container}", any(attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(attach))
        .route("/portForward/{namespace}/{pod}", any(port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(port_forward))
        .route("/stats/summary", get(stats::summary))
        .route("/metrics", get(metrics::agent))
        .route("/metrics/resource", get(metrics::resource))
        .with_state(Shared { cx, workers })
}

/// An answer in plain words, as the kubelet gives its errors.
pub(super) fn plain(status: StatusCode, message: String) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, kind, format!("{message}\n")).into_response()
}

async fn pods(State(shared): State<Shared>) -> Response {
    let items: Vec<Pod> = shared.workers.pods().iter().map(|pod| (**pod).clone()).collect();
    let list = serde_json::json!({
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {},
        "items": items,
    });
    Json(list).into_response()
}

async fn container_logs(
    State(shared): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let target = logs::LogTarget { namespace, pod, container };
    logs::serve(&shared, target, query.as_deref().unwrap_or_default()).await
}

/// A container by its path; a uid that stands there too is not looked at.
#[derive(serde::Deserialize)]
struct ContainerPath {
    namespace: String,
    pod: String,
    container: String,
}

/// A pod by its path.
#[derive(serde::Deserialize)]
struct PodPath {
    namespace: String,
    pod: String,
}

async fn exec(
    shared: State<Shared>,
    Path(path): Path<ContainerPath>,
    request: Request,
) -> Response {
    let ContainerPath { namespace, pod, container } = path;
    stream::process(&shared, stream::Process::New, [&namespace, &pod, &container], request).await
}

async fn attach(
    shared: State<Shared>,
    Path(path): Path<ContainerPath>,
    request: Request,
) -> Response {
    let ContainerPath { namespace, pod, container } = path;
    stream::process(&shared, stream::Process::Own, [&namespace, &pod, &container], request).await
}

async fn port_forward(
    shared: State<Shared>,
    Path(path): Path<PodPath>,
    request: Request,
) -> Response {
    stream::port_forward(&shared, &path.namespace, &path.pod, request).await
}
