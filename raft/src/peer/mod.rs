//! What members say to each other: framed messages over connections of a [`Transport`].

mod channel;
mod directory;
mod frame;
mod network;
mod server;
mod tcp;
mod transport;
mod wire;

pub use tcp::{PeerListener, PeerTls, TcpTransport};
pub use transport::{Connection, PeerHttp, Transport};

pub(crate) use channel::reply_body;
pub(crate) use directory::{Directory, Purpose};
pub(crate) use frame::{Kind, encode};
pub(crate) use network::PeerNetwork;
pub(crate) use server::{PeerServer, Service};
