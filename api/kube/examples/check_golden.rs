//! Reads Kubernetes' own golden objects and says what the table of facts loses of them.
//!
//! `cargo run -p keelson-kube-api --example check_golden -- FOLDER`, the folder being
//! `k8s.io/api@v0.36.3/testdata/HEAD` of the Go module cache. Fails when a field of a golden object
//! is unknown, refused, or comes back different, except fields behind gates that are off.

use std::error::Error;

use keelson_kube_api::facts::{Type, facts};
use keelson_kube_api::{decode, kinds, protobuf};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder of golden objects")?;
    let (mut checked, mut wrong) = (0, 0);
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let bytes = std::fs::read(&path)?;
        let golden: Value = serde_json::from_slice(&bytes)?;
        let api_version = golden["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let name = golden["kind"].as_str().unwrap_or_default();
        let Some(kind) = kinds::by_gvk(group, version, name) else { continue };
        checked += 1;
        let mut problems = Vec::new();
        for (bytes, media) in [
            (bytes, "application/json"),
            (std::fs::read(path.with_extension("yaml"))?, "application/yaml"),
        ] {
            match decode::object(kind, &bytes, media) {
                Err(error) => problems.push(format!("{media}: {error}")),
                Ok(decoded) => {
                    problems.extend(decoded.warnings.iter().cloned());
                    compare(&golden, &decoded.value, "", &mut problems);
                }
            }
        }
        let message = std::fs::read(path.with_extension("pb"))?;
        match protobuf::read(kind.schema, &message) {
            Err(error) => problems.push(format!("protobuf: {error}")),
            Ok(read) => compare(&golden, &read, "protobuf", &mut problems),
        }
        match protobuf::write(kind.schema, &golden) {
            Err(error) => problems.push(format!("protobuf: {error}")),
            Ok(written) => match protobuf::read(kind.schema, &written) {
                Err(error) => problems.push(format!("protobuf as written: {error}")),
                Ok(read) => compare(&golden, &read, "protobuf as written", &mut problems),
            },
        }
        problems.sort();
        problems.dedup();
        for problem in &problems {
            println!("{api_version} {name}: {problem}");
        }
        wrong += usize::from(!problems.is_empty());
    }
    println!("{checked} golden objects, {wrong} with differences");
    if wrong == 0 && checked > 0 { Ok(()) } else { Err("golden objects differ".into()) }
}

/// Lists what `read` has otherwise than `golden`. A null is the same as nothing.
fn compare(golden: &Value, read: &Value, path: &str, problems: &mut Vec<String>) {
    match (golden, read) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a.iter().filter(|(_, v)| !v.is_null()) {
                let path = format!("{path}.{name}");
                match b.get(name) {
                    Some(other) => compare(value, other, &path, problems),
                    None if is_gated(name) => {}
                    None => problems.push(format!("lost {path}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{path}[{at}]"), problems);
            }
        }
        (a, b) if a == b => {}
        (a, b) => problems.push(format!("{path}: {a} became {b}")),
    }
}

/// Whether a field of this name stands behind a gate that is off.
fn is_gated(name: &str) -> bool {
    let gated = |ty: &Type| ty.field(name).is_some_and(|field| field.gate.is_some());
    facts().types().iter().any(gated)
}
