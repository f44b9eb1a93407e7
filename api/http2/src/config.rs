//! Limits of one connection.

use std::time::Duration;

/// How a connection is served.
#[derive(Debug, Clone)]
pub struct Config {
    /// Streams that a client may have open at once.
    pub max_concurrent_streams: u32,
    /// A client that is silent for so long is pinged.
    pub keep_alive_interval: Duration,
    /// A pinged client that stays silent for so long is gone.
    pub keep_alive_timeout: Duration,
    /// Pings of a client that are closer to each other than this are too many.
    pub ping_min: Duration,
    /// What a client may send on one stream ahead of being read.
    pub stream_window: u32,
    /// What a client may send on all streams ahead of being read.
    pub connection_window: u32,
    /// Longest message that [`Service::unary`](crate::Service::unary) gets; longer ones come as
    /// requests with a body.
    pub unary_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: u32::MAX,
            keep_alive_interval: Duration::from_secs(2 * 60 * 60),
            keep_alive_timeout: Duration::from_secs(20),
            ping_min: Duration::from_secs(5),
            stream_window: 1 << 20,
            connection_window: 4 << 20,
            unary_max: 256 << 10,
        }
    }
}
