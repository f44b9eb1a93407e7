//! The keys of service-account tokens: signing with one, verifying with several, JWKS of all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    self, EcdsaKeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// DER of a P-256 SubjectPublicKeyInfo up to the point.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// DER of the algorithm identifier rsaEncryption.
const RSA_ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// A key that cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The PEM text is damaged or of another type.
    #[error("service account key: {0}")]
    Pem(String),
    /// Neither RSA nor ECDSA P-256.
    #[error("service account key: {0}")]
    Unsupported(String),
}

/// Why a token is not believed.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum TokenError {
    #[error("not a signed token")]
    Malformed,
    #[error("no key verifies the token")]
    Signature,
}

enum Signer {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

enum Public {
    /// The uncompressed point.
    Ecdsa(Vec<u8>),
    /// PKCS#1 RSAPublicKey.
    Rsa(Vec<u8>),
}

struct Verifier {
    id: String,
    public: Public,
}

/// The keys of service-account tokens.
pub(crate) struct TokenKeys {
    signer: Signer,
    signer_id: String,
    verifiers: Vec<Verifier>,
}

impl TokenKeys {
    /// Reads a private key, and public (or private) keys that are believed too.
    pub(crate) fn new(signing_pem: &str, also_trusted_pem: &[String]) -> Result<Self, KeyError> {
        let signer = read_private(signing_pem)?;
        let own = Verifier::of(signer.public());
        let signer_id = own.id.clone();
        let mut verifiers = vec![own];
        for pem in also_trusted_pem {
            let public = match read_public(pem) {
                Ok(public) => public,
                Err(_) => read_private(pem)?.public(),
            };
            let verifier = Verifier::of(public);
            if verifiers.iter().all(|v| v.id != verifier.id) {
                verifiers.push(verifier);
            }
        }
        Ok(TokenKeys { signer, signer_id, verifiers })
    }

    /// A signed token of these claims.
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, TokenError> {
        let header = json!({"alg": self.signer.algorithm(), "kid": self.signer_id});
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.signer.sign(token.as_bytes()).ok_or(TokenError::Signature)?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The claims of a token whose signature one of the keys made.
    pub(crate) fn verify(&self, token: &str) -> Result<Value, TokenError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header = decode_json(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        let id = header["kid"].as_str();
        let believed = self
            .verifiers
            .iter()
            .filter(|v| id.is_none_or(|id| id == v.id) && header["alg"] == v.algorithm())
            .any(|v| v.verifies(signed.as_bytes(), &signature));
        if !believed {
            return Err(TokenError::Signature);
        }
        decode_json(claims)
    }

    /// The JSON Web Key Set of the public keys.
    pub(crate) fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.verifiers.iter().filter_map(Verifier::jwk).collect();
        json!({ "keys": keys })
    }

    /// The algorithms in use, for the discovery document.
    pub(crate) fn algorithms(&self) -> Vec<&'static str> {
        let mut all: Vec<_> = self.verifiers.iter().map(Verifier::algorithm).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Signer {
    fn algorithm(&self) -> &'static str {
        match self {
            Signer::Ecdsa(_) => "ES256",
            Signer::Rsa(_) => "RS256",
        }
    }

    fn public(&self) -> Public {
        match self {
            Signer::Ecdsa(pair) => Public::Ecdsa(pair.public_key().as_ref().to_vec()),
            Signer::Rsa(pair) => Public::Rsa(pair.public().as_ref().to_vec()),
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Signer::Ecdsa(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Signer::Rsa(pair) => {
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out).ok()?;
                Some(out)
            }
        }
    }
}

impl Verifier {
    fn of(public: Public) -> Self {
        let spki = match &public {
            Public::Ecdsa(point) => [P256_SPKI, point].concat(),
            Public::Rsa(key) => {
                let bits = der(0x03, &[&[0], key.as_slice()].concat());
                der(0x30, &[RSA_ALGORITHM, &bits].concat())
            }
        };
        Verifier { id: URL_SAFE_NO_PAD.encode(Sha256::digest(spki)), public }
    }

    fn algorithm(&self) -> &'static str {
        match self.public {
            Public::Ecdsa(_) => "ES256",
            Public::Rsa(_) => "RS256",
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&dyn VerificationAlgorithm, &[u8]) = match &self.public {
            Public::Ecdsa(point) => (&signature::ECDSA_P256_SHA256_FIXED, point),
            Public::Rsa(key) => (&signature::RSA_PKCS1_2048_8192_SHA256, key),
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }

    fn jwk(&self) -> Option<Value> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut key = match &self.public {
            Public::Ecdsa(point) => {
                let (x, y) = point.get(1..)?.split_at_checked(32)?;
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Public::Rsa(key) => {
                let (n, e) = rsa_numbers(key)?;
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
        };
        key["use"] = json!("sig");
        key["kid"] = json!(self.id);
        key["alg"] = json!(self.algorithm());
        Some(key)
    }
}

fn read_private(pem: &str) -> Result<Signer, KeyError> {
    let key =
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| KeyError::Pem(e.to_string()))?;
    let unsupported = |e: ring::error::KeyRejected| KeyError::Unsupported(e.to_string());
    match &key {
        PrivateKeyDer::Pkcs1(key) => {
            RsaKeyPair::from_der(key.secret_pkcs1_der()).map(Signer::Rsa).map_err(unsupported)
        }
        PrivateKeyDer::Pkcs8(key) => {
            let der = key.secret_pkcs8_der();
            let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new())
                .map(Signer::Ecdsa)
                .or_else(|_| RsaKeyPair::from_pkcs8(der).map(Signer::Rsa))
                .map_err(unsupported)
        }
        _ => Err(KeyError::Unsupported("the key is neither PKCS#1 nor PKCS#8".to_owned())),
    }
}

fn read_public(pem: &str) -> Result<Public, KeyError> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| KeyError::Pem(e.to_string()))?;
    let (_, info) =
        SubjectPublicKeyInfo::from_der(&key).map_err(|e| KeyError::Pem(e.to_string()))?;
    let bits = info.subject_public_key.data.to_vec();
    match info.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => Ok(Public::Rsa(bits)),
        "1.2.840.10045.2.1" if bits.len() == 65 => Ok(Public::Ecdsa(bits)),
        other => Err(KeyError::Unsupported(format!("the key's algorithm is {other}"))),
    }
}

fn decode_json(part: &str) -> Result<Value, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|b| *b != 0).unwrap_or(length.len() - 1)..];
    if content.len() >= 0x80 {
        // At most eight length bytes.
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
    }
    out.extend_from_slice(significant);
    out.extend_from_slice(content);
    out
}

/// Modulus and exponent of a PKCS#1 RSAPublicKey, without leading zeros.
fn rsa_numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, _) = der_element(key)?;
    let (n, rest) = der_element(body)?;
    let (e, _) = der_element(rest)?;
    Some((strip_zeros(n), strip_zeros(e)))
}

fn strip_zeros(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|b| **b == 0).count()..]
}

/// The content of the first DER element, and what follows it.
fn der_element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = usize::from(*bytes.get(1)?);
    let (length, start) = if first < 0x80 {
        (first, 2)
    } else {
        let count = first & 0x7f;
        let length = bytes.get(2..2 + count)?.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        (length, 2 + count)
    };
    bytes.get(start..)?.split_at_checked(length)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A P-256 key of these tests only.
    pub(crate) fn test_key() -> String {
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(key.as_ref());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn a_token_verifies_with_its_own_key_only() {
        let (a, b) = (test_key(), test_key());
        let keys = TokenKeys::new(&a, &[]).unwrap();
        let other = TokenKeys::new(&b, &[]).unwrap();
        let both = TokenKeys::new(&b, std::slice::from_ref(&a)).unwrap();
        let token = keys.sign(&json!({"sub": "x"})).unwrap();
        assert_eq!(keys.verify(&token), Ok(json!({"sub": "x"})));
        assert_eq!(both.verify(&token), Ok(json!({"sub": "x"})));
        assert_eq!(other.verify(&token), Err(TokenError::Signature));
        assert_eq!(both.jwks()["keys"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_changed_claim_is_refused() {
        let keys = TokenKeys::new(&test_key(), &[]).unwrap();
        let token = keys.sign(&json!({"sub": "x"})).unwrap();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode("{\"sub\":\"y\"}");
        assert_eq!(keys.verify(&parts.join(".")), Err(TokenError::Signature));
    }
}
