//! /healthz, /livez, /readyz: the same checks, asked for at once or one by one.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Response;

use crate::context::Context;
use crate::request_info::Query;
use crate::respond;
use crate::server::Body;

/// A store that takes longer than this is not healthy.
const STORE_MAX: Duration = Duration::from_secs(2);

type Run = for<'a> fn(&'a Context) -> BoxFuture<'a, Result<(), String>>;

struct Check {
    name: &'static str,
    endpoints: &'static [&'static str],
    run: Run,
}

const ALL: &[&str] = &["healthz", "livez", "readyz"];

const CHECKS: &[Check] = &[
    Check { name: "ping", endpoints: ALL, run: |_| async { Ok(()) }.boxed() },
    Check { name: "log", endpoints: ALL, run: |_| async { Ok(()) }.boxed() },
    Check { name: "etcd", endpoints: ALL, run: |cx| store(cx).boxed() },
    Check { name: "etcd-readiness", endpoints: &["readyz"], run: |cx| store(cx).boxed() },
    Check { name: "informer-sync", endpoints: &["readyz"], run: |cx| bootstrapped(cx).boxed() },
    Check {
        name: "poststarthook/rbac/bootstrap-roles",
        endpoints: ALL,
        run: |cx| bootstrapped(cx).boxed(),
    },
    Check {
        name: "poststarthook/scheduling/bootstrap-system-priority-classes",
        endpoints: ALL,
        run: |cx| bootstrapped(cx).boxed(),
    },
    Check {
        name: "poststarthook/bootstrap-controller",
        endpoints: ALL,
        run: |cx| bootstrapped(cx).boxed(),
    },
    Check { name: "shutdown", endpoints: &["readyz"], run: |cx| running(cx).boxed() },
];

async fn store(cx: &Context) -> Result<(), String> {
    match tokio::time::timeout(STORE_MAX, cx.storage.revision()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.message),
        Err(_) => Err("the store does not answer".to_owned()),
    }
}

async fn bootstrapped(cx: &Context) -> Result<(), String> {
    if cx.bootstrapped.load(Ordering::Acquire) { Ok(()) } else { Err("not finished".to_owned()) }
}

async fn running(cx: &Context) -> Result<(), String> {
    if cx.stop.is_cancelled() { Err("process is shutting down".to_owned()) } else { Ok(()) }
}

/// Answers a health endpoint, or one check of it. None: there is no such check.
pub(super) async fn answer(
    cx: &Context,
    endpoint: &str,
    single: &str,
    query: &Query,
) -> Option<Response<Body>> {
    let checks: Vec<&Check> = CHECKS
        .iter()
        .filter(|c| c.endpoints.contains(&endpoint) && (single.is_empty() || c.name == single))
        .collect();
    if checks.is_empty() {
        return None;
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let (mut text, mut failed) = (String::new(), Vec::new());
    for check in checks {
        let line = if excluded.contains(&check.name) {
            format!("[+]{} excluded: ok\n", check.name)
        } else {
            match (check.run)(cx).await {
                Ok(()) => format!("[+]{} ok\n", check.name),
                Err(error) => {
                    tracing::warn!(check = check.name, error, "a health check failed");
                    failed.push(check.name);
                    format!("[-]{} failed: reason withheld\n", check.name)
                }
            }
        };
        text.push_str(&line);
    }
    for name in excluded.iter().filter(|n| CHECKS.iter().all(|c| c.name != **n)) {
        let _infallible =
            writeln!(text, "warn: some health checks cannot be excluded: no matches for {name:?}");
    }
    let plain = "text/plain; charset=utf-8";
    if !failed.is_empty() {
        let _infallible = writeln!(text, "{endpoint} check failed");
        return Some(respond::bytes(500, plain, text));
    }
    if query.has("verbose") {
        let _infallible = writeln!(text, "{endpoint} check passed");
        return Some(respond::bytes(200, plain, text));
    }
    Some(respond::bytes(200, plain, "ok"))
}
