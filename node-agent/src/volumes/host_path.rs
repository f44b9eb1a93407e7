//! hostPath: a file or directory of the machine, checked or made as its type says.
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use futures::FutureExt;

use super::set_up::VolumeReady;
use super::{VolumeContext, VolumeError, VolumeKind};

pub(crate) const ENTRY: VolumeKind = VolumeKind {
    name: "kubernetes.io/host-path",
    claims: |volume| volume.host_path.is_some(),
    set_up: |context| set_up(context).boxed(),
};

async fn set_up(context: VolumeContext<'_>) -> Result<VolumeReady, VolumeError> {
    let source = context.volume.host_path.clone().unwrap_or_default();
    let path = PathBuf::from(&source.path);
    check(&path, source.type_.as_deref().unwrap_or_default())?;
    Ok(VolumeReady::at(path))
}

fn check(path: &Path, type_: &str) -> Result<(), VolumeError> {
    match type_ {
        "DirectoryOrCreate" if !path.exists() => {
            std::fs::create_dir_all(path).map_err(VolumeError::io(path))?;
            let mode = std::fs::Permissions::from_mode(0o755);
            return std::fs::set_permissions(path, mode).map_err(VolumeError::io(path));
        }
        "FileOrCreate" if !path.exists() => {
            std::fs::write(path, b"").map_err(VolumeError::io(path))?;
            let mode = std::fs::Permissions::from_mode(0o644);
            return std::fs::set_permissions(path, mode).map_err(VolumeError::io(path));
        }
        _ => {}
    }
    let (wanted, is): (&'static str, fn(&Metadata) -> bool) = match type_ {
        "Directory" | "DirectoryOrCreate" => ("directory", Metadata::is_dir),
        "File" | "FileOrCreate" => ("file", Metadata::is_file),
        "Socket" => ("socket file", |m| m.file_type().is_socket()),
        "CharDevice" => ("character device", |m| m.file_type().is_char_device()),
        "BlockDevice" => ("block device", |m| m.file_type().is_block_device()),
        _ => return Ok(()),
    };
    if std::fs::metadata(path).is_ok_and(|metadata| is(&metadata)) {
        return Ok(());
    }
    Err(VolumeError::HostPathType { path: path.display().to_string(), wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("d");
        let error = check(&dir, "Directory").unwrap_err().to_string();
        assert!(error.ends_with("is not a directory"), "{error}");
        check(&dir, "DirectoryOrCreate").unwrap();
        check(&dir, "Directory").unwrap();
        assert!(check(&dir, "File").is_err());
        check(&folder.path().join("f"), "FileOrCreate").unwrap();
        check(Path::new("/dev/null"), "CharDevice").unwrap();
        check(&folder.path().join("none"), "").unwrap();
    }
}
