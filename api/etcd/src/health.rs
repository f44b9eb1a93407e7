//! gRPC's health service: whole and serving, as long as it answers.

use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::error::FaceError;
use crate::face::EtcdFace;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

pub(crate) async fn check(
    _face: EtcdFace,
    _request: HealthCheckRequest,
) -> Result<HealthCheckResponse, FaceError> {
    Ok(HealthCheckResponse { status: SERVING })
}

/// One answer, then silence until the client leaves: the state does not change.
pub(crate) fn watch(
    _face: EtcdFace,
    _requests: tonic::Request<tonic::Streaming<HealthCheckRequest>>,
) -> Result<ReceiverStream<Result<HealthCheckResponse, Status>>, FaceError> {
    let (answers, outgoing) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let _gone = answers.send(Ok(HealthCheckResponse { status: SERVING })).await;
        answers.closed().await;
    });
    Ok(ReceiverStream::new(outgoing))
}
