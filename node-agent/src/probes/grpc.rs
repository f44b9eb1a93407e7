//! The gRPC health protocol: SERVING is healthy.
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use super::Outcome;

/// `grpc.health.v1.HealthCheckRequest` and the one value of its answer that counts, encoded by hand: two fields.
const SERVING: [u8; 2] = [0x08, 0x01];

pub(crate) async fn attempt(host: &str, port: i32, service: String, timeout: Duration) -> Outcome {
    let address = format!("{host}:{port}");
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
        return Outcome::Error(format!("invalid address {address}"));
    };
    let call = async {
        let channel = endpoint.connect().await.map_err(|error| {
            format!("error: failed to connect service at \"{address}\": {error}")
        })?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| error.to_string())?;
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let answer = client.unary(tonic::Request::new(service), path, codec::Raw).await;
        answer.map(tonic::Response::into_inner).map_err(|status| match status.code() {
            tonic::Code::Unimplemented => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            ),
            _ => format!("error: health rpc probe failed: {status}"),
        })
    };
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(answer)) if answer[..] == SERVING => Outcome::Healthy,
        Ok(Ok(_)) => {
            Outcome::Unhealthy("service unhealthy (responded with \"NOT_SERVING\")".into())
        }
        Ok(Err(why)) => Outcome::Unhealthy(why),
        Err(_) => {
            Outcome::Unhealthy(format!("timeout: health rpc did not complete within {timeout:?}"))
        }
    }
}

mod codec {
    //! The service's name out, raw bytes in.
    use bytes::{Buf, BufMut, Bytes};
    use tonic::Status;
    use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

    #[derive(Default)]
    pub(super) struct Raw;

    impl Codec for Raw {
        type Encode = String;
        type Decode = Bytes;
        type Encoder = Self;
        type Decoder = Self;

        fn encoder(&mut self) -> Self {
            Self
        }

        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for Raw {
        type Item = String;
        type Error = Status;

        fn encode(&mut self, service: String, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
            if service.is_empty() {
                return Ok(());
            }
            // Field 1, length-delimited; names are short.
            let length = u8::try_from(service.len())
                .ok()
                .filter(|length| *length < 128)
                .ok_or_else(|| Status::invalid_argument("service name too long"))?;
            out.put_u8(0x0a);
            out.put_u8(length);
            out.put_slice(service.as_bytes());
            Ok(())
        }
    }

    impl Decoder for Raw {
        type Item = Bytes;
        type Error = Status;

        fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
            let length = from.remaining();
            Ok(Some(from.copy_to_bytes(length)))
        }
    }
}
