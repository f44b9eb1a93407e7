//! The runtime as its owner sees it: started, served, stopped.

use futures::future::BoxFuture;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use keelson_proto::cri::image_service_server::ImageServiceServer;
use keelson_proto::cri::runtime_service_server::RuntimeServiceServer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint, Server, Uri};

use super::cgroup::Cgroups;
use super::config::RuntimeConfig;
use super::error::{During, RuntimeError};
use super::layout::Layout;
use super::model::Model;
use super::streaming::Streams;
use crate::connection::Connection;
use crate::image::{ImageRecord, ImageStore};

/// The longest message of a call: a list of many containers.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes in flight on an in-memory connection.
const MEMORY_BYTES: usize = 64 << 10;
/// In-memory connections that wait to be accepted.
const CONNECTIONS_MAX: usize = 16;

/// What all services share.
pub(super) struct Inner {
    pub(super) config: RuntimeConfig,
    pub(super) layout: Layout,
    pub(super) images: ImageStore,
    pub(super) cgroups: Cgroups,
    pub(super) model: Model,
    pub(super) streams: Streams,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

/// The embedded runtime. Cheap to clone; stopping it leaves containers running.
#[derive(Clone)]
pub struct EmbeddedRuntime {
    pub(super) inner: Arc<Inner>,
}

/// Makes connections to the runtime within the process.
#[derive(Clone)]
pub struct CriConnector {
    connections: tokio::sync::mpsc::Sender<tokio::io::DuplexStream>,
}

impl EmbeddedRuntime {
    /// Opens the root folder, adopts the sandboxes and containers in it, and is ready to serve.
    pub fn start(config: RuntimeConfig) -> BoxFuture<'static, Result<Self, RuntimeError>> {
        Box::pin(async move {
            // Image pulls use the process's TLS provider; another component may have set it before.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let layout = Layout::new(&config.root_dir);
            for folder in [layout.root().to_owned(), layout.sandboxes(), layout.containers()] {
                std::fs::create_dir_all(&folder).during("root folder")?;
            }
            // Overlays and bundles are named by absolute paths.
            let layout = Layout::new(&std::fs::canonicalize(layout.root()).during("root folder")?);
            let images = ImageStore::open(&layout.images())?;
            let cgroups = Cgroups::detect().during("cgroups")?;
            let stopping = CancellationToken::new();
            let streams =
                Streams::bind(config.streaming_address).await.during("streaming server")?;
            let inner = Arc::new(Inner {
                config,
                layout,
                images,
                cgroups,
                model: Model::new(),
                streams,
                tasks: TaskTracker::new(),
                stopping,
            });
            inner.adopt().await?;
            inner.serve_streams();
            Ok(Self { inner })
        })
    }

    /// The two services, for a server of the caller's.
    pub fn services(&self) -> (RuntimeServiceServer<Self>, ImageServiceServer<Self>) {
        let runtime = RuntimeServiceServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let image = ImageServiceServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        (runtime, image)
    }

    /// Serves CRI on a unix socket, replacing one that is left over, until the runtime is stopped.
    pub fn serve_unix(&self, path: &Path) -> Result<(), RuntimeError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).during("CRI socket")?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).during("CRI socket");
            }
            _ => {}
        }
        let listener = tokio::net::UnixListener::bind(path).during("CRI socket")?;
        let only_root = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, only_root).during("CRI socket")?;
        let accepted = tokio_stream::wrappers::UnixListenerStream::new(listener);
        self.serve(accepted.map(|stream| stream.map(Connection::new)).boxed());
        Ok(())
    }

    /// Serves CRI within the process.
    pub fn connector(&self) -> CriConnector {
        let (connections, incoming) = tokio::sync::mpsc::channel(CONNECTIONS_MAX);
        let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
        self.serve(incoming.map(|stream| Ok(Connection::new(stream))).boxed());
        CriConnector { connections }
    }

    fn serve(&self, incoming: BoxStream<'static, std::io::Result<Connection>>) {
        let (runtime, image) = self.services();
        let stopping = self.inner.stopping.clone();
        self.inner.tasks.spawn(async move {
            let served = Server::builder()
                .add_service(runtime)
                .add_service(image)
                .serve_with_incoming_shutdown(incoming, stopping.cancelled())
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "CRI server ended");
            }
        });
    }

    /// Imports every image of an OCI layout, a folder or a tar archive of one. `name` names the
    /// image of a layout that has only one.
    pub async fn import(
        &self,
        from: &Path,
        name: Option<String>,
    ) -> Result<Vec<ImageRecord>, RuntimeError> {
        let (store, from) = (self.inner.images.clone(), from.to_owned());
        super::client::blocking(move || {
            Ok(crate::image::import::import(&store, &from, name.as_deref())?)
        })
        .await
    }

    /// Stops serving. Sandboxes and containers stay.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl CriConnector {
    /// A channel for CRI clients; it reconnects by itself.
    pub fn channel(&self) -> Channel {
        let connections = self.connections.clone();
        Endpoint::from_static("http://cri.invalid").connect_with_connector_lazy(tower::service_fn(
            move |_: Uri| {
                let connections = connections.clone();
                async move {
                    let (here, there) = tokio::io::duplex(MEMORY_BYTES);
                    connections
                        .send(there)
                        .await
                        .map_err(|_| std::io::Error::other("the runtime has stopped"))?;
                    Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(here))
                }
            },
        ))
    }
}
