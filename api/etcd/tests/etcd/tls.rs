//! The client port under TLS: clients without a certificate of the authority stay out.

use keelson_client::{GrpcStore, GrpcStoreConfig, Store};
use keelson_etcd_api::{FaceConfig, server_config};
use keelson_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::member::start_with;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

fn issued(authority: &Authority, usage: ExtendedKeyUsagePurpose) -> (Vec<u8>, Vec<u8>) {
    issued_to(authority, usage, "somebody")
}

fn issued_to(
    authority: &Authority,
    usage: ExtendedKeyUsagePurpose,
    common_name: &str,
) -> (Vec<u8>, Vec<u8>) {
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_needs_a_certificate_of_the_authority() {
    let (ours, other) = (authority(), authority());
    let (certificate, key) = issued(&ours, ExtendedKeyUsagePurpose::ServerAuth);
    let tls = server_config(&certificate, &key, Some(ours.pem.as_bytes())).unwrap();
    let member = start_with(FaceConfig::default(), Some(tls)).await;
    let ask = async |identity: Option<(Vec<u8>, Vec<u8>)>, ca: &Authority| {
        let store = GrpcStore::new(&GrpcStoreConfig {
            endpoints: vec![format!("https://{}", member.address)],
            ca_pem: Some(ca.pem.clone().into_bytes()),
            identity_pem: identity,
            connections: 1,
        })
        .unwrap();
        store.status().await.map(|status| status.version)
    };
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    assert_eq!(ask(Some(issued(&ours, client.clone())), &ours).await.unwrap(), "3.7.1");
    assert!(ask(None, &ours).await.is_err(), "without a certificate");
    assert!(
        ask(Some(issued(&other, client.clone())), &ours).await.is_err(),
        "of another authority"
    );
    assert!(ask(Some(issued(&ours, client)), &other).await.is_err(), "a server of another");
    assert!(server_config(b"nothing", &key, None).is_err());
    member.stop().await;
}

// upstream: etcd v3 API, "Auth": the common name of a certificate is the user
#[tokio::test(flavor = "multi_thread")]
async fn a_certificates_common_name_is_the_user() {
    let ours = authority();
    let (certificate, key) = issued(&ours, ExtendedKeyUsagePurpose::ServerAuth);
    let tls = server_config(&certificate, &key, Some(ours.pem.as_bytes())).unwrap();
    let config = FaceConfig { bcrypt_cost: 4, ..FaceConfig::default() };
    let member = start_with(config, Some(tls)).await;
    let channel = async |name: &str| {
        let (certificate, key) = issued_to(&ours, ExtendedKeyUsagePurpose::ClientAuth, name);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ours.pem))
            .identity(Identity::from_pem(certificate, key))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{}", member.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    };
    let (root, other) = (channel("root").await, channel("other").await);
    crate::auth::enable(&root).await;
    let put = || pb::PutRequest { key: "k".into(), ..Default::default() };
    KvClient::new(root).put(put()).await.unwrap();
    let denied = KvClient::new(other.clone()).put(put()).await.unwrap_err();
    assert_eq!(denied.message(), "etcdserver: permission denied");
    let login = pb::AuthenticateRequest { name: "root".into(), password: "r".into() };
    let token = AuthClient::new(other.clone()).authenticate(login).await.unwrap();
    let mut request = tonic::Request::new(put());
    request.metadata_mut().insert("token", token.into_inner().token.parse().unwrap());
    KvClient::new(other).put(request).await.expect("a token counts more than the certificate");
    member.stop().await;
}
