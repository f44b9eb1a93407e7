//! A small file system of a test's own, which can be full, broken or read-only: ext4 in an image,
//! by a loop device.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{command, scratch};

/// What can be done to it while its files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// No room is left.
    Full,
    /// The kernel has met an error, and lets nobody write any more.
    ReadOnly,
    /// All writing and syncing is an input/output error, and what was not synced is gone.
    Broken,
}

/// A mounted file system; unmounted when dropped.
pub struct SmallDisk {
    dir: tempfile::TempDir,
    mounted: bool,
}

impl SmallDisk {
    /// An empty one of this size.
    pub fn new(mebibytes: u64) -> Result<Self> {
        let dir = scratch::dir("disk")?;
        let image = fs::File::create(dir.path().join("image"))?;
        image.set_len(mebibytes << 20)?;
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&dir.path().join("image"))])?;
        fs::create_dir(dir.path().join("files"))?;
        let mut disk = Self { dir, mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    /// Its root.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// Breaks it.
    pub fn fail(&self, fault: DiskFault) -> Result<()> {
        match fault {
            DiskFault::Full => self.fill(),
            DiskFault::ReadOnly => {
                let mounts = fs::read_to_string("/proc/mounts")?;
                let path = text(&self.path());
                let mount = mounts.lines().find(|line| line.contains(&format!(" {path} ")));
                let device = mount.and_then(|line| line.split(' ').next()).context("its mount")?;
                let name = device.rsplit('/').next().unwrap_or_default();
                let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
                fs::write(&trigger, "1").with_context(|| trigger)
            }
            DiskFault::Broken => {
                // EXT4_IOC_SHUTDOWN, nothing of the journal written back.
                let script = "import fcntl, os, struct, sys\n\
                              root = os.open(sys.argv[1], os.O_RDONLY)\n\
                              fcntl.ioctl(root, 0x8004587d, struct.pack('I', 2))";
                run("python3", &["-c", script, &text(&self.path())])
            }
        }
    }

    /// Makes it whole and roomy again, as whoever looks after the machine would. No process may
    /// have a file on it.
    pub fn mend(&mut self, fault: DiskFault) -> Result<()> {
        if fault == DiskFault::Full {
            return Ok(fs::remove_file(self.filler())?);
        }
        run("umount", &[&text(&self.path())])?;
        self.mounted = false;
        // What it repairs is no failure.
        let image = text(&self.dir.path().join("image"));
        let mut check = std::process::Command::new("e2fsck");
        check.args(["-p", "-f", &image]);
        let checked = command::run(check, None, LIMIT)?;
        anyhow::ensure!(checked.code <= 1, "e2fsck: {} {}", checked.out, checked.err);
        self.mount()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Writes until there is no room for another block.
    fn fill(&self) -> Result<()> {
        let mut filler = fs::File::create(self.filler())?;
        for block in [1 << 20, 4096] {
            let block = vec![1; block];
            let error = loop {
                if let Err(error) = filler.write_all(&block) {
                    break error;
                }
            };
            if error.kind() != std::io::ErrorKind::StorageFull {
                return Err(error).context("fill the disk");
            }
        }
        Ok(filler.sync_data()?)
    }

    fn mount(&mut self) -> Result<()> {
        let image = text(&self.dir.path().join("image"));
        run("mount", &["-o", "loop,errors=remount-ro", &image, &text(&self.path())])?;
        self.mounted = true;
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _shown = run("umount", &["--lazy", &text(&self.path())]);
        }
    }
}

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    let output = command::run(command, None, LIMIT)?.ok();
    output.map(drop).with_context(|| format!("{program} {arguments:?}"))
}
