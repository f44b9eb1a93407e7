//! Where a peer's certificate may be shown: at the addresses and names in it.
//!
//! upstream: etcd v3.7 `client/pkg/transport`, `checkCertSAN`

use std::net::IpAddr;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

/// A certificate without names and addresses may be shown anywhere.
pub fn check(
    shown: CertificateDer<'static>,
    from: IpAddr,
) -> BoxFuture<'static, Result<(), String>> {
    async move {
        let (addresses, names) = subjects(&shown)?;
        if (addresses.is_empty() && names.is_empty()) || addresses.contains(&from) {
            return Ok(());
        }
        if names.is_empty() {
            let valid: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let valid = valid.join(", ");
            return Err(format!("x509: certificate is valid for {valid}, not {from}"));
        }
        for name in &names {
            // A wildcard says nothing about addresses.
            let Ok(found) = tokio::net::lookup_host((name.as_str(), 0)).await else { continue };
            if found.into_iter().any(|address| address.ip() == from) {
                return Ok(());
            }
        }
        Err(format!("tls: {:?} does not match any of DNSNames {names:?}", from.to_string()))
    }
    .boxed()
}

/// The addresses and names that a certificate is for.
fn subjects(shown: &CertificateDer<'_>) -> Result<(Vec<IpAddr>, Vec<String>), String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(shown).map_err(|error| error.to_string())?;
    let (mut addresses, mut names) = (Vec::new(), Vec::new());
    let extension = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                    (Ok(four), _) => addresses.push(IpAddr::from(four)),
                    (_, Ok(sixteen)) => addresses.push(IpAddr::from(sixteen)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    Ok((addresses, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn checked(subjects: &[&str], from: &str) -> Result<(), String> {
        let subjects: Vec<String> = subjects.iter().map(|&one| one.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(subjects).unwrap();
        check(made.cert.der().clone(), from.parse().unwrap()).await
    }

    #[tokio::test]
    async fn a_certificate_is_shown_where_it_belongs() {
        assert_eq!(checked(&[], "127.0.0.1").await, Ok(()));
        assert_eq!(checked(&["127.0.0.1"], "127.0.0.1").await, Ok(()));
        assert_eq!(checked(&["localhost"], "127.0.0.1").await, Ok(()));
        let said = checked(&["127.0.0.1", "::1"], "192.0.2.1").await.unwrap_err();
        assert_eq!(said, "x509: certificate is valid for 127.0.0.1, ::1, not 192.0.2.1");
        let said = checked(&["localhost"], "192.0.2.1").await.unwrap_err();
        assert!(said.starts_with("tls: \"192.0.2.1\" does not match any of DNSNames"), "{said}");
    }
}
