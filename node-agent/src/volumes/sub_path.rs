//! subPath: a path inside a volume that no link leads out of.
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// A sub path that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubPathError {
    #[error("\"{0}\" leaves the volume")]
    Escapes(String),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// Resolves `sub` below `root`; a directory is made when nothing is there.
pub(crate) fn sub_path(root: &Path, sub: &str) -> Result<PathBuf, SubPathError> {
    let relative = Path::new(sub);
    if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(SubPathError::Escapes(sub.to_owned()));
    }
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SubPathError::Io { path, source }
    };
    let root = root.canonicalize().map_err(io(root))?;
    let mut found = root.clone();
    for part in relative {
        found.push(part);
        if std::fs::symlink_metadata(&found).is_err() {
            std::fs::create_dir(&found).map_err(io(&found))?;
            // Whoever may use the volume may use what is made in it.
            let mode = std::fs::metadata(&root).map_err(io(&root))?.permissions().mode() & 0o777;
            std::fs::set_permissions(&found, std::fs::Permissions::from_mode(mode))
                .map_err(io(&found))?;
        }
        found = found.canonicalize().map_err(io(&found))?;
        if !found.starts_with(&root) {
            return Err(SubPathError::Escapes(sub.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_and_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(sub_path(&root, "a/b").unwrap(), root.join("a/b"));
        std::fs::write(root.join("f"), b"").unwrap();
        assert_eq!(sub_path(&root, "f").unwrap(), root.join("f"));
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        assert!(matches!(sub_path(&root, "out"), Err(SubPathError::Escapes(_))));
        assert!(matches!(sub_path(&root, "../x"), Err(SubPathError::Escapes(_))));
        assert!(matches!(sub_path(&root, "/etc"), Err(SubPathError::Escapes(_))));
    }
}
