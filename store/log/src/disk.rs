//! The disk as the log sees it: a few operations that a simulator can also carry out, tear and lose.
//!
//! Nothing written is durable before [`DiskFile::sync_data`] returned; no name is durable before
//! [`Disk::sync_folder`] returned. Paths are relative to the folder that the disk was opened on.

use std::io;

/// A folder.
pub trait Disk: Send + Sync + 'static {
    /// An open file of this disk.
    type File: DiskFile;

    /// Opens `path` for reading and writing; creates it (empty) if `create` says so.
    ///
    /// # Errors
    /// `NotFound` if it is absent and `create` is false.
    fn open(&self, path: &str, create: bool) -> io::Result<Self::File>;
    /// Whether the name is there.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Gives `from` the name `to`, replacing what was there.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name; one that is absent is no error.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// All names of the folder, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes the names durable.
    ///
    /// # Errors
    /// As the operating system says; never retried.
    fn sync_folder(&self) -> io::Result<()>;
    /// Bytes still free for this folder.
    ///
    /// # Errors
    /// The file system does not say.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// A file. Reads and writes name their place, so that a file can be shared.
#[allow(clippy::len_without_is_empty)] // `len` asks the disk; nobody asks whether a file is empty
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `into.len()` bytes at `at`; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Makes what was written (and the length) durable.
    ///
    /// # Errors
    /// As the operating system says; never retried.
    fn sync_data(&self) -> io::Result<()>;
    /// The length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends (with zeros) to this length.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Lets go of what is kept of the file in memory and is durable, so that the next reader reads the medium and
    /// large files do not drive others out. A hint: nothing is promised.
    fn drop_cached(&self) {}
}

/// A disk that several parts of a replica share: the log's writer, and who reads snapshots meanwhile.
impl<D: Disk> Disk for std::sync::Arc<D> {
    type File = D::File;

    fn open(&self, path: &str, create: bool) -> io::Result<D::File> {
        (**self).open(path, create)
    }
    fn exists(&self, path: &str) -> io::Result<bool> {
        (**self).exists(path)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        (**self).remove(path)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        (**self).list()
    }
    fn sync_folder(&self) -> io::Result<()> {
        (**self).sync_folder()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        (**self).free_bytes()
    }
}
