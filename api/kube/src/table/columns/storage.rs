//! Volumes and what provides them.

use serde_json::{Value, json};

use super::cells::{age, flag, items, length, name, text, text_or};
use crate::table::{AGE, Column, NAME, Printer};

const fn flag_column(name: &'static str) -> Column {
    Column { kind: "boolean", ..Column::text(name) }
}

pub(crate) static PERSISTENT_VOLUME: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Capacity"),
        Column::text("Access Modes"),
        Column::text("Reclaim Policy"),
        Column::text("Status"),
        Column::text("Claim"),
        Column::text("StorageClass"),
        Column::text("VolumeAttributesClass"),
        Column::text("Reason"),
        AGE,
        Column::text("VolumeMode").wide(),
    ],
    cells: |volume, now| {
        let claim = match volume.pointer("/spec/claimRef").filter(|c| !c.is_null()) {
            Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
            None => String::new(),
        };
        vec![
            name(volume),
            json!(text_or(volume, "/spec/capacity/storage", "0")),
            json!(access_modes(volume, "/spec/accessModes")),
            json!(text(volume, "/spec/persistentVolumeReclaimPolicy")),
            json!(phase(volume)),
            json!(claim),
            json!(storage_class(volume)),
            json!(text_or(volume, "/spec/volumeAttributesClassName", "<unset>")),
            json!(text(volume, "/status/reason")),
            age(volume, now),
            json!(text_or(volume, "/spec/volumeMode", "<unset>")),
        ]
    },
};

pub(crate) static PERSISTENT_VOLUME_CLAIM: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status"),
        Column::text("Volume"),
        Column::text("Capacity"),
        Column::text("Access Modes"),
        Column::text("StorageClass"),
        Column::text("VolumeAttributesClass"),
        AGE,
        Column::text("VolumeMode").wide(),
    ],
    cells: |claim, now| {
        let bound = !text(claim, "/spec/volumeName").is_empty();
        let capacity = if bound { text_or(claim, "/status/capacity/storage", "0") } else { "" };
        let modes = if bound { access_modes(claim, "/status/accessModes") } else { String::new() };
        vec![
            name(claim),
            json!(phase(claim)),
            json!(text(claim, "/spec/volumeName")),
            json!(capacity),
            json!(modes),
            json!(storage_class(claim)),
            json!(text_or(claim, "/spec/volumeAttributesClassName", "<unset>")),
            age(claim, now),
            json!(text_or(claim, "/spec/volumeMode", "<unset>")),
        ]
    },
};

pub(crate) static STORAGE_CLASS: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Provisioner"),
        Column::text("ReclaimPolicy"),
        Column::text("VolumeBindingMode"),
        Column::text("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |class, now| {
        let annotation = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
        let mut shown = text(class, "/metadata/name").to_owned();
        if text(class, annotation) == "true" {
            shown.push_str(" (default)");
        }
        vec![
            json!(shown),
            json!(text(class, "/provisioner")),
            json!(text_or(class, "/reclaimPolicy", "Delete")),
            json!(text_or(class, "/volumeBindingMode", "Immediate")),
            json!(flag(class, "/allowVolumeExpansion", false)),
            age(class, now),
        ]
    },
};

pub(crate) static CSI_DRIVER: Printer = Printer {
    columns: &[
        NAME,
        flag_column("AttachRequired"),
        flag_column("PodInfoOnMount"),
        flag_column("StorageCapacity"),
        Column::text("TokenRequests"),
        flag_column("RequiresRepublish"),
        Column::text("Modes"),
        AGE,
    ],
    cells: |driver, now| {
        let joined = |all: Vec<&str>, none: &str| match all.is_empty() {
            true => none.to_owned(),
            false => all.join(","),
        };
        let audiences = items(driver, "/spec/tokenRequests").map(|t| text(t, "/audience"));
        let modes = items(driver, "/spec/volumeLifecycleModes").filter_map(Value::as_str);
        vec![
            name(driver),
            json!(flag(driver, "/spec/attachRequired", true)),
            json!(flag(driver, "/spec/podInfoOnMount", false)),
            json!(flag(driver, "/spec/storageCapacity", false)),
            json!(joined(audiences.collect(), "<unset>")),
            json!(flag(driver, "/spec/requiresRepublish", false)),
            json!(joined(modes.collect(), "<none>")),
            age(driver, now),
        ]
    },
};

pub(crate) static CSI_NODE: Printer = Printer {
    columns: &[NAME, Column::count("Drivers"), AGE],
    cells: |node, now| vec![name(node), json!(length(node, "/spec/drivers")), age(node, now)],
};

pub(crate) static CSI_STORAGE_CAPACITY: Printer = Printer {
    columns: &[NAME, Column::text("StorageClassName"), Column::text("Capacity")],
    cells: |object, _| {
        let capacity = text_or(object, "/capacity", "<unset>");
        vec![name(object), json!(text(object, "/storageClassName")), json!(capacity)]
    },
};

pub(crate) static VOLUME_ATTACHMENT: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Attacher"),
        Column::text("PV"),
        Column::text("Node"),
        flag_column("Attached"),
        AGE,
    ],
    cells: |object, now| {
        vec![
            name(object),
            json!(text(object, "/spec/attacher")),
            json!(text(object, "/spec/source/persistentVolumeName")),
            json!(text(object, "/spec/nodeName")),
            json!(flag(object, "/status/attached", false)),
            age(object, now),
        ]
    },
};

pub(crate) static VOLUME_ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[NAME, Column::text("DriverName"), AGE],
    cells: |object, now| vec![name(object), json!(text(object, "/driverName")), age(object, now)],
};

fn phase(object: &Value) -> &str {
    match object["metadata"]["deletionTimestamp"] {
        Value::Null => text(object, "/status/phase"),
        _ => "Terminating",
    }
}

fn storage_class(object: &Value) -> &str {
    match text(object, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class") {
        "" => text(object, "/spec/storageClassName"),
        old => old,
    }
}

fn access_modes(object: &Value, pointer: &str) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let modes: Vec<&str> = items(object, pointer).filter_map(Value::as_str).collect();
    let found = SHORT.iter().filter(|(mode, _)| modes.contains(mode)).map(|(_, short)| *short);
    found.collect::<Vec<_>>().join(",")
}
