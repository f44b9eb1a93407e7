//! Pod network: what the container runtime asks for when a sandbox starts and ends.

mod api;

pub use api::{
    HostPort, PodNetwork, PodNetworkError, PodNetworkRequest, PodNetworkStatus, Protocol,
};
