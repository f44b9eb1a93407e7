//! Authentication where a real etcd 3.4 cannot be compared: signed tokens, certificates, callers of
//! this process, restarts.

use keelson_client::Store;
use keelson_etcd_api::{AuthToken, FaceConfig};
use keelson_proto::etcdserverpb as pb;
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::member::start;

/// Root, and authentication on.
pub(crate) async fn enable(channel: &Channel) {
    let mut auth = AuthClient::new(channel.clone());
    let root =
        pb::AuthUserAddRequest { name: "root".into(), password: "r".into(), ..Default::default() };
    auth.user_add(root).await.unwrap();
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    auth.user_grant_role(grant).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
}

async fn login(channel: &Channel) -> String {
    let request = pb::AuthenticateRequest { name: "root".into(), password: "r".into() };
    AuthClient::new(channel.clone()).authenticate(request).await.unwrap().into_inner().token
}

fn get(token: Option<&str>) -> Request<pb::RangeRequest> {
    let mut request = Request::new(pb::RangeRequest { key: "k".into(), ..Default::default() });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

// upstream: etcd v3 API, "Auth": JWT
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_is_good_until_users_change() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "a secret of these tests").unwrap();
    let text = format!("jwt,sign-method=HS256,priv-key={},ttl=5m", key.display());
    let auth_token = AuthToken::parse(&text, std::time::Duration::from_secs(300)).unwrap();
    let member = start(FaceConfig { auth_token, bcrypt_cost: 4, ..FaceConfig::default() }).await;
    let channel = member.channel().await;
    enable(&channel).await;
    let token = login(&channel).await;
    let mut kv = KvClient::new(channel.clone());
    kv.range(get(Some(&token))).await.unwrap();
    let forged = kv.range(get(Some(&token[..token.len() - 2]))).await.unwrap_err();
    assert_eq!(forged.code(), Code::Unauthenticated);
    assert_eq!(forged.message(), "etcdserver: invalid auth token");

    let mut add = Request::new(pb::AuthRoleAddRequest { name: "new".into() });
    add.metadata_mut().insert("token", token.parse().unwrap());
    AuthClient::new(channel.clone()).role_add(add).await.unwrap();
    let mut put = Request::new(pb::PutRequest { key: "k".into(), ..Default::default() });
    put.metadata_mut().insert("token", token.parse().unwrap());
    let old = kv.put(put).await.unwrap_err();
    assert_eq!(
        (old.code(), old.message()),
        (Code::InvalidArgument, "etcdserver: revision of auth store is old")
    );
    kv.range(get(Some(&login(&channel).await))).await.unwrap();
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_the_same_process_needs_no_user() {
    let member = start(FaceConfig { bcrypt_cost: 4, ..FaceConfig::default() }).await;
    let channel = member.channel().await;
    enable(&channel).await;
    let refused = KvClient::new(channel).range(get(None)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "etcdserver: user name is empty")
    );
    let face = member.server.face();
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    face.put(put).await.unwrap();
    let found = face.range(pb::RangeRequest { key: "k".into(), ..Default::default() }).await;
    assert_eq!(found.unwrap().kvs.len(), 1);
    drop(face);
    member.stop().await;
}
