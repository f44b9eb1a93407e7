//! Field: a header as it is kept in the table, parsed once.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Bytes that a field counts beside its name and value.
const OVERHEAD: usize = 32;

/// Headers of a request that are none in HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
}

/// One header.
#[derive(Debug, Clone)]
pub(crate) enum Field {
    Pseudo(Pseudo, Bytes),
    Regular(HeaderName, HeaderValue),
    /// Such as no request may have.
    Malformed,
}

impl Field {
    pub(crate) fn parse(name: &[u8], value: &[u8]) -> Self {
        if let Some(pseudo) = name.strip_prefix(b":") {
            let pseudo = match pseudo {
                b"method" => Pseudo::Method,
                b"scheme" => Pseudo::Scheme,
                b"authority" => Pseudo::Authority,
                b"path" => Pseudo::Path,
                _ => return Self::Malformed,
            };
            return Self::Pseudo(pseudo, Bytes::copy_from_slice(value));
        }
        match (HeaderName::from_lowercase(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => Self::Regular(name, value),
            _ => Self::Malformed,
        }
    }

    /// What a field of these lengths counts against a limit.
    pub(crate) fn size(name: &[u8], value: &[u8]) -> usize {
        name.len() + value.len() + OVERHEAD
    }
}
