//! Transport: how members reach each other; sockets in production, queues in a simulation.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::types::Member;

/// Two ordered streams of bytes between two members.
pub struct Connection {
    /// From the other member.
    pub reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
    /// To the other member.
    pub writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
}

/// Takes a connection on which HTTP is spoken, as tools do that ask a peer URL who is there.
pub type PeerHttp = Arc<dyn Fn(Connection) -> BoxFuture<'static, ()> + Send + Sync>;

/// A way to other members.
pub trait Transport: Send + Sync + 'static {
    /// Connects to a member; fails quickly when it cannot be reached.
    fn connect<'a>(&'a self, id: u64, member: &'a Member) -> BoxFuture<'a, io::Result<Connection>>;
    /// The next connection from another member. Pending for ever where nobody may connect.
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>>;
}
