//! The keys of a lease, for the question whether somebody may touch them.

use bytes::Bytes;
use keelson_storage::auth::AuthError;

use crate::face::EtcdFace;

/// Nobody may touch keys that cannot be read.
pub(super) fn attached(face: &EtcdFace, id: i64) -> Result<Vec<Bytes>, AuthError> {
    face.node().view().lease_keys(id).map_err(|_| AuthError::PermissionDenied)
}
