//! One connection that forwards ports: pairs of streams, each a connection to a port of the pod.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::frame::{self, Frame};
use super::headers::HeaderReader;
use crate::runtime::embedded::Inner;
use crate::runtime::streaming::forward::connect;

/// Frames that wait for a slow client.
const FRAMES_MAX: usize = 32;
/// Pieces of data that wait for a slow port; the connection's other streams wait with it.
const PIECES_MAX: usize = 32;
/// Streams that a connection may have at once.
const STREAMS_MAX: usize = 2000;

type Out = mpsc::Sender<Vec<u8>>;

/// The streams of one forwarded connection, as far as they have come.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<(u32, mpsc::Receiver<Vec<u8>>)>,
}

struct Session {
    inner: Arc<Inner>,
    sandbox_id: String,
    out: Out,
    headers: HeaderReader,
    replied: bool,
    /// By the request that the client says they are of.
    waiting: BTreeMap<String, Pair>,
    /// Where the data of a stream goes.
    ports: HashMap<u32, mpsc::Sender<Vec<u8>>>,
    running: HashMap<u32, AbortHandle>,
    tasks: JoinSet<u32>,
}

/// Carries bytes until the client goes.
pub(in crate::runtime::streaming) async fn serve(
    inner: &Arc<Inner>,
    sandbox_id: String,
    connection: impl AsyncRead + AsyncWrite + Send + 'static,
) {
    let (mut input, mut output) = tokio::io::split(connection);
    let (out, mut queue) = mpsc::channel::<Vec<u8>>(FRAMES_MAX);
    let writer = tokio::spawn(async move {
        while let Some(frame) = queue.recv().await {
            output.write_all(&frame).await?;
            output.flush().await?;
        }
        output.shutdown().await
    });
    let mut session = Session {
        inner: Arc::clone(inner),
        sandbox_id,
        out,
        headers: HeaderReader::new(),
        replied: false,
        waiting: BTreeMap::new(),
        ports: HashMap::new(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    if let Err(error) = session.run(&mut input).await {
        tracing::debug!(%error, "port forwarding");
    }
    drop(session);
    let _gone_already = writer.await;
}

impl Session {
    async fn run(&mut self, input: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        let (frames, mut incoming) = mpsc::channel(1);
        // Reading a frame must not be broken off; so it is a future of its own.
        let reading = async {
            while let Some(frame) = frame::read(input).await? {
                if frames.send(frame).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::pin!(reading);
        loop {
            tokio::select! {
                ended = &mut reading => return ended,
                Some(frame) = incoming.recv() => self.take(frame).await?,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok(stream) = done {
                        self.ports.remove(&stream);
                        self.running.remove(&stream);
                    }
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::SynStream { stream, headers, fin } => self.open(stream, &headers, fin).await,
            Frame::Data { stream, data, fin } => {
                if let Some(port) = self.ports.get(&stream).filter(|_| !data.is_empty()) {
                    // A port that takes no more has told so by its own end.
                    let _closed = port.send(data).await;
                }
                if fin {
                    self.ports.remove(&stream);
                }
                Ok(())
            }
            Frame::Reset { stream } => {
                self.ports.remove(&stream);
                if let Some(task) = self.running.remove(&stream) {
                    task.abort();
                }
                Ok(())
            }
            Frame::Ping { id } => self.send(frame::pong(id)).await,
            Frame::GoAway | Frame::Other => Ok(()),
        }
    }

    async fn open(&mut self, stream: u32, headers: &[u8], fin: bool) -> io::Result<()> {
        let headers = self.headers.read(headers).map_err(io::Error::other)?;
        let get = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
        let port: Option<u16> = get("port").parse().ok().filter(|port| *port > 0);
        let crowded = self.ports.len() + self.waiting.len() >= STREAMS_MAX;
        let (Some(port), false) = (port, crowded) else {
            return self.send(frame::refuse(stream)).await;
        };
        let request = get("requestid").to_owned();
        let pair = self.waiting.entry(request.clone()).or_default();
        match get("streamtype") {
            "error" => pair.error = Some(stream),
            "data" => {
                let (pieces, queue) = mpsc::channel(PIECES_MAX);
                pair.data = Some((stream, queue));
                if !fin {
                    self.ports.insert(stream, pieces);
                }
            }
            _ => return self.send(frame::refuse(stream)).await,
        }
        let complete = pair.error.is_some() && pair.data.is_some();
        let first = !std::mem::replace(&mut self.replied, true);
        self.send(frame::reply(stream, first)).await?;
        if complete
            && let Some(Pair { error: Some(error), data: Some((data, queue)) }) =
                self.waiting.remove(&request)
        {
            let forward = Forward {
                inner: Arc::clone(&self.inner),
                sandbox_id: self.sandbox_id.clone(),
                port,
                error,
                data,
                out: self.out.clone(),
            };
            let task = self.tasks.spawn(async move {
                forward.run(queue).await;
                data
            });
            self.running.insert(data, task);
        }
        Ok(())
    }

    async fn send(&self, frame: Vec<u8>) -> io::Result<()> {
        self.out.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// One forwarded connection.
struct Forward {
    inner: Arc<Inner>,
    sandbox_id: String,
    port: u16,
    error: u32,
    data: u32,
    out: Out,
}

impl Forward {
    async fn run(self, queue: mpsc::Receiver<Vec<u8>>) {
        let carried = self.carry(queue).await;
        let text = carried.err().map(|error| {
            format!(
                "error forwarding port {} to pod {}, uid : failed to connect to localhost:{} \
                 inside the pod's network namespace: {error}",
                self.port, self.sandbox_id, self.port
            )
        });
        let last = [
            frame::data(self.error, text.unwrap_or_default().as_bytes(), true),
            frame::data(self.data, b"", true),
        ];
        for frame in last {
            // Whoever has gone needs no end.
            let _gone = self.out.send(frame).await;
        }
    }

    /// Copies both ways until the pod's side ends; fails when there is no connection to it.
    async fn carry(&self, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        let namespace = self.inner.network_namespace(&self.sandbox_id);
        let (mut from, mut to) = connect(namespace, self.port).await?.into_split();
        let feeding = async {
            while let Some(piece) = queue.recv().await {
                if to.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _closed = to.shutdown().await;
        };
        let output = async {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                if self.out.send(frame::data(self.data, &buffer[..length], false)).await.is_err() {
                    return;
                }
            }
        };
        tokio::pin!(feeding, output);
        tokio::select! {
            () = &mut output => {}
            () = &mut feeding => output.await,
        }
        Ok(())
    }
}
