//! What members say to each other: framed messages over connections of a [`Transport`].

mod channel;
mod directory;
mod frame;
mod measures;
mod network;
mod reception;
mod sending;
mod server;
mod sockets;
mod transport;
mod underway;
pub(crate) mod wire;

pub use measures::PeerMeasures;
pub use sockets::{PeerCheck, PeerListener, PeerSocket, PeerTls, SocketTransport};
pub use transport::{Connection, PeerHttp, Transport};

pub(crate) use channel::reply_body;
pub(crate) use directory::{Directory, Purpose};
pub(crate) use frame::{Kind, encode};
pub(crate) use network::PeerNetwork;
pub(crate) use reception::Landing;
pub(crate) use sending::Sending;
pub(crate) use server::{PeerServer, Service};
