//! Who may do what, and who is who.

use bytes::Bytes;
use http_body_util::Full;
use keelson_kube_api::UserInfo;
use serde_json::{Value, json};

use crate::cluster::{CONFIG_MAPS, Cluster, config_map};

#[tokio::test]
async fn nobody_may_do_anything_until_a_role_says_so() {
    let c = Cluster::start().await;
    let bob = || UserInfo::new("bob", &[]);
    let get = |user| c.call(user, "GET", CONFIG_MAPS, "", Bytes::new());
    let refused = get(bob()).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "configmaps is forbidden: User \"bob\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let made = c.post(path, binding).await;
    assert_eq!(made.code, 201, "{}", made.body);
    c.get(path).await;
    assert_eq!(get(bob()).await.code, 200);
    let body = Bytes::from(config_map("a").to_string());
    assert_eq!(c.call(bob(), "POST", CONFIG_MAPS, "application/json", body).await.code, 403);
}

#[tokio::test]
async fn a_token_is_its_account_and_dies_with_it() {
    let c = Cluster::start().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    let request = json!({"spec": {"expirationSeconds": 600}});
    let made = c.post(&format!("{path}/token"), request).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let token = made.body["status"]["token"].clone();
    let review = json!({"spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let answer = c.post(reviews, review.clone()).await;
    assert_eq!(answer.body["status"]["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(c.delete(path, Value::Null).await.code, 200);
    // Authentication reads the cache; a list waits until the cache has seen the deletion.
    c.get("/api/v1/namespaces/default/serviceaccounts").await;
    let gone = c.post(reviews, review).await;
    assert!(gone.body["status"]["authenticated"].is_null(), "{}", gone.body);
    let short = c.post(&format!("{path}/token"), json!({"spec": {"expirationSeconds": 5}})).await;
    assert_eq!(short.code, 404);
}

#[tokio::test]
async fn reviews_answer_for_oneself_and_for_others() {
    let c = Cluster::start().await;
    let spec = json!({"resourceAttributes": {"verb": "list", "resource": "pods"}});
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let yes = c.post(own, json!({"spec": spec})).await;
    assert_eq!(yes.body["status"]["allowed"], true);
    let mut other = spec;
    other["user"] = json!("bob");
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(c.post(path, json!({"spec": other})).await.body["status"]["allowed"], false);
    let who = c.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await;
    assert_eq!(who.body["status"]["userInfo"]["username"], "system:admin");
}

#[tokio::test]
async fn a_node_reads_only_what_its_pods_use() {
    let c = Cluster::start().await;
    for name in ["used", "other"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"a": "b"}});
        c.post("/api/v1/namespaces/default/secrets", secret).await;
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "used"}}]}]}});
    assert_eq!(c.post("/api/v1/namespaces/default/pods", pod).await.code, 201);
    let get = |node: &'static str, name: &'static str| {
        let path = format!("/api/v1/namespaces/default/secrets/{name}");
        let c = &c;
        async move { c.call(UserInfo::node(node), "GET", &path, "", Bytes::new()).await.code }
    };
    assert_eq!(get("n", "used").await, 200);
    assert_eq!(get("n", "other").await, 403);
    assert_eq!(get("m", "used").await, 403);
}

#[tokio::test]
async fn impersonation_needs_permission_and_takes_effect() {
    let c = Cluster::start().await;
    let send = |user: UserInfo| {
        let c = &c;
        async move {
            let request = http::Request::get(CONFIG_MAPS).header("impersonate-user", "bob");
            c.send(user, request.body(Full::default()).unwrap()).await.status().as_u16()
        }
    };
    assert_eq!(send(UserInfo::admin()).await, 403);
    assert_eq!(send(UserInfo::new("eve", &[])).await, 403);
}

#[tokio::test]
async fn nobody_grants_what_they_may_not_do() {
    let c = Cluster::start().await;
    let role = json!({"metadata": {"name": "r"},
        "rules": [{"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    c.post(roles, role).await;
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    c.post(bindings, binding).await;
    c.get(bindings).await;
    c.get(roles).await;
    let more = json!({"metadata": {"name": "more"},
        "rules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"]}]});
    let body = Bytes::from(more.to_string());
    let bob = UserInfo::new("bob", &[]);
    let refused = c.call(bob, "POST", roles, "application/json", body).await;
    assert_eq!(refused.code, 403);
    assert!(refused.message().contains("not currently held"), "{}", refused.message());
}
