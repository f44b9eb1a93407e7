//! Which kinds the server serves, custom ones included.

use kube::Client;
use kube::core::Request;
use kube::core::discovery::{ApiCapabilities, ApiResource, Scope};
use kube::discovery::Discovery;

/// One kind, in the version that the server prefers.
#[derive(Debug, Clone)]
pub(crate) struct Discovered {
    pub(crate) resource: ApiResource,
    pub(crate) capabilities: ApiCapabilities,
}

impl Discovered {
    pub(crate) fn supports(&self, verb: &str) -> bool {
        self.capabilities.supports_operation(verb)
    }

    pub(crate) fn is_namespaced(&self) -> bool {
        matches!(self.capabilities.scope, Scope::Namespaced)
    }

    /// `plural.group`, as messages name kinds.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }

    /// Requests to this kind's objects in a namespace, or in none.
    pub(crate) fn requests(&self, namespace: &str) -> Request {
        Request::new(self.path(namespace))
    }

    /// URL path of the collection in a namespace, or in all.
    pub(crate) fn path(&self, namespace: &str) -> String {
        let ApiResource { api_version, plural, group, .. } = &self.resource;
        let root = if group.is_empty() { "api" } else { "apis" };
        match namespace {
            "" => format!("/{root}/{api_version}/{plural}"),
            namespace => format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
        }
    }
}

/// Asks the server for all its kinds.
pub(crate) async fn discover(client: &Client) -> kube::Result<Vec<Discovered>> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // A server that does not aggregate is asked group by group.
        Err(_) => Discovery::new(client.clone()).run().await?,
    };
    let kinds = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    Ok(kinds.map(|(resource, capabilities)| Discovered { resource, capabilities }).collect())
}
