//! Passwords: hashed by bcrypt before the log, compared here, beside the request threads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::error::FaceError;

/// The cheapest and the dearest hash there is.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// In the place of a cost that is none.
const COST: u32 = 10;

/// A password's hash, in base64.
pub(super) async fn hash(password: String, cost: u32) -> Result<String, FaceError> {
    let cost = if COSTS.contains(&cost) { cost } else { COST };
    let hashed = tokio::task::spawn_blocking(move || bcrypt::hash(password, cost));
    match hashed.await.map_err(|_| FaceError::Stopped)? {
        Ok(hashed) => Ok(STANDARD.encode(hashed)),
        Err(_) => Err(FaceError::Unexpected),
    }
}

/// Whether a password has this hash.
pub(super) async fn fits(password: String, hashed: Bytes) -> Result<bool, FaceError> {
    let compared = tokio::task::spawn_blocking(move || {
        let hashed = std::str::from_utf8(&hashed).unwrap_or_default();
        bcrypt::verify(password, hashed).unwrap_or(false)
    });
    compared.await.map_err(|_| FaceError::Stopped)
}
