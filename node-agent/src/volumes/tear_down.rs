//! Removes the volumes of a pod, or of all pods below a directory; never follows a mount into what is not ours.
use std::io;
use std::path::Path;

use super::mount::unmount_below;

/// Unmounts everything below `dir` and removes the volumes in it. Missing is fine; may run again.
pub(crate) fn tear_down(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    unmount_below(dir).map_err(io::Error::from)?;
    match std::fs::remove_dir_all(dir.join("volumes")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
