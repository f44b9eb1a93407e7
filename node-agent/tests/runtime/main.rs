//! The embedded runtime with real containers, on an image made here from busybox.
#![allow(clippy::unwrap_used)]

mod containers;
mod images;
mod life;
mod streams;
mod support;
