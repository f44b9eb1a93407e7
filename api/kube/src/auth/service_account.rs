//! Service-account tokens: claims to users, and the objects a token is bound to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::token_keys::{KeyError, TokenError, TokenKeys};
use crate::cache::Caches;
use crate::user::UserInfo;

/// Tokens that pods ask for with this many seconds live for a year, and warn after it.
/// upstream: ServiceAccountTokenVolumeProjection, extended expiration
const POD_TOKEN_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Makes and checks service-account tokens.
pub(crate) struct Tokens {
    keys: TokenKeys,
    pub(crate) issuer: String,
    audiences: Vec<String>,
}

/// An object that a token dies with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// `pod`, `secret` or `node`.
    pub(crate) claim: &'static str,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a token is to say.
pub(crate) struct TokenSpec<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a str,
    pub(crate) account_uid: &'a str,
    pub(crate) audiences: Vec<String>,
    pub(crate) seconds: i64,
    pub(crate) bound: Vec<Bound>,
}

impl Tokens {
    pub(crate) fn new(
        signing_pem: &str,
        also_trusted_pem: &[String],
        issuer: String,
    ) -> Result<Self, KeyError> {
        let keys = TokenKeys::new(signing_pem, also_trusted_pem)?;
        Ok(Tokens { keys, audiences: vec![issuer.clone()], issuer })
    }

    /// The audiences of the API server itself.
    pub(crate) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    pub(crate) fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    /// A token, and when it expires.
    pub(crate) fn issue(
        &self,
        spec: &TokenSpec<'_>,
        now: Timestamp,
    ) -> Result<(String, Timestamp), TokenError> {
        let now = now.as_second();
        let for_pod = spec.bound.iter().any(|b| b.claim == "pod");
        let extended =
            for_pod && spec.seconds == POD_TOKEN_SECONDS && spec.audiences == self.audiences;
        let expires = now + if extended { EXTENDED_SECONDS } else { spec.seconds };
        let mut kubernetes = json!({
            "namespace": spec.namespace,
            "serviceaccount": {"name": spec.account, "uid": spec.account_uid},
        });
        for bound in &spec.bound {
            kubernetes[bound.claim] = json!({"name": bound.name, "uid": bound.uid});
        }
        if extended {
            kubernetes["warnafter"] = json!(now + spec.seconds);
        }
        let claims = json!({
            "aud": spec.audiences, "exp": expires, "iat": now, "nbf": now, "iss": self.issuer,
            "jti": uuid::Uuid::new_v4().to_string(),
            "sub": format!("system:serviceaccount:{}:{}", spec.namespace, spec.account),
            "kubernetes.io": kubernetes,
        });
        let shown = if extended { now + spec.seconds } else { expires };
        let shown = Timestamp::from_second(shown).unwrap_or(Timestamp::MAX);
        Ok((self.keys.sign(&claims)?, shown))
    }

    /// The user of a token, and the audiences (of those wanted) it is for. None: not believed.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        wanted_audiences: &[String],
        caches: &Caches,
    ) -> Option<(UserInfo, Vec<String>)> {
        let claims = self.keys.verify(token).ok()?;
        let now = Timestamp::now().as_second();
        if claims["iss"] != self.issuer.as_str()
            || claims["exp"].as_i64().is_none_or(|t| t <= now)
            || claims["nbf"].as_i64().is_some_and(|t| t > now + 1)
        {
            return None;
        }
        let audiences = match &claims["aud"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let granted: Vec<String> =
            wanted_audiences.iter().filter(|w| audiences.contains(&w.as_str())).cloned().collect();
        if granted.is_empty() {
            return None;
        }
        let user = self.user(&claims, caches).await?;
        Some((user, granted))
    }

    async fn user(&self, claims: &Value, caches: &Caches) -> Option<UserInfo> {
        let kubernetes = &claims["kubernetes.io"];
        let namespace = kubernetes["namespace"].as_str()?;
        let account = &kubernetes["serviceaccount"];
        let name = account["name"].as_str()?;
        alive(caches, "serviceaccounts", &format!("{namespace}/{name}"), &account["uid"]).await?;
        let mut user = UserInfo::service_account(namespace, name);
        user.uid = account["uid"].as_str().unwrap_or_default().to_owned();
        let mut extra = BTreeMap::new();
        let mut note = |key: &str, value: &Value| {
            if let Some(text) = value.as_str() {
                extra.insert(format!("authentication.kubernetes.io/{key}"), vec![text.to_owned()]);
            }
        };
        if let Some(id) = claims["jti"].as_str() {
            note("credential-id", &json!(format!("JTI={id}")));
        }
        let pod = &kubernetes["pod"];
        if let Some(pod_name) = pod["name"].as_str() {
            alive(caches, "pods", &format!("{namespace}/{pod_name}"), &pod["uid"]).await?;
            note("pod-name", &pod["name"]);
            note("pod-uid", &pod["uid"]);
        }
        let node = &kubernetes["node"];
        if let Some(node_name) = node["name"].as_str() {
            if pod["name"].is_null() {
                alive(caches, "minions", node_name, &node["uid"]).await?;
            }
            note("node-name", &node["name"]);
            note("node-uid", &node["uid"]);
        }
        let secret = &kubernetes["secret"];
        if let Some(secret_name) = secret["name"].as_str() {
            alive(caches, "secrets", &format!("{namespace}/{secret_name}"), &secret["uid"]).await?;
        }
        user.extra = extra;
        Some(user)
    }
}

/// Whether the object is there with this uid.
async fn alive(caches: &Caches, prefix: &str, key: &str, uid: &Value) -> Option<()> {
    let cache = caches.of(prefix).await.ok()?;
    let mut object = cache.get(key);
    if object.is_none() {
        // A token may be used by the one who made the object a moment ago.
        caches.freshen(&cache).await.ok()?;
        object = cache.get(key);
    }
    let value = object?.value();
    (value["metadata"]["uid"] == *uid).then_some(())
}
