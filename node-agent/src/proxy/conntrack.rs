//! Forgets UDP flows that lead where they no longer should.
//!
//! The kernel keeps sending a known UDP flow to the endpoint that it chose first, or past the proxy
//! when there was none, for as long as the client goes on. So flows to a changed port whose answers
//! come from nobody behind it are deleted, and the next packet chooses anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rtnetlink::sys::{Socket, protocols::NETLINK_NETFILTER};

/// A UDP port of a Service: where clients send to, and who may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flows {
    /// Addresses that clients send to.
    pub(super) destinations: BTreeSet<SocketAddr>,
    /// Port of the node that clients send to.
    pub(super) node_port: Option<u16>,
    /// Endpoints.
    pub(super) targets: BTreeSet<SocketAddr>,
}

/// A connection to the kernel's table of flows, in the namespace that it was opened in.
pub(super) struct Conntrack {
    socket: Socket,
}

/// Where a flow goes, and how the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flow {
    family: u8,
    protocol: u8,
    destination: SocketAddr,
    /// Who answers: the destination after translation.
    answers: SocketAddr,
    /// The attributes that name it in a deletion.
    name: Vec<u8>,
}

// include/uapi/linux/netfilter/nfnetlink_conntrack.h and netlink.h
const MESSAGE_GET: u16 = (1 << 8) | 1;
const MESSAGE_DELETE: u16 = (1 << 8) | 2;
const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
const HEAD: usize = 16;
const NETFILTER_HEAD: usize = 4;
const UDP: u8 = 17;

impl Conntrack {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        Ok(Self { socket })
    }

    /// Deletes the UDP flows that `ports` say are stale; gives how many. Blocks for as long as the
    /// kernel takes to list its flows.
    pub(super) fn forget(&self, ports: &[Flows]) -> io::Result<usize> {
        let index = Index::new(ports);
        let mut stale = Vec::new();
        for family in [nix::libc::AF_INET, nix::libc::AF_INET6] {
            let family = u8::try_from(family).unwrap_or_default();
            self.socket.send(&message(MESSAGE_GET, FLAG_REQUEST | FLAG_DUMP, family, &[]), 0)?;
            self.answers(|payload| {
                if let Some(flow) = parse(payload).filter(|flow| index.is_stale(flow)) {
                    stale.push(flow);
                }
            })?;
        }
        for flow in &stale {
            let delete = message(MESSAGE_DELETE, FLAG_REQUEST | FLAG_ACK, flow.family, &flow.name);
            self.socket.send(&delete, 0)?;
            match self.answers(|_| ()) {
                // Gone by itself meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(stale.len())
    }

    /// Reads one answer to its end.
    fn answers(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some((kind, payload, next)) = split_message(rest) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return outcome(payload),
                    _ => each(payload),
                }
                rest = next;
            }
        }
    }
}

/// The ports by what a flow is sent to.
struct Index<'a> {
    by_destination: BTreeMap<SocketAddr, &'a Flows>,
    by_node_port: BTreeMap<u16, &'a Flows>,
}

impl<'a> Index<'a> {
    fn new(ports: &'a [Flows]) -> Self {
        let mut index = Self { by_destination: BTreeMap::new(), by_node_port: BTreeMap::new() };
        for port in ports {
            index.by_destination.extend(port.destinations.iter().map(|address| (*address, port)));
            index.by_node_port.extend(port.node_port.map(|number| (number, port)));
        }
        index
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        if flow.protocol != UDP {
            return false;
        }
        if let Some(port) = self.by_destination.get(&flow.destination) {
            return !port.targets.contains(&flow.answers);
        }
        // A flow that nothing translated goes to a port of that number somewhere else.
        let translated = flow.answers != flow.destination;
        let by_port = self.by_node_port.get(&flow.destination.port());
        by_port.is_some_and(|port| translated && !port.targets.contains(&flow.answers))
    }
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let size = HEAD + NETFILTER_HEAD + attributes.len();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port: one request is under way at a time
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let size = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let payload = bytes.get(HEAD..size)?;
    Some((kind, payload, bytes.get(size.next_multiple_of(4)..).unwrap_or_default()))
}

fn outcome(payload: &[u8]) -> io::Result<()> {
    let code =
        payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

fn parse(payload: &[u8]) -> Option<Flow> {
    let family = *payload.first()?;
    let mut name = Vec::new();
    let (mut original, mut reply) = (None, None);
    for (kind, value, whole) in attributes(payload.get(NETFILTER_HEAD..)?) {
        match kind {
            CTA_TUPLE_ORIG => original = Some(tuple(value)?),
            CTA_TUPLE_REPLY => reply = Some(tuple(value)?),
            _ => {}
        }
        if matches!(kind, CTA_TUPLE_ORIG | CTA_ID | CTA_ZONE) {
            name.extend_from_slice(whole);
            name.resize(name.len().next_multiple_of(4), 0);
        }
    }
    let ((protocol, _, destination), (_, answers, _)) = (original?, reply?);
    Some(Flow { family, protocol, destination, answers, name })
}

/// Protocol, source and destination of one direction.
fn tuple(bytes: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (mut ips, mut protocol, mut ports) = ([None; 2], None, [0_u16; 2]);
    for (kind, value, _) in attributes(bytes) {
        match kind {
            CTA_TUPLE_IP => {
                // Sources are 1 and 3, destinations 2 and 4.
                for (kind, value, _) in attributes(value) {
                    let side = usize::from(kind + 1) % 2;
                    ips[side] = address(value);
                }
            }
            CTA_TUPLE_PROTO => {
                for (kind, value, _) in attributes(value) {
                    match (kind, value) {
                        (CTA_PROTO_NUM, [number, ..]) => protocol = Some(*number),
                        (2 | 3, [high, low, ..]) => {
                            ports[usize::from(kind - 2)] = u16::from_be_bytes([*high, *low]);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((protocol?, SocketAddr::new(ips[0]?, ports[0]), SocketAddr::new(ips[1]?, ports[1])))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// Attributes as (type, value, all bytes).
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE_MASK;
        let (value, whole) = (rest.get(4..size)?, &rest[..size]);
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value, whole))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(destination: &str, answers: &str, stale: bool) {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let port = Flows {
            destinations: BTreeSet::from([at("10.96.0.10:53")]),
            node_port: Some(30053),
            targets: BTreeSet::from([at("10.1.0.2:53")]),
        };
        let flow = Flow {
            family: 2,
            protocol: UDP,
            destination: at(destination),
            answers: at(answers),
            name: Vec::new(),
        };
        let ports = [port];
        assert_eq!(Index::new(&ports).is_stale(&flow), stale, "{destination} {answers}");
    }

    #[test]
    fn flows_are_stale_when_somebody_else_would_answer() {
        check("10.96.0.10:53", "10.1.0.2:53", false);
        check("10.96.0.10:53", "10.1.0.3:53", true);
        check("10.96.0.10:53", "10.96.0.10:53", true);
        check("10.96.0.11:53", "10.1.0.3:53", false);
        check("192.0.2.1:30053", "10.1.0.3:53", true);
        check("192.0.2.1:30053", "10.1.0.2:53", false);
        check("8.8.8.8:30053", "8.8.8.8:30053", false);
    }

    #[test]
    fn truncated_messages_are_no_flows() {
        let mut bytes = message(MESSAGE_GET, 0, 2, &[8, 0, 1, 0, 1, 2, 3, 4]);
        assert_eq!(
            split_message(&bytes).map(|(kind, _, rest)| (kind, rest.len())),
            Some((MESSAGE_GET, 0))
        );
        assert_eq!(parse(&bytes[HEAD..]), None);
        bytes.truncate(20);
        assert!(split_message(&bytes).is_none());
    }
}
