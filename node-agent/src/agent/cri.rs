//! The two CRI clients, over any transport that tonic speaks.
use std::path::Path;

use keelson_proto::cri::image_service_client::ImageServiceClient;
use keelson_proto::cri::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint};

/// Answers larger than tonic's 4 MiB come from nodes with many pods.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Clients of a CRI v1 server. Cloning is cheap and shares the connection.
#[derive(Clone, Debug)]
pub struct CriClients {
    pub(crate) runtime: RuntimeServiceClient<Channel>,
    pub(crate) images: ImageServiceClient<Channel>,
}

impl CriClients {
    /// Both services on one connection, whatever carries it.
    pub fn new(channel: Channel) -> Self {
        Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Connects to the unix socket of a CRI server when first used (`--container-runtime-endpoint`).
    pub fn unix(path: &Path) -> Self {
        let path = path.to_path_buf();
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(path).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://cri.local");
        Self::new(endpoint.connect_with_connector_lazy(connector))
    }
}

/// The words of a CRI error as users see them in events and messages, `rpc error: …`, as gRPC for Go writes them.
pub(crate) fn reason_of(status: &tonic::Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}
