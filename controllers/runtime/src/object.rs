//! What an informer needs to know of an object: its key, its version, its owner.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::DeserializeOwned;

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// An object that can be kept in an informer's store.
pub trait Watched: DeserializeOwned + Clone + Send + Sync + 'static {
    /// The object's metadata.
    fn object_meta(&self) -> &ObjectMeta;
    /// The object's metadata, to be changed.
    fn object_meta_mut(&mut self) -> &mut ObjectMeta;

    /// Where the object lives.
    fn key(&self) -> ObjectKey {
        let meta = self.object_meta();
        ObjectKey::new(meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
    }

    /// The object's uid, empty if the server has given none.
    fn uid(&self) -> &str {
        self.object_meta().uid.as_deref().unwrap_or("")
    }

    /// The object's resource version as the number that the server compares it as.
    fn version(&self) -> u64 {
        resource_version(self.object_meta().resource_version.as_deref())
    }

    /// True once a graceful deletion has begun.
    fn is_deleting(&self) -> bool {
        self.object_meta().deletion_timestamp.is_some()
    }
}

impl<K> Watched for K
where
    K: kube::Resource + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn object_meta(&self) -> &ObjectMeta {
        self.meta()
    }

    fn object_meta_mut(&mut self) -> &mut ObjectMeta {
        self.meta_mut()
    }
}

/// Any object, of which only the metadata is kept.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub struct MetaObject {
    /// The object's metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl Watched for MetaObject {
    fn object_meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn object_meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A resource version as a number; 0 when absent or not a number.
pub fn resource_version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The owner reference that says `controller: true`, if there is one.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Implements `kube::Resource` for a struct with a `metadata` field that reads only some fields of
/// the API type `$full`: less to decode and less to keep than the whole object.
#[macro_export]
macro_rules! trimmed_kind {
    ($trimmed:ty => $full:ty) => {
        impl ::kube::Resource for $trimmed {
            type DynamicType = ();
            type Scope = <$full as ::kube::Resource>::Scope;

            fn kind(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$full as ::kube::Resource>::kind(&())
            }
            fn group(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$full as ::kube::Resource>::group(&())
            }
            fn version(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$full as ::kube::Resource>::version(&())
            }
            fn plural(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$full as ::kube::Resource>::plural(&())
            }
            fn meta(&self) -> &::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(
                &mut self,
            ) -> &mut ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
