//! The client port under TLS: clients without a certificate of the authority stay out.

use keelson_client::{GrpcStore, GrpcStoreConfig, Store};
use keelson_etcd_api::{FaceConfig, server_config};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

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
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
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
