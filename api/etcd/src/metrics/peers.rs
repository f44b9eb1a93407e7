//! Traffic with the other members.

use keelson_raft::peer::PeerMeasures;
use keelson_storage::measures::Counter;

use super::text::Text;
use crate::face::EtcdFace;

pub(super) fn write(face: &EtcdFace, out: &mut Text) {
    let own = face.node().node_id();
    // Those that nobody has spoken to yet count too, with nothing.
    let mut peers = face.node().peer_measures();
    for other in face.node().members().into_keys() {
        peers.entry(other).or_default();
    }
    peers.remove(&own);
    let name = "etcd_network_known_peers";
    out.head(name, "gauge", "The current number of known peers.");
    for other in peers.keys() {
        out.line(name, &format!("Local=\"{own:x}\",Remote=\"{other:x}\""), 1);
    }
    let name = "etcd_network_active_peers";
    out.head(name, "gauge", "The current number of active peer connections.");
    for (other, peer) in &peers {
        let labels = format!("Local=\"{own:x}\",Remote=\"{other:x}\"");
        out.line(name, &labels, u8::from(peer.connections.get() > 0));
    }
    type Count = fn(&PeerMeasures) -> &Counter;
    let counts: [(&str, &str, &str, Count); 3] = [
        (
            "etcd_network_peer_sent_bytes_total",
            "The total number of bytes sent to peers.",
            "To",
            |peer| &peer.sent_bytes,
        ),
        (
            "etcd_network_peer_received_bytes_total",
            "The total number of bytes received from peers.",
            "From",
            |peer| &peer.received_bytes,
        ),
        (
            "etcd_network_peer_sent_failures_total",
            "The total number of send failures from peers.",
            "To",
            |peer| &peer.send_failures,
        ),
    ];
    for (name, help, label, count) in counts {
        out.head(name, "counter", help);
        for (other, peer) in &peers {
            out.line(name, &format!("{label}=\"{other:x}\""), count(peer).get());
        }
    }
    let name = "etcd_network_peer_round_trip_time_seconds";
    out.head(name, "histogram", "Round-Trip-Time histogram between peers");
    for (other, peer) in &peers {
        out.histogram(name, &format!("To=\"{other:x}\""), &peer.round_trips);
    }
    out.counter(
        "etcd_server_heartbeat_send_failures_total",
        "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
        peers.values().map(|peer| peer.heartbeat_failures.get()).sum::<u64>(),
    );
}
