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
#[derive(Debug)]
pub(crate) enum Credentials {
    /// A token, simple or signed.
    Token(String),
    /// A certificate of this common name, which was verified.
    Certificate(String),
}

impl Credentials {
    /// The token of a request, under the first of the names that etcd's clients use.
    // upstream: etcd v3 API, "Auth": metadata
    pub(crate) fn token(headers: &HeaderMap) -> Option<Self> {
        let token = headers.get("token").or_else(|| headers.get("authorization"))?;
        let token = token.to_str().unwrap_or_default();
        Some(Self::Token(token.strip_prefix("Bearer ").unwrap_or(token).to_owned()))
    }

    /// Who it is now: tokens end, and are looked at again for each request of a stream.
    fn authority(&self, face: &EtcdFace) -> Result<Authority, AuthError> {
        match self {
            Self::Token(token) => {
                face.config().auth_token.authority(face, token).ok_or(AuthError::InvalidToken)
            }
            Self::Certificate(name) => {
                let revision = face.node().view().auth().revision();
                Ok(Authority { user: name.clone(), revision })
            }
        }
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
