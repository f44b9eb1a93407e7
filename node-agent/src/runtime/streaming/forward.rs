//! Port-forward: ports of a sandbox on a WebSocket, two channels a port.
//!
//! upstream: port forwarding over "v4.channel.k8s.io": channel 2n has the data of the n-th port,
//! 2n+1 its errors; each begins with the port's number.

use std::io;
use std::net::TcpStream as BlockingStream;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use keelson_proto::cri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::channels::message;
use super::upgrade::Socket;
use crate::runtime::client::blocking;
use crate::runtime::embedded::Inner;

/// Messages that wait for a slow caller.
const MESSAGES_MAX: usize = 32;

/// Carries bytes until the caller goes or every port is closed.
pub(super) async fn forward(inner: &Arc<Inner>, request: cri::PortForwardRequest, socket: Socket) {
    let (mut sink, mut input) = socket.split();
    let (out, mut queue) = mpsc::channel::<Message>(MESSAGES_MAX);
    let namespace = inner.network_namespace(&request.pod_sandbox_id);
    let mut ports: Vec<Option<OwnedWriteHalf>> = Vec::new();
    for (index, port) in request.port.iter().take(100).enumerate() {
        let channel = u8::try_from(index * 2).unwrap_or(u8::MAX - 1);
        let port = u16::try_from(*port).unwrap_or(0);
        for channel in [channel, channel + 1] {
            if sink.send(message(channel, &port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        match connect(namespace.clone(), port).await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                tokio::spawn(copy(read, channel, out.clone()));
                ports.push(Some(write));
            }
            Err(error) => {
                let text = format!("failed to connect to port {port}: {error}");
                let _ = sink.send(message(channel + 1, text.as_bytes())).await;
                ports.push(None);
            }
        }
    }
    drop(out);
    loop {
        tokio::select! {
            outgoing = queue.recv() => match outgoing {
                Some(outgoing) => if sink.send(outgoing).await.is_err() { return },
                None => break,
            },
            incoming = input.next() => match incoming {
                Some(Ok(Message::Binary(data))) => {
                    let Some((channel, data)) = data.split_first() else { continue };
                    let port = ports.get_mut(usize::from(channel / 2)).and_then(Option::as_mut);
                    if let Some(port) = port.filter(|_| channel % 2 == 0) {
                        let _ = port.write_all(data).await; // its reader sees the end, too
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    let _ = sink.close().await;
}

async fn copy(mut from: OwnedReadHalf, channel: u8, out: mpsc::Sender<Message>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if out.send(message(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}

/// Connects to a port of the sandbox's own loopback.
pub(super) async fn connect(namespace: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    let Some(namespace) = namespace else {
        return TcpStream::connect(("localhost", port)).await;
    };
    let stream = blocking(move || {
        // A thread of its own, since it never leaves the namespace again.
        let thread = std::thread::Builder::new().name("port-forward".to_owned()).spawn(
            move || -> io::Result<BlockingStream> {
                let namespace = std::fs::File::open(namespace)?;
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                BlockingStream::connect(("127.0.0.1", port))
                    .or_else(|_| BlockingStream::connect(("::1", port)))
            },
        )?;
        thread.join().map_err(|_| io::Error::other("connecting panicked"))?
    })
    .await?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}
