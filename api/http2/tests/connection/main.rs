//! A connection, driven by another implementation of HTTP/2 and by frames made by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod by_a_client;
mod by_frames;
mod rubbish;
mod service;
mod wire;
