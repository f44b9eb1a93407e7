//! The connection against a server whose frames are written out here.

#![allow(clippy::unwrap_used)] // A failure is a failed test.

use super::*;

const PATH: &str = "/etcdserverpb.KV/Put";

fn framed(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, kind, flags, id, payload.len());
    out.extend_from_slice(payload);
    out
}

fn messages(texts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        prefix(&mut out, text.len());
        out.extend_from_slice(text);
    }
    out
}

/// Trailers with a status that is a literal of its own.
fn trailers(status: u8) -> Vec<u8> {
    let mut block = vec![0, 11];
    block.extend_from_slice(b"grpc-status");
    block.extend([1, b'0' + status]);
    block
}

/// A connection whose server has said `settings`.
fn greeted(settings: &[(u16, u32)]) -> Connection {
    let mut connection = Connection::new(false, "localhost:2379", WINDOW_CALL);
    let mut payload = Vec::new();
    for (setting, value) in settings {
        payload.extend(setting.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    assert!(!connection.ready());
    assert!(all(&mut connection, &framed(SETTINGS, 0, 0, &payload)).is_empty());
    assert!(connection.ready());
    connection.out.clear();
    connection
}

/// Events as text, of bytes that come in one piece.
fn all(connection: &mut Connection, bytes: &[u8]) -> Vec<String> {
    let mut input = bytes;
    let mut events = Vec::new();
    while let Some((tag, _, event)) = connection.next(&mut input).unwrap() {
        events.push(match event {
            Event::Message(message) => format!("{tag} {}", String::from_utf8_lossy(&message)),
            Event::End(Ok(())) => format!("{tag} ended"),
            Event::End(Err(refusal)) => format!("{tag} {}", refusal.code),
        });
    }
    assert!(input.is_empty(), "{} bytes were not understood", input.len());
    events
}

/// Kind, flags, stream and length of the frames in `out`.
fn frames(mut out: &[u8]) -> Vec<(u8, u8, u32, usize)> {
    let mut frames = Vec::new();
    while !out.is_empty() {
        let length = (number(out) >> 8) as usize;
        frames.push((out[3], out[4], number(&out[5..]), length));
        out = &out[FRAME_HEAD + length..];
    }
    frames
}

#[test]
fn an_answer_is_the_same_wherever_its_bytes_are_parted() {
    let body = messages(&[b"one", b"", b"three"]);
    let mut bytes = framed(HEADERS, END_HEADERS, 1, &[0x88]);
    // A message begins in one frame and ends in another, which is padded.
    bytes.extend(framed(DATA, 0, 1, &body[..10]));
    let padded = [&[3][..], &body[10..], &[0, 0, 0]].concat();
    bytes.extend(framed(DATA, PADDED, 1, &padded));
    let trailers = trailers(0);
    bytes.extend(framed(HEADERS, END_STREAM, 1, &trailers[..4]));
    bytes.extend(framed(CONTINUATION, END_HEADERS, 1, &trailers[4..]));
    for cut in 0..bytes.len() {
        let mut connection = greeted(&[]);
        connection.call(PATH, 7, b"request", Finish::Now);
        let mut events = Vec::new();
        let mut buffer = Vec::new();
        for piece in [&bytes[..cut], &bytes[cut..]] {
            buffer.extend_from_slice(piece);
            let mut input = &buffer[..];
            while let Some((tag, _, event)) = connection.next(&mut input).unwrap() {
                events.push(format!("{tag} {event:?}"));
            }
            let rest = input.to_vec();
            buffer = rest;
        }
        assert_eq!(events.len(), 4, "cut at {cut}: {events:?}");
        assert!(events[2].contains("Message") && events[3].contains("End(Ok(()))"), "{events:?}");
        assert!(buffer.is_empty() && connection.streams.is_empty());
    }
}

#[test]
fn calls_beyond_what_the_server_allows_wait_for_an_end() {
    let mut connection = greeted(&[(3, 1)]);
    connection.call(PATH, 1, b"first", Finish::Now);
    connection.call(PATH, 2, b"second", Finish::Now);
    let sent = frames(&connection.out);
    assert_eq!(sent.iter().map(|frame| frame.2).collect::<Vec<_>>(), [1, 1]);
    connection.out.clear();
    let end = framed(HEADERS, END_HEADERS | END_STREAM, 1, &trailers(8));
    assert_eq!(all(&mut connection, &end), ["1 8"]);
    let sent = frames(&connection.out);
    assert_eq!(sent[1], (DATA, END_STREAM, 3, b"second".len() + 5), "{sent:?}");
}

#[test]
fn messages_wait_for_the_servers_window() {
    let mut connection = greeted(&[(4, 10)]);
    let call = connection.call(PATH, 1, b"a message", Finish::Later);
    assert_eq!(frames(&connection.out)[1], (DATA, 0, 1, 10));
    assert!(connection.send(call, b"more"));
    connection.out.clear();
    let update = framed(WINDOW_UPDATE, 0, 1, &9_u32.to_be_bytes());
    assert!(all(&mut connection, &update).is_empty());
    assert_eq!(frames(&connection.out), [(DATA, 0, 1, 9)]);
    connection.out.clear();
    // A larger window for all streams opens this one too.
    let larger = framed(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 40]);
    assert!(all(&mut connection, &larger).is_empty());
    assert_eq!(frames(&connection.out), [(SETTINGS, ACK, 0, 0), (DATA, 0, 1, 4)]);
}

#[test]
fn a_slow_call_is_not_given_back_what_it_took_until_relieved() {
    let mut connection = Connection::new(false, "localhost:2379", 100);
    assert!(all(&mut connection, &framed(SETTINGS, 0, 0, &[])).is_empty());
    let quick = connection.call(PATH, 1, b"", Finish::Later);
    let slow = connection.call(PATH, 2, b"", Finish::Later);
    connection.slow(slow);
    connection.out.clear();
    let sixty = messages(&[&[b'x'; 55]]);
    assert_eq!(all(&mut connection, &framed(DATA, 0, quick.0, &sixty)).len(), 1);
    assert_eq!(all(&mut connection, &framed(DATA, 0, slow.0, &sixty)).len(), 1);
    assert_eq!(frames(&connection.out), [(WINDOW_UPDATE, 0, quick.0, 4)]);
    connection.relieve(slow);
    assert_eq!(frames(&connection.out)[1], (WINDOW_UPDATE, 0, slow.0, 4));
    // Broken off, its frames are of no more interest.
    connection.cancel(slow);
    assert!(all(&mut connection, &framed(DATA, 0, slow.0, &sixty)).is_empty());
}

#[test]
fn what_the_server_says_beside_calls_is_answered() {
    let mut connection = greeted(&[]);
    connection.call(PATH, 1, b"", Finish::Now);
    connection.out.clear();
    assert!(all(&mut connection, &framed(PING, 0, 0, b"12345678")).is_empty());
    assert_eq!(connection.out, framed(PING, ACK, 0, b"12345678"));
    assert_eq!(all(&mut connection, &framed(RST_STREAM, 0, 1, &[0, 0, 0, 2])), ["1 14"]);
    let away = framed(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x0btoo many pings");
    let error = connection.next(&mut &away[..]).unwrap_err().to_string();
    assert!(error.contains("code 11 too many pings"), "{error}");
    let mut other = Connection::new(false, "localhost:2379", WINDOW_CALL);
    assert!(other.next(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]).is_err());
}
