//! Exec and attach: a process's streams on a WebSocket.

use std::sync::Arc;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use keelson_proto::cri;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::channels::{self, Input, Protocol, STDERR, STDOUT};
use super::upgrade::Socket;
use crate::runtime::client::{FrameWriter, blocking};
use crate::runtime::embedded::Inner;
use crate::runtime::error::{During, RuntimeError};
use crate::runtime::exec::{Console, Exec};
use crate::runtime::shim::protocol::{self, Reply, Request};

/// Messages that wait for a slow caller before the process does.
const MESSAGES_MAX: usize = 32;
/// How long output is waited for once the process has ended.
const DRAIN_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// How long a caller may take to close its side once it was told the end.
const CLOSE_MAX: std::time::Duration = std::time::Duration::from_secs(2);

type Out = mpsc::Sender<Message>;

/// Runs a command.
pub(super) async fn exec(
    inner: &Arc<Inner>,
    request: cri::ExecRequest,
    socket: Socket,
    _: Protocol,
) {
    let (sink, mut input) = socket.split();
    let (out, writer) = writer(sink);
    let id = request.container_id;
    let ended = match inner.open_exec(&id, request.cmd, request.tty, request.stdin).await {
        Ok(mut exec) => {
            // Closed, so that a process that writes what nobody wants learns of it.
            exec.stdout = exec.stdout.filter(|_| request.stdout);
            exec.stderr = exec.stderr.filter(|_| request.stderr);
            run(exec, &mut input, &out).await
        }
        Err(error) => Err(error),
    };
    finish(ended, out, writer, input).await;
}

async fn run(
    mut exec: Exec,
    input: &mut SplitStream<Socket>,
    out: &Out,
) -> Result<i32, RuntimeError> {
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    let console = exec.console.clone();
    let mut stdin = exec.stdin.take();
    let output = async {
        match &console {
            Some(console) => copy_console(console, out).await,
            None => {
                tokio::join!(copy(stdout, STDOUT, out), copy(stderr, STDERR, out));
            }
        }
    };
    let control = &mut exec.writer;
    let console = exec.console.clone();
    let feeding = async {
        while let Some(said) = next_input(input).await {
            let done = match said {
                Input::Stdin(bytes) => match (&console, &mut stdin) {
                    (Some(console), _) => console.write_all(&bytes).await,
                    (None, Some(stdin)) => stdin.write_all(&bytes).await,
                    (None, None) => Ok(()),
                },
                Input::StdinClosed => {
                    stdin = None;
                    Ok(())
                }
                Input::Resize { columns, rows } => {
                    control.request(&Request::Resize { columns, rows }).await
                }
                Input::Other => Ok(()),
            };
            if done.is_err() {
                stdin = None; // the process reads no more
            }
        }
    };
    let ended = exec.reader.exit_code();
    tokio::pin!(output, ended, feeding);
    let mut output_flows = true;
    loop {
        tokio::select! {
            code = &mut ended => {
                if output_flows {
                    let _ = tokio::time::timeout(DRAIN_MAX, output).await;
                }
                return Ok(code?);
            }
            () = &mut output, if output_flows => output_flows = false,
            // Nobody is there to see the output: leaving kills the process.
            () = &mut feeding => {
                return Err(RuntimeError::Invalid("the caller has gone".to_owned()));
            }
        }
    }
}

/// Joins a container's own streams.
pub(super) async fn attach(
    inner: &Arc<Inner>,
    request: cri::AttachRequest,
    socket: Socket,
    _: Protocol,
) {
    let (sink, mut input) = socket.split();
    let (out, writer) = writer(sink);
    let ended = join(inner, &request, &mut input, &out).await;
    finish(ended, out, writer, input).await;
}

async fn join(
    inner: &Arc<Inner>,
    request: &cri::AttachRequest,
    input: &mut SplitStream<Socket>,
    out: &Out,
) -> Result<i32, RuntimeError> {
    let container = inner.running_container(&request.container_id)?;
    let sandbox_id = container.record.lock().sandbox_id.clone();
    let sandbox = inner.model.sandbox(&sandbox_id).ok_or(RuntimeError::NoSandbox(sandbox_id))?;
    let (client, id, stdin) = (sandbox.shim.clone(), container.id.clone(), request.stdin);
    let channel = blocking(move || client.attach(id, stdin)).await?;
    let (mut reader, mut writer) = channel.into_async().during("shim connection")?;
    loop {
        tokio::select! {
            frame = reader.next() => match frame? {
                None => return Ok(0),
                Some(frame) if frame.kind == protocol::CONTROL => {
                    if let Ok(Reply::Exited { .. }) = serde_json::from_slice(&frame.payload) {
                        return Ok(0); // the exit of an attached container is no error of attach
                    }
                }
                Some(frame) => {
                    let wanted = match frame.kind {
                        protocol::STDERR => request.stderr,
                        _ => request.stdout,
                    };
                    let channel = if frame.kind == protocol::STDERR { STDERR } else { STDOUT };
                    if wanted && out.send(channels::message(channel, &frame.payload)).await.is_err() {
                        return Ok(0);
                    }
                }
            },
            said = next_input(input) => match said {
                Some(said) => pass_on(said, &mut writer).await.during("attach")?,
                None => return Ok(0),
            },
        }
    }
}

async fn pass_on(said: Input, writer: &mut FrameWriter) -> std::io::Result<()> {
    match said {
        Input::Stdin(bytes) if bytes.is_empty() => Ok(()), // empty would mean closed
        Input::Stdin(bytes) => writer.bytes(protocol::STDIN, &bytes).await,
        Input::StdinClosed => writer.bytes(protocol::STDIN, b"").await,
        Input::Resize { columns, rows } => writer.request(&Request::Resize { columns, rows }).await,
        Input::Other => Ok(()),
    }
}

/// What the caller says next; none once it has gone.
async fn next_input(input: &mut SplitStream<Socket>) -> Option<Input> {
    loop {
        match input.next().await? {
            Ok(Message::Binary(data)) => return Some(channels::input(data)),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {} // text has no channel; pings are answered by the library
        }
    }
}

/// Sends what is put into the queue, in order.
fn writer(mut sink: SplitSink<Socket, Message>) -> (Out, tokio::task::JoinHandle<()>) {
    let (out, mut queue) = mpsc::channel(MESSAGES_MAX);
    let task = tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // Clients take any other end for a broken connection.
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = sink.send(Message::Close(Some(frame))).await;
        let _ = sink.close().await;
    });
    (out, task)
}

/// Says how it ended, and hears the caller out: one that still sends would lose what it is told if
/// the connection went away under it.
async fn finish(
    ended: Result<i32, RuntimeError>,
    out: Out,
    writer: tokio::task::JoinHandle<()>,
    mut input: SplitStream<Socket>,
) {
    let last = match ended {
        Ok(code) => channels::outcome(code),
        Err(error) => channels::failure(&error),
    };
    // A caller that has gone does not need it.
    let _ = out.send(last).await;
    drop(out);
    let _ = writer.await;
    let hear_out = async { while next_input(&mut input).await.is_some() {} };
    let _still_talking = tokio::time::timeout(CLOSE_MAX, hear_out).await;
}

async fn copy(from: Option<impl AsyncRead + Unpin>, channel: u8, out: &Out) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if out.send(channels::message(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}

async fn copy_console(console: &Console, out: &Out) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = console.read(&mut buffer).await {
        if out.send(channels::message(STDOUT, &buffer[..length])).await.is_err() {
            return;
        }
    }
}
