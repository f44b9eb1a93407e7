//! An API server alone on any etcd v3 endpoint, with certificates of its own: for trying kubectl.
//!
//! `serve ENDPOINT PORT DIRECTORY` writes DIRECTORY/kubeconfig and runs until it is killed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use keelson_client::{GrpcStore, GrpcStoreConfig};
use keelson_kube_api::{ApiServer, Config};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, port, directory] = arguments.as_slice() else {
        return Err("usage: serve ENDPOINT PORT DIRECTORY".into());
    };
    let port: u16 = port.parse()?;
    let store = GrpcStore::new(&GrpcStoreConfig {
        endpoints: vec![endpoint.clone()],
        ca_pem: None,
        identity_pem: None,
        connections: 1,
    })?;
    let pki = Pki::new()?;
    let (certificate, key) = pki.issue("kube-apiserver", &[], true)?;
    let tls = pki.server(&certificate, &key)?;
    std::fs::create_dir_all(directory)?;
    let (admin_certificate, admin_key) =
        pki.issue("kubernetes-admin", &["system:masters"], false)?;
    write_kubeconfig(directory, port, &pki.certificate_pem, &admin_certificate, &admin_key)?;
    let signing = KeyPair::generate()?.serialize_pem();
    let config = Config::new(signing, IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let server = ApiServer::start(config, Arc::new(store)).await?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("serving on {}", listener.local_addr()?);
    server.serve(listener, tls).await;
    Ok(())
}

struct Pki {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Pki {
    fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "example");
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Pki { issuer: Issuer::new(params, key), certificate_pem })
    }

    fn issue(
        &self,
        name: &str,
        groups: &[&str],
        server: bool,
    ) -> Result<(String, String), Failure> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.extended_key_usages = vec![if server {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    fn server(&self, certificate: &str, key: &str) -> Result<Arc<rustls::ServerConfig>, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())?)?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        )
        .allow_unauthenticated()
        .build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn write_kubeconfig(
    directory: &str,
    port: u16,
    ca: &str,
    certificate: &str,
    key: &str,
) -> Result<(), Failure> {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "example",
        "clusters": [{"name": "example", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority-data": encode(ca)}}],
        "users": [{"name": "admin", "user": {
            "client-certificate-data": encode(certificate), "client-key-data": encode(key)}}],
        "contexts": [{"name": "example", "context": {"cluster": "example", "user": "admin"}}],
    });
    std::fs::write(format!("{directory}/kubeconfig"), config.to_string())?;
    Ok(())
}
