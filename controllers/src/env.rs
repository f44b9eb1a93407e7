//! What every controller gets: its client, the shared informers, the settings.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_controller_runtime::{Informer, MetaObject, Recorder, Source, Watched, controller_of};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::objects::Pod;

/// The user that the shared informers list and watch as.
pub const SHARED_INFORMERS_USER: &str = "system:kube-controller-manager";

/// Index of objects by the uid of their controller.
pub(crate) const BY_CONTROLLER: &str = "controller";
/// Index of objects without a controller by their namespace.
pub(crate) const ORPHANS: &str = "orphans";
/// Index of pods by the name of their node.
pub(crate) const BY_NODE: &str = "node";
/// Index of endpoint slices by the name of their service.
pub(crate) const BY_SERVICE: &str = "service";

/// What one controller works with.
#[derive(Clone)]
pub(crate) struct Env {
    /// Acts as the controller's own service account.
    pub(crate) client: Client,
    pub(crate) config: Arc<Config>,
    pub(crate) informers: Informers,
    pub(crate) token: CancellationToken,
}

impl Env {
    /// Records events as `component`.
    pub(crate) fn recorder(&self, component: &'static str) -> Recorder {
        Recorder::start(self.client.clone(), component, self.token.clone())
    }
}

/// One informer a kind, shared by all controllers.
#[derive(Clone)]
pub(crate) struct Informers {
    pub(crate) pods: Informer<Pod>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) services: Informer<Service>,
    pub(crate) endpoints: Informer<Endpoints>,
    pub(crate) endpoint_slices: Informer<EndpointSlice>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) namespaces: Informer<Namespace>,
    /// Only those of the name `default`.
    pub(crate) default_accounts: Informer<MetaObject>,
    /// Only those of the name `kube-root-ca.crt`.
    pub(crate) root_ca_config_maps: Informer<ConfigMap>,
    /// Only those of nodes.
    pub(crate) node_leases: Informer<Lease>,
}

impl Informers {
    /// Starts following all kinds.
    pub(crate) fn start(
        client: &Client,
        token: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let informers = Self {
            pods: Informer::default()
                .with_index(BY_CONTROLLER, controller_uid)
                .with_index(ORPHANS, orphan_namespace)
                .with_index(BY_NODE, |pod: &Pod| pod.spec.node_name.as_deref()),
            replica_sets: Informer::default()
                .with_index(BY_CONTROLLER, controller_uid)
                .with_index(ORPHANS, orphan_namespace),
            deployments: Informer::default(),
            services: Informer::default(),
            endpoints: Informer::default(),
            endpoint_slices: Informer::default().with_index(BY_SERVICE, |slice: &EndpointSlice| {
                let labels = slice.metadata.labels.as_ref()?;
                labels.get("kubernetes.io/service-name").map(String::as_str)
            }),
            nodes: Informer::new(|node: &mut Node| {
                if let Some(status) = &mut node.status {
                    status.images = None;
                }
            }),
            namespaces: Informer::default(),
            default_accounts: Informer::default(),
            root_ca_config_maps: Informer::default(),
            node_leases: Informer::default(),
        };
        let mut follow = Follow { client, token, tasks };
        follow.all(&informers.pods);
        follow.all(&informers.replica_sets);
        follow.all(&informers.deployments);
        follow.all(&informers.services);
        follow.all(&informers.endpoints);
        follow.all(&informers.endpoint_slices);
        follow.all(&informers.nodes);
        follow.all(&informers.namespaces);
        let accounts = Source::all::<ServiceAccount>().fields("metadata.name=default");
        let accounts = Source { metadata_only: true, ..accounts };
        follow.source(&informers.default_accounts, accounts);
        let maps = Source::all::<ConfigMap>().fields("metadata.name=kube-root-ca.crt");
        follow.source(&informers.root_ca_config_maps, maps);
        follow.source(&informers.node_leases, Source::in_namespace::<Lease>("kube-node-lease"));
        informers
    }
}

struct Follow<'a> {
    client: &'a Client,
    token: &'a CancellationToken,
    tasks: &'a mut JoinSet<()>,
}

impl Follow<'_> {
    fn all<K: Watched + kube::Resource<DynamicType = ()>>(&mut self, informer: &Informer<K>) {
        self.source(informer, Source::all::<K>());
    }

    fn source<K: Watched>(&mut self, informer: &Informer<K>, source: Source) {
        let run = informer.clone().run(self.client.clone(), source, self.token.clone());
        self.tasks.spawn(run);
    }
}

fn controller_uid<K: Watched>(object: &K) -> Option<&str> {
    controller_of(object.object_meta()).map(|owner| owner.uid.as_str())
}

fn orphan_namespace<K: Watched>(object: &K) -> Option<&str> {
    let meta = object.object_meta();
    match controller_of(meta) {
        Some(_) => None,
        None => meta.namespace.as_deref(),
    }
}
