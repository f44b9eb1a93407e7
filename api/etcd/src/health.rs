//! gRPC's health service: serving as long as it answers, but for defragmentations that say so.

use tokio::sync::watch;
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
const NOT_SERVING: i32 = 2;

/// Whether clients had better go elsewhere: counts the reasons.
#[derive(Debug)]
pub(crate) struct Serving(watch::Sender<u32>);

impl Default for Serving {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Serving {
    /// Not serving until the answer is dropped.
    pub(crate) fn pause(&self) -> Paused<'_> {
        self.0.send_modify(|reasons| *reasons += 1);
        Paused(self)
    }

    fn status(reasons: u32) -> HealthCheckResponse {
        HealthCheckResponse { status: if reasons == 0 { SERVING } else { NOT_SERVING } }
    }
}

/// A reason to be away.
pub(crate) struct Paused<'a>(&'a Serving);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|reasons| *reasons = reasons.saturating_sub(1));
    }
}

pub(crate) async fn check(
    face: EtcdFace,
    _request: HealthCheckRequest,
) -> Result<HealthCheckResponse, FaceError> {
    Ok(Serving::status(*face.serving().0.borrow()))
}

/// One answer at once, then one for each change.
pub(crate) fn watch(
    face: EtcdFace,
    _requests: tonic::Request<tonic::Streaming<HealthCheckRequest>>,
) -> Result<ReceiverStream<Result<HealthCheckResponse, Status>>, FaceError> {
    let (answers, outgoing) = tokio::sync::mpsc::channel(1);
    let mut changes = face.serving().0.subscribe();
    tokio::spawn(async move {
        loop {
            let now = Serving::status(*changes.borrow_and_update());
            if answers.send(Ok(now)).await.is_err() {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = answers.closed() => return,
            }
        }
    });
    Ok(ReceiverStream::new(outgoing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_away_until_the_last_reason_ends() {
        let serving = Serving::default();
        let status = || Serving::status(*serving.0.borrow()).status;
        assert_eq!(status(), SERVING);
        let (first, second) = (serving.pause(), serving.pause());
        drop(first);
        assert_eq!(status(), NOT_SERVING);
        drop(second);
        assert_eq!(status(), SERVING);
    }
}
