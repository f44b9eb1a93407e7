//! One data directory, one process: a lock that names its holder.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};

/// Held for as long as the process may touch the directory; the kernel lets go when it ends.
pub struct Lock {
    _file: Flock<File>,
}

/// Takes the lock on `dir`, or says who has it.
pub fn take(dir: &Path) -> Result<Lock> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())?;
            Ok(Lock { _file: file })
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _unreadable = file.read_to_string(&mut holder);
            bail!(
                "{} is in use by keelson with process id {}; end it first, or choose another --data-dir",
                dir.display(),
                holder.trim()
            )
        }
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// The process id of whoever holds the lock on `dir`, if anyone does.
pub fn holder(dir: &Path) -> Option<i32> {
    let file = File::open(dir.join("lock")).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_free) => None,
        Err((mut file, _)) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).ok()?;
            holder.trim().parse().ok()
        }
    }
}
