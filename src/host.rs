//! What this machine calls itself.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The host's name, as a node may be called.
pub fn name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let name: String = name.chars().map(|c| if valid(c) { c } else { '-' }).collect();
    let name = name.trim_matches(|c| c == '-' || c == '.').to_owned();
    if name.is_empty() { "keelson".to_owned() } else { name }
}

/// The address that a packet leaving this machine would carry; loopback where nothing leads out.
pub fn address() -> IpAddr {
    let source = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // A UDP connect asks the routing table and sends nothing (RFC 5737 documentation address).
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    source().unwrap_or_else(|_| interface().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// The first address of an interface that is not loopback.
fn interface() -> Option<IpAddr> {
    nix::ifaddrs::getifaddrs().ok()?.find_map(|interface| {
        let address = IpAddr::V4(interface.address?.as_sockaddr_in()?.ip());
        (!address.is_loopback()).then_some(address)
    })
}
