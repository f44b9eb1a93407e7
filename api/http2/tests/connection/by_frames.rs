//! By frames that no well-behaved client sends, or not in that order.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keelson_http2::{Config, Connection, ConnectionError};
use tokio::io::AsyncWriteExt as _;

use crate::service::{CHUNK, Echo, served};
use crate::wire::*;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// The farewell after these frames.
async fn told(frames: &[Vec<u8>]) -> (u32, String) {
    let (mut client, _) = served(&Echo::default(), Config::default());
    say(&mut client, &hello()).await;
    for frame in frames {
        // It may have left already.
        let _ = client.write_all(frame).await;
    }
    farewell(&mut client).await
}

#[tokio::test]
async fn answers_have_the_expected_frames() {
    let (mut client, _) = served(&Echo::default(), Config::default());
    say(&mut client, &hello()).await;
    say(&mut client, &[call(1, b"a"), call(3, b"b")].concat()).await;
    for (stream, message, head, end) in [
        (1, b'a', &b"\x88\x5f\x10application/grpc"[..], &b"\x40\x0bgrpc-status\x010"[..]),
        // From the table.
        (3, b'b', b"\x88\xbf", b"\xbe"),
    ] {
        let payloads = [head, &[0, 0, 0, 0, 1, message], end];
        let kinds = [(HEADERS, END_HEADERS), (DATA, 0), (HEADERS, END_HEADERS | END_STREAM)];
        for ((kind, flags), payload) in kinds.into_iter().zip(payloads) {
            let expected = Frame { kind, flags, stream, payload: payload.to_vec() };
            assert_eq!(answer(&mut client).await, Some(expected));
        }
    }
}

#[tokio::test]
async fn a_client_without_a_table_gets_everything_written_out() {
    let (mut client, _) = served(&Echo::default(), Config::default());
    say(&mut client, &hello()).await;
    say(&mut client, &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
    say(&mut client, &call(1, b"a")).await;
    say(&mut client, &call(3, b"a")).await;
    let first = answer(&mut client).await.unwrap();
    assert_eq!(first.payload, b"\x20\x88\x0f\x10\x10application/grpc");
    answer(&mut client).await.unwrap();
    assert_eq!(answer(&mut client).await.unwrap().payload, b"\0\x0bgrpc-status\x010");
    let second = answer(&mut client).await.unwrap();
    assert_eq!(second.payload, b"\x88\x0f\x10\x10application/grpc");
}

#[tokio::test]
async fn headers_may_come_in_pieces_with_padding_and_an_odd_authority() {
    let (mut client, _) = served(&Echo::default(), Config::default());
    say(&mut client, &hello()).await;
    let block = b"\x83\x86\x04\x06/where\x01\x14http://127.0.0.1:379";
    let mut padded = vec![3, 0, 0, 0, 0, 16];
    padded.extend(&block[..7]);
    padded.extend([0; 3]);
    // Padded and with a priority.
    say(&mut client, &frame(HEADERS, END_STREAM | 0x8 | 0x20, 1, &padded)).await;
    say(&mut client, &frame(CONTINUATION, 0, 1, &block[7..9])).await;
    say(&mut client, &frame(CONTINUATION, END_HEADERS, 1, &block[9..])).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, HEADERS);
    assert_eq!(answer(&mut client).await.unwrap().payload, b"http://localhost/where");
}

#[tokio::test]
async fn who_does_not_read_is_not_written_for() {
    let echo = Echo::default();
    let (mut client, _) = served(&echo, Config::default());
    say(&mut client, &hello()).await;
    // All windows as large as they get: only the socket holds it up.
    say(&mut client, &frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).await;
    say(&mut client, &frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())).await;
    say(&mut client, &request(1, "/endless", false)).await;
    let mut made = 0;
    loop {
        tokio::task::yield_now().await;
        let now = echo.0.chunks.load(Ordering::SeqCst);
        if now == made && now > 0 {
            break;
        }
        made = now;
    }
    let made_bytes = usize::try_from(made).unwrap() * CHUNK;
    assert!(
        made_bytes < (256 + 64 + 64) << 10,
        "{made_bytes} bytes for a client that does not read"
    );
    // It reads: more is made.
    let mut read = 0;
    while read < 3_000_000 {
        read += next(&mut client).await.unwrap().payload.len();
    }
    assert!(usize::try_from(echo.0.chunks.load(Ordering::SeqCst)).unwrap() * CHUNK >= 2_900_000);
}

#[tokio::test]
async fn a_long_answer_that_is_taken_at_once_is_followed_by_others() {
    let (mut client, server) = tokio::io::duplex(4 << 20);
    tokio::spawn(Connection::new(server, &hello(), Echo::default(), Config::default()));
    say(&mut client, &frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])).await;
    say(&mut client, &frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes())).await;
    for stream in [1, 3] {
        say(&mut client, &call(stream, b"1000000")).await;
        let mut read = 0;
        while read < 1_000_005 {
            let frame = answer(&mut client).await.unwrap();
            read += if frame.kind == DATA { frame.payload.len() } else { 0 };
        }
        assert_eq!(answer(&mut client).await.unwrap().flags, END_HEADERS | END_STREAM);
    }
}

#[tokio::test]
async fn windows_of_the_client_are_kept() {
    let (mut client, _) = served(&Echo::default(), Config::default());
    say(&mut client, &hello()).await;
    say(&mut client, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 3])).await;
    say(&mut client, &call(1, b"abc")).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, HEADERS);
    assert_eq!(answer(&mut client).await.unwrap().payload, [0, 0, 0]);
    // Nothing more comes but the answer to a ping.
    say(&mut client, &frame(PING, 0, 0, &[1; 8])).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, PING);
    say(&mut client, &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2])).await;
    assert_eq!(answer(&mut client).await.unwrap().payload, [0, 3]);
    say(&mut client, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0])).await;
    assert_eq!(answer(&mut client).await.unwrap().payload, b"abc");
    assert_eq!(answer(&mut client).await.unwrap().flags, END_HEADERS | END_STREAM);
}

#[tokio::test]
async fn broken_rules_end_the_connection_with_their_reason() {
    let data = |stream| frame(DATA, 0, stream, b"x");
    let cases: &[(&[Vec<u8>], u32)] = &[
        (&[data(1)], PROTOCOL_ERROR),
        (&[data(0)], PROTOCOL_ERROR),
        (&[request(2, "/echo", true)], PROTOCOL_ERROR),
        (&[frame(CONTINUATION, 0, 1, b"x")], PROTOCOL_ERROR),
        (&[frame(HEADERS, 0, 1, b"\x83"), data(1)], PROTOCOL_ERROR),
        (&[frame(5, 0, 1, b"")], PROTOCOL_ERROR),
        (&[frame(PING, 0, 0, b"short")], FRAME_SIZE_ERROR),
        (&[frame(SETTINGS, 0, 0, b"short")], FRAME_SIZE_ERROR),
        (&[frame(SETTINGS, 0, 1, b"")], PROTOCOL_ERROR),
        (&[frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0, 0, 0])], FLOW_CONTROL_ERROR),
        (&[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], FLOW_CONTROL_ERROR),
        (&[frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff")], COMPRESSION_ERROR),
        (&[frame(HEADERS, END_HEADERS | 0x8, 1, b"\x09")], PROTOCOL_ERROR),
        (&[vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1]], FRAME_SIZE_ERROR),
    ];
    for (number, (frames, reason)) in cases.iter().enumerate() {
        assert_eq!(told(frames).await.0, *reason, "case {number}");
    }
    // More than the window, on a stream that nobody reads.
    let mut flood = vec![request(1, "/unread", true)];
    flood.extend((0..65).map(|_| frame(DATA, 0, 1, &[0; 16 << 10])));
    assert_eq!(told(&flood).await.0, FLOW_CONTROL_ERROR);
}

#[tokio::test]
async fn too_much_of_something_is_told_so() {
    let pings: Vec<_> = (0..5).map(|_| frame(PING, 0, 0, &[0; 8])).collect();
    assert_eq!(told(&pings).await, (ENHANCE_YOUR_CALM, "too_many_pings".to_owned()));
    let resets: Vec<_> = (0..5_000u32)
        .map(|number| {
            let stream = number * 2 + 1;
            [request(stream, "/never", true), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        })
        .collect();
    assert_eq!(told(&resets).await, (ENHANCE_YOUR_CALM, "too_many_resets".to_owned()));
    let mut headers = vec![frame(HEADERS, 0, 1, b"\x83")];
    headers.extend((0..10).map(|_| frame(CONTINUATION, 0, 1, &[0x83; 10_000])));
    assert_eq!(told(&headers).await.0, ENHANCE_YOUR_CALM);
    let empty = [frame(HEADERS, 0, 1, b"\x83"), frame(CONTINUATION, 0, 1, b"")];
    assert_eq!(told(&empty).await.0, ENHANCE_YOUR_CALM);
    // A small block that means a large one: a field of 3,900 bytes, again and again.
    let (mut client, _) = served(&Echo::default(), Config::default());
    say(&mut client, &hello()).await;
    let mut bomb = b"\x83\x86\x84\x40\x01a\x7f\xbd\x1d".to_vec();
    bomb.extend([b'b'; 3900]);
    bomb.extend([0xbe; 1000]);
    say(&mut client, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    let refused = answer(&mut client).await.unwrap();
    assert_eq!(refused.payload, b"\x08\x03431");
    // The connection goes on.
    say(&mut client, &call(3, b"a")).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, HEADERS);
}

#[tokio::test]
async fn streams_beyond_the_limit_and_malformed_requests_are_refused_alone() {
    let config = Config { max_concurrent_streams: 2, ..Config::default() };
    let (mut client, _) = served(&Echo::default(), config);
    say(&mut client, &hello()).await;
    for stream in [1, 3, 5] {
        say(&mut client, &request(stream, "/never", false)).await;
    }
    let refused = answer(&mut client).await.unwrap();
    assert_eq!(
        (refused.kind, refused.stream, &refused.payload[..]),
        (RST_STREAM, 5, &[0, 0, 0, 7][..])
    );
    say(&mut client, &frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
    // No path; a name in capitals; a header of HTTP/1; a pseudo-header behind others.
    let blocks: [&[u8]; 4] = [
        b"\x83\x86",
        b"\x83\x86\x84\0\x01A\x01b",
        b"\x83\x86\x84\0\x0aconnection\x01b",
        b"\x83\x84\0\x01a\x01b\x86",
    ];
    for (number, block) in (0u32..).zip(blocks) {
        let stream = 7 + number * 2;
        say(&mut client, &frame(HEADERS, END_HEADERS | END_STREAM, stream, block)).await;
        let refused = answer(&mut client).await.unwrap();
        assert_eq!((refused.kind, refused.stream), (RST_STREAM, stream), "block {number}");
    }
    say(&mut client, &call(21, b"a")).await;
    assert_eq!(answer(&mut client).await.unwrap().stream, 21);
}

#[tokio::test]
async fn a_silent_client_is_asked_and_then_left() {
    let short = Duration::from_millis(20);
    let config =
        Config { keep_alive_interval: short, keep_alive_timeout: short, ..Config::default() };
    let (mut client, served) = served(&Echo::default(), config);
    say(&mut client, &hello()).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, PING);
    assert!(matches!(served.await.unwrap(), Err(ConnectionError::Silent)));
}

#[tokio::test]
async fn an_orderly_end_lets_streams_finish() {
    let echo = Echo::default();
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let mut connection = Connection::new(server, &hello(), echo.clone(), Config::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        tokio::select! {
            ended = &mut connection => ended,
            _ = stopped => {
                connection.graceful_shutdown();
                connection.await
            }
        }
    });
    say(&mut client, &request(1, "/echo", true)).await;
    say(&mut client, &frame(PING, 0, 0, &[0; 8])).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, PING);
    stop.send(()).unwrap();
    let farewell = answer(&mut client).await.unwrap();
    assert_eq!((farewell.kind, &farewell.payload[..]), (GO_AWAY, &[0, 0, 0, 1, 0, 0, 0, 0][..]));
    say(&mut client, &request(3, "/echo", true)).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, RST_STREAM);
    say(&mut client, &frame(DATA, END_STREAM, 1, b"last")).await;
    assert_eq!(answer(&mut client).await.unwrap().kind, HEADERS);
    assert_eq!(answer(&mut client).await.unwrap().payload, b"last");
    assert_eq!(answer(&mut client).await.unwrap().kind, HEADERS);
    assert_eq!(answer(&mut client).await, None);
    served.await.unwrap().unwrap();
}
