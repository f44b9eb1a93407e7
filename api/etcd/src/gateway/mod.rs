//! The JSON gateway: etcd's gRPC methods as HTTP paths, in the words of grpc-gateway.
//!
//! A call is turned into the gRPC request that it stands for and goes the way of every other one,
//! in this process: so a method that gRPC serves is served here as soon as it has a path in
//! [`paths`]. What the messages are made of comes from the descriptors that the build keeps.

mod call;
mod frames;
mod input;
mod output;
mod paths;
mod problem;
mod schema;
mod websocket;

pub(crate) use call::Gateway;
pub(crate) use problem::response as refusal;
