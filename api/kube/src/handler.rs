//! The main path of a request: its layers in order, then its verb.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, Response};

use crate::auth::Attributes;
use crate::call::Call;
use crate::context::Context;
use crate::layers::{audit_id, authentication, authorization, impersonation};
use crate::request_info::{Query, RequestInfo};
use crate::server::{Body, RequestBody};
use crate::status::Status;
use crate::{custom, endpoints, metrics, respond, verbs};

/// What is no watch and no stream is answered within this time.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Answers one request; every failure becomes a Status.
pub(crate) async fn handle(cx: &Arc<Context>, request: Request<RequestBody>) -> Response<Body> {
    let started = Instant::now();
    let id = audit_id::of(request.headers());
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = RequestInfo::parse(request.method(), request.uri().path(), &query);
    let shown = metrics_key(cx, &info);
    let answered = AssertUnwindSafe(answer(cx, request, info, query)).catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(status)) => respond::status(&status),
        Err(_) => {
            tracing::error!(verb = shown.0, resource = shown.3, "a request panicked");
            respond::status(&Status::internal("the request could not be handled"))
        }
    };
    audit_id::set(response.headers_mut(), id);
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    cx.metrics.request(&shown, response.status().as_u16(), started.elapsed());
    response
}

/// Labels of a request's metrics. What names no kind has none, so that nobody can invent labels.
fn metrics_key(cx: &Context, info: &RequestInfo) -> metrics::Key {
    let known = cx
        .definitions
        .find(&info.group, &info.version, &info.resource)
        .is_some_and(|k| info.subresource.is_empty() || k.subresource(&info.subresource).is_some());
    if known {
        let RequestInfo { verb, group, version, .. } = info;
        return (verb.clone(), group.clone(), version.clone(), info.resource_path());
    }
    let verb = match info.verb.as_str() {
        "get" | "post" | "put" | "patch" | "delete" | "head" | "list" | "create" => &info.verb,
        _ => "other",
    };
    (verb.to_owned(), String::new(), String::new(), String::new())
}

async fn answer(
    cx: &Arc<Context>,
    mut request: Request<RequestBody>,
    info: RequestInfo,
    query: Query,
) -> Result<Response<Body>, Status> {
    let user = authentication::authenticate(cx, &mut request).await?;
    let user = impersonation::impersonate(cx, user, request.headers_mut()).await?;
    authorization::require(cx, &Attributes::of(&user, &info)).await?;
    if !info.is_resource {
        return endpoints::answer(
            cx,
            &info,
            &query,
            request.method().clone(),
            request.headers().clone(),
        )
        .await;
    }
    if cx.definitions.find(&info.group, &info.version, &info.resource).is_none() {
        // Another API server may know more.
        custom::look_again(cx).await?;
    }
    let call = Call::new(cx.clone(), user, info, query, request)?;
    if call.is_long_running() {
        return verbs::run(call).await;
    }
    tokio::time::timeout(TIMEOUT, verbs::run(call)).await.unwrap_or_else(|_| {
        Err(Status::timeout("request did not complete within the allotted timeout"))
    })
}
