//! SHA-256 digests as images write them, and reading with a check.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// The digest of some bytes, as `sha256:HEX`.
pub fn of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The hexadecimal part, if this is a well-formed SHA-256 digest: safe as a file name.
pub fn hex_part(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (hex.len() == 64 && hex.bytes().all(lower)).then_some(hex)
}

/// The id of a layer on top of others: what overlay folders are named by.
///
/// upstream: OCI image specification, "ChainID"
pub fn chain(parent: Option<&str>, diff_id: &str) -> String {
    match parent {
        None => diff_id.to_owned(),
        Some(parent) => of(format!("{parent} {diff_id}").as_bytes()),
    }
}

/// Hashes what is read through it.
pub struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> HashingReader<R> {
    /// Around `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Reads to the end and says the digest of everything.
    pub fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("sha256:{}", hex::encode(self.hasher.finalize())))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_in_lower_case_is_a_digest() {
        assert!(hex_part(&of(b"")).is_some());
        for bad in ["sha256:", "sha512:00", "sha256:../../etc", &of(b"").to_uppercase()] {
            assert_eq!(hex_part(bad), None, "{bad}");
        }
    }
}
