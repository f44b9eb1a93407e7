//! Founders that find each other: by a token in another cluster, and by SRV records.

use std::net::{Ipv4Addr, UdpSocket};
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::Cluster;

#[test]
fn founders_meet_below_a_token() -> Result<()> {
    let mut meeting = Cluster::new(1)?;
    meeting.found(&[0])?;
    let mut cluster = Cluster::new(4)?;
    let endpoints = format!("--discovery-endpoints={}", meeting.seats[0].client);
    let flags = ["--discovery-token=t0", &endpoints];
    cluster.start(0, &flags)?;
    let status = cluster.process(0)?.ended()?;
    ensure!(status.code() == Some(1), "{status}");
    let log = cluster.process(0)?.log();
    ensure!(log.contains("discovery: size key not found"), "{log}");

    meeting.put(0, "/_etcd/registry/t0/_config/size", "three")?;
    cluster.start(0, &flags)?;
    cluster.process(0)?.ended()?;
    let log = cluster.process(0)?.log();
    ensure!(log.contains("discovery: size key is bad"), "{log}");

    meeting.put(0, "/_etcd/registry/t0/_config/size", "3")?;
    for seat in 0..3 {
        cluster.start(seat, &flags)?;
    }
    for seat in 0..3 {
        cluster.ready(seat)?;
    }
    ensure!(cluster.members(0)?.len() == 3);
    cluster.put(0, "a", "1")?;
    cluster.expect(2, "a", "1")?;
    let registered = meeting.ctl(0, &["get", "--prefix", "/_etcd/registry/t0/members/"])?.ok()?;
    for seat in 0..3 {
        let own = cluster.list(&[seat]);
        ensure!(registered.lines().any(|line| line == own), "no {own} in {registered}");
    }

    // There is room for no fourth; and who has data needs nobody.
    cluster.start(3, &flags)?;
    let status = cluster.process(3)?.ended()?;
    let log = cluster.process(3)?.log();
    ensure!(status.code() == Some(1) && log.contains("discovery: cluster is full"), "{log}");
    meeting.kill_9(0)?;
    cluster.kill_9(1)?;
    cluster.start(1, &flags)?;
    cluster.ready(1)?;
    cluster.expect(1, "a", "1")
}

/// Where the test's name server listens; loopback has room.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 53, 53);
const DOMAIN: &str = "keelson.test.";

/// Answers for `DOMAIN`: the ports of founders at `node.DOMAIN`, until the socket is idle.
fn serve_names(ports: Vec<u16>) -> Result<()> {
    let socket = UdpSocket::bind((NAME_SERVER, 53)).context("bind the name server")?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let node = Name::from_str(&format!("node.{DOMAIN}"))?;
    let service = Name::from_str(&format!("_etcd-server-test._tcp.{DOMAIN}"))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
            let Some(asked) = query.queries.first() else { continue };
            let data: Vec<RData> = match asked.query_type() {
                RecordType::SRV if *asked.name() == service => ports
                    .iter()
                    .map(|port| RData::SRV(SRV::new(0, 0, *port, node.clone())))
                    .collect(),
                RecordType::A if *asked.name() == node => vec![RData::A(A::new(127, 0, 0, 1))],
                _ => Vec::new(),
            };
            let mut answer = query.clone();
            answer.metadata.message_type = MessageType::Response;
            for data in data {
                answer.add_answer(Record::from_rdata(asked.name().clone(), 1, data));
            }
            let Ok(bytes) = answer.to_vec() else { continue };
            let _ = socket.send_to(&bytes, from);
        }
    });
    Ok(())
}

#[test]
fn founders_are_named_by_srv_records() -> Result<()> {
    let mut cluster = Cluster::new(3)?;
    let port = |peer: &str| peer.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let ports: Option<Vec<u16>> = cluster.seats.iter().map(|seat| port(&seat.peer)).collect();
    serve_names(ports.context("ports")?)?;
    let resolv = cluster.dir.path().join("resolv.conf");
    std::fs::write(&resolv, format!("nameserver {NAME_SERVER}\n"))?;
    cluster.resolv = Some(resolv);
    let flags = ["--discovery-srv=keelson.test", "--discovery-srv-name=test"];
    for seat in 0..3 {
        cluster.start(seat, &flags)?;
    }
    for seat in 0..3 {
        cluster.ready(seat)?;
    }
    cluster.put(0, "a", "1")?;
    for seat in 0..3 {
        cluster.expect(seat, "a", "1")?;
    }
    ensure!(cluster.members(0)?.len() == 3);
    Ok(())
}
