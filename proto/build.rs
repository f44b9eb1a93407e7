//! Compiles every .proto file under proto/ without an installed protoc.
use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Ok(());
    }
    let descriptors = protox::compile(&files, [root])?;
    write_etcd_descriptors(&descriptors)?;
    // Every `bytes` field is a `bytes::Bytes`: keys and values are shared, not copied.
    let mut config = prost_build_config();
    config.skip_protoc_run();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// What etcd's messages are made of, for those who turn them into JSON.
fn write_etcd_descriptors(
    all: &prost_types::FileDescriptorSet,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut set = prost_types::FileDescriptorSet::default();
    for file in all.file.iter().filter(|file| file.name().starts_with("etcd/")) {
        set.file.push(prost_types::FileDescriptorProto { source_code_info: None, ..file.clone() });
    }
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("etcd.bin"), set.encode_to_vec())?;
    Ok(())
}

fn prost_build_config() -> tonic_prost_build::Config {
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    config
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
