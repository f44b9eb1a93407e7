//! A whole agent over a runtime and an API server that are maps in memory: both ends of a pod's life.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keelson_proto::cri;
use parking_lot::Mutex;
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::agent::{Agent, AgentConfig, CriClients};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Long enough on a busy machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Runtime {
    sandboxes: BTreeMap<String, cri::PodSandbox>,
    containers: BTreeMap<String, cri::ContainerStatus>,
    sandbox_of: BTreeMap<String, String>,
    images: Vec<String>,
    calls: Vec<String>,
    clock: i64,
}

impl Runtime {
    /// The time, never twice the same.
    fn now(&mut self) -> i64 {
        let now = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
        self.clock = now.max(self.clock + 1);
        self.clock
    }
}

/// The runtime, and a bell for its events.
struct FakeRuntime {
    state: Mutex<Runtime>,
    changed: watch::Sender<u64>,
}

impl FakeRuntime {
    fn new(images: &[&str]) -> Arc<Self> {
        let images = images.iter().map(|image| (*image).to_owned()).collect();
        let state = Mutex::new(Runtime { images, ..Default::default() });
        Arc::new(Self { state, changed: watch::Sender::new(0) })
    }

    fn clients(self: &Arc<Self>) -> CriClients {
        let own = self.clone();
        let connector = tower::service_fn(move |_: http::Uri| {
            let own = own.clone();
            async move {
                let (client, server) = tokio::io::duplex(1 << 16);
                let service = hyper::service::service_fn(move |request| {
                    let own = own.clone();
                    async move { Ok::<_, std::convert::Infallible>(own.serve(request).await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(server), service);
                tokio::spawn(server);
                Ok::<_, std::io::Error>(TokioIo::new(client))
            }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://fake");
        CriClients::new(endpoint.connect_with_connector_lazy(connector))
    }

    async fn serve(&self, request: Request<hyper::body::Incoming>) -> Response<Body> {
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message = body.slice(5..);
        if method == "GetContainerEvents" {
            let events =
                tokio_stream::wrappers::WatchStream::from_changes(self.changed.subscribe());
            let frames = events.map(|_| {
                let event = cri::ContainerEventResponse::default();
                Ok(Frame::data(framed(&event)))
            });
            return grpc(BodyExt::boxed_unsync(StreamBody::new(frames)));
        }
        let (reply, status) = match self.call(&method, message) {
            Ok(reply) => (Some(Ok(Frame::data(reply))), "0"),
            Err(code) => (None, code),
        };
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let frames = stream::iter(reply.into_iter().chain([Ok(Frame::trailers(trailers))]));
        grpc(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    fn call(&self, method: &str, body: Bytes) -> Result<Bytes, &'static str> {
        let mut state = self.state.lock();
        let now = state.now();
        if !matches!(method, "Version" | "Status" | "ImageStatus") && !method.starts_with("List") {
            state.calls.push(method.to_owned());
        }
        let found = "5";
        let reply = match method {
            "Version" => framed(&cri::VersionResponse {
                runtime_name: "fake".into(),
                runtime_version: "1".into(),
                ..Default::default()
            }),
            "Status" => {
                let ready = |name: &str| cri::RuntimeCondition {
                    r#type: name.into(),
                    status: true,
                    ..Default::default()
                };
                let conditions = vec![ready("RuntimeReady"), ready("NetworkReady")];
                let status = cri::RuntimeStatus { conditions };
                framed(&cri::StatusResponse { status: Some(status), ..Default::default() })
            }
            "ListImages" => framed(&cri::ListImagesResponse::default()),
            "ImageStatus" => {
                let wanted = cri::ImageStatusRequest::decode(body).unwrap().image.unwrap().image;
                let image = state
                    .images
                    .contains(&wanted)
                    .then(|| cri::Image { id: format!("id-of-{wanted}"), ..Default::default() });
                framed(&cri::ImageStatusResponse { image, ..Default::default() })
            }
            "PullImage" => return Err(found),
            "RunPodSandbox" => {
                let config = cri::RunPodSandboxRequest::decode(body).unwrap().config.unwrap();
                let id = format!("s{}", state.sandboxes.len());
                let sandbox = cri::PodSandbox {
                    id: id.clone(),
                    metadata: config.metadata,
                    state: cri::PodSandboxState::SandboxReady.into(),
                    created_at: now,
                    labels: config.labels,
                    ..Default::default()
                };
                state.sandboxes.insert(id.clone(), sandbox);
                framed(&cri::RunPodSandboxResponse { pod_sandbox_id: id })
            }
            "StopPodSandbox" => {
                let id = cri::StopPodSandboxRequest::decode(body).unwrap().pod_sandbox_id;
                if let Some(sandbox) = state.sandboxes.get_mut(&id) {
                    sandbox.state = cri::PodSandboxState::SandboxNotready.into();
                }
                framed(&cri::StopPodSandboxResponse {})
            }
            "RemovePodSandbox" => {
                let id = cri::RemovePodSandboxRequest::decode(body).unwrap().pod_sandbox_id;
                state.sandboxes.remove(&id);
                framed(&cri::RemovePodSandboxResponse {})
            }
            "PodSandboxStatus" => {
                let network =
                    cri::PodSandboxNetworkStatus { ip: "10.9.0.2".into(), ..Default::default() };
                let status = cri::PodSandboxStatus { network: Some(network), ..Default::default() };
                let status = Some(status);
                framed(&cri::PodSandboxStatusResponse { status, ..Default::default() })
            }
            "ListPodSandbox" => {
                let filter = cri::ListPodSandboxRequest::decode(body).unwrap().filter;
                let wanted = filter.map(|f| f.label_selector).unwrap_or_default();
                let all = state.sandboxes.values().filter(|s| matches(&wanted, &s.labels));
                framed(&cri::ListPodSandboxResponse { items: all.cloned().collect() })
            }
            "CreateContainer" => {
                let request = cri::CreateContainerRequest::decode(body).unwrap();
                let config = request.config.unwrap();
                let id = format!("c{}", state.containers.len());
                let status = cri::ContainerStatus {
                    id: id.clone(),
                    metadata: config.metadata,
                    state: cri::ContainerState::ContainerCreated.into(),
                    created_at: now,
                    labels: config.labels,
                    annotations: config.annotations,
                    image: config.image,
                    ..Default::default()
                };
                state.containers.insert(id.clone(), status);
                state.sandbox_of.insert(id.clone(), request.pod_sandbox_id);
                framed(&cri::CreateContainerResponse { container_id: id })
            }
            "StartContainer" => {
                let id = cri::StartContainerRequest::decode(body).unwrap().container_id;
                let container = state.containers.get_mut(&id).unwrap();
                container.set_state(cri::ContainerState::ContainerRunning);
                container.started_at = now;
                framed(&cri::StartContainerResponse {})
            }
            "StopContainer" => {
                let id = cri::StopContainerRequest::decode(body).unwrap().container_id;
                end(&mut state, &id, 143);
                framed(&cri::StopContainerResponse {})
            }
            "RemoveContainer" => {
                let id = cri::RemoveContainerRequest::decode(body).unwrap().container_id;
                state.containers.remove(&id);
                framed(&cri::RemoveContainerResponse {})
            }
            "ListContainers" => {
                let filter = cri::ListContainersRequest::decode(body).unwrap().filter;
                let wanted = filter.map(|f| f.label_selector).unwrap_or_default();
                let all = state.containers.values().filter(|c| matches(&wanted, &c.labels));
                let containers = all.map(|status| cri::Container {
                    id: status.id.clone(),
                    pod_sandbox_id: state.sandbox_of[&status.id].clone(),
                    state: status.state,
                    labels: status.labels.clone(),
                    ..Default::default()
                });
                framed(&cri::ListContainersResponse { containers: containers.collect() })
            }
            "ContainerStatus" => {
                let id = cri::ContainerStatusRequest::decode(body).unwrap().container_id;
                let status = state.containers.get(&id).cloned();
                if status.is_none() {
                    return Err(found);
                }
                framed(&cri::ContainerStatusResponse { status, ..Default::default() })
            }
            _ => return Err("12"),
        };
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        Ok(reply)
    }

    /// A container ends by itself.
    fn exit(&self, id: &str, code: i32) {
        end(&mut self.state.lock(), id, code);
        self.changed.send_modify(|count| *count += 1);
    }

    fn calls(&self) -> Vec<String> {
        let noise = ["PodSandboxStatus", "ContainerStatus"];
        let state = self.state.lock();
        state.calls.iter().filter(|call| !noise.contains(&call.as_str())).cloned().collect()
    }
}

fn end(state: &mut Runtime, id: &str, code: i32) {
    let now = state.now();
    let Some(container) = state.containers.get_mut(id) else { return };
    container.set_state(cri::ContainerState::ContainerExited);
    container.exit_code = code;
    container.finished_at = now;
}

fn matches(wanted: &HashMap<String, String>, labels: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::from(&[0; 5][..]);
    message.encode(&mut frame).unwrap();
    let length = u32::try_from(frame.len() - 5).unwrap();
    frame[1..5].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

fn grpc(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// Pods by name, as the API server keeps them; everything else is accepted and forgotten.
struct FakeApi {
    pods: watch::Sender<(u64, BTreeMap<String, Value>)>,
    events: Mutex<Vec<String>>,
}

impl FakeApi {
    fn new(pods: &[Value]) -> Arc<Self> {
        let pods = pods.iter().map(|pod| (name_of(pod), pod.clone())).collect();
        Arc::new(Self { pods: watch::Sender::new((1, pods)), events: Mutex::default() })
    }

    fn client(self: &Arc<Self>) -> kube::Client {
        let own = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let own = own.clone();
            async move { Ok::<_, std::convert::Infallible>(own.serve(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn serve(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let parts: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        let watching = head.uri.query().is_some_and(|query| query.contains("watch=true"));
        match (head.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "v1", "pods"]) if watching => self.watch(),
            ("GET", ["api", "v1", "pods"]) => {
                let (version, pods) = self.pods.borrow().clone();
                let items: Vec<Value> = pods.into_values().collect();
                answer(
                    200,
                    json!({"metadata": {"resourceVersion": version.to_string()}, "items": items}),
                )
            }
            ("PATCH", ["api", "v1", "namespaces", _, "pods", name, "status"]) => {
                self.change(name, |pod| merge(&mut pod["status"], &body["status"]))
            }
            ("DELETE", ["api", "v1", "namespaces", _, "pods", name]) => {
                assert_eq!(body["gracePeriodSeconds"], 0);
                let gone = self.remove(name);
                answer(200, gone)
            }
            ("POST", ["api", "v1", "namespaces", _, "events"]) => {
                let text = |field: &str| body[field].as_str().unwrap().to_owned();
                self.events.lock().push(format!("{} {}", text("reason"), text("message")));
                answer(201, body)
            }
            ("GET", _) if watching => {
                grpc(BodyExt::boxed_unsync(StreamBody::new(stream::pending())))
            }
            ("GET", _) => answer(200, json!({"metadata": {"resourceVersion": "1"}, "items": []})),
            _ => answer(200, body),
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Value)) -> Response<Body> {
        let mut changed = None;
        self.pods.send_modify(|(version, pods)| {
            if let Some(pod) = pods.get_mut(name) {
                *version += 1;
                change(pod);
                pod["metadata"]["resourceVersion"] = version.to_string().into();
                changed = Some(pod.clone());
            }
        });
        match changed {
            Some(pod) => answer(200, pod),
            None => answer(404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
        }
    }

    fn remove(&self, name: &str) -> Value {
        let mut gone = Value::Null;
        self.pods.send_modify(|(version, pods)| {
            *version += 1;
            gone = pods.remove(name).unwrap_or_default();
        });
        gone
    }

    /// All changes from now on, found by comparing.
    fn watch(&self) -> Response<Body> {
        let mut receiver = self.pods.subscribe();
        let known = receiver.borrow_and_update().1.clone();
        let frames = stream::unfold((receiver, known), |(mut receiver, known)| async move {
            receiver.changed().await.ok()?;
            let now = receiver.borrow_and_update().1.clone();
            let mut lines = String::new();
            for (name, pod) in &now {
                let kind = match known.get(name) {
                    Some(before) if before == pod => continue,
                    Some(_) => "MODIFIED",
                    None => "ADDED",
                };
                lines += &format!("{}\n", json!({"type": kind, "object": pod}));
            }
            for (_, pod) in known.iter().filter(|(name, _)| !now.contains_key(*name)) {
                lines += &format!("{}\n", json!({"type": "DELETED", "object": pod}));
            }
            Some((Ok(Frame::data(Bytes::from(lines))), (receiver, now)))
        });
        grpc(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    async fn pod_where(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut receiver = self.pods.subscribe();
        let seen = receiver.wait_for(|(_, pods)| pods.get(name).is_some_and(&wanted));
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(found) => found.unwrap().1[name].clone(),
            Err(_) => panic!("never: {}", self.pods.borrow().1[name]),
        }
    }

    async fn gone(&self, name: &str) {
        let mut receiver = self.pods.subscribe();
        let gone = receiver.wait_for(|(_, pods)| !pods.contains_key(name));
        tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    }
}

fn name_of(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

/// Enough of a strategic merge for a pod's status.
fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(patch), true) = (patch, target.is_object()) else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        match (key.as_str(), value) {
            (_, Value::Null) => {
                target.as_object_mut().unwrap().remove(key);
            }
            ("conditions", Value::Array(list)) => {
                let mut all = target[key].as_array().cloned().unwrap_or_default();
                for condition in list {
                    all.retain(|old| old["type"] != condition["type"]);
                    all.push(condition.clone());
                }
                target[key] = all.into();
            }
            _ => target[key] = value.clone(),
        }
    }
}

fn answer(code: u16, body: Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string()));
    let builder = Response::builder().status(code).header("content-type", "application/json");
    builder.body(BodyExt::boxed_unsync(body)).unwrap()
}

fn pod(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"),
            "resourceVersion": "1", "generation": 1},
        "spec": spec,
        "status": {"phase": "Pending"},
    })
}

fn one_container() -> Value {
    json!({"nodeName": "node", "terminationGracePeriodSeconds": 1, "containers": [
        {"name": "c", "image": "here:1", "imagePullPolicy": "IfNotPresent"}]})
}

async fn agent(folder: &std::path::Path, api: &Arc<FakeApi>, runtime: &Arc<FakeRuntime>) -> Agent {
    let config = AgentConfig {
        node_name: "node".into(),
        node_ips: vec!["192.0.2.1".parse().unwrap()],
        root_dir: folder.join("kubelet"),
        pod_logs_dir: folder.join("logs"),
        // Test pods leave no cgroups on the machine.
        cgroup_root: "/keelson-agent-test-not-made".into(),
        make_cgroups: false,
        ..Default::default()
    };
    let services = crate::network::services::Catalog::new();
    services.set_synced();
    Agent::start(config, api.client(), runtime.clients(), services).await.unwrap()
}

fn ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

#[tokio::test]
async fn a_pod_runs_is_adopted_restarted_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::new(&["here:1"]);
    let api = FakeApi::new(&[pod("p", one_container())]);
    let first = agent(folder.path(), &api, &runtime).await;
    let running = api.pod_where("p", ready).await;
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["status"]["podIP"], "10.9.0.2");
    assert_eq!(running["status"]["containerStatuses"][0]["containerID"], "fake://c0");
    assert_eq!(runtime.calls(), ["RunPodSandbox", "CreateContainer", "StartContainer"]);

    // The next agent finds what runs and changes nothing.
    first.shutdown().await;
    let second = agent(folder.path(), &api, &runtime).await;
    api.change("p", |pod| pod["metadata"]["labels"] = json!({"a": "b"}));
    api.pod_where("p", ready).await;
    assert_eq!(runtime.calls().len(), 3);

    runtime.exit("c0", 1);
    let again = api.pod_where("p", |pod| {
        ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    let status = again.await["status"]["containerStatuses"][0].clone();
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);

    runtime.exit("c1", 1);
    let waiting = |pod: &Value| {
        let state = &pod["status"]["containerStatuses"][0]["state"];
        state["waiting"]["reason"] == "CrashLoopBackOff"
    };
    api.pod_where("p", waiting).await;

    api.change("p", |pod| {
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = 1.into();
    });
    api.gone("p").await;
    let calls = runtime.calls();
    let (stop, remove) = (
        calls.iter().position(|call| call == "StopPodSandbox"),
        calls.iter().position(|call| call == "RemovePodSandbox"),
    );
    assert!(stop.is_some() && stop < remove, "{calls:?}");
    assert!(runtime.state.lock().sandboxes.is_empty());
    assert!(!folder.path().join("kubelet/pods/uid-p").exists());
    second.shutdown().await;
    let events = api.events.lock().clone();
    for wanted in [
        "Pulled Container image \"here:1\" already present on machine and can be accessed by the pod",
        "Created Container created",
        "Started Container started",
        "BackOff Back-off restarting failed container c in pod p_n(uid-p)",
    ] {
        assert!(events.iter().any(|event| event == wanted), "{wanted}: {events:?}");
    }
}

#[tokio::test]
async fn a_pod_whose_image_is_missing_says_so_and_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::new(&[]);
    let api = FakeApi::new(&[pod("p", one_container())]);
    let agent = agent(folder.path(), &api, &runtime).await;
    let reason = |wanted: &'static str| {
        move |pod: &Value| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == wanted
        }
    };
    api.pod_where("p", reason("ErrImagePull")).await;
    let waiting = api.pod_where("p", reason("ImagePullBackOff")).await;
    let state = &waiting["status"]["containerStatuses"][0]["state"]["waiting"];
    let message = state["message"].as_str().unwrap();
    assert!(message.starts_with("Back-off pulling image \"here:1\": ErrImagePull: "), "{message}");
    assert_eq!(waiting["status"]["phase"], "Pending");
    api.change("p", |pod| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into());
    api.gone("p").await;
    agent.shutdown().await;
}

#[tokio::test]
async fn a_pod_that_completes_keeps_its_status_and_what_nobody_knows_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::new(&["here:1"]);
    let mut spec = one_container();
    spec["restartPolicy"] = "Never".into();
    let api = FakeApi::new(&[pod("p", spec)]);
    let first = agent(folder.path(), &api, &runtime).await;
    api.pod_where("p", ready).await;
    runtime.exit("c0", 0);
    let done = api.pod_where("p", |pod| pod["status"]["phase"] == "Succeeded").await;
    let state = &done["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(state["reason"], "Completed");
    first.shutdown().await;
    // The pod goes while no agent looks.
    api.remove("p");
    let second = agent(folder.path(), &api, &runtime).await;
    let mut changed = runtime.changed.subscribe();
    let empty = changed.wait_for(|_| runtime.state.lock().sandboxes.is_empty());
    tokio::time::timeout(PATIENCE, empty).await.unwrap().unwrap();
    second.shutdown().await;
}
