//! Rubbish: conversations with random bytes changed, cut and put in, by seed. Whatever comes, the
//! connection ends or goes on; it does not panic, and it does not hang.

use std::time::Duration;

use keelson_http2::Config;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::service::{Echo, served};
use crate::wire::*;

const SEEDS: u64 = 3_000;

fn conversation(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = hello();
    let mut stream = 1;
    for _ in 0..random.random_range(1..8) {
        let part = match random.random_range(0..8) {
            0 => call(stream, b"hello"),
            1 => [request(stream, "/echo", true), frame(DATA, END_STREAM, stream, b"x")].concat(),
            2 => request(stream, "/never", false),
            3 => request(stream, "/where", false),
            4 => frame(PING, 0, 0, &[0; 8]),
            5 => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]),
            6 => frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]),
            _ => frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        };
        bytes.extend(part);
        stream += random.random_range(0..2) * 2;
    }
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..3) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            _ => {
                let mut more = vec![0; random.random_range(1..20)];
                random.fill_bytes(&mut more);
                bytes.splice(at..at, more);
            }
        }
    }
    bytes
}

#[tokio::test]
async fn nothing_that_comes_stops_the_server() {
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let bytes = conversation(&mut random);
        let (client, served) = served(&Echo::default(), Config::default());
        let (mut from, mut to) = tokio::io::split(client);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            let _ = from.read_to_end(&mut all).await;
        });
        for piece in bytes.chunks(random.random_range(1..200)) {
            if to.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
        let ended = tokio::time::timeout(Duration::from_secs(60), served).await;
        let _ = ended
            .unwrap_or_else(|_| panic!("seed {seed} hangs"))
            .unwrap_or_else(|panic| panic!("seed {seed}: {panic}"));
        reading.abort();
    }
}
