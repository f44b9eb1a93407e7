//! Impersonation: acting as somebody else, for who may `impersonate` them.

use http::{HeaderMap, HeaderName};

use crate::auth::{Attributes, ResourceAttributes};
use crate::context::Context;
use crate::layers::authorization;
use crate::request_info::decode;
use crate::status::Status;
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, UserInfo};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const EXTRA: &str = "impersonate-extra-";

/// The user a request acts as. Each part asked for is authorized on its own.
pub(crate) async fn impersonate(
    cx: &Context,
    user: UserInfo,
    headers: &mut HeaderMap,
) -> Result<UserInfo, Status> {
    let wanted = Wanted::take(headers)?;
    let Some(wanted) = wanted else { return Ok(user) };
    let mut target = UserInfo { name: wanted.user.clone(), ..UserInfo::default() };
    let account =
        wanted.user.strip_prefix("system:serviceaccount:").and_then(|r| r.split_once(':'));
    match account {
        Some((namespace, name)) => {
            let resource = ResourceAttributes {
                resource: "serviceaccounts",
                namespace,
                name,
                ..ResourceAttributes::default()
            };
            check(cx, &user, resource).await?;
            if wanted.groups.is_empty() {
                target.groups = UserInfo::service_account(namespace, name).groups;
            }
        }
        None => check(cx, &user, named("", "users", "", &wanted.user)).await?,
    }
    for group in &wanted.groups {
        check(cx, &user, named("", "groups", "", group)).await?;
        target.groups.push(group.clone());
    }
    if let Some(uid) = wanted.uid {
        check(cx, &user, named("authentication.k8s.io", "uids", "", &uid)).await?;
        target.uid = uid;
    }
    for (key, value) in wanted.extra {
        check(cx, &user, named("authentication.k8s.io", "userextras", &key, &value)).await?;
        target.extra.entry(key).or_default().push(value);
    }
    let nobody = target.name == ANONYMOUS;
    let group = if nobody { UNAUTHENTICATED } else { AUTHENTICATED };
    if !target.is_in(group) {
        target.groups.push(group.to_owned());
    }
    Ok(target)
}

fn named<'a>(
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    name: &'a str,
) -> ResourceAttributes<'a> {
    ResourceAttributes { group, resource, subresource, namespace: "", name }
}

async fn check(
    cx: &Context,
    user: &UserInfo,
    resource: ResourceAttributes<'_>,
) -> Result<(), Status> {
    let attributes = Attributes { user, verb: "impersonate", resource: Some(resource), path: "" };
    authorization::require(cx, &attributes).await
}

struct Wanted {
    user: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: Vec<(String, String)>,
}

impl Wanted {
    fn take(headers: &mut HeaderMap) -> Result<Option<Self>, Status> {
        let names: Vec<HeaderName> = headers
            .keys()
            .filter(|name| name.as_str().starts_with("impersonate-"))
            .cloned()
            .collect();
        if names.is_empty() {
            return Ok(None);
        }
        let mut wanted =
            Wanted { user: String::new(), uid: None, groups: Vec::new(), extra: Vec::new() };
        for name in names {
            let values: Vec<String> = headers
                .get_all(&name)
                .iter()
                .filter_map(|v| v.to_str().ok().map(str::to_owned))
                .collect();
            headers.remove(&name);
            match name.as_str().strip_prefix(EXTRA) {
                Some(key) => {
                    wanted.extra.extend(values.into_iter().map(|v| (decode(key), v)));
                }
                None if name == USER => wanted.user = values.into_iter().next().unwrap_or_default(),
                None if name == UID => wanted.uid = values.into_iter().next(),
                None if name == GROUP => wanted.groups = values,
                None => {}
            }
        }
        if wanted.user.is_empty() {
            return Err(Status::internal("requested impersonation without impersonating a user"));
        }
        Ok(Some(wanted))
    }
}
