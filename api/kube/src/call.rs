//! Call: one authorized request to a resource, as verbs see it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use parking_lot::Mutex;

use crate::context::Context;
use crate::kinds::{Kind, Scope};
use crate::negotiate::Accepted;
use crate::request_info::{Query, RequestInfo};
use crate::server::{RequestBody, body};
use crate::status::{GroupResource, Status};
use crate::user::UserInfo;

/// One authorized request to a resource.
pub(crate) struct Call {
    pub(crate) cx: Arc<Context>,
    pub(crate) user: UserInfo,
    pub(crate) info: RequestInfo,
    pub(crate) query: Query,
    pub(crate) kind: &'static Kind,
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    /// Texts of `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// Further ones, from admission.
    pub(crate) admission_warnings: Mutex<Vec<String>>,
    /// A body is not Sync by itself.
    request: Mutex<Request<RequestBody>>,
}

impl Call {
    /// Finds the kind that a path names.
    pub(crate) fn new(
        cx: Arc<Context>,
        user: UserInfo,
        info: RequestInfo,
        query: Query,
        request: Request<RequestBody>,
    ) -> Result<Self, Status> {
        let kind = cx
            .definitions
            .find(&info.group, &info.version, &info.resource)
            .ok_or_else(Status::unknown_resource)?;
        let namespaced = matches!(kind.scope, Scope::Namespaced);
        let own_namespace = kind.group.is_empty() && kind.plural == "namespaces";
        if !namespaced && !own_namespace && !info.namespace.is_empty() {
            return Err(Status::unknown_resource());
        }
        let mut warnings = Vec::new();
        if let Some(served) = kind.served() {
            if served.definition.terminating && info.verb == "create" {
                return Err(Status::generic(
                    405,
                    "MethodNotAllowed",
                    "create not allowed while custom resource definition is terminating",
                ));
            }
            warnings.extend(served.version().warning.clone());
        }
        Ok(Call {
            cx,
            user,
            query,
            kind,
            headers: request.headers().clone(),
            uri: request.uri().clone(),
            warnings,
            admission_warnings: Mutex::default(),
            info,
            request: Mutex::new(request),
        })
    }

    /// The body, up to the limit. A second read is empty.
    pub(crate) async fn body(&mut self) -> Result<Bytes, Status> {
        body::read(std::mem::replace(self.request.get_mut().body_mut(), body::no_body())).await
    }

    /// The request itself, for streams.
    pub(crate) fn into_request(self) -> Request<RequestBody> {
        self.request.into_inner()
    }

    /// Watches and streams go on until an end of their own.
    pub(crate) fn is_long_running(&self) -> bool {
        self.info.verb == "watch"
            || matches!(
                self.info.subresource.as_str(),
                "attach" | "exec" | "log" | "portforward" | "proxy"
            )
    }

    /// All that the client is to be warned of.
    pub(crate) fn all_warnings(&self) -> Vec<String> {
        let mut all = self.warnings.clone();
        all.extend(self.admission_warnings.lock().iter().cloned());
        all
    }

    /// What the client accepts.
    pub(crate) fn accepted(&self) -> Result<Accepted, Status> {
        Accepted::of(&self.headers, &self.query)
    }

    /// The object's namespace: none for kinds of the cluster scope.
    pub(crate) fn namespace(&self) -> &str {
        match self.kind.scope {
            Scope::Namespaced => &self.info.namespace,
            Scope::Cluster => "",
        }
    }

    /// The object's key.
    pub(crate) fn key(&self, name: &str) -> String {
        key(self.kind, self.namespace(), name)
    }

    /// `deployments.apps`.
    pub(crate) fn resource(&self) -> GroupResource<'static> {
        resource(self.kind)
    }

    /// `Deployment.apps`.
    pub(crate) fn kind_name(&self) -> GroupResource<'static> {
        kind_name(self.kind)
    }

    /// What the options of the call's verb are called.
    pub(crate) fn options(&self) -> GroupResource<'static> {
        let resource = match self.info.verb.as_str() {
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            "delete" | "deletecollection" => "DeleteOptions",
            _ => "CreateOptions",
        };
        GroupResource { group: "meta.k8s.io", resource }
    }

    /// Nothing is to be stored.
    pub(crate) fn is_dry_run(&self) -> Result<bool, Status> {
        let mut dry = false;
        for value in self.query.all("dryRun") {
            if value != "All" {
                return Err(crate::status::Status::invalid_field(
                    self.options(),
                    "",
                    "FieldValueNotSupported",
                    "dryRun",
                    format!("Unsupported value: {value:?}: supported values: \"All\""),
                ));
            }
            dry = true;
        }
        Ok(dry)
    }
}

/// The key of an object.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    format!("{}{}", crate::storage::ROOT, relative_key(kind, namespace, name))
}

fn relative_key(kind: &Kind, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{}/{name}", kind.storage_prefix)
    } else {
        format!("{}/{namespace}/{name}", kind.storage_prefix)
    }
}

/// `deployments.apps`.
pub(crate) fn resource(kind: &Kind) -> GroupResource<'static> {
    GroupResource { group: kind.group, resource: kind.plural }
}

/// `Deployment.apps`.
pub(crate) fn kind_name(kind: &Kind) -> GroupResource<'static> {
    GroupResource { group: kind.group, resource: kind.kind }
}
