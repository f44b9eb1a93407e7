//! Who a request is made by: what came with it, and who that is while authentication is on.

use std::sync::Arc;

use http::HeaderMap;
use keelson_storage::auth::{AuthError, Authority};

use crate::face::EtcdFace;

/// Whoever makes requests of a face.
#[derive(Debug, Clone, Default)]
pub(crate) enum Caller {
    /// Code of this process: it may do all.
    Trusted,
    /// A client of whom nothing is known.
    #[default]
    Unknown,
    /// A client with something to show.
    Known(Arc<Credentials>),
}

/// What a client shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    token: Option<String>,
    /// The common name of a certificate that was verified.
    common_name: Option<Arc<str>>,
}

impl Credentials {
    /// The first of the names that etcd's clients use; a token counts more than a certificate.
    // upstream: etcd v3 API, "Auth": metadata
    pub(crate) fn of(headers: &HeaderMap, common_name: Option<&Arc<str>>) -> Self {
        let token = headers.get("token").or_else(|| headers.get("authorization"));
        let token = token.and_then(|token| token.to_str().ok());
        let token = token.map(|token| token.strip_prefix("Bearer ").unwrap_or(token).to_owned());
        Self { token, common_name: common_name.cloned() }
    }

    /// Who it is now: tokens end, and are looked at again for each request of a stream.
    pub(super) fn authority(&self, face: &EtcdFace) -> Result<Authority, AuthError> {
        if let Some(token) = &self.token {
            return face.config().auth_token.authority(face, token).ok_or(AuthError::InvalidToken);
        }
        Ok(match &self.common_name {
            Some(name) => {
                Authority { user: name.to_string(), revision: face.node().view().auth().revision() }
            }
            None => Authority::default(),
        })
    }
}

impl Caller {
    /// Who it is now; `None`: somebody who may do all.
    pub(crate) fn authority(&self, face: &EtcdFace) -> Result<Option<Authority>, AuthError> {
        match self {
            Self::Trusted => Ok(None),
            Self::Unknown => Ok(Some(Authority::default())),
            Self::Known(credentials) => credentials.authority(face).map(Some),
        }
    }
}
