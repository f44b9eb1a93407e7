//! token: a service account's token, bound to audiences, a time and perhaps a pod.

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::auth::service_account::{Bound, TokenSpec};
use crate::call::Call;
use crate::server::Body;
use crate::status::{GroupResource, Status};
use crate::storage::stored_value;
use crate::{input, kinds, respond};

const SECONDS_DEFAULT: i64 = 3600;
const SECONDS_MIN: i64 = 600;
const SECONDS_MAX: i64 = 1 << 32;
const REQUEST: GroupResource<'_> =
    GroupResource { group: "authentication.k8s.io", resource: "TokenRequest" };

/// POST of a TokenRequest.
pub(super) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let mut request = input::other(&mut call, "io.k8s.api.authentication.v1.TokenRequest").await?;
    let name = call.info.name.clone();
    let namespace = call.info.namespace.clone();
    let account = object(&call, "serviceaccounts", &namespace, &name).await?;
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(SECONDS_DEFAULT);
    let problem = if seconds < SECONDS_MIN {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > SECONDS_MAX {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(Status::invalid_field(
            REQUEST,
            "",
            "FieldValueInvalid",
            "spec.expirationSeconds",
            format!("Invalid value: {seconds}: {problem}"),
        ));
    }
    let mut audiences: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if audiences.is_empty() {
        audiences = call.cx.tokens.audiences().to_vec();
    }
    let bound = bound(&call, &request["spec"]["boundObjectRef"], &namespace, &name).await?;
    check_node(&call, &bound)?;
    let spec = TokenSpec {
        namespace: &namespace,
        account: &name,
        account_uid: account["metadata"]["uid"].as_str().unwrap_or_default(),
        audiences: audiences.clone(),
        seconds,
        bound,
    };
    let (token, expires) =
        call.cx.tokens.issue(&spec, Timestamp::now()).map_err(Status::internal)?;
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["metadata"] = json!({"name": name, "namespace": namespace,
        "creationTimestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["status"] = json!({
        "token": token,
        "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    respond::value(call.accepted()?, 201, &request)
}

/// A node gets tokens only for its own pods.
fn check_node(call: &Call, bound: &[Bound]) -> Result<(), Status> {
    let Some(node) = call.user.node_name() else { return Ok(()) };
    if call.user.is_in(crate::user::MASTERS)
        || bound.iter().any(|b| b.claim == "node" && b.name == node)
    {
        return Ok(());
    }
    let why = if bound.iter().any(|b| b.claim == "pod") {
        "node requested token bound to a pod scheduled on a different node"
    } else {
        "node requested token not bound to a pod"
    };
    Err(Status::forbidden(call.resource(), &call.info.name, why))
}

async fn bound(
    call: &Call,
    reference: &Value,
    namespace: &str,
    account: &str,
) -> Result<Vec<Bound>, Status> {
    if reference.is_null() {
        return Ok(Vec::new());
    }
    let name = reference["name"].as_str().unwrap_or_default();
    let kind = reference["kind"].as_str().unwrap_or_default();
    let (claim, plural, scope) = match kind {
        "Pod" => ("pod", "pods", namespace),
        "Secret" => ("secret", "secrets", namespace),
        "Node" => ("node", "nodes", ""),
        other => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to object of type {other:?}"
            )));
        }
    };
    let object = object(call, plural, scope, name).await?;
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let wanted = reference["uid"].as_str().unwrap_or_default();
    if !wanted.is_empty() && wanted != uid {
        let resource = GroupResource { group: "", resource: plural };
        return Err(Status::conflict(
            resource,
            name,
            &format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    let mut all = vec![Bound { claim, name: name.to_owned(), uid: uid.to_owned() }];
    if claim == "pod" {
        let own = object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if own != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        if let Some(node) = object["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
            let uid = match self::object(call, "nodes", "", node).await {
                Ok(found) => found["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
                Err(_) => String::new(),
            };
            all.push(Bound { claim: "node", name: node.to_owned(), uid });
        }
    }
    Ok(all)
}

async fn object(call: &Call, plural: &str, namespace: &str, name: &str) -> Result<Value, Status> {
    let kind = kinds::find("", "v1", plural).ok_or_else(Status::unknown_resource)?;
    let stored = call.cx.storage.get(&crate::call::key(kind, namespace, name)).await?;
    let value = stored.and_then(|s| stored_value(&s.value, s.revision));
    value.ok_or_else(|| Status::not_found(crate::call::resource(kind), name))
}
