//! Frames made and read by hand.

use keelson_http2::PREFACE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `POST /unary` of gRPC, nothing of it kept in the table.
pub(crate) const UNARY: &[u8] = b"\x83\x86\x04\x06/unary\x01\x01x\x0f\x10\x10application/grpc";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A request of that path, with a body or without.
pub(crate) fn request(stream: u32, path: &str, has_body: bool) -> Vec<u8> {
    let mut block = b"\x83\x86\x04".to_vec();
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    let flags = END_HEADERS | if has_body { 0 } else { END_STREAM };
    frame(HEADERS, flags, stream, &block)
}

/// A whole call of `/unary`.
pub(crate) fn call(stream: u32, message: &[u8]) -> Vec<u8> {
    let mut data = vec![0];
    data.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    data.extend(message);
    let mut out = frame(HEADERS, END_HEADERS, stream, UNARY);
    out.extend(frame(DATA, END_STREAM, stream, &data));
    out
}

/// What a client says first.
pub(crate) fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

pub(crate) async fn say(to: &mut DuplexStream, bytes: &[u8]) {
    to.write_all(bytes).await.unwrap();
}

/// The next frame; `None` at the end.
pub(crate) async fn next(from: &mut DuplexStream) -> Option<Frame> {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.ok()?;
    let [high, middle, low, kind, flags, a, b, c, d] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    from.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), payload })
}

/// The next frame that is not about settings or windows.
pub(crate) async fn answer(from: &mut DuplexStream) -> Option<Frame> {
    loop {
        let frame = next(from).await?;
        if ![SETTINGS, WINDOW_UPDATE].contains(&frame.kind) {
            return Some(frame);
        }
    }
}

/// The reason and the text of the GOAWAY that must come.
pub(crate) async fn farewell(from: &mut DuplexStream) -> (u32, String) {
    loop {
        let frame = next(from).await.expect("a GOAWAY before the end");
        if frame.kind == GO_AWAY {
            let reason = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
            return (reason, String::from_utf8(frame.payload[8..].to_vec()).unwrap());
        }
    }
}
