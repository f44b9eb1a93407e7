//! A node and its pods for tests: network namespaces of their own, removed at the end in any case.

use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace pinned to a file.
pub(crate) struct Namespace {
    pub(crate) path: PathBuf,
}

impl Namespace {
    /// Makes one; its name is unlike any other test's.
    pub(crate) fn new(what: &str) -> Self {
        let dir = PathBuf::from(format!("/run/kln-test-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!("{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        File::create(&path).unwrap();
        let target = path.clone();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let own = Path::new("/proc/thread-self/ns/net");
            mount(Some(own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        })
        .join()
        .unwrap();
        Self { path }
    }

    /// Runs a future on a thread and a runtime of its own inside the namespace.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = T>>(
        &self,
        body: impl FnOnce() -> F + Send + 'static,
    ) -> T {
        let path = self.path.clone();
        let inside = std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, body())
        });
        match inside.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
        // Goes with the last of them.
        let _ = fs::remove_dir(self.path.parent().unwrap());
    }
}

/// Whether this process may make namespaces; says so when not.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    if !root {
        println!("skipped: network namespaces need root");
    }
    root
}
