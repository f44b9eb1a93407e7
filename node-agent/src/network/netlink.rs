//! Links, addresses, routes and neighbours, in the host's namespace or a pod's.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;

use futures::TryStreamExt;
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use super::api::PodNetworkError;

/// A way to another node's pods: `range` through `via`, the node's own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRoute {
    /// The other node's pod range.
    pub range: IpNet,
    /// The other node's address, on a link of this one.
    pub via: IpAddr,
}

/// Marks our routes (`ip route show proto 75`).
const ROUTE_PROTOCOL: RouteProtocol = RouteProtocol::Other(75);

/// What MTU pod links get when no link has the default route.
const MTU_DEFAULT: u32 = 1500;

/// A netlink connection. The socket stays in the namespace that it was opened in.
pub(super) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// Both ends of a pod's link.
pub(super) struct VethPair<'a> {
    pub(super) host_name: &'a str,
    pub(super) host_mac: [u8; 6],
    pub(super) pod_name: &'a str,
    pub(super) pod_mac: [u8; 6],
    pub(super) mtu: u32,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Opens a connection in the namespace of the calling thread.
    pub(super) fn here() -> Result<Self, PodNetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| {
            PodNetworkError::Netlink { what: "open netlink", detail: error.to_string() }
        })?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Opens a connection in another namespace. Only a thread of its own enters it, which ends at
    /// once: no thread of the runtime ever changes its namespace.
    pub(super) async fn in_namespace(path: &Path) -> Result<(Self, File), PodNetworkError> {
        let at = |source| PodNetworkError::Namespace { path: path.to_owned(), source };
        let namespace = File::open(path).map_err(at)?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let enter = namespace.try_clone().map_err(at)?;
        std::thread::Builder::new()
            .name("pod-netns".into())
            .spawn(move || {
                let _reactor = runtime.enter();
                let entered = setns(&enter, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
                let _ = answer.send(entered.and_then(|()| rtnetlink::new_connection()));
            })
            .map_err(at)?;
        let opened =
            answered.await.map_err(|_| at(io::Error::other("the entering thread died")))?;
        let (connection, handle, _) = opened.map_err(at)?;
        Ok((Self { handle, connection: tokio::spawn(connection) }, namespace))
    }

    /// The index of a link; `None` when there is none of that name.
    pub(super) async fn link_index(&self, name: &str) -> Result<Option<u32>, PodNetworkError> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await {
            Ok(link) => Ok(link.map(|link| link.header.index)),
            Err(error) if errno(&error) == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(failed("find link")(error)),
        }
    }

    /// Names of all links.
    pub(super) async fn link_names(&self) -> Result<Vec<String>, PodNetworkError> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(failed("list links"))?;
        Ok(links.iter().filter_map(link_name).map(str::to_owned).collect())
    }

    /// Deletes a link, and with it its other end and all routes over it; `Ok` when it is gone already.
    pub(super) async fn delete_link(&self, name: &str) -> Result<(), PodNetworkError> {
        let Some(index) = self.link_index(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await {
            Err(error) if errno(&error) != Some(nix::libc::ENODEV) => {
                Err(failed("delete link")(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a veth pair whose other end starts in `namespace`; gives the index of the host's end.
    pub(super) async fn add_veth(
        &self,
        pair: &VethPair<'_>,
        namespace: &File,
    ) -> Result<u32, PodNetworkError> {
        let peer = rtnetlink::LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.pod_name)
            .mtu(pair.mtu)
            .address(pair.pod_mac.to_vec())
            .setns_by_fd(namespace.as_raw_fd())
            .build();
        let message = LinkVeth::new(pair.host_name, pair.pod_name)
            .mtu(pair.mtu)
            .address(pair.host_mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.handle.link().add(message).execute().await.map_err(failed("add veth"))?;
        let index = self.link_index(pair.host_name).await?;
        index.ok_or_else(|| PodNetworkError::Netlink {
            what: "add veth",
            detail: format!("{} vanished", pair.host_name),
        })
    }

    /// Sets a link up.
    pub(super) async fn set_up(&self, index: u32) -> Result<(), PodNetworkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(message).execute().await.map_err(failed("set link up"))
    }

    /// Adds a single address, without duplicate address detection; `Ok` when it is there already.
    pub(super) async fn add_address(&self, index: u32, ip: IpAddr) -> Result<(), PodNetworkError> {
        let mut request = self.handle.address().add(index, ip, host_prefix(ip)).replace();
        if ip.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.map_err(failed("add address"))
    }

    /// Removes a single address; `Ok` when it is gone already.
    pub(super) async fn delete_address(
        &self,
        index: u32,
        ip: IpAddr,
    ) -> Result<(), PodNetworkError> {
        let filter = self.handle.address().get().set_link_index_filter(index);
        let found = filter.set_address_filter(ip).execute().try_next().await;
        match found.map_err(failed("find address"))? {
            Some(address) => {
                self.handle.address().del(address).execute().await.map_err(failed("delete address"))
            }
            None => Ok(()),
        }
    }

    /// Adds the route from the host to one pod.
    pub(super) async fn add_pod_route(
        &self,
        index: u32,
        ip: IpAddr,
    ) -> Result<(), PodNetworkError> {
        let route = destination(IpNet::new_assert(ip, host_prefix(ip)))?
            .output_interface(index)
            .scope(if ip.is_ipv4() { RouteScope::Link } else { RouteScope::Universe })
            .build();
        self.replace_route(route).await
    }

    /// Adds the pod's way out.
    pub(super) async fn add_default_route(
        &self,
        index: u32,
        gateway: IpAddr,
    ) -> Result<(), PodNetworkError> {
        let everything: IpAddr = if gateway.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let route = destination(IpNet::new_assert(everything, 0))?
            .gateway(gateway)
            .map_err(invalid)?
            .output_interface(index)
            .onlink()
            .build();
        self.replace_route(route).await
    }

    /// Makes the kernel answer "unreachable" for addresses of the range that no pod has, instead of
    /// sending them to the default gateway.
    pub(super) async fn add_unreachable(&self, range: IpNet) -> Result<(), PodNetworkError> {
        self.replace_route(unreachable(range)?).await
    }

    /// Removes what [`Self::add_unreachable`] made.
    pub(super) async fn delete_unreachable(&self, range: IpNet) -> Result<(), PodNetworkError> {
        self.delete_route(unreachable(range)?).await
    }

    /// Adds the route to another node's pods.
    pub(super) async fn add_node_route(&self, route: &NodeRoute) -> Result<(), PodNetworkError> {
        let message = destination(route.range)?.gateway(route.via).map_err(invalid)?.build();
        self.replace_route(message).await
    }

    /// Removes the route to another node's pods.
    pub(super) async fn delete_node_route(&self, range: IpNet) -> Result<(), PodNetworkError> {
        self.delete_route(destination(range)?.build()).await
    }

    /// Adds a neighbour that never has to be asked for its hardware address.
    pub(super) async fn add_neighbour(
        &self,
        index: u32,
        ip: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), PodNetworkError> {
        let request = self.handle.neighbours().add(index, ip).link_layer_address(&mac).replace();
        request.execute().await.map_err(failed("add neighbour"))
    }

    /// The MTU of the link with the default route.
    pub(super) async fn default_mtu(&self) -> Result<u32, PodNetworkError> {
        for family in [RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(), {
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
        }] {
            let routes: Vec<RouteMessage> = self
                .handle
                .route()
                .get(family)
                .execute()
                .try_collect()
                .await
                .map_err(failed("list routes"))?;
            let Some(index) = routes.iter().find_map(default_link) else { continue };
            let link = self.handle.link().get().match_index(index).execute().try_next().await;
            if let Some(mtu) = link.map_err(failed("find link"))?.as_ref().and_then(link_mtu) {
                return Ok(mtu);
            }
        }
        Ok(MTU_DEFAULT)
    }

    async fn replace_route(&self, route: RouteMessage) -> Result<(), PodNetworkError> {
        self.handle.route().add(route).replace().execute().await.map_err(failed("add route"))
    }

    async fn delete_route(&self, route: RouteMessage) -> Result<(), PodNetworkError> {
        match self.handle.route().del(route).execute().await {
            Err(error) if errno(&error) != Some(nix::libc::ESRCH) => {
                Err(failed("delete route")(error))
            }
            _ => Ok(()),
        }
    }
}

fn destination(range: IpNet) -> Result<RouteMessageBuilder<IpAddr>, PodNetworkError> {
    let route = RouteMessageBuilder::<IpAddr>::new().protocol(ROUTE_PROTOCOL);
    route.destination_prefix(range.network(), range.prefix_len()).map_err(invalid)
}

fn unreachable(range: IpNet) -> Result<RouteMessage, PodNetworkError> {
    Ok(destination(range)?.kind(RouteType::Unreachable).build())
}

fn host_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn link_name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn link_mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The link of a unicast default route.
fn default_link(route: &RouteMessage) -> Option<u32> {
    let is_default =
        route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast;
    let with_gateway = route.attributes.iter().any(|attribute| {
        matches!(attribute, RouteAttribute::Gateway(RouteAddress::Inet(_) | RouteAddress::Inet6(_)))
    });
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) if is_default && with_gateway => Some(*index),
        _ => None,
    })
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(-message.raw_code()),
        _ => None,
    }
}

fn failed(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> PodNetworkError {
    move |error| {
        let detail = match errno(&error) {
            Some(code) => io::Error::from_raw_os_error(code).to_string(),
            None => error.to_string(),
        };
        PodNetworkError::Netlink { what, detail }
    }
}

fn invalid(error: impl std::fmt::Display) -> PodNetworkError {
    PodNetworkError::Netlink { what: "build route", detail: error.to_string() }
}
