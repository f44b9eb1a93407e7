//! Cipher suites and versions, by the names that Go has for them.

use anyhow::{Result, bail};
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// Suites that Go knows and this server does not offer: they are broken, or nearly.
const WEAK: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

fn name(suite: &SupportedCipherSuite) -> String {
    // Those of TLS 1.3 are TLS13_AES.. in rustls, TLS_AES.. elsewhere.
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

fn is_named(suite: &SupportedCipherSuite, wanted: &str) -> bool {
    let name = name(suite);
    // Go's older names of the ChaCha suites lack the hash.
    name == wanted || (wanted.ends_with("CHACHA20_POLY1305") && name == format!("{wanted}_SHA256"))
}

/// Refuses a name that Go does not know.
pub fn check_suites(wanted: &[String]) -> Result<(), String> {
    let all = rustls::crypto::ring::default_provider().cipher_suites;
    for wanted in wanted {
        let known = all.iter().any(|suite| is_named(suite, wanted));
        if !known && !WEAK.contains(&wanted.as_str()) {
            return Err(format!("unexpected TLS cipher suite {wanted:?}"));
        }
    }
    Ok(())
}

/// Keeps what is wanted of TLS 1.2; the suites of TLS 1.3 are not for choice, as in Go.
pub(super) fn keep(provider: &mut CryptoProvider, wanted: &[String]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    for weak in wanted.iter().filter(|wanted| WEAK.contains(&wanted.as_str())) {
        tracing::warn!("cipher-suite" = weak, "cipher suite is not offered: it is not safe");
    }
    let is_new = |suite: &SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
    provider
        .cipher_suites
        .retain(|suite| is_new(suite) || wanted.iter().any(|wanted| is_named(suite, wanted)));
    if provider.cipher_suites.iter().all(is_new) {
        bail!("none of the cipher suites {wanted:?} is offered here");
    }
    Ok(())
}

/// Refuses versions that are none, or the wrong way round.
pub fn check_versions(min: &str, max: &str, has_suites: bool) -> Result<(), String> {
    for version in [min, max] {
        if !["", "TLS1.2", "TLS1.3"].contains(&version) {
            return Err(format!(
                "unexpected TLS version {version:?} (must be one of: TLS1.2, TLS1.3)"
            ));
        }
    }
    if min == "TLS1.3" && max == "TLS1.2" {
        return Err(format!("min version ({min}) is greater than max version ({max})"));
    }
    if min == "TLS1.3" && has_suites {
        return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
    }
    Ok(())
}

pub(super) fn versions(min: &str, max: &str) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if min != "TLS1.3" {
        versions.push(&TLS12);
    }
    if max != "TLS1.2" {
        versions.push(&TLS13);
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_gos() {
        let of = |name: &str| check_suites(&[name.to_owned()]);
        assert_eq!(of("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), Ok(()));
        assert_eq!(of("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"), Ok(()));
        assert_eq!(of("TLS_AES_128_GCM_SHA256"), Ok(()));
        assert_eq!(of("TLS_RSA_WITH_AES_128_CBC_SHA"), Ok(()));
        assert_eq!(of("NOBODY").unwrap_err(), "unexpected TLS cipher suite \"NOBODY\"");
        let mut provider = rustls::crypto::ring::default_provider();
        keep(&mut provider, &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384".to_owned()]).unwrap();
        assert_eq!(provider.cipher_suites.len(), 4);
        let weak = ["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()];
        assert!(keep(&mut rustls::crypto::ring::default_provider(), &weak).is_err());
    }

    #[test]
    fn versions_are_checked() {
        assert_eq!(versions("TLS1.2", "").len(), 2);
        assert_eq!(versions("TLS1.3", "").len(), 1);
        assert!(
            check_versions("TLS1.1", "", false).unwrap_err().contains("unexpected TLS version")
        );
        assert!(check_versions("TLS1.3", "TLS1.2", false).is_err());
        assert!(check_versions("TLS1.3", "", true).is_err());
        assert_eq!(check_versions("TLS1.2", "TLS1.3", true), Ok(()));
    }
}
