//! What a machine can tell of the rules in docs/ARCHITECTURE.md.

use std::path::{Path, PathBuf};

/// Every crate, and which of ours it may name.
const EDGES: [(&str, &[&str]); 15] = [
    ("proto", &[]),
    ("storage/failpoint", &[]),
    ("storage", &["keelson-failpoint", "keelson-proto"]),
    ("raft", &["keelson-failpoint", "keelson-proto", "keelson-storage"]),
    ("raft/histogram", &[]),
    ("raft/sim", &["keelson-proto", "keelson-storage", "keelson-raft", "keelson-check"]),
    ("api/client", &["keelson-proto"]),
    (
        "api/etcd",
        &[
            "keelson-failpoint",
            "keelson-proto",
            "keelson-storage",
            "keelson-raft",
            "keelson-client",
            "keelson-http2",
        ],
    ),
    ("api/http2", &[]),
    ("api/kube", &["keelson-client", "keelson-proto"]),
    ("controllers/runtime", &[]),
    ("controllers", &["keelson-controller-runtime"]),
    ("controllers/scheduler", &["keelson-controller-runtime"]),
    ("node-agent", &["keelson-proto"]),
    ("tests/check", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    for (folder, allowed) in EDGES {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml"))
            .expect("a manifest in every crate");
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in dependencies.lines().filter(|line| line.starts_with("keelson-")) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(allowed.contains(&name), "{folder} must not know {name}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    let mut silent = Vec::new();
    for (folder, _) in EDGES {
        visit(&root().join(folder).join("src"), &mut |path, text| {
            if !text.starts_with("//!") {
                silent.push(path.display().to_string());
            }
        });
    }
    assert!(silent.is_empty(), "no //! on the first line of {silent:?}");
}

#[test]
fn unsafe_code_stands_in_one_folder() {
    let mut found = Vec::new();
    for (folder, _) in EDGES {
        visit(&root().join(folder).join("src"), &mut |path, text| {
            let in_sys = path.components().any(|part| part.as_os_str() == "sys");
            if !in_sys && text.lines().any(|line| line.trim_start().starts_with("unsafe ")) {
                found.push(path.display().to_string());
            }
        });
    }
    assert!(found.is_empty(), "unsafe code outside sys/: {found:?}");
}

fn visit(folder: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            visit(&path, each);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            each(&path, &text);
        }
    }
}
