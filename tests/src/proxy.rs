//! A forwarder of connections that can stop and cut them once they have carried much.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is done to a connection that has carried enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Nothing.
    Pass,
    /// It stands still, all told of by this number.
    Hold(u64),
}

/// Forwards to one address; ends when dropped.
pub struct Proxy {
    then: watch::Sender<Then>,
    /// How many connections have been held.
    held: watch::Receiver<u64>,
    accepting: JoinHandle<()>,
}

struct Forwarding {
    to: SocketAddr,
    limit: u64,
    then: watch::Receiver<Then>,
    held: watch::Sender<u64>,
    holds: Arc<AtomicU64>,
}

impl Proxy {
    /// Forwards from a port of loopback to another; a connection that carries more than `limit`
    /// bytes towards it is held, until [`Proxy::pass`].
    pub async fn start(from: u16, to: u16, limit: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", from)).await.context("listen")?;
        let (then, now) = watch::channel(Then::Hold(0));
        let (told, held) = watch::channel(0);
        let to = SocketAddr::from(([127, 0, 0, 1], to));
        let holds = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (then, held, holds) = (now.clone(), told.clone(), holds.clone());
                let forwarding = Forwarding { to, limit, then, held, holds };
                tokio::spawn(async move { forwarding.run(stream).await });
            }
        });
        Ok(Self { then, held, accepting })
    }

    /// Waits until another connection is held than those of before.
    pub async fn held(&mut self) -> Result<()> {
        self.held.borrow_and_update();
        Ok(self.held.changed().await?)
    }

    /// Cuts what is held; the next will be held as well.
    pub fn cut(&self) {
        self.then.send_modify(|then| {
            let Then::Hold(number) = *then else { return };
            *then = Then::Hold(number + 1);
        });
    }

    /// What is held goes on, and nothing is held any more.
    pub fn pass(&self) {
        self.then.send_replace(Then::Pass);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Forwarding {
    /// Forwards until either side ends, or it is cut.
    async fn run(self, stream: TcpStream) -> Result<()> {
        let target = TcpStream::connect(self.to).await?;
        let (mut near, mut to_near) = stream.into_split();
        let (mut far, mut to_far) = target.into_split();
        tokio::select! {
            _ = tokio::io::copy(&mut far, &mut to_near) => Ok(()),
            ended = self.carry(&mut near, &mut to_far) => ended,
        }
    }

    async fn carry(
        mut self,
        from: &mut (impl tokio::io::AsyncRead + Unpin),
        to: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> Result<()> {
        let (mut carried, mut buffer) = (0, vec![0; 64 << 10]);
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            carried += count as u64;
            let now = *self.then.borrow_and_update();
            if carried > self.limit && now != Then::Pass {
                self.held.send_replace(self.holds.fetch_add(1, Ordering::Relaxed) + 1);
                self.then.changed().await?;
                if *self.then.borrow() != Then::Pass {
                    return Ok(());
                }
            }
            to.write_all(&buffer[..count]).await?;
        }
    }
}
