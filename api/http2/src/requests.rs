//! Requests: the client's frames, and what they mean.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::body::{self, Body};
use crate::config::Config;
use crate::connection::PREFACE;
use crate::frame::{
    self, FrameHead, HEAD, PAYLOAD_MAX, Reason, U31_MAX, number, put_head, put_number,
};
use crate::head::{Building, Head};
use crate::hpack::Decoder;
use crate::pings::{self, Pings};
use crate::responses::{End, Sender};
use crate::service::Service;
use crate::stream::{Incoming, Progress, Stream, Work};
use crate::wake::{Ready, StreamWaker};
use crate::window::Window;

/// Longest block of headers, as it comes and as it is meant.
const BLOCK_MAX: usize = 32 << 10;
const LIST_MAX: usize = 64 << 10;
/// Heads of which the meaning is kept.
const HEADS: usize = 4;
/// Streams that a client may give up before they are answered: at once, and a second.
const RESETS: f64 = 2000.0;
/// The window of a connection that nobody has made larger.
const WINDOW: u32 = 65_535;
/// Of gRPC's frame around a message.
const PREFIX: usize = 5;

/// What ends a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault(pub(crate) Reason, pub(crate) &'static [u8]);

const fn broken(why: &'static [u8]) -> Fault {
    Fault(Reason::ProtocolError, why)
}

/// A block of headers of which more is to come.
struct Assembling {
    stream: u32,
    flags: u8,
    block: BytesMut,
}

/// A head that was decoded, and what it was decoded from.
struct Known<R> {
    block: Box<[u8]>,
    /// The table's changes at the time.
    changes: u64,
    head: Arc<Head>,
    route: Option<R>,
}

/// A connection without its socket.
pub(crate) struct Core<S: Service> {
    pub(crate) service: S,
    pub(crate) config: Config,
    pub(crate) sender: Sender,
    pub(crate) streams: HashMap<u32, Stream<S>>,
    pub(crate) ready: Arc<Ready>,
    /// Streams whose window is closed, and streams that wait for the client to read.
    blocked: Vec<u32>,
    stalled: Vec<u32>,
    /// No more streams are begun.
    pub(crate) leaving: bool,
    /// The connection ends as soon as all is written.
    pub(crate) broken: bool,
    decoder: Decoder,
    known: Vec<Known<S::Route>>,
    pings: Pings,
    answers: u64,
    /// Of the client's first bytes, what has not come.
    preface_left: usize,
    /// A frame that is not whole.
    partial: BytesMut,
    assembling: Option<Assembling>,
    last_stream: u32,
    window: Window,
    resets_left: f64,
    reset_at: Instant,
}

impl<S: Service> Core<S> {
    pub(crate) fn new(service: S, config: Config) -> Self {
        let mut sender = Sender::new();
        let mut settings = vec![
            (frame::SETTING_INITIAL_WINDOW_SIZE, config.stream_window),
            (frame::SETTING_MAX_HEADER_LIST_SIZE, u32::try_from(LIST_MAX).unwrap_or(U31_MAX)),
        ];
        if config.max_concurrent_streams < u32::MAX {
            settings.push((frame::SETTING_MAX_CONCURRENT_STREAMS, config.max_concurrent_streams));
        }
        let out = sender.output.tail();
        put_head(out, settings.len() * 6, frame::SETTINGS, 0, 0);
        for (setting, value) in settings {
            out.extend_from_slice(&setting.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        let more = config.connection_window.saturating_sub(WINDOW);
        if more > 0 {
            put_number(out, frame::WINDOW_UPDATE, 0, more);
        }
        Self {
            pings: Pings::new(config.ping_min),
            window: Window::new(0, config.connection_window.max(WINDOW)),
            service,
            config,
            sender,
            streams: HashMap::new(),
            ready: Arc::default(),
            blocked: Vec::new(),
            stalled: Vec::new(),
            leaving: false,
            broken: false,
            decoder: Decoder::new(),
            known: Vec::new(),
            answers: 0,
            preface_left: PREFACE.len(),
            partial: BytesMut::new(),
            assembling: None,
            last_stream: 0,
            resets_left: RESETS,
            reset_at: Instant::now(),
        }
    }

    /// Takes what has come.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let taken = if self.partial.is_empty() {
            self.frames(bytes).map(|used| self.partial.extend_from_slice(&bytes[used..]))
        } else {
            let mut held = std::mem::take(&mut self.partial);
            held.extend_from_slice(bytes);
            self.frames(&held).map(|used| {
                let _ = held.split_to(used);
                // What is left of a frame does not keep a large buffer alive.
                self.partial = if used == 0 { held } else { BytesMut::from(&held[..]) };
            })
        };
        if let Err(Fault(reason, why)) = taken {
            self.go_away(reason, why);
            self.broken = true;
            self.streams.clear();
        }
    }

    /// Says that no more streams are begun.
    pub(crate) fn go_away(&mut self, reason: Reason, why: &[u8]) {
        self.leaving = true;
        let out = self.sender.output.tail();
        put_head(out, 8 + why.len(), frame::GO_AWAY, 0, 0);
        out.extend_from_slice(&self.last_stream.to_be_bytes());
        out.extend_from_slice(&(reason as u32).to_be_bytes());
        out.extend_from_slice(why);
    }

    /// Asks the client to show that it is there.
    pub(crate) fn ping(&mut self) {
        let out = self.sender.output.tail();
        put_head(out, 8, frame::PING, 0, 0);
        out.extend_from_slice(&[0; 8]);
    }

    /// Does what a stream can do now.
    pub(crate) fn drive(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if let Incoming::Fed(feed) = &stream.request {
            let read = feed.take_read();
            stream.window.read(read);
            stream.window.open(&mut self.sender);
            self.window.read(read);
            self.window.open(&mut self.sender);
        }
        match stream.drive(&mut self.sender) {
            Progress::Waits => {}
            Progress::Blocked if !stream.is_blocked => {
                stream.is_blocked = true;
                self.blocked.push(id);
            }
            Progress::Stalled if !stream.is_stalled => {
                stream.is_stalled = true;
                self.stalled.push(id);
            }
            Progress::Blocked | Progress::Stalled => {}
            Progress::Finished => {
                if !stream.request.is_ended() {
                    self.sender.reset(id, Reason::NoError);
                }
                self.remove(id);
            }
            Progress::Failed(reason) => {
                self.sender.reset(id, reason);
                self.remove(id);
            }
        }
    }

    /// Forgets a stream, and what came of its body and nobody has read.
    fn remove(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id) {
            self.window.read(stream.window.held());
            self.window.open(&mut self.sender);
        }
    }

    /// Takes all whole frames; how many bytes they have.
    fn frames(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        if self.preface_left > 0 {
            let expected = &PREFACE[PREFACE.len() - self.preface_left..];
            let common = expected.len().min(bytes.len());
            if bytes[..common] != expected[..common] {
                return Err(broken(b"not HTTP/2"));
            }
            self.preface_left -= common;
            at = common;
        }
        while let Some(head) = FrameHead::parse(&bytes[at..]) {
            if head.length > PAYLOAD_MAX {
                return Err(Fault(Reason::FrameSizeError, b"frame too long"));
            }
            let Some(payload) = bytes.get(at + HEAD..at + HEAD + head.length) else { break };
            self.frame(head, payload)?;
            if self.broken {
                return Ok(bytes.len());
            }
            at += HEAD + head.length;
        }
        Ok(at)
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if let Some(assembling) = &self.assembling
            && (head.kind != frame::CONTINUATION || head.stream != assembling.stream)
        {
            return Err(broken(b"headers interrupted"));
        }
        match head.kind {
            frame::DATA => self.data(head, payload),
            frame::HEADERS => self.headers(head, payload),
            frame::CONTINUATION => self.continuation(head, payload),
            frame::RST_STREAM => self.reset(head, payload),
            frame::SETTINGS => self.settings(head, payload),
            frame::PING => self.pinged(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            frame::PUSH_PROMISE => Err(broken(b"clients do not push")),
            frame::GO_AWAY if head.stream != 0 => Err(broken(b"GOAWAY on a stream")),
            frame::PRIORITY if head.stream == 0 => Err(broken(b"priority of the connection")),
            // The client begins no more streams: it says so by not beginning them. What is not
            // known is to be passed over.
            _ => Ok(()),
        }
    }

    fn data(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 || head.stream > self.last_stream {
            return Err(broken(b"data of no stream"));
        }
        let data = unpadded(head, payload)?;
        if !self.window.take(payload.len()) {
            return Err(WINDOW_EXCEEDED);
        }
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            // It was answered or given up: the client did not know when it sent this.
            self.window.read(payload.len());
            self.window.open(&mut self.sender);
            return Ok(());
        };
        if !stream.window.take(payload.len()) {
            return Err(WINDOW_EXCEEDED);
        }
        if stream.request.is_ended() {
            self.refuse(head.stream, Reason::StreamClosed);
            return Ok(());
        }
        let ends = head.has(frame::END_STREAM);
        let mut read = payload.len() - data.len();
        let mut begins = false;
        if let Incoming::Message { route, head: known, bytes } = &mut stream.request {
            if ends && let Some(message) = message(bytes, data) {
                stream.work = Work::Unary(self.service.unary(route.clone(), message));
                read = payload.len();
                begins = true;
            } else if !ends && bytes.len() + data.len() <= self.config.unary_max {
                bytes.extend_from_slice(data);
                read = payload.len();
            } else {
                // Not one message after all, or a long one.
                let (feed, body) = body::fed(stream.waking.clone());
                feed.begin(std::mem::take(bytes).freeze());
                let Some(request) = known.request(body) else {
                    self.refuse(head.stream, Reason::ProtocolError);
                    return Ok(());
                };
                stream.work = Work::Call(self.service.call(request));
                stream.request = Incoming::Fed(feed);
                begins = true;
            }
        }
        if let Incoming::Fed(feed) = &stream.request {
            if !data.is_empty() {
                feed.push(Bytes::copy_from_slice(data));
            }
            if ends {
                feed.end();
            }
        }
        stream.window.read(read);
        self.window.read(read);
        self.window.open(&mut self.sender);
        if ends {
            if let Incoming::Fed(_) = stream.request {
                // What is left to be read counts for the connection when the stream is forgotten.
                begins = true;
            }
            stream.request = Incoming::Ended;
        } else {
            stream.window.open(&mut self.sender);
        }
        if begins {
            self.drive(head.stream);
        }
        Ok(())
    }

    fn headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream.is_multiple_of(2) {
            return Err(broken(b"headers of no stream"));
        }
        let mut block = unpadded(head, payload)?;
        if head.has(frame::WITH_PRIORITY) {
            block = block.get(5..).ok_or(broken(b"headers too short"))?;
        }
        if head.has(frame::END_HEADERS) {
            return self.head(head.stream, head.flags, block);
        }
        let (stream, flags) = (head.stream, head.flags);
        self.assembling = Some(Assembling { stream, flags, block: BytesMut::from(block) });
        Ok(())
    }

    fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut assembling) = self.assembling.take() else {
            return Err(broken(b"continuation of nothing"));
        };
        // An empty one that does not end it leads nowhere.
        let ends = head.has(frame::END_HEADERS);
        if assembling.block.len() + payload.len() > BLOCK_MAX || payload.is_empty() && !ends {
            return Err(Fault(Reason::EnhanceYourCalm, b"headers too long"));
        }
        assembling.block.extend_from_slice(payload);
        if ends {
            return self.head(assembling.stream, assembling.flags, &assembling.block);
        }
        self.assembling = Some(assembling);
        Ok(())
    }

    /// A whole block of headers.
    fn head(&mut self, id: u32, flags: u8, block: &[u8]) -> Result<(), Fault> {
        let ends = flags & frame::END_STREAM != 0;
        if id <= self.last_stream {
            return self.trailers(id, ends, block);
        }
        self.last_stream = id;
        let changes = self.decoder.changes();
        let known = self.known.iter().find(|one| one.changes == changes && *one.block == *block);
        let (head, route) = match known {
            Some(known) => (known.head.clone(), known.route.clone()),
            None => match self.decode(block)? {
                Decoded::Head(head) => {
                    let head = Arc::new(head);
                    let route = self.service.route(&head);
                    self.remember(changes, block, &head, &route);
                    (head, route)
                }
                Decoded::TooLong => {
                    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                    self.sender.head(id, status, &HeaderMap::new(), true);
                    if !ends {
                        self.sender.reset(id, Reason::NoError);
                    }
                    return Ok(());
                }
                Decoded::Malformed => {
                    self.sender.reset(id, Reason::ProtocolError);
                    return Ok(());
                }
            },
        };
        let most = usize::try_from(self.config.max_concurrent_streams).unwrap_or(usize::MAX);
        if self.leaving || self.streams.len() >= most {
            self.sender.reset(id, Reason::RefusedStream);
            return Ok(());
        }
        self.begin(id, ends, head, route);
        Ok(())
    }

    fn begin(&mut self, id: u32, ends: bool, head: Arc<Head>, route: Option<S::Route>) {
        let waking = StreamWaker::new(id, &self.ready);
        let (request, work) = match route {
            Some(route) if !ends => {
                (Incoming::Message { route, head, bytes: BytesMut::new() }, Work::Waits)
            }
            _ => {
                let (request, body) = match ends {
                    true => (Incoming::Ended, Body::whole(Bytes::new())),
                    false => {
                        let (feed, body) = body::fed(waking.clone());
                        (Incoming::Fed(feed), body)
                    }
                };
                let Some(asked) = head.request(body) else {
                    return self.sender.reset(id, Reason::ProtocolError);
                };
                (request, Work::Call(self.service.call(asked)))
            }
        };
        let begins = matches!(work, Work::Call(_));
        let stream = Stream {
            id,
            request,
            work,
            window: Window::new(id, self.config.stream_window),
            send_left: self.sender.stream_window,
            data: Bytes::new(),
            end: End::Open,
            is_blocked: false,
            is_stalled: false,
            waker: waking.waker(),
            waking,
        };
        self.streams.insert(id, stream);
        if begins {
            self.drive(id);
        }
    }

    /// Headers after a body, or of a stream that has ended here: they are decoded for what they
    /// change in the table.
    fn trailers(&mut self, id: u32, ends: bool, block: &[u8]) -> Result<(), Fault> {
        self.decode(block)?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if !ends || stream.request.is_ended() {
            self.refuse(id, Reason::ProtocolError);
            return Ok(());
        }
        // As a last piece of data, with nothing in it.
        let head = FrameHead { length: 0, kind: frame::DATA, flags: frame::END_STREAM, stream: id };
        self.data(head, &[])
    }

    fn decode(&mut self, block: &[u8]) -> Result<Decoded, Fault> {
        let (mut building, mut size) = (Building::default(), 0);
        let decoded = self.decoder.decode(block, |field, bytes| {
            size += bytes;
            if size <= LIST_MAX {
                building.add(field);
            }
        });
        decoded.map_err(|_| Fault(Reason::CompressionError, b"headers cannot be decoded"))?;
        if size > LIST_MAX {
            return Ok(Decoded::TooLong);
        }
        Ok(building.finish().map_or(Decoded::Malformed, Decoded::Head))
    }

    /// Keeps what a block means, if it changed nothing and so will mean the same again.
    fn remember(&mut self, changes: u64, block: &[u8], head: &Arc<Head>, route: &Option<S::Route>) {
        if self.decoder.changes() != changes {
            return;
        }
        if self.known.len() == HEADS {
            self.known.remove(0);
        }
        let (block, head, route) = (block.into(), head.clone(), route.clone());
        self.known.push(Known { block, changes, head, route });
    }

    fn reset(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if number(payload).is_none() {
            return Err(Fault(Reason::FrameSizeError, b"reset of a wrong length"));
        }
        if head.stream == 0 || head.stream > self.last_stream {
            return Err(broken(b"reset of no stream"));
        }
        if !self.streams.contains_key(&head.stream) {
            return Ok(());
        }
        self.remove(head.stream);
        let now = Instant::now();
        let since = now.duration_since(self.reset_at).as_secs_f64();
        self.resets_left = (self.resets_left + since * RESETS).min(RESETS) - 1.0;
        self.reset_at = now;
        match self.resets_left < 0.0 {
            true => Err(Fault(Reason::EnhanceYourCalm, b"too_many_resets")),
            false => Ok(()),
        }
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(broken(b"settings of a stream"));
        }
        if head.has(frame::ACK) {
            return match payload.is_empty() {
                true => Ok(()),
                false => Err(Fault(Reason::FrameSizeError, b"settings of a wrong length")),
            };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault(Reason::FrameSizeError, b"settings of a wrong length"));
        }
        for &[high, low, a, b, c, d] in settings {
            let value = u32::from_be_bytes([a, b, c, d]);
            match u16::from_be_bytes([high, low]) {
                frame::SETTING_HEADER_TABLE_SIZE => self.sender.encoder.resize(value),
                frame::SETTING_ENABLE_PUSH if value > 1 => return Err(broken(b"push")),
                frame::SETTING_INITIAL_WINDOW_SIZE => self.resize_windows(value)?,
                frame::SETTING_MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(broken(b"frame size"));
                }
                _ => {}
            }
        }
        put_head(self.sender.output.tail(), 0, frame::SETTINGS, frame::ACK, 0);
        Ok(())
    }

    fn resize_windows(&mut self, size: u32) -> Result<(), Fault> {
        if size > U31_MAX {
            return Err(Fault(Reason::FlowControlError, b"window too large"));
        }
        let by = i64::from(size) - self.sender.stream_window;
        self.sender.stream_window += by;
        for stream in self.streams.values_mut() {
            stream.send_left += by;
            if stream.send_left > i64::from(U31_MAX) {
                return Err(Fault(Reason::FlowControlError, b"window too large"));
            }
        }
        if by > 0 {
            self.unblock();
        }
        Ok(())
    }

    fn pinged(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(broken(b"ping of a stream"));
        }
        if payload.len() != 8 {
            return Err(Fault(Reason::FrameSizeError, b"ping of a wrong length"));
        }
        if head.has(frame::ACK) {
            return Ok(());
        }
        if self.sender.answers != self.answers {
            self.answers = self.sender.answers;
            self.pings.answered();
        }
        if self.pings.received(Instant::now()) {
            return Err(Fault(Reason::EnhanceYourCalm, pings::TOO_MANY));
        }
        let out = self.sender.output.tail();
        put_head(out, 8, frame::PING, frame::ACK, 0);
        out.extend_from_slice(payload);
        Ok(())
    }

    fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        let Some(more) = number(payload) else {
            return Err(Fault(Reason::FrameSizeError, b"window of a wrong length"));
        };
        let more = i64::from(more & U31_MAX);
        if head.stream == 0 {
            self.sender.window += more;
            if more == 0 || self.sender.window > i64::from(U31_MAX) {
                return Err(Fault(Reason::FlowControlError, b"window of no size"));
            }
            self.unblock();
            return Ok(());
        }
        if head.stream > self.last_stream {
            return Err(broken(b"window of no stream"));
        }
        let Some(stream) = self.streams.get_mut(&head.stream) else { return Ok(()) };
        stream.send_left += more;
        if more == 0 {
            self.refuse(head.stream, Reason::ProtocolError);
        } else if stream.send_left > i64::from(U31_MAX) {
            self.refuse(head.stream, Reason::FlowControlError);
        } else if !stream.data.is_empty() {
            self.drive(head.stream);
        }
        Ok(())
    }

    /// Goes on with what waits for a window.
    fn unblock(&mut self) {
        for id in std::mem::take(&mut self.blocked) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.is_blocked = false;
            }
            self.drive(id);
        }
    }

    /// Goes on with what waits for the client to read; whether anything did.
    pub(crate) fn unstall(&mut self) -> bool {
        let stalled = std::mem::take(&mut self.stalled);
        for id in &stalled {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.is_stalled = false;
            }
            self.drive(*id);
        }
        !stalled.is_empty()
    }

    /// Gives a stream up whose client broke the rules.
    fn refuse(&mut self, id: u32, reason: Reason) {
        self.sender.reset(id, reason);
        self.remove(id);
    }
}

const WINDOW_EXCEEDED: Fault = Fault(Reason::FlowControlError, b"window exceeded");

/// What a block of headers comes to.
enum Decoded {
    Head(Head),
    TooLong,
    Malformed,
}

/// A payload without its padding.
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(frame::PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(broken(b"padding"))?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(broken(b"padding"))?;
    Ok(&rest[..length])
}

/// The message in `before` and `last`, if it is just one, and not compressed.
fn message(before: &BytesMut, last: &[u8]) -> Option<Bytes> {
    let whole = |bytes: &[u8]| {
        let [0, a, b, c, d, message @ ..] = bytes else { return false };
        u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len()
    };
    if before.is_empty() {
        return whole(last).then(|| Bytes::copy_from_slice(&last[PREFIX..]));
    }
    let bytes = [before, last].concat();
    whole(&bytes).then(|| Bytes::from(bytes).split_off(PREFIX))
}
