//! Room on the disk: a run that would run out of it is not begun.

use anyhow::{Context as _, Result, ensure};
use nix::sys::statvfs::statvfs;

/// What one member may write in a run: logs are made longer before they are filled.
const MEMBER_BYTES: u64 = 160 << 20;
/// The small disk of a member that is to be filled.
pub const DISK_BYTES: u64 = 256 << 20;

/// Whether so many members have room for their files.
pub fn ensure(members: usize, on_small_disks: bool) -> Result<()> {
    let dir = std::env::temp_dir();
    let disk = statvfs(&dir).with_context(|| format!("the disk of {}", dir.display()))?;
    let free = disk.blocks_available() * disk.fragment_size();
    let each = if on_small_disks { DISK_BYTES } else { MEMBER_BYTES };
    let wanted = each * u64::try_from(members)?;
    ensure!(
        free >= wanted,
        "there is no room for {members} members: {} has {} MiB free, and they may need {}; TMPDIR \
         names another place",
        dir.display(),
        free >> 20,
        wanted >> 20
    );
    Ok(())
}
