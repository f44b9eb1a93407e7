//! The cluster's Services and their endpoints, as this node knows them: one store for the service
//! proxy and the DNS server.

mod catalog;
mod informer;
mod model;

pub use catalog::{Catalog, Changes};
pub use informer::run;
pub use model::{Endpoint, Service, ServiceKey, ServiceKind, ServicePort, Slice, SlicePort};
