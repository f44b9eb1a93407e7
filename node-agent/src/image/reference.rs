//! Image names as users write them, and in full.

use oci_client::Reference;

/// Not an image name.
#[derive(Debug, thiserror::Error)]
#[error("couldn't parse image reference {name:?}: invalid reference format: {error}")]
pub struct ReferenceError {
    name: String,
    error: oci_client::ParseError,
}

/// The full name: registry, repository, and `latest` where neither tag nor digest is given.
pub fn parse(name: &str) -> Result<Reference, ReferenceError> {
    Reference::try_from(name).map_err(|error| ReferenceError { name: name.to_owned(), error })
}

/// `repository@digest`, as images are pinned.
pub fn with_digest(reference: &Reference, digest: &str) -> String {
    format!("{}/{}@{digest}", reference.registry(), reference.repository())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_full() {
        let check = |name: &str, full: &str| assert_eq!(parse(name).unwrap().whole(), full);
        check("busybox", "docker.io/library/busybox:latest");
        check("nginx:1.2", "docker.io/library/nginx:1.2");
        check("localhost:5000/a/b", "localhost:5000/a/b:latest");
        check("127.0.0.1:5000/a:t", "127.0.0.1:5000/a:t");
        assert!(parse("Not Valid").is_err());
        assert!(parse("").is_err());
    }
}
