//! As much of an API server as informers and the publication of the cluster DNS need: objects in
//! memory, list, watch from a version, get, create and replace.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The objects, by path of their collection and name.
#[derive(Clone)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    length: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<(String, String), Value>,
    /// Plural name and watch event, in order; the version is the place in it.
    log: Vec<(String, Value)>,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), length: watch::Sender::new(0) }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Creates or replaces an object.
    pub(crate) fn put(&self, collection: &str, mut object: Value) -> Value {
        let mut state = self.state.lock();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["resourceVersion"] = (state.log.len() + 1).to_string().into();
        let old = state.objects.insert((collection.to_owned(), name), object.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        state.record(collection, kind, &object);
        self.length.send_replace(state.log.len());
        object
    }

    pub(crate) fn delete(&self, collection: &str, name: &str) {
        let mut state = self.state.lock();
        let object = state.objects.remove(&(collection.to_owned(), name.to_owned())).unwrap();
        state.record(collection, "DELETED", &object);
        self.length.send_replace(state.log.len());
    }

    pub(crate) fn get(&self, collection: &str, name: &str) -> Option<Value> {
        self.state.lock().objects.get(&(collection.to_owned(), name.to_owned())).cloned()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let path = head.uri.path().trim_end_matches('/').to_owned();
        let query = head.uri.query().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default().to_owned();
        let is_collection = last == "services" || last == "endpointslices";
        match (head.method, is_collection) {
            (Method::GET, true) if query.contains("watch=") => self.watch(&last, query),
            (Method::GET, true) => self.list(&last),
            (Method::GET, false) => match self.get(path.rsplit_once('/').unwrap().0, &last) {
                Some(object) => reply(StatusCode::OK, &object),
                None => reply(
                    StatusCode::NOT_FOUND,
                    &json!({"kind": "Status", "apiVersion": "v1",
                    "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404}),
                ),
            },
            (Method::POST, true) => {
                reply(StatusCode::CREATED, &self.put(&path, serde_json::from_slice(&body).unwrap()))
            }
            (Method::PUT, false) => {
                let collection = path.rsplit_once('/').unwrap().0;
                reply(StatusCode::OK, &self.put(collection, serde_json::from_slice(&body).unwrap()))
            }
            (method, _) => panic!("{method} {path}"),
        }
    }

    fn list(&self, plural: &str) -> Response<Body> {
        let state = self.state.lock();
        let of_kind = |(collection, _): &&(String, String)| collection.ends_with(plural);
        let items: Vec<&Value> =
            state.objects.keys().filter(of_kind).map(|k| &state.objects[k]).collect();
        reply(
            StatusCode::OK,
            &json!({"kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": state.log.len().to_string()}, "items": items}),
        )
    }

    fn watch(&self, plural: &str, query: &str) -> Response<Body> {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: usize = from.unwrap().parse().unwrap();
        let start = (self.clone(), self.length.subscribe(), from, plural.to_owned());
        let events = stream::unfold(start, |(api, mut length, mut next, plural)| async move {
            loop {
                length.wait_for(|length| *length > next).await.ok()?;
                let (of, event) = api.state.lock().log[next].clone();
                next += 1;
                if of == plural {
                    let frame = Frame::data(Bytes::from(format!("{event}\n")));
                    return Some((Ok(frame), (api, length, next, plural)));
                }
            }
        });
        Response::new(StreamBody::new(events).boxed_unsync())
    }
}

impl State {
    fn record(&mut self, collection: &str, kind: &str, object: &Value) {
        let plural = collection.rsplit('/').next().unwrap().to_owned();
        self.log.push((plural, json!({"type": kind, "object": object})));
    }
}

fn reply(code: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}
