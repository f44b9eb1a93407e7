//! One HTTP/2 connection with gRPC calls on it, without IO: bytes come in, events and bytes go out.
//!
//! It exists because a general client costs as much CPU a call as the server that is measured. It
//! does what RFC 9113 asks of a client that calls the same few methods over and over: constant
//! headers, flow control both ways, no priorities, no push.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};

use super::hpack::{Answered, Decoder, Encoder};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// Longest frame that we take; what both sides begin with.
const FRAME_MAX: usize = 16_384;
/// Flow-control window that both sides begin with.
const WINDOW_DEFAULT: i64 = 65_535;
/// Bytes that the peer may send ahead of us, on all calls.
const WINDOW_CONNECTION: u32 = 64 << 20;
/// The same of one call.
pub(crate) const WINDOW_CALL: u32 = 8 << 20;
/// Longest message that is put together from several frames.
const MESSAGE_MAX: usize = 1 << 30;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// A call that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call(u32);

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// One message of the answer.
    Message(Cow<'a, [u8]>),
    /// The end, and whether it is a good one.
    End(Result<(), Refusal>),
}

/// A call's bad end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (gRPC code {code})")]
pub(crate) struct Refusal {
    pub(crate) code: u32,
    pub(crate) message: String,
}

/// gRPC's code for a call that was broken off.
const UNAVAILABLE: u32 = 14;

/// HTTP/2's code of a stream that its reader has no more use for.
const CANCEL: u32 = 8;

/// The connection is of no more use.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the server does not speak HTTP/2: {0}")]
    Protocol(&'static str),
    #[error("the server ended the connection: code {code} {message}")]
    GoneAway { code: u32, message: String },
}

/// What is known of a call.
struct Stream {
    tag: u64,
    path: &'static str,
    opened: bool,
    /// Bytes of messages that no frame has taken yet.
    unsent: Vec<u8>,
    /// No message follows those.
    finish: bool,
    window: i64,
    /// Begin of a message whose rest has not come.
    partial: Vec<u8>,
    answered: Answered,
    /// Bytes that came and that the peer has not been given back.
    owed: u32,
    /// Bytes that are not given back until somebody asks.
    slow: bool,
}

/// Rest of a frame that holds messages.
struct Body {
    stream: u32,
    left: usize,
    padding: usize,
    end: bool,
}

/// The state of one connection.
pub(crate) struct Connection {
    /// What is to be written; whoever writes takes it off.
    pub(crate) out: Vec<u8>,
    encoder: Encoder,
    decoder: Decoder,
    streams: HashMap<u32, Stream>,
    next: u32,
    /// Calls that wait as the peer allows no more at once.
    waiting: VecDeque<u32>,
    /// Calls whose messages wait for a window.
    blocked: BTreeSet<u32>,
    open: usize,
    window: i64,
    owed: u32,
    window_call: u32,
    peer_window: i64,
    peer_frame: usize,
    peer_streams: usize,
    ready: bool,
    body: Option<Body>,
    /// Headers whose end has not come: of which stream, whether its last, and the bytes.
    block: Option<(u32, bool, Vec<u8>)>,
}

impl Connection {
    /// A connection whose first bytes are in `out`. Each call may be sent `window` bytes ahead.
    pub(crate) fn new(https: bool, authority: &str, window: u32) -> Self {
        let mut out = PREFACE.to_vec();
        let settings: [(u16, u32); 2] = [(2, 0), (4, window)];
        frame(&mut out, SETTINGS, 0, 0, settings.len() * 6);
        for (setting, value) in settings {
            out.extend(setting.to_be_bytes());
            out.extend(value.to_be_bytes());
        }
        let mut connection = Self {
            out,
            encoder: Encoder::new(https, authority),
            decoder: Decoder::default(),
            streams: HashMap::new(),
            next: 1,
            waiting: VecDeque::new(),
            blocked: BTreeSet::new(),
            open: 0,
            window: WINDOW_DEFAULT,
            owed: 0,
            window_call: window,
            peer_window: WINDOW_DEFAULT,
            peer_frame: FRAME_MAX,
            peer_streams: usize::MAX,
            ready: false,
            body: None,
            block: None,
        };
        connection.update(0, WINDOW_CONNECTION - WINDOW_DEFAULT as u32);
        connection
    }

    /// Whether the peer has said what it allows.
    pub(crate) fn ready(&self) -> bool {
        self.ready
    }

    /// Begins a call with one message. `finish` where no other follows; events carry `tag`.
    pub(crate) fn call(
        &mut self,
        path: &'static str,
        tag: u64,
        message: &[u8],
        finish: Finish,
    ) -> Call {
        let id = self.next;
        self.next += 2;
        let stream = Stream {
            tag,
            path,
            opened: false,
            unsent: Vec::new(),
            finish: finish == Finish::Now,
            window: self.peer_window,
            partial: Vec::new(),
            answered: Answered::default(),
            owed: 0,
            slow: false,
        };
        let length = message.len() + 5;
        let fits = self.waiting.is_empty()
            && self.open < self.peer_streams
            && length <= self.peer_frame
            && length as i64 <= self.window.min(stream.window);
        self.streams.insert(id, stream);
        if fits {
            // The common way, without a copy between.
            self.open(id);
            let flags = if finish == Finish::Now { END_STREAM } else { 0 };
            frame(&mut self.out, DATA, flags, id, length);
            prefix(&mut self.out, message.len());
            self.out.extend_from_slice(message);
            self.window -= length as i64;
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.window -= length as i64;
            }
        } else {
            self.waiting.push_back(id);
            self.push(id, message);
            self.open_waiting();
        }
        Call(id)
    }

    /// One message more; false if the call has ended.
    pub(crate) fn send(&mut self, call: Call, message: &[u8]) -> bool {
        let opened = self.streams.get(&call.0).map(|stream| stream.opened);
        self.push(call.0, message);
        if opened == Some(true) {
            self.flush(call.0);
        }
        opened.is_some()
    }

    /// Breaks a call off; no event follows.
    pub(crate) fn cancel(&mut self, call: Call) {
        if let Some(stream) = self.streams.remove(&call.0) {
            self.blocked.remove(&call.0);
            if stream.opened {
                frame(&mut self.out, RST_STREAM, 0, call.0, 4);
                self.out.extend(CANCEL.to_be_bytes());
                self.closed();
            } else {
                self.waiting.retain(|id| *id != call.0);
            }
        }
    }

    /// What comes of a call is no longer acknowledged of itself, only by `relieve`.
    pub(crate) fn slow(&mut self, call: Call) {
        if let Some(stream) = self.streams.get_mut(&call.0) {
            stream.slow = true;
        }
    }

    /// Lets the peer send on, as much as it has sent.
    pub(crate) fn relieve(&mut self, call: Call) {
        let owed = self.streams.get_mut(&call.0).map(|stream| std::mem::take(&mut stream.owed));
        if let Some(owed @ 1..) = owed {
            self.update(call.0, owed);
        }
    }

    /// The next event of `input`, which it takes off the front as far as it has understood it;
    /// none when more bytes are wanted.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<(u64, Call, Event<'a>)>, Broken> {
        loop {
            if let Some(event) = self.body(input) {
                return Ok(Some(event));
            }
            let Some((head, rest)) = input.split_at_checked(FRAME_HEAD) else { return Ok(None) };
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            let id = number(&head[5..]) & 0x7fff_ffff;
            if length > FRAME_MAX {
                return Err(Broken::Protocol("a frame is longer than we allow"));
            }
            if rest.len() < length {
                return Ok(None);
            }
            if kind == DATA {
                *input = rest;
                self.begin_body(id, flags, length, input)?;
                continue;
            }
            let (payload, rest) = rest.split_at(length);
            *input = rest;
            if let Some(event) = self.other(kind, flags, id, payload)? {
                return Ok(Some(event));
            }
        }
    }

    fn begin_body(
        &mut self,
        stream: u32,
        flags: u8,
        length: usize,
        input: &mut &[u8],
    ) -> Result<(), Broken> {
        let mut padding = 0;
        let mut left = length;
        if flags & PADDED != 0 {
            padding = usize::from(*input.first().ok_or(Broken::Protocol("padding"))?);
            *input = &input[1..];
            left = left.checked_sub(1 + padding).ok_or(Broken::Protocol("padding"))?;
        }
        self.owe(stream, length as u32);
        self.body = Some(Body { stream, left, padding, end: flags & END_STREAM != 0 });
        Ok(())
    }

    /// The next message or end that the frame at hand completes.
    fn body<'a>(&mut self, input: &mut &'a [u8]) -> Option<(u64, Call, Event<'a>)> {
        let body = self.body.as_mut()?;
        let id = body.stream;
        let Some(stream) = self.streams.get_mut(&id) else {
            // Of a call that was broken off.
            *input = &input[body.left + body.padding..];
            self.body = None;
            return None;
        };
        while body.left > 0 {
            let mut here = &input[..body.left];
            let message = if stream.partial.is_empty() && whole(here) {
                let length = number(&here[1..]) as usize;
                let message = Cow::Borrowed(&here[5..5 + length]);
                here = &here[5 + length..];
                Some(message)
            } else {
                take(&mut stream.partial, &mut here).map(Cow::Owned)
            };
            let taken = body.left - here.len();
            *input = &input[taken..];
            body.left -= taken;
            if let Some(message) = message {
                return Some((stream.tag, Call(id), Event::Message(message)));
            }
        }
        *input = &input[body.padding..];
        let end = body.end;
        self.body = None;
        if end { self.end(id) } else { None }
    }

    fn other<'a>(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
    ) -> Result<Option<(u64, Call, Event<'a>)>, Broken> {
        match kind {
            HEADERS => {
                let mut block = payload;
                if flags & PADDED != 0 {
                    let (&padding, rest) =
                        block.split_first().ok_or(Broken::Protocol("padding"))?;
                    let length = rest.len().checked_sub(usize::from(padding));
                    block = &rest[..length.ok_or(Broken::Protocol("padding"))?];
                }
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or(Broken::Protocol("a short frame"))?;
                }
                let last = flags & END_STREAM != 0;
                if flags & END_HEADERS != 0 {
                    return self.headers(id, last, block);
                }
                self.block = Some((id, last, block.to_vec()));
            }
            CONTINUATION => {
                let (of, last, mut block) =
                    self.block.take().ok_or(Broken::Protocol("a continuation of nothing"))?;
                block.extend_from_slice(payload);
                if flags & END_HEADERS != 0 {
                    return self.headers(of, last, &block);
                }
                self.block = Some((of, last, block));
            }
            SETTINGS if flags & ACK == 0 => self.settings(payload),
            PING if flags & ACK == 0 && payload.len() == 8 => {
                frame(&mut self.out, PING, ACK, 0, 8);
                self.out.extend_from_slice(payload);
            }
            WINDOW_UPDATE if payload.len() == 4 => {
                let more = i64::from(number(payload) & 0x7fff_ffff);
                if id == 0 {
                    self.window += more;
                } else if let Some(stream) = self.streams.get_mut(&id) {
                    stream.window += more;
                }
                self.flush_blocked();
            }
            RST_STREAM if payload.len() == 4 => {
                let message = format!("the server reset the call: code {}", number(payload));
                let refusal = Refusal { code: UNAVAILABLE, message };
                return Ok(self.remove(id).map(|tag| (tag, Call(id), Event::End(Err(refusal)))));
            }
            GOAWAY if payload.len() >= 8 => {
                let message = String::from_utf8_lossy(&payload[8..]).into_owned();
                return Err(Broken::GoneAway { code: number(&payload[4..]), message });
            }
            _ => {}
        }
        Ok(None)
    }

    fn headers<'a>(
        &mut self,
        id: u32,
        last: bool,
        block: &[u8],
    ) -> Result<Option<(u64, Call, Event<'a>)>, Broken> {
        let mut nobody = Answered::default();
        let answered = match self.streams.get_mut(&id) {
            Some(stream) => &mut stream.answered,
            // Read all the same: the table changes by it.
            None => &mut nobody,
        };
        self.decoder.decode(block, answered).ok_or(Broken::Protocol("headers are malformed"))?;
        Ok(if last { self.end(id) } else { None })
    }

    fn end<'a>(&mut self, id: u32) -> Option<(u64, Call, Event<'a>)> {
        let answered = std::mem::take(&mut self.streams.get_mut(&id)?.answered);
        let result = match answered {
            Answered { grpc: Some(0), .. } => Ok(()),
            Answered { grpc: Some(code), message, .. } => Err(Refusal { code, message }),
            Answered { http, .. } => Err(Refusal {
                code: 2,
                message: format!("no gRPC status; HTTP status {}", http.unwrap_or(0)),
            }),
        };
        Some((self.remove(id)?, Call(id), Event::End(result)))
    }

    /// Forgets a call that has ended on the peer's side; its tag.
    fn remove(&mut self, id: u32) -> Option<u64> {
        let stream = self.streams.remove(&id)?;
        self.blocked.remove(&id);
        if !stream.finish || !stream.unsent.is_empty() {
            frame(&mut self.out, RST_STREAM, 0, id, 4);
            self.out.extend(CANCEL.to_be_bytes());
        }
        self.closed();
        Some(stream.tag)
    }

    fn closed(&mut self) {
        self.open -= 1;
        self.open_waiting();
    }

    fn settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            let value = number(&setting[2..]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                1 => self.encoder.limit(value as usize),
                3 => self.peer_streams = value as usize,
                4 => {
                    let more = i64::from(value) - self.peer_window;
                    self.peer_window = i64::from(value);
                    for stream in self.streams.values_mut() {
                        stream.window += more;
                    }
                }
                5 => self.peer_frame = value as usize,
                _ => {}
            }
        }
        frame(&mut self.out, SETTINGS, ACK, 0, 0);
        self.ready = true;
        self.open_waiting();
        self.flush_blocked();
    }

    fn open_waiting(&mut self) {
        while self.open < self.peer_streams {
            let Some(id) = self.waiting.pop_front() else { return };
            self.open(id);
            self.flush(id);
        }
    }

    fn open(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.opened = true;
        self.open += 1;
        let begin = self.out.len();
        frame(&mut self.out, HEADERS, END_HEADERS, id, 0);
        self.encoder.encode(stream.path, &mut self.out);
        let length = (self.out.len() - begin - FRAME_HEAD) as u32;
        self.out[begin..begin + 3].copy_from_slice(&length.to_be_bytes()[1..]);
    }

    fn push(&mut self, id: u32, message: &[u8]) {
        if let Some(stream) = self.streams.get_mut(&id) {
            prefix(&mut stream.unsent, message.len());
            stream.unsent.extend_from_slice(message);
        }
    }

    fn flush_blocked(&mut self) {
        for id in std::mem::take(&mut self.blocked) {
            self.flush(id);
        }
    }

    /// Frames as much of a call's messages as the windows allow.
    fn flush(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let mut sent = 0;
        while sent < stream.unsent.len() {
            let allowed = self.window.min(stream.window).max(0) as usize;
            let length = (stream.unsent.len() - sent).min(allowed).min(self.peer_frame);
            if length == 0 {
                self.blocked.insert(id);
                break;
            }
            let last = stream.finish && sent + length == stream.unsent.len();
            frame(&mut self.out, DATA, if last { END_STREAM } else { 0 }, id, length);
            self.out.extend_from_slice(&stream.unsent[sent..sent + length]);
            sent += length;
            self.window -= length as i64;
            stream.window -= length as i64;
        }
        stream.unsent.drain(..sent);
    }

    /// Counts what came, and lets the peer send on once it is half of what it may.
    fn owe(&mut self, id: u32, bytes: u32) {
        self.owed += bytes;
        if self.owed > WINDOW_CONNECTION / 2 {
            let owed = std::mem::take(&mut self.owed);
            self.update(0, owed);
        }
        let limit = self.window_call / 2;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.owed += bytes;
        if stream.owed > limit && !stream.slow {
            let owed = std::mem::take(&mut stream.owed);
            self.update(id, owed);
        }
    }

    fn update(&mut self, id: u32, bytes: u32) {
        frame(&mut self.out, WINDOW_UPDATE, 0, id, 4);
        self.out.extend(bytes.to_be_bytes());
    }
}

/// Whether a call's first message is its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It is.
    Now,
    /// Others may follow.
    Later,
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, length: usize) {
    let mut head = [0; FRAME_HEAD];
    head[..3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
    head[3] = kind;
    head[4] = flags;
    head[5..].copy_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&head);
}

fn prefix(out: &mut Vec<u8>, length: usize) {
    out.push(0);
    out.extend((length as u32).to_be_bytes());
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Whether a whole message begins `bytes`.
fn whole(bytes: &[u8]) -> bool {
    bytes.len() >= 5 && bytes.len() - 5 >= number(&bytes[1..]) as usize
}

/// Moves bytes to a message begun earlier; the message if that completes it.
fn take(partial: &mut Vec<u8>, bytes: &mut &[u8]) -> Option<Vec<u8>> {
    if partial.len() < 5 {
        let (head, rest) = bytes.split_at((5 - partial.len()).min(bytes.len()));
        partial.extend_from_slice(head);
        *bytes = rest;
        if partial.len() < 5 {
            return None;
        }
        partial.reserve((number(&partial[1..]) as usize).min(MESSAGE_MAX));
    }
    let wanted = 5 + number(&partial[1..]) as usize - partial.len();
    let (more, rest) = bytes.split_at(wanted.min(bytes.len()));
    partial.extend_from_slice(more);
    *bytes = rest;
    (more.len() == wanted).then(|| {
        let mut message = std::mem::take(partial);
        message.drain(..5);
        message
    })
}

#[cfg(test)]
mod tests;
