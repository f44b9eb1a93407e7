//! Authentication: in-process user, client certificate, bearer token, or nobody.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request};

use crate::auth::x509;
use crate::context::Context;
use crate::server::{InProcessUser, PeerCertificate, RequestBody};
use crate::status::Status;
use crate::user::UserInfo;

const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// Who makes the request. A credential that is not believed is 401, never anonymous.
pub(crate) async fn authenticate(
    cx: &Context,
    request: &mut Request<RequestBody>,
) -> Result<UserInfo, Status> {
    if let Some(InProcessUser(user)) = request.extensions_mut().remove::<InProcessUser>() {
        request.headers_mut().remove(AUTHORIZATION);
        return Ok(UserInfo::clone(&user));
    }
    let header = bearer(request.headers());
    let websocket = take_websocket_token(request.headers_mut());
    let certificate = request.extensions().get::<PeerCertificate>();
    if let Some(user) = certificate.and_then(|c| x509::user(&c.0)) {
        request.headers_mut().remove(AUTHORIZATION);
        return Ok(user);
    }
    // Upstream strips the credential once it is used: it must not reach a kubelet or a pod.
    request.headers_mut().remove(AUTHORIZATION);
    let Some(token) = header.or(websocket) else { return Ok(UserInfo::anonymous()) };
    let audiences = cx.tokens.audiences().to_vec();
    match cx.tokens.authenticate(&token, &audiences, &cx.caches).await {
        Some((user, _)) => Ok(user),
        None => Err(Status::unauthorized()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// Takes the token that a browser sends as a WebSocket subprotocol.
fn take_websocket_token(headers: &mut HeaderMap) -> Option<String> {
    let text = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?.to_owned();
    let mut token = None;
    let others: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|protocol| match protocol.strip_prefix(WEBSOCKET_BEARER) {
            Some(encoded) => {
                let bytes = URL_SAFE_NO_PAD.decode(encoded).ok();
                token = bytes.and_then(|b| String::from_utf8(b).ok());
                false
            }
            None => true,
        })
        .collect();
    let joined = others.join(", ");
    if joined.is_empty() {
        headers.remove(SEC_WEBSOCKET_PROTOCOL);
    } else if let Ok(value) = HeaderValue::from_str(&joined) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_token_is_taken_out_of_the_protocols() {
        let mut headers = HeaderMap::new();
        let value = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4";
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
        assert_eq!(take_websocket_token(&mut headers).as_deref(), Some("token"));
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }
}
