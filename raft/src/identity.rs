//! Ids of members and clusters, which all founders compute alike.
//!
//! A member's is the first eight bytes of SHA-1 over its sorted peer URLs and the cluster's token;
//! a cluster's the same over its members' ids.  upstream: etcd `membership`, test `ids_are_etcds`.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// A member's id.
pub fn member(peer_urls: &[String], token: &str) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let mut text = urls.concat();
    text.push_str(token);
    first_eight(text.as_bytes())
}

/// The id of a member that is added to a running cluster: the same URLs may come again.
pub fn added(peer_urls: &[String], nonce: u64) -> u64 {
    member(peer_urls, &nonce.to_string())
}

/// The cluster's id.
pub fn cluster(mut members: Vec<u64>) -> u64 {
    members.sort_unstable();
    let bytes: Vec<u8> = members.into_iter().flat_map(u64::to_be_bytes).collect();
    first_eight(&bytes)
}

fn first_eight(bytes: &[u8]) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    hash.as_ref().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_etcds() {
        // As `etcd --name default` with its default flags prints them.
        let id = member(&["http://localhost:2380".to_owned()], "etcd-cluster");
        assert_eq!(id, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster(vec![id]), 0xcdf8_1819_4e3a_8c32);
    }
}
