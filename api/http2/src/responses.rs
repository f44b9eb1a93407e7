//! Responses: what is sent, within the client's windows.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::block::Encoder;
use crate::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PAYLOAD_MAX, RST_STREAM, Reason,
    put_head, put_number,
};
use crate::output::Output;

/// What may wait to be written before no more is made, and before the client is no longer read from.
const OUTPUT_MAX: usize = 256 << 10;
/// The window of a client that has not said another.
const WINDOW: i64 = 65_535;

/// What follows the data of a stream.
#[derive(Debug)]
pub(crate) enum End {
    /// More data, or it is not known.
    Open,
    /// Nothing.
    Data,
    /// That a gRPC call went well.
    GrpcOk,
    /// These.
    Trailers(HeaderMap),
    /// It has been sent.
    Sent,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) output: Output,
    pub(crate) encoder: Encoder,
    /// What the client takes on the whole connection, and on a stream at its beginning.
    pub(crate) window: i64,
    pub(crate) stream_window: i64,
    /// Longest payload the client takes.
    pub(crate) payload_max: usize,
    /// Frames of answers that were made.
    pub(crate) answers: u64,
    block: BytesMut,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            output: Output::default(),
            encoder: Encoder::new(),
            window: WINDOW,
            stream_window: WINDOW,
            payload_max: PAYLOAD_MAX,
            answers: 0,
            block: BytesMut::new(),
        }
    }

    /// Whether the client is behind.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_MAX
    }

    /// The head of an answer to a gRPC call that went well.
    pub(crate) fn grpc_head(&mut self, stream: u32) {
        self.encoder.grpc_head(&mut self.block);
        self.headers(stream, 0);
    }

    /// The head of any answer.
    pub(crate) fn head(&mut self, stream: u32, status: StatusCode, headers: &HeaderMap, end: bool) {
        self.encoder.status(status, &mut self.block);
        self.encoder.headers(headers, &mut self.block);
        self.headers(stream, if end { END_STREAM } else { 0 });
    }

    /// Gives a stream up.
    pub(crate) fn reset(&mut self, stream: u32, reason: Reason) {
        put_number(self.output.tail(), RST_STREAM, stream, reason as u32);
    }

    /// Sends as much of `data`, and then `end`, as the windows allow; whether that was all.
    pub(crate) fn send(
        &mut self,
        stream: u32,
        window: &mut i64,
        data: &mut Bytes,
        end: &mut End,
    ) -> bool {
        while !data.is_empty() {
            let room = usize::try_from((*window).min(self.window)).unwrap_or(0);
            let part = data.len().min(room).min(self.payload_max);
            if part == 0 {
                return false;
            }
            let piece = data.split_to(part);
            #[allow(clippy::cast_possible_wrap, reason = "at most a window, of 31 bits")]
            let taken = part as i64;
            (*window, self.window) = (*window - taken, self.window - taken);
            let ends = data.is_empty() && matches!(end, End::Data);
            let flags = if ends { END_STREAM } else { 0 };
            put_head(self.output.tail(), part, DATA, flags, stream);
            self.output.push(piece);
            self.answers += 1;
            if ends {
                *end = End::Sent;
            }
        }
        match end {
            End::Open | End::Sent => return true,
            End::Data => {
                put_head(self.output.tail(), 0, DATA, END_STREAM, stream);
                self.answers += 1;
            }
            End::GrpcOk => {
                self.encoder.grpc_ok(&mut self.block);
                self.headers(stream, END_STREAM);
            }
            End::Trailers(trailers) => {
                self.encoder.headers(trailers, &mut self.block);
                self.headers(stream, END_STREAM);
            }
        }
        *end = End::Sent;
        true
    }

    /// Sends the block, in as many frames as it needs.
    fn headers(&mut self, stream: u32, flags: u8) {
        let tail = self.output.tail();
        let (mut kind, mut flags) = (HEADERS, flags);
        let mut block = &self.block[..];
        while block.len() > self.payload_max {
            let (part, rest) = block.split_at(self.payload_max);
            put_head(tail, part.len(), kind, flags, stream);
            tail.extend_from_slice(part);
            (kind, flags, block) = (CONTINUATION, 0, rest);
        }
        put_head(tail, block.len(), kind, flags | END_HEADERS, stream);
        tail.extend_from_slice(block);
        self.block.clear();
        self.answers += 1;
    }
}
