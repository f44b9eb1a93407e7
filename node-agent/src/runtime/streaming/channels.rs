//! Kubernetes' channel protocols over WebSocket: a byte that names the channel, then data.
//!
//! upstream: remote command, "v4.channel.k8s.io" and "v5.channel.k8s.io"

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Since v5: the channel named by the next byte is closed.
const CLOSE: u8 = 255;

/// Which protocol a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// No name was offered: as v4, with plain text for errors. Nothing of ours calls so.
    Unnamed,
    V4,
    V5,
}

impl Protocol {
    /// The best that the caller offers.
    pub(super) fn choose(offered: &[String]) -> Option<Self> {
        if offered.is_empty() {
            return Some(Self::Unnamed);
        }
        [Self::V5, Self::V4]
            .into_iter()
            .find(|one| offered.iter().any(|name| Some(name.as_str()) == one.name()))
    }

    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Unnamed => None,
            Self::V4 => Some("v4.channel.k8s.io"),
            Self::V5 => Some("v5.channel.k8s.io"),
        }
    }
}

/// What a caller says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Stdin(Bytes),
    StdinClosed,
    Resize {
        columns: u16,
        rows: u16,
    },
    /// Not for us.
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Understands one message.
pub(super) fn input(data: Bytes) -> Input {
    match data.first() {
        Some(&STDIN) => Input::Stdin(data.slice(1..)),
        Some(&RESIZE) => match serde_json::from_slice::<Size>(&data[1..]) {
            Ok(size) => Input::Resize { columns: size.width, rows: size.height },
            Err(_) => Input::Other,
        },
        Some(&CLOSE) if data.get(1) == Some(&STDIN) => Input::StdinClosed,
        _ => Input::Other,
    }
}

/// A message on a channel.
pub(super) fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// How the process ended, as a Kubernetes Status on the error channel.
pub(super) fn outcome(exit_code: i32) -> Message {
    let status = match exit_code {
        0 => json!({ "metadata": {}, "status": "Success" }),
        code => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!(
                "command terminated with non-zero exit code: exit status {code}"
            ),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
    };
    status_message(&status)
}

/// That it could not be done.
pub(super) fn failure(error: &dyn std::fmt::Display) -> Message {
    status_message(&json!({
        "metadata": {},
        "status": "Failure",
        "message": error.to_string(),
        "reason": "InternalError",
        "details": { "causes": [{ "message": error.to_string() }] },
        "code": 500,
    }))
}

fn status_message(status: &Value) -> Message {
    message(ERROR, status.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_wins() {
        let check = |offered: &[&str], expected| {
            let offered: Vec<String> = offered.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(Protocol::choose(&offered), expected);
        };
        check(&["v4.channel.k8s.io", "v5.channel.k8s.io"], Some(Protocol::V5));
        check(&["v4.channel.k8s.io"], Some(Protocol::V4));
        check(&["SPDY/3.1+portforward.k8s.io"], None);
        check(&[], Some(Protocol::Unnamed));
    }

    #[test]
    fn input_is_told_apart() {
        let check = |data: &'static [u8], expected| {
            assert_eq!(input(Bytes::from_static(data)), expected);
        };
        check(b"\0ls\n", Input::Stdin(Bytes::from_static(b"ls\n")));
        check(b"\xff\0", Input::StdinClosed);
        check(b"\x04{\"Width\":80,\"Height\":24}", Input::Resize { columns: 80, rows: 24 });
        check(b"\x04nonsense", Input::Other);
        check(b"", Input::Other);
    }
}
