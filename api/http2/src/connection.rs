//! Connection: the socket, the task that serves it, and its end.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::config::Config;
use crate::frame::Reason;
use crate::requests::Core;
use crate::service::Service;

/// What a client of HTTP/2 says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Taken from a socket at once; one buffer a thread.
const READ_BYTES: usize = 64 << 10;
/// Reads of one connection before others have their turn.
const READS_MAX: usize = 8;
/// Who never pings sets an interval beyond this.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The client did not answer a ping.
    #[error("the client did not answer a ping in time")]
    Silent,
    /// The client left while requests of it were being answered.
    #[error("the client closed the connection with {0} streams open")]
    Left(usize),
}

/// A client's connection; a future that serves it until it ends.
#[must_use = "nothing is served unless it is polled"]
pub struct Connection<T, S: Service> {
    io: T,
    core: Core<S>,
    pulse: Option<Pulse>,
    woken: Vec<u32>,
}

/// How far reading went.
enum Read {
    /// The socket will wake the task when there is more.
    All,
    /// There may be more.
    Some,
    /// There is too much to write.
    HeldUp,
}

/// Whether the client is there.
struct Pulse {
    timer: Pin<Box<Sleep>>,
    interval: Duration,
    timeout: Duration,
    /// Something came since the timer was set.
    heard: bool,
    asked: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin, S: Service> Connection<T, S> {
    /// Serves what comes over `io`; `first`: what has been read of it. Must be made on a runtime
    /// with timers.
    pub fn new(io: T, first: &[u8], service: S, config: Config) -> Self {
        let pulse = (config.keep_alive_interval < NEVER).then(|| Pulse {
            timer: Box::pin(tokio::time::sleep(config.keep_alive_interval)),
            interval: config.keep_alive_interval,
            timeout: config.keep_alive_timeout.min(NEVER),
            heard: false,
            asked: false,
        });
        let mut core = Core::new(service, config);
        core.receive(first);
        Self { io, core, pulse, woken: Vec::new() }
    }

    /// Begins no more streams, and ends when those that are open have ended.
    pub fn graceful_shutdown(&mut self) {
        if !self.core.leaving {
            self.core.go_away(Reason::NoError, b"");
        }
    }

    /// Goes on with the streams that have been woken.
    fn serve_woken(&mut self) {
        self.core.ready.take(&mut self.woken);
        for id in self.woken.drain(..) {
            self.core.drive(id);
        }
    }

    /// Reads while there is something, and room for answers.
    fn read(&mut self, context: &mut Context<'_>) -> Result<Read, ConnectionError> {
        for _ in 0..READS_MAX {
            if self.core.broken || self.core.sender.is_full() {
                return Ok(Read::HeldUp);
            }
            let (io, core) = (&mut self.io, &mut self.core);
            let mut bytes = BUFFER.take();
            bytes.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(&mut bytes);
            let polled = Pin::new(io).poll_read(context, &mut buffer);
            let read = polled.map_ok(|()| {
                core.receive(buffer.filled());
                buffer.filled().len()
            });
            BUFFER.set(bytes);
            match read {
                Poll::Pending => return Ok(Read::All),
                Poll::Ready(Ok(0)) => return Err(ConnectionError::Left(self.core.streams.len())),
                Poll::Ready(read) => read?,
            };
            if let Some(pulse) = &mut self.pulse {
                pulse.heard = true;
            }
        }
        Ok(Read::Some)
    }

    fn feel_pulse(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionError> {
        let Some(pulse) = &mut self.pulse else { return Ok(()) };
        while pulse.timer.as_mut().poll(context).is_ready() {
            let next = if std::mem::take(&mut pulse.heard) {
                pulse.asked = false;
                pulse.interval
            } else if pulse.asked {
                return Err(ConnectionError::Silent);
            } else {
                pulse.asked = true;
                self.core.ping();
                pulse.timeout
            };
            pulse.timer.as_mut().reset(Instant::now() + next);
        }
        Ok(())
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.core.ready.register(context);
        self.feel_pulse(context)?;
        loop {
            self.serve_woken();
            let read = self.read(context)?;
            let written = self.core.sender.output.poll_write(context, &mut self.io)?;
            if written.is_pending() {
                return Poll::Pending;
            }
            if self.core.broken || self.core.leaving && self.core.streams.is_empty() {
                return Pin::new(&mut self.io).poll_shutdown(context).map_err(Into::into);
            }
            let went_on = self.core.unstall();
            match read {
                Read::Some => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Read::All if !went_on && self.core.sender.output.len() == 0 => {
                    return Poll::Pending;
                }
                // What held the reading up has been written.
                Read::All | Read::HeldUp => {}
            }
        }
    }
}

/// Nothing in it is pinned.
impl<T: Unpin, S: Service> Unpin for Connection<T, S> {}

impl<T: AsyncRead + AsyncWrite + Unpin, S: Service> Future for Connection<T, S> {
    type Output = Result<(), ConnectionError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.advance(context) {
            // Bare connections come and go: probes, and clients that are done.
            Poll::Ready(Err(ConnectionError::Left(0))) => Poll::Ready(Ok(())),
            polled => polled,
        }
    }
}
