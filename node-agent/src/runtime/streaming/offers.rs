//! What was promised by a URL and not fetched yet.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keelson_proto::cri;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::upgrade;
use crate::runtime::embedded::Inner;
use crate::runtime::error::RuntimeError;

/// How long a URL is good.
const OFFER_MAX: Duration = Duration::from_secs(60);
/// URLs that may wait at once.
const OFFERS_MAX: usize = 1000;

/// One call that streams.
#[derive(Debug)]
pub(in crate::runtime) enum Stream {
    /// A command.
    Exec(cri::ExecRequest),
    /// The container's own streams.
    Attach(cri::AttachRequest),
    /// Ports of the sandbox.
    PortForward(cri::PortForwardRequest),
}

/// The streaming server.
#[derive(Debug)]
pub(in crate::runtime) struct Streams {
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    waiting: Mutex<BTreeMap<String, (Instant, Stream)>>,
}

impl Streams {
    /// Listens; connections wait until [`Inner::serve_streams`].
    pub(in crate::runtime) async fn bind(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::other(format!("{address} is not a loopback address")));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let listener = Mutex::new(Some(listener));
        Ok(Self { listener, address, waiting: Mutex::default() })
    }

    /// Promises a stream; says where to fetch it.
    pub(in crate::runtime) fn offer(&self, stream: Stream) -> Result<String, RuntimeError> {
        let kind = match &stream {
            Stream::Exec(_) => "exec",
            Stream::Attach(_) => "attach",
            Stream::PortForward(_) => "portforward",
        };
        let token = hex::encode(rand::random::<[u8; 16]>());
        let url = format!("http://{}/{kind}/{token}", self.address);
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, (since, _)| since.elapsed() < OFFER_MAX);
        if waiting.len() >= OFFERS_MAX {
            return Err(RuntimeError::Invalid("too many streams wait to be fetched".into()));
        }
        waiting.insert(format!("/{kind}/{token}"), (Instant::now(), stream));
        Ok(url)
    }

    /// Fetches what was promised, once.
    pub(super) fn take(&self, path: &str) -> Option<Stream> {
        let (since, stream) = self.waiting.lock().remove(path)?;
        (since.elapsed() < OFFER_MAX).then_some(stream)
    }
}

impl Inner {
    /// Serves the URLs until the runtime is stopped.
    pub(in crate::runtime) fn serve_streams(self: &Arc<Self>) {
        let Some(listener) = self.streams.listener.lock().take() else { return };
        let inner = self.clone();
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = inner.stopping.cancelled() => return,
                };
                let Ok((stream, _)) = accepted else { continue };
                let inner = inner.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| upgrade::serve(inner.clone(), request));
                    // A caller that breaks off is no matter of ours.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
    }
}
