//! Who calls the kubelet API over the network, and whether they may: both are asked of the API server.
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::router::plain;

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
}

impl Caller {
    /// The user that a verified client certificate names: CN, and O as groups.
    pub(super) fn of_certificate(der: &[u8]) -> Option<Self> {
        subject::read(der).map(|(name, groups)| Self { name, groups })
    }
}

/// Lets a request through, or says why not.
pub(super) async fn authorize(
    client: &kube::Client,
    node: &str,
    caller: Option<&Caller>,
    request: &Parts,
) -> Result<(), Box<Response>> {
    let caller = match caller {
        Some(caller) => caller.clone(),
        None => match by_token(client, request).await {
            Some(caller) => caller,
            None => return Err(Box::new(plain(StatusCode::UNAUTHORIZED, "Unauthorized".into()))),
        },
    };
    if caller.groups.iter().any(|group| group == "system:masters") {
        return Ok(());
    }
    let (verb, subresource) = (verb(&request.method), subresource(request.uri.path()));
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(caller.name.clone()),
            groups: Some(caller.groups),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.into()),
                version: Some("v1".into()),
                resource: Some("nodes".into()),
                subresource: Some(subresource.into()),
                name: Some(node.to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let allowed = match api.create(&PostParams::default(), &review).await {
        Ok(answer) => answer.status.is_some_and(|status| status.allowed),
        Err(error) => {
            let words = format!("Authorization error ({error})");
            return Err(Box::new(plain(StatusCode::INTERNAL_SERVER_ERROR, words)));
        }
    };
    if allowed {
        return Ok(());
    }
    let words = format!(
        "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])",
        caller.name
    );
    Err(Box::new(plain(StatusCode::FORBIDDEN, words)))
}

async fn by_token(client: &kube::Client, request: &Parts) -> Option<Caller> {
    let header = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = header.strip_prefix("Bearer ")?;
    let review = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
        ..Default::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let status = api.create(&PostParams::default(), &review).await.ok()?.status?;
    let user = status.user.filter(|_| status.authenticated == Some(true))?;
    Some(Caller { name: user.username?, groups: user.groups.unwrap_or_default() })
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

// upstream: kubelet/server, NewNodeAuthorizerAttributesGetter
fn subresource(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "healthz" => "healthz",
        "pods" | "runningpods" => "pods",
        "configz" => "configz",
        _ => "proxy",
    }
}

mod subject {
    //! CN and O of a certificate's subject: a walk over DER, since nothing else of it is needed.

    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OID: u8 = 0x06;
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

    struct Element<'a> {
        tag: u8,
        body: &'a [u8],
    }

    /// Cuts the first element off.
    fn next<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
        let (tag, rest) = input.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|bytes| bytes.len() <= 4)?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, &rest[count..])
        };
        let body = rest.get(..length)?;
        *input = &rest[length..];
        Some(Element { tag: *tag, body })
    }

    /// The common name and the organizations.
    pub(super) fn read(der: &[u8]) -> Option<(String, Vec<String>)> {
        let mut input = der;
        let certificate = next(&mut input).filter(|e| e.tag == SEQUENCE)?;
        let mut body = certificate.body;
        let mut fields = next(&mut body).filter(|e| e.tag == SEQUENCE)?.body;
        // [0] version, serial number, signature, issuer, validity, subject
        let mut first = next(&mut fields)?;
        if first.tag == 0xa0 {
            first = next(&mut fields)?;
        }
        let _serial = first;
        let (_signature, _issuer, _validity) =
            (next(&mut fields)?, next(&mut fields)?, next(&mut fields)?);
        let mut names = next(&mut fields).filter(|e| e.tag == SEQUENCE)?.body;
        let (mut common_name, mut organizations) = (None, Vec::new());
        while let Some(set) = next(&mut names).filter(|e| e.tag == SET) {
            let mut set = set.body;
            while let Some(pair) = next(&mut set) {
                let mut pair = pair.body;
                let oid = next(&mut pair).filter(|e| e.tag == OID)?.body;
                let value = String::from_utf8_lossy(next(&mut pair)?.body).into_owned();
                match oid {
                    COMMON_NAME => common_name = Some(value),
                    ORGANIZATION => organizations.push(value),
                    _ => {}
                }
            }
        }
        Some((common_name?, organizations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_authorized_as_subresources_of_the_node() {
        assert_eq!(subresource("/stats/summary"), "stats");
        assert_eq!(subresource("/containerLogs/n/p/c"), "proxy");
        assert_eq!(subresource("/metrics/resource"), "metrics");
        assert_eq!(subresource("/"), "proxy");
    }
}
