//! Blocks: the headers of responses, compressed.
//!
//! The two that every gRPC answer has are put in the client's table once and are one byte from then
//! on; all others are written out.
// upstream: RFC 7541

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, StatusCode};

/// Below this size the client's table does not hold the two.
const TABLE_SIZE_MIN: u32 = 256;
/// The first place after the static table.
const NEWEST: u8 = 62;
const INDEXED: u8 = 0x80;
const STATUS_200: u8 = 8;

/// What the client's table holds by now.
#[derive(Debug)]
pub(crate) struct Encoder {
    content_type: Option<u8>,
    grpc_ok: Option<u8>,
    usable: bool,
    /// A new size, to be said before the next block.
    resized: Option<u32>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { content_type: None, grpc_ok: None, usable: true, resized: None }
    }

    /// The client's table has this size from now on.
    pub(crate) fn resize(&mut self, size: u32) {
        self.usable = size >= TABLE_SIZE_MIN;
        let size = if self.usable { size.min(4096) } else { 0 };
        if !self.usable {
            (self.content_type, self.grpc_ok) = (None, None);
        }
        self.resized = Some(size);
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if let Some(size) = self.resized.take() {
            put_number(out, 0x20, 5, size as usize);
        }
    }

    /// `:status: 200`, `content-type: application/grpc`.
    pub(crate) fn grpc_head(&mut self, out: &mut BytesMut) {
        self.begin(out);
        out.put_u8(INDEXED | STATUS_200);
        const NAME: u8 = 31;
        match self.content_type {
            Some(place) => out.put_u8(INDEXED | place),
            None if self.usable => {
                out.put_u8(0x40 | NAME);
                put_string(out, b"application/grpc");
                self.content_type = Some(NEWEST);
                self.grpc_ok = self.grpc_ok.map(|place| place + 1);
            }
            None => {
                put_number(out, 0, 4, NAME.into());
                put_string(out, b"application/grpc");
            }
        }
    }

    /// `grpc-status: 0`.
    pub(crate) fn grpc_ok(&mut self, out: &mut BytesMut) {
        self.begin(out);
        match self.grpc_ok {
            Some(place) => out.put_u8(INDEXED | place),
            None => {
                out.put_u8(if self.usable { 0x40 } else { 0 });
                put_string(out, b"grpc-status");
                put_string(out, b"0");
                if self.usable {
                    self.grpc_ok = Some(NEWEST);
                    self.content_type = self.content_type.map(|place| place + 1);
                }
            }
        }
    }

    /// Any status.
    pub(crate) fn status(&mut self, status: StatusCode, out: &mut BytesMut) {
        self.begin(out);
        let place = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                out.put_u8(STATUS_200);
                return put_string(out, status.as_str().as_bytes());
            }
        };
        out.put_u8(INDEXED | place);
    }

    /// Any headers.
    pub(crate) fn headers(&mut self, headers: &HeaderMap, out: &mut BytesMut) {
        self.begin(out);
        for (name, value) in headers {
            out.put_u8(0);
            put_string(out, name.as_str().as_bytes());
            put_string(out, value.as_bytes());
        }
    }
}

fn put_number(out: &mut BytesMut, pattern: u8, bits: u32, number: usize) {
    let mask = (1usize << bits) - 1;
    #[allow(clippy::cast_possible_truncation, reason = "below the mask, or seven bits")]
    if number < mask {
        out.put_u8(pattern | number as u8);
    } else {
        out.put_u8(pattern | mask as u8);
        let mut rest = number - mask;
        while rest >= 0x80 {
            out.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.put_u8(rest as u8);
    }
}

fn put_string(out: &mut BytesMut, string: &[u8]) {
    put_number(out, 0, 7, string.len());
    out.put_slice(string);
}
