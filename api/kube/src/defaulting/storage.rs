//! Volumes and what provides them.
// upstream: Kubernetes, pkg/apis/{core,storage}/v1/defaults.go

use serde_json::{Value, json};

use super::fields::{absent, empty, made, present};

pub(crate) fn volume(object: &mut Value) {
    if let Some(spec) = present(object, "spec") {
        empty(spec, "persistentVolumeReclaimPolicy", "Retain");
        absent(spec, "volumeMode", "Filesystem");
        if let Some(host_path) = present(spec, "hostPath") {
            absent(host_path, "type", "");
        }
    }
    empty(made(object, "status"), "phase", "Pending");
}

pub(crate) fn claim(object: &mut Value) {
    if let Some(spec) = present(object, "spec") {
        absent(spec, "volumeMode", "Filesystem");
    }
    empty(made(object, "status"), "phase", "Pending");
}

pub(crate) fn storage_class(object: &mut Value) {
    absent(object, "reclaimPolicy", "Delete");
    absent(object, "volumeBindingMode", "Immediate");
}

pub(crate) fn csi_driver(object: &mut Value) {
    let Some(spec) = present(object, "spec") else { return };
    absent(spec, "attachRequired", true);
    absent(spec, "podInfoOnMount", false);
    absent(spec, "storageCapacity", false);
    absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    absent(spec, "requiresRepublish", false);
    absent(spec, "seLinuxMount", false);
    if spec["volumeLifecycleModes"].as_array().is_none_or(Vec::is_empty) {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
}
