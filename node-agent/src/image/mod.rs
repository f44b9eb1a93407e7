//! Images: what a node has of them, and how it gets them.
//!
//! Under the store's folder: `index.json` (which images there are, replaced as a whole),
//! `blobs/sha256/HEX` (manifests and configurations, as they came), `layers/CHAIN-ID/fs` (a layer
//! unpacked, with whiteouts as overlayfs wants them; renamed into place when complete) and `tmp/`
//! (emptied at every start). Compressed layers are not kept.

pub mod digest;
pub mod import;
pub mod manifest;
pub mod pull;
pub mod reference;
pub mod store;
mod unpack;

pub use store::{ImageError, ImageRecord, ImageStore};
