//! A server on an empty store, and requests to it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use keelson_kube_api::{ApiServer, Body, Config, KubeletDialer, UserInfo};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::memory_store::MemoryStore;

pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) store: MemoryStore,
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn version(&self) -> i64 {
        self.body["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().unwrap();
        items.iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_with(kubelet: Option<Arc<dyn KubeletDialer>>) -> Self {
        let store = MemoryStore::new();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let mut config = Config::new(key, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 6443);
        if let Some(kubelet) = kubelet {
            config.kubelet = kubelet;
        }
        let server = ApiServer::start(config, Arc::new(store.clone())).await.unwrap();
        let cluster = Cluster { server, store };
        let account = json!({"metadata": {"name": "default"}});
        cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await;
        cluster
    }

    pub(crate) async fn send(
        &self,
        user: UserInfo,
        request: Request<Full<Bytes>>,
    ) -> Response<Body> {
        self.server.in_process(user).oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(
        &self,
        user: UserInfo,
        method: &str,
        path: &str,
        media: &str,
        body: Bytes,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let response = self.send(user, request.body(Full::new(body)).unwrap()).await;
        let code = response.status().as_u16();
        let warnings = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        Answer { code, body, warnings }
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, media: &str, body: Value) -> Answer {
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.call(UserInfo::admin(), method, path, media, bytes).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.admin("GET", path, "application/json", Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.admin("POST", path, "application/json", body).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.admin("PUT", path, "application/json", body).await
    }

    pub(crate) async fn merge(&self, path: &str, body: Value) -> Answer {
        self.admin("PATCH", path, "application/merge-patch+json", body).await
    }

    pub(crate) async fn delete(&self, path: &str, options: Value) -> Answer {
        self.admin("DELETE", path, "application/json", options).await
    }
}

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

pub(crate) fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}})
}
