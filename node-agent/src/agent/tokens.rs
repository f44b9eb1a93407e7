//! Tokens of service accounts for pods, asked for again at 80 % of their life.
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

/// The oldest that a token gets, however long it lives.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One token that a pod wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenSpec {
    pub(crate) audience: Option<String>,
    pub(crate) expiration_seconds: i64,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    refresh_at: Timestamp,
}

/// Tokens by pod uid.
#[derive(Default)]
pub(crate) struct TokenCache {
    tokens: Mutex<BTreeMap<(String, TokenSpec), Token>>,
}

impl TokenCache {
    /// A token that is bound to the pod, and when to ask again.
    pub(crate) async fn get(
        &self,
        client: &kube::Client,
        pod: &Pod,
        spec: &TokenSpec,
    ) -> Result<(String, Timestamp), kube::Error> {
        let now = Timestamp::now();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, spec.clone());
        let kept = self.tokens.lock().get(&key).cloned();
        if let Some(token) = kept.as_ref().filter(|token| token.refresh_at > now) {
            return Ok((token.text.clone(), token.refresh_at));
        }
        let token = request(client, pod, spec, now).await?;
        self.tokens.lock().insert(key, token.clone());
        Ok((token.text, token.refresh_at))
    }

    /// Forgets the tokens of a pod that ended.
    pub(crate) fn forget(&self, uid: &str) {
        self.tokens.lock().retain(|(owner, _), _| owner != uid);
    }
}

async fn request(
    client: &kube::Client,
    pod: &Pod,
    spec: &TokenSpec,
    now: Timestamp,
) -> Result<Token, kube::Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone());
    let account = account.filter(|a| !a.is_empty()).unwrap_or_else(|| "default".into());
    let wanted = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: spec.audience.clone().map(|audience| vec![audience]),
            expiration_seconds: Some(spec.expiration_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..Default::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = api.create_token_request(&account, &PostParams::default(), &wanted).await?;
    let text = answer.status.and_then(|status| status.token).unwrap_or_default();
    // The server may have given a longer life than asked for; what was asked decides when it is old.
    let life = Duration::from_secs(u64::try_from(spec.expiration_seconds).unwrap_or(3600));
    let refresh_after = (life * 8 / 10).min(AGE_MAX);
    Ok(Token { text, refresh_at: now + refresh_after })
}
