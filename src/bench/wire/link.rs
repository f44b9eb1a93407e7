//! Connections to a server, and the loop that drives one: read, hand over, write what is due.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::connection::{Call, Connection, Event, WINDOW_CALL};

/// Bytes that are read at once.
const READ_MAX: usize = 256 << 10;
/// Bytes that wait to be written before a connection is given nothing more to send.
const WRITE_MAX: usize = 1 << 20;

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Dialer {
    /// Host and port.
    authority: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// A byte stream, plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection whose server has said what it allows.
pub(crate) struct Link {
    stream: Box<dyn Stream>,
    connection: Connection,
    buffer: Vec<u8>,
    filled: usize,
}

impl Dialer {
    /// For an endpoint as etcd's tools write it: a URL, or host and port.
    pub(crate) fn new(endpoint: &str, tls: &crate::bench::target::Tls) -> Result<Self> {
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("http", endpoint));
        let authority = rest.trim_end_matches('/').to_owned();
        let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
        let tls = match scheme {
            "http" => None,
            "https" => {
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name)
                    .with_context(|| format!("{endpoint:?} names no host"))?;
                Some((config(tls)?, name))
            }
            other => bail!("endpoint {endpoint:?}: {other:?} is neither http nor https"),
        };
        Ok(Self { authority, tls })
    }

    /// Connects, and waits for the server's settings. Each call may be sent `window` bytes ahead.
    pub(crate) async fn dial(&self, window: u32) -> Result<Link> {
        let address = &self.authority;
        let stream = TcpStream::connect(address.as_str())
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some((config, name)) => Box::new(
                TlsConnector::from(Arc::clone(config))
                    .connect(name.clone(), stream)
                    .await
                    .with_context(|| format!("TLS with {address}"))?,
            ),
        };
        let connection = Connection::new(self.tls.is_some(), address, window);
        let mut link = Link { stream, connection, buffer: vec![0; READ_MAX], filled: 0 };
        while !link.connection.ready() {
            let read = link.exchange(None).await.with_context(|| format!("greet {address}"))?;
            if read == Some(0) {
                bail!("{address} closed the connection before it said a word of HTTP/2");
            }
            link.each(|_, _, _, _| {}).with_context(|| format!("greet {address}"))?;
        }
        Ok(link)
    }
}

fn config(tls: &crate::bench::target::Tls) -> Result<Arc<ClientConfig>> {
    let Some(ca) = &tls.cacert else {
        bail!("an https endpoint needs --cacert, the authority that its certificate is checked by");
    };
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(ca).with_context(|| format!("read {}", ca.display()))?
    {
        roots.add(certificate.with_context(|| format!("read {}", ca.display()))?)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match tls.cert.as_ref().zip(tls.key.as_ref()) {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect)
                .with_context(|| format!("read {}", cert.display()))?;
            let key = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("read {}", key.display()))?;
            builder.with_client_auth_cert(chain, key).context("the client's certificate")?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// What a load's parts tell each other.
pub(crate) struct Signal {
    /// When the measurement began; unset while connections prepare.
    pub(crate) started: OnceLock<Instant>,
    /// Whether nothing new is to be asked.
    pub(crate) stopped: AtomicBool,
    /// Whether a script says that the measurement is over before its time.
    pub(crate) over: AtomicBool,
    /// Whether not even answers are waited for any longer.
    pub(crate) abandoned: AtomicBool,
    /// Connections that are prepared.
    pub(crate) prepared: AtomicUsize,
    /// What has been done since, for whoever watches.
    pub(crate) done: AtomicU64,
    /// One for each connection: gives it a turn out of turn.
    wakes: Box<[Notify]>,
}

impl Signal {
    /// For so many connections.
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            started: OnceLock::new(),
            stopped: AtomicBool::new(false),
            over: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            prepared: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            wakes: (0..connections).map(|_| Notify::new()).collect(),
        }
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.wakes.len()
    }

    /// Gives a connection a turn.
    pub(crate) fn wake(&self, connection: usize) {
        self.wakes[connection].notify_one();
    }

    /// Gives all of them one.
    pub(crate) fn wake_all(&self) {
        for wake in &self.wakes {
            wake.notify_one();
        }
    }
}

/// What a script has at hand when its turn comes.
pub(crate) struct Turn<'a> {
    /// Now, to a batch's precision.
    pub(crate) now: Instant,
    /// To call on.
    pub(crate) connection: &'a mut Connection,
    /// The whole load's state.
    pub(crate) signal: &'a Signal,
}

impl Turn<'_> {
    /// Whether nothing new is to be asked.
    pub(crate) fn stopped(&self) -> bool {
        self.signal.stopped.load(Ordering::Relaxed)
    }
}

/// When a script wants its next turn, events aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Not before something comes.
    Event,
    /// Then.
    At(Instant),
    /// Never: it is done.
    Nothing,
}

/// What one connection is used for.
pub(crate) trait Script: Send {
    /// Bytes of a call's answer that the server may send ahead.
    fn window(&self) -> u32 {
        WINDOW_CALL
    }
    /// Asks for what is due.
    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted;
    /// Takes the news that all its calls are lost; whether it goes on, on a new connection.
    fn lost(&mut self, reason: &str) -> bool;
    /// Takes what came of a call.
    fn take(&mut self, tag: u64, call: Call, event: Event<'_>, turn: &mut Turn<'_>);
}

/// One of two kinds of script, for a load whose connections differ.
pub(crate) enum Either<A, B> {
    /// The one.
    Left(A),
    /// The other.
    Right(B),
}

impl<A: Script, B: Script> Script for Either<A, B> {
    fn window(&self) -> u32 {
        match self {
            Self::Left(script) => script.window(),
            Self::Right(script) => script.window(),
        }
    }

    fn due(&mut self, turn: &mut Turn<'_>) -> Wanted {
        match self {
            Self::Left(script) => script.due(turn),
            Self::Right(script) => script.due(turn),
        }
    }

    fn lost(&mut self, reason: &str) -> bool {
        match self {
            Self::Left(script) => script.lost(reason),
            Self::Right(script) => script.lost(reason),
        }
    }

    fn take(&mut self, tag: u64, call: Call, event: Event<'_>, turn: &mut Turn<'_>) {
        match self {
            Self::Left(script) => script.take(tag, call, event, turn),
            Self::Right(script) => script.take(tag, call, event, turn),
        }
    }
}

impl Link {
    /// Reads what there is and writes what can be, waiting for one of them or for `until`; the
    /// number of bytes read, none if woken.
    async fn exchange(
        &mut self,
        woken: Option<&mut Pin<&mut Sleep<'_>>>,
    ) -> io::Result<Option<usize>> {
        let mut woken = woken;
        let (stream, out) = (&mut self.stream, &mut self.connection.out);
        let (buffer, filled) = (&mut self.buffer, self.filled);
        if buffer.len() - filled < READ_MAX / 2 {
            buffer.resize(filled + READ_MAX, 0);
        }
        let mut written = 0;
        let outcome = std::future::poll_fn(|cx| {
            while written < out.len() {
                match Pin::new(&mut *stream).poll_write(cx, &out[written..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(more)) => written += more,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
            let mut space = ReadBuf::new(&mut buffer[filled..]);
            match Pin::new(&mut *stream).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(Some(space.filled().len()))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            match &mut woken {
                Some(woken) => woken.as_mut().poll(cx).map(|()| Ok(None)),
                None => Poll::Pending,
            }
        })
        .await;
        out.drain(..written);
        if let Ok(Some(read)) = &outcome {
            self.filled += read;
        }
        outcome
    }

    /// Hands over each event that has come.
    fn each(
        &mut self,
        mut take: impl FnMut(&mut Connection, u64, Call, Event<'_>),
    ) -> Result<(), super::connection::Broken> {
        let mut input = &self.buffer[..self.filled];
        while let Some((tag, call, event)) = self.connection.next(&mut input)? {
            take(&mut self.connection, tag, call, event);
        }
        let left = input.len();
        let begin = self.filled - left;
        self.buffer.copy_within(begin..self.filled, 0);
        self.filled = left;
        Ok(())
    }
}

/// Ends when told so from outside, or at a time.
struct Sleep<'a> {
    notified: Pin<Box<tokio::sync::futures::Notified<'a>>>,
    wake: &'a Notify,
    timer: Pin<Box<tokio::time::Sleep>>,
    timed: bool,
}

impl std::future::Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if self.notified.as_mut().poll(cx).is_ready() {
            self.notified = Box::pin(self.wake.notified());
            return Poll::Ready(());
        }
        if self.timed && self.timer.as_mut().poll(cx).is_ready() {
            self.timed = false;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Runs a script on the load's connection `number` until it is done.
pub(crate) async fn drive<S: Script>(
    link: &mut Link,
    script: &mut S,
    signal: &Signal,
    number: usize,
) -> Result<()> {
    let wake = &signal.wakes[number];
    let mut sleep = pin!(Sleep {
        notified: Box::pin(wake.notified()),
        wake,
        timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
        timed: false,
    });
    while !signal.abandoned.load(Ordering::Relaxed) {
        if link.connection.out.len() < WRITE_MAX {
            let now = Instant::now();
            let mut turn = Turn { now, connection: &mut link.connection, signal };
            match script.due(&mut turn) {
                Wanted::Nothing => return Ok(()),
                Wanted::Event => sleep.timed = false,
                Wanted::At(time) => {
                    let time = tokio::time::Instant::from_std(time);
                    if !sleep.timed || sleep.timer.deadline() != time {
                        sleep.timer.as_mut().reset(time);
                        sleep.timed = true;
                    }
                }
            }
        }
        match link.exchange(Some(&mut sleep)).await? {
            Some(0) => bail!("the server closed the connection"),
            Some(_) => {
                let now = Instant::now();
                link.each(|connection, tag, call, event| {
                    script.take(tag, call, event, &mut Turn { now, connection, signal });
                })?;
            }
            None => {}
        }
    }
    bail!("no answer in time");
}
