//! [`Store`] over gRPC: any etcd v3 endpoint.

use std::time::Duration;

use async_trait::async_trait;
use keelson_proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{Store, StoreError, WatchItem, WatchSpec, Watcher};

/// Items of one watcher that wait for its reader; then the stream's own flow control holds.
const WATCH_QUEUE: usize = 128;
/// How long one unary request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer taken.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// Where the store is and how to speak to it.
#[derive(Debug, Clone, Default)]
pub struct GrpcStoreConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`; requests are spread over all of them.
    pub endpoints: Vec<String>,
    /// PEM of the certificate authorities to trust.
    pub ca_pem: Option<Vec<u8>>,
    /// PEM of the client's certificate and key.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Connections an endpoint; 0 counts as 1.
    pub connections: usize,
}

/// A store behind gRPC.
#[derive(Debug, Clone)]
pub struct GrpcStore {
    channel: Channel,
}

impl GrpcStore {
    /// Prepares the connections; they are made when first used.
    pub fn new(config: &GrpcStoreConfig) -> Result<Self, StoreError> {
        let mut endpoints = Vec::new();
        for address in &config.endpoints {
            let mut endpoint = Endpoint::from_shared(address.clone())
                .map_err(|error| refused(format!("endpoint {address}: {error}")))?
                .tcp_nodelay(true)
                .connect_timeout(Duration::from_secs(5))
                .http2_keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(10))
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20);
            if address.starts_with("https://") {
                let mut tls = ClientTlsConfig::new();
                if let Some(ca) = &config.ca_pem {
                    tls = tls.ca_certificate(Certificate::from_pem(ca));
                }
                if let Some((certificate, key)) = &config.identity_pem {
                    tls = tls.identity(Identity::from_pem(certificate, key));
                }
                endpoint = endpoint
                    .tls_config(tls)
                    .map_err(|error| refused(format!("TLS for {address}: {error}")))?;
            }
            for _ in 0..config.connections.max(1) {
                endpoints.push(endpoint.clone());
            }
        }
        let channel = match endpoints.len() {
            0 => return Err(refused("no endpoint of the store is given".to_owned())),
            1 => endpoints[0].connect_lazy(),
            _ => Channel::balance_list(endpoints.into_iter()),
        };
        Ok(Self { channel })
    }

    /// For what the store's trait does not say.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }
}

fn refused(message: String) -> StoreError {
    StoreError::Refused { code: tonic::Code::InvalidArgument as i32, message }
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(REQUEST_TIMEOUT);
    request
}

#[async_trait]
impl Store for GrpcStore {
    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, StoreError> {
        Ok(self.kv().range(timed(request)).await?.into_inner())
    }

    async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, StoreError> {
        Ok(self.kv().put(timed(request)).await?.into_inner())
    }

    async fn delete_range(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, StoreError> {
        Ok(self.kv().delete_range(timed(request)).await?.into_inner())
    }

    async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, StoreError> {
        Ok(self.kv().txn(timed(request)).await?.into_inner())
    }

    async fn compact(&self, revision: i64, physical: bool) -> Result<(), StoreError> {
        self.kv().compact(timed(pb::CompactionRequest { revision, physical })).await?;
        Ok(())
    }

    async fn watch(&self, spec: WatchSpec) -> Result<Watcher, StoreError> {
        open(self.channel.clone(), spec).await
    }

    async fn lease_grant(&self, id: i64, ttl_seconds: i64) -> Result<i64, StoreError> {
        let request = pb::LeaseGrantRequest { id, ttl: ttl_seconds };
        Ok(self.lease().lease_grant(timed(request)).await?.into_inner().id)
    }

    async fn lease_keep_alive(&self, id: i64) -> Result<i64, StoreError> {
        let once = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let mut answers = self.lease().lease_keep_alive(timed(once)).await?.into_inner();
        Ok(answers.message().await?.map_or(0, |answer| answer.ttl))
    }

    async fn lease_revoke(&self, id: i64) -> Result<(), StoreError> {
        self.lease().lease_revoke(timed(pb::LeaseRevokeRequest { id })).await?;
        Ok(())
    }

    async fn status(&self) -> Result<pb::StatusResponse, StoreError> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        Ok(client.status(timed(pb::StatusRequest {})).await?.into_inner())
    }
}

/// Opens a stream with one watcher on it and waits until the store has registered it.
async fn open(channel: Channel, spec: WatchSpec) -> Result<Watcher, StoreError> {
    let (requests, outgoing) = mpsc::channel(2);
    let create = pb::WatchCreateRequest {
        key: spec.key,
        range_end: spec.range_end,
        start_revision: spec.start_revision,
        progress_notify: spec.progress_notify,
        prev_kv: spec.prev_kv,
        ..Default::default()
    };
    let first = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.try_send(first).map_err(|_| closed())?;
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
    let mut answers = WatchClient::new(channel)
        .max_decoding_message_size(ANSWER_BYTES_MAX)
        .watch(request)
        .await?
        .into_inner();
    let created = answers.message().await?.ok_or_else(closed)?;
    let created_revision = created.header.as_ref().map_or(0, |header| header.revision);
    if created.canceled {
        return Err(ended(&created));
    }
    let (progress, mut asked) = mpsc::channel(1);
    let (items, received) = mpsc::channel(WATCH_QUEUE);
    tokio::spawn(async move {
        loop {
            let item = tokio::select! {
                () = items.closed() => break,
                Some(()) = asked.recv() => {
                    let ask = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                    let ask = pb::WatchRequest { request_union: Some(ask) };
                    if requests.send(ask).await.is_err() {
                        break;
                    }
                    continue;
                }
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => item(answer),
                    Ok(None) => Err(closed()),
                    Err(status) => Err(status.into()),
                },
            };
            let last = item.is_err();
            if items.send(item).await.is_err() || last {
                break;
            }
        }
    });
    Ok(Watcher::new(received, progress, created_revision))
}

fn item(answer: pb::WatchResponse) -> Result<WatchItem, StoreError> {
    if answer.canceled {
        return Err(ended(&answer));
    }
    let revision = answer.header.map_or(0, |header| header.revision);
    if answer.events.is_empty() {
        return Ok(WatchItem::Progress { revision });
    }
    Ok(WatchItem::Events { revision, events: answer.events })
}

fn ended(answer: &pb::WatchResponse) -> StoreError {
    if answer.compact_revision > 0 || answer.cancel_reason.contains("has been compacted") {
        return StoreError::Compacted;
    }
    StoreError::Refused {
        code: tonic::Code::Cancelled as i32,
        message: format!("watch ended: {}", answer.cancel_reason),
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the watch stream was closed".to_owned())
}
