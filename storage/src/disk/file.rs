//! Disk: the file operations that durable code may use, and what each promises after a crash.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A place for files. Names are durable only after [`Disk::sync_dir`] on their directory.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory and its parents; no error if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates an empty file; fails if one is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading only.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, over another if one is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Its content is durable only after [`DiskFile::sync_data`].
pub trait DiskFile: Send + Sync + Debug {
    /// Reads into the buffer from an offset; fewer bytes only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes the whole buffer at an offset.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until all written content is durable.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length.
    fn length(&self) -> io::Result<u64>;
}
