//! Images from a registry on loopback, and from archives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keelson_proto::cri;

use crate::support::{
    Fixture, busybox_layer, can_run, command, digest, read_layout, under, write_layout,
};

/// What a registry serves: blobs and one manifest, to whoever knows the password if there is one.
struct Registry {
    blobs: BTreeMap<String, Vec<u8>>,
    manifest: Vec<u8>,
    password: Option<String>,
}

impl Registry {
    fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let wanted = self.password.as_ref()?;
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        (given != Some(wanted)).then(|| {
            let headers = [("www-authenticate", "Basic realm=\"test\"")];
            (StatusCode::UNAUTHORIZED, headers, "").into_response()
        })
    }
}

async fn serve(registry: Registry) -> SocketAddr {
    async fn root(State(all): State<Arc<Registry>>, headers: HeaderMap) -> Response {
        all.refuses(&headers).unwrap_or_else(|| "{}".into_response())
    }
    async fn manifest(
        State(all): State<Arc<Registry>>,
        Path(reference): Path<String>,
        headers: HeaderMap,
    ) -> Response {
        if let Some(refusal) = all.refuses(&headers) {
            return refusal;
        }
        if reference != "v1" && reference != digest(&all.manifest) {
            let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return (StatusCode::NOT_FOUND, body).into_response();
        }
        let kind = "application/vnd.oci.image.manifest.v1+json".to_owned();
        let headers = [("content-type", kind), ("docker-content-digest", digest(&all.manifest))];
        (headers, all.manifest.clone()).into_response()
    }
    async fn blob(
        State(all): State<Arc<Registry>>,
        Path(digest): Path<String>,
        headers: HeaderMap,
    ) -> Response {
        if let Some(refusal) = all.refuses(&headers) {
            return refusal;
        }
        match all.blobs.get(&digest) {
            Some(bytes) => bytes.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
    let router = Router::new()
        .route("/v2/", get(root))
        .route("/v2/team/app/manifests/{reference}", get(manifest))
        .route("/v2/team/app/blobs/{digest}", get(blob))
        .with_state(Arc::new(registry));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn pull(name: &str, auth: Option<cri::AuthConfig>) -> cri::PullImageRequest {
    cri::PullImageRequest {
        image: Some(cri::ImageSpec { image: name.to_owned(), ..Default::default() }),
        auth,
        sandbox_config: None,
    }
}

async fn image_status(fixture: &mut Fixture, name: &str) -> Option<cri::Image> {
    let request = cri::ImageStatusRequest {
        image: Some(cri::ImageSpec { image: name.to_owned(), ..Default::default() }),
        verbose: false,
    };
    fixture.images.image_status(request).await.unwrap().into_inner().image
}

#[tokio::test]
async fn an_image_is_pulled_checked_and_run() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let layout = under(&fixture, "remote");
    let run = serde_json::json!({
        "Entrypoint": ["sh", "-c"], "Cmd": ["echo from image $X; id -u"],
        "Env": ["X=y"], "User": "app", "WorkingDir": "/tmp", "StopSignal": "SIGQUIT",
    });
    write_layout(&layout, &busybox_layer(), &run);
    let (blobs, manifest) = read_layout(&layout);
    let pinned = digest(&manifest);
    let address = serve(Registry { blobs, manifest, password: None }).await;
    let name = format!("{address}/team/app:v1");

    assert_eq!(image_status(&mut fixture, &name).await, None);
    let id = fixture.images.pull_image(pull(&name, None)).await.unwrap().into_inner().image_ref;
    let image = image_status(&mut fixture, &name).await.unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    let by_digest = format!("{address}/team/app@{pinned}");
    assert_eq!(image.repo_digests, std::slice::from_ref(&by_digest));
    assert_eq!(image.username, "app");
    assert!(image.size > 0);
    for other in [&id, &by_digest] {
        assert_eq!(image_status(&mut fixture, other).await.unwrap().id, id);
    }
    fixture.images.pull_image(pull(&by_digest, None)).await.unwrap();

    let config = fixture.sandbox_config("pull");
    let sandbox = fixture.run_sandbox(&config).await;
    let mut container = command("a", &[]);
    container.image.as_mut().unwrap().image = id.clone();
    let container = fixture.run(&sandbox, container).await;
    let status = fixture.ended(&container).await;
    assert_eq!(status.exit_code, 0);
    assert_eq!(status.image_ref, by_digest);
    assert_eq!(status.image.unwrap().image, name);
    let log = fixture.log("pull", "a/0.log");
    assert!(log.contains("F from image y\n") && log.contains("F 1000\n"), "{log}");

    let error = fixture
        .images
        .pull_image(pull(&format!("{address}/team/app:missing"), None))
        .await
        .unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound, "{error}");
    assert!(error.message().contains("not found"), "{error}");

    fixture.remove_sandbox(&sandbox).await;
    let request = cri::RemoveImageRequest {
        image: Some(cri::ImageSpec { image: name.clone(), ..Default::default() }),
    };
    fixture.images.remove_image(request).await.unwrap();
    assert_eq!(image_status(&mut fixture, &name).await, None);
    // The layer is also another image's, and stays.
    let list = fixture.images.list_images(cri::ListImagesRequest::default()).await.unwrap();
    assert_eq!(list.into_inner().images.len(), 1);
    let layers = std::fs::read_dir(under(&fixture, "runtime/images/layers")).unwrap();
    assert_eq!(layers.count(), 1);
}

#[tokio::test]
async fn what_is_not_what_its_name_says_is_refused() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let layout = under(&fixture, "remote");
    let mut layer = busybox_layer();
    layer.extend([0; 512]); // another layer than the fixture's, which is there already
    write_layout(&layout, &layer, &serde_json::json!({ "Cmd": ["sh"] }));
    let (blobs, manifest) = read_layout(&layout);
    for (wanted, bytes) in &blobs {
        if digest(&manifest) == *wanted {
            continue;
        }
        let mut blobs = blobs.clone();
        let mut damaged = bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        blobs.insert(wanted.clone(), damaged);
        let registry = Registry { blobs, manifest: manifest.clone(), password: None };
        let name = format!("{}/team/app:v1", serve(registry).await);
        let error = fixture.images.pull_image(pull(&name, None)).await.unwrap_err();
        assert!(error.message().to_lowercase().contains("digest"), "{error}");
        assert_eq!(image_status(&mut fixture, &name).await, None);
    }
    let scratch = std::fs::read_dir(under(&fixture, "runtime/images/tmp")).unwrap();
    assert_eq!(scratch.count(), 0);
}

#[tokio::test]
async fn a_registry_may_want_a_password() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let layout = under(&fixture, "layout");
    let (blobs, manifest) = read_layout(&layout);
    let password = Some("Basic dXNlcjpzZWNyZXQ=".to_owned()); // user:secret
    let address = serve(Registry { blobs, manifest, password }).await;
    let name = format!("{address}/team/app:v1");
    let error = fixture.images.pull_image(pull(&name, None)).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::PermissionDenied, "{error}");
    let auth = cri::AuthConfig { auth: "dXNlcjpzZWNyZXQ=".to_owned(), ..Default::default() };
    fixture.images.pull_image(pull(&name, Some(auth))).await.unwrap();
}

#[tokio::test]
async fn an_archive_is_imported() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new().await;
    let archive = under(&fixture, "image.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    tar.append_dir_all(".", under(&fixture, "layout")).unwrap();
    tar.finish().unwrap();
    let runtime = fixture.runtime.clone().unwrap();
    let images = runtime.import(&archive, Some("example.com/other:1".to_owned())).await.unwrap();
    assert_eq!(images.len(), 1);
    assert!(image_status(&mut fixture, "example.com/other:1").await.is_some());
}
