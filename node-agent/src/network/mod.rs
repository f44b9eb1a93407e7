//! Pod network: routed veth pairs with addresses from the node's pod range.
//!
//! Every pod has one veth pair. The pod's end holds the pod's address as a /32 (/128) and sends
//! everything to a link-local gateway that exists only as a permanent neighbour entry; the host's end
//! has no address, only a route to the pod. There is no bridge, so bridge netfilter has no say, and a
//! pod that reaches itself through its service needs nothing but source translation.
//!
//! The first address of the pod range belongs to the node (on `lo`): the cluster DNS listens there.
//! Other nodes' ranges are routes ([`RoutedVeth::set_node_routes`]); an overlay would be one more
//! link type behind the same call.

mod api;
mod config;
mod ipam;
mod netlink;
mod nft;
mod node_services;
mod pod_rules;
mod records;
mod routed_veth;
pub mod services;
mod sysctl;
mod tear_down;

pub use api::{
    HostPort, PodNetwork, PodNetworkError, PodNetworkRequest, PodNetworkStatus, Protocol,
};
pub use config::NetworkConfig;
pub use netlink::NodeRoute;
pub use node_services::{NodeServices, NodeServicesConfig, dns_address};
pub use routed_veth::RoutedVeth;
pub use tear_down::{TearDownError, tear_down};

pub(crate) use nft::{Nft, NftError};
