//! The two kinds of token: letters that every member remembers, or claims that are signed.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use keelson_storage::auth::Authority;
use thiserror::Error;

use super::jwt::Jwt;
use crate::face::EtcdFace;

/// How long a simple token lives from its last use.
const SIMPLE_TTL: Duration = Duration::from_secs(300);
/// How long a signed token is good, unless its options say otherwise.
const JWT_TTL: Duration = Duration::from_secs(300);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What users get who have shown their password.
#[derive(Debug, Clone)]
pub struct AuthToken {
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Simple { ttl: Duration },
    Jwt(Arc<Jwt>),
}

/// A `--auth-token` that cannot be used.
#[derive(Debug, Error)]
pub enum AuthTokenError {
    /// No kind of that name, or options that are none.
    #[error("auth: invalid auth options")]
    Options,
    /// The method to sign by is not given, or not known.
    #[error("auth: invalid auth signature method")]
    Method,
    /// The method needs a key.
    #[error("auth: missing key data")]
    MissingKey,
    /// The public key is another pair's than the private one.
    #[error("auth: public and private keys don't match")]
    Mismatch,
    /// A file that cannot be read.
    #[error("{file}: {source}")]
    File {
        /// Its name.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A key that cannot be used.
    #[error("{0}")]
    Key(String),
}

impl Default for AuthToken {
    fn default() -> Self {
        Self::simple(SIMPLE_TTL)
    }
}

impl AuthToken {
    /// Simple tokens that live so long from their last use.
    pub fn simple(ttl: Duration) -> Self {
        Self { kind: Kind::Simple { ttl } }
    }

    /// From the text of `--auth-token` (`simple`, or `jwt,pub-key=FILE,priv-key=FILE,
    /// sign-method=NAME,ttl=DURATION`) and `--auth-token-ttl`; key files are read.
    pub fn parse(text: &str, simple_ttl: Duration) -> Result<Self, AuthTokenError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut options = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').ok_or(AuthTokenError::Options)?;
            if value.contains('=') || options.iter().any(|(known, _)| *known == name) {
                return Err(AuthTokenError::Options);
            }
            options.push((name, value));
        }
        match kind {
            "simple" => Ok(Self::simple(simple_ttl)),
            "jwt" => Self::jwt(&options),
            _ => Err(AuthTokenError::Options),
        }
    }

    fn jwt(options: &[(&str, &str)]) -> Result<Self, AuthTokenError> {
        let option = |name: &str| options.iter().find(|(known, _)| *known == name).map(|one| one.1);
        let file = |name: &str| {
            option(name).filter(|file| !file.is_empty()).map(|file| {
                std::fs::read(file)
                    .map_err(|source| AuthTokenError::File { file: file.to_owned(), source })
            })
        };
        let ttl = match option("ttl") {
            Some(text) => duration(text).ok_or(AuthTokenError::Options)?,
            None => JWT_TTL,
        };
        let method = option("sign-method").ok_or(AuthTokenError::Method)?;
        let (public, private) = (file("pub-key").transpose()?, file("priv-key").transpose()?);
        let jwt = Jwt::new(method, public.as_deref(), private.as_deref(), ttl)?;
        Ok(Self { kind: Kind::Jwt(Arc::new(jwt)) })
    }

    /// Whose token it is, if it is good.
    pub(super) fn authority(&self, face: &EtcdFace, token: &str) -> Option<Authority> {
        let view = face.node().view();
        match &self.kind {
            Kind::Simple { ttl } => {
                let user = view.tokens().user(token, START.elapsed(), *ttl)?;
                Some(Authority { user, revision: view.auth().revision() })
            }
            Kind::Jwt(jwt) => jwt.verify(token),
        }
    }
}

/// Go's notation of durations, of whole numbers: `5m`, `1h30m`, `300s`, `250ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit());
        let end = unit_end.map_or(rest.len(), |end| digits + end);
        total += match &rest[digits..end] {
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        rest = &rest[end..];
    }
    (total > Duration::ZERO).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("5"), None);
        assert_eq!(duration(""), None);
    }

    #[test]
    fn options_that_are_none_are_refused() {
        let parse = |text| AuthToken::parse(text, SIMPLE_TTL).map_err(|error| error.to_string());
        assert!(parse("simple").is_ok());
        assert_eq!(parse("other").unwrap_err(), "auth: invalid auth options");
        assert_eq!(parse("jwt,a").unwrap_err(), "auth: invalid auth options");
        assert_eq!(parse("jwt").unwrap_err(), "auth: invalid auth signature method");
        assert_eq!(parse("jwt,sign-method=RS256").unwrap_err(), "auth: missing key data");
    }
}
