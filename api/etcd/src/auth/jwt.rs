//! Signed tokens: claims that any member can check without remembering anything.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keelson_storage::auth::Authority;
use keelson_storage::disk::wall_clock;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::token::AuthTokenError;

/// A key, and how it signs.
pub(super) struct Jwt {
    name: &'static str,
    ttl: Duration,
    key: Key,
}

enum Key {
    Shared(hmac::Key),
    Pair {
        /// Without it tokens are checked only.
        private: Option<Private>,
        public: Vec<u8>,
        verify: &'static dyn VerificationAlgorithm,
    },
}

enum Private {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A way to sign.
enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm),
    /// The curve's identifier comes last, in DER.
    Ecdsa(&'static EcdsaSigningAlgorithm, &'static dyn VerificationAlgorithm, &'static [u8]),
    Ed25519,
}

const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// id-ecPublicKey, in DER.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The methods by name; ES512 is missing: our cryptography does not have its curve.
fn method(name: &str) -> Option<(&'static str, Method)> {
    use Method::{Ecdsa, Hmac, Rsa};
    Some(match name {
        "HS256" => ("HS256", Hmac(hmac::HMAC_SHA256)),
        "HS384" => ("HS384", Hmac(hmac::HMAC_SHA384)),
        "HS512" => ("HS512", Hmac(hmac::HMAC_SHA512)),
        "RS256" => {
            ("RS256", Rsa(&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256))
        }
        "RS384" => {
            ("RS384", Rsa(&signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384))
        }
        "RS512" => {
            ("RS512", Rsa(&signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512))
        }
        "PS256" => ("PS256", Rsa(&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256)),
        "PS384" => ("PS384", Rsa(&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384)),
        "PS512" => ("PS512", Rsa(&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512)),
        "ES256" => {
            let sign = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            ("ES256", Ecdsa(sign, &signature::ECDSA_P256_SHA256_FIXED, P256))
        }
        "ES384" => {
            let sign = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
            ("ES384", Ecdsa(sign, &signature::ECDSA_P384_SHA384_FIXED, P384))
        }
        "EdDSA" => ("EdDSA", Method::Ed25519),
        _ => return None,
    })
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("method", &self.name).finish_non_exhaustive()
    }
}

impl Jwt {
    /// Keys come as PEM; that of an HMAC is the private one, as it is.
    pub(super) fn new(
        name: &str,
        public_pem: Option<&[u8]>,
        private_pem: Option<&[u8]>,
        ttl: Duration,
    ) -> Result<Self, AuthTokenError> {
        let (name, method) = method(name).ok_or(AuthTokenError::Method)?;
        let (verify, private): (&'static dyn VerificationAlgorithm, _) = match method {
            Method::Hmac(algorithm) => {
                let secret = private_pem.filter(|key| !key.is_empty());
                let secret = secret.ok_or(AuthTokenError::MissingKey)?;
                let key = Key::Shared(hmac::Key::new(algorithm, secret));
                return Ok(Self { name, ttl, key });
            }
            Method::Rsa(sign, verify) => {
                (verify, private_pem.map(|pem| rsa(pem).map(|key| Private::Rsa(key, sign))))
            }
            Method::Ecdsa(sign, verify, curve) => {
                (verify, private_pem.map(|pem| ecdsa(pem, sign, curve).map(Private::Ecdsa)))
            }
            Method::Ed25519 => {
                (&signature::ED25519, private_pem.map(|pem| ed25519(pem).map(Private::Ed25519)))
            }
        };
        let private = private.transpose()?;
        let given = public_pem.map(public_key).transpose()?;
        let own = private.as_ref().map(Private::public);
        let public = match (given, own) {
            (Some(given), Some(own)) if given != own => return Err(AuthTokenError::Mismatch),
            (_, Some(public)) | (Some(public), None) => public,
            (None, None) => return Err(AuthTokenError::MissingKey),
        };
        Ok(Self { name, ttl, key: Key::Pair { private, public, verify } })
    }

    /// A token for a user; `None`: there is no key to sign with.
    // upstream: etcd v3 API, "Auth": claims of a JWT
    pub(super) fn sign(&self, user: &str, auth_revision: u64) -> Option<String> {
        let expires = now() + self.ttl.as_secs();
        let header = json!({"alg": self.name, "typ": "JWT"});
        let claims = json!({"username": user, "revision": auth_revision, "exp": expires});
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = match &self.key {
            Key::Shared(key) => hmac::sign(key, signed.as_bytes()).as_ref().to_vec(),
            Key::Pair { private, .. } => private.as_ref()?.sign(signed.as_bytes())?,
        };
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whose token it is, and of which auth revision, if it is signed by this key and not too old.
    pub(super) fn verify(&self, token: &str) -> Option<Authority> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        // The header may not choose the method.
        if decode(header)?["alg"] != self.name {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let message = signed.as_bytes();
        match &self.key {
            Key::Shared(key) => hmac::verify(key, message, &signature).ok()?,
            Key::Pair { public, verify, .. } => {
                UnparsedPublicKey::new(*verify, public).verify(message, &signature).ok()?;
            }
        }
        let claims = decode(claims)?;
        if claims["exp"].as_f64().is_some_and(|expires| expires <= now() as f64) {
            return None;
        }
        let (user, revision) = (claims["username"].as_str()?, claims["revision"].as_u64()?);
        Some(Authority { user: user.to_owned(), revision })
    }
}

impl Private {
    fn public(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair, _) => pair.public().as_ref().to_vec(),
            Self::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        Some(match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).ok()?;
                signature
            }
            Self::Ecdsa(pair) => pair.sign(&random, message).ok()?.as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    wall_clock().as_secs()
}

fn bad_key(error: impl fmt::Display) -> AuthTokenError {
    AuthTokenError::Key(error.to_string())
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, AuthTokenError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(bad_key)
}

fn rsa(pem: &[u8]) -> Result<RsaKeyPair, AuthTokenError> {
    match private_key(pem)? {
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(bad_key),
        PrivateKeyDer::Pkcs8(key) => {
            RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(bad_key)
        }
        _ => Err(bad_key("not an RSA private key")),
    }
}

fn ecdsa(
    pem: &[u8],
    sign: &'static EcdsaSigningAlgorithm,
    curve: &[u8],
) -> Result<EcdsaKeyPair, AuthTokenError> {
    let der = match private_key(pem)? {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        // The older form, in the clothes of the newer one.
        PrivateKeyDer::Sec1(key) => {
            let algorithm = element(0x30, &[EC_PUBLIC_KEY, curve].concat());
            let key = element(0x04, key.secret_sec1_der());
            element(0x30, &[&[0x02, 0x01, 0x00], algorithm.as_slice(), &key].concat())
        }
        _ => return Err(bad_key("not an EC private key")),
    };
    EcdsaKeyPair::from_pkcs8(sign, &der, &SystemRandom::new()).map_err(bad_key)
}

fn ed25519(pem: &[u8]) -> Result<Ed25519KeyPair, AuthTokenError> {
    match private_key(pem)? {
        PrivateKeyDer::Pkcs8(key) => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).map_err(bad_key)
        }
        _ => Err(bad_key("not an Ed25519 private key")),
    }
}

/// The bits of a public key, which may also be that of a certificate.
fn public_key(pem: &[u8]) -> Result<Vec<u8>, AuthTokenError> {
    if let Ok(certificate) = CertificateDer::from_pem_slice(pem) {
        let (_, certificate) = X509Certificate::from_der(&certificate).map_err(bad_key)?;
        return Ok(certificate.public_key().subject_public_key.data.to_vec());
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(bad_key)?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(bad_key)?;
    Ok(info.subject_public_key.data.to_vec())
}

/// A DER element of less than 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, low) if low < 0x80 => &[tag, low],
        (0, low) => &[tag, 0x81, low],
        (high, low) => &[tag, 0x82, high, low],
    };
    [head, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn of_user(user: &str, revision: u64) -> Option<Authority> {
        Some(Authority { user: user.to_owned(), revision })
    }

    fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
    }

    // upstream: etcd v3 API, "Auth": a public key alone checks only
    #[test]
    fn a_pair_signs_and_its_public_key_checks() {
        let random = SystemRandom::new();
        let sign = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(sign, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(sign, document.as_ref(), &random).unwrap();
        let private = pem("PRIVATE KEY", document.as_ref());
        let algorithm = element(0x30, &[EC_PUBLIC_KEY, P384].concat());
        let bits = element(0x03, &[&[0], pair.public_key().as_ref()].concat());
        let public = pem("PUBLIC KEY", &element(0x30, &[algorithm, bits].concat()));

        let both = Jwt::new("ES384", Some(&public), Some(&private), TTL).unwrap();
        let token = both.sign("ann", 7).unwrap();
        assert_eq!(both.verify(&token), of_user("ann", 7));
        let checks = Jwt::new("ES384", Some(&public), None, TTL).unwrap();
        assert_eq!(checks.verify(&token), of_user("ann", 7));
        assert_eq!(checks.sign("ann", 7), None);

        let other = EcdsaKeyPair::generate_pkcs8(sign, &random).unwrap();
        let other = pem("PRIVATE KEY", other.as_ref());
        let mismatch = Jwt::new("ES384", Some(&public), Some(&other), TTL);
        assert!(matches!(mismatch, Err(AuthTokenError::Mismatch)));
        let other = Jwt::new("ES384", None, Some(&other), TTL).unwrap();
        assert_eq!(other.verify(&token), None);
    }

    #[test]
    fn methods_are_not_mixed_and_time_runs_out() {
        let key = Jwt::new("HS256", None, Some(b"secret"), TTL).unwrap();
        let longer = Jwt::new("HS512", None, Some(b"secret"), TTL).unwrap();
        let token = key.sign("ann", 1).unwrap();
        assert_eq!(key.verify(&token), of_user("ann", 1));
        assert_eq!(longer.verify(&token), None);
        let over = Jwt::new("HS256", None, Some(b"secret"), Duration::ZERO).unwrap();
        assert_eq!(over.verify(&over.sign("ann", 1).unwrap()), None);
        assert!(matches!(Jwt::new("none", None, None, TTL), Err(AuthTokenError::Method)));
    }

    #[test]
    fn ed25519_keys_of_openssl_are_taken() {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Jwt::new("EdDSA", None, Some(&pem("PRIVATE KEY", document.as_ref())), TTL);
        let key = key.unwrap();
        assert_eq!(key.verify(&key.sign("ann", 3).unwrap()), of_user("ann", 3));
    }
}
