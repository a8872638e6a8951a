//! A disk in memory that does nothing but copy: what is counted over it is the log's own work.
//!
//! `store_log::sim::SimDisk` remembers every unsynced sector, which would be counted too; and it needs a feature that what
//! is shipped does not have. Leaves out everything that a disk can do wrong.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use store_log::{Disk, DiskFile};

/// A file's bytes.
type Content = Arc<Mutex<Vec<u8>>>;

/// The folder; clones are handles of the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk {
    names: Arc<Mutex<BTreeMap<String, Content>>>,
}

/// A handle of one file.
#[derive(Debug)]
pub(crate) struct MemoryFile(Content);

fn size(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, path: &str, create: bool) -> io::Result<MemoryFile> {
        let mut names = self.names.lock();
        if create {
            names.entry(path.to_owned()).or_default();
        }
        names.get(path).cloned().map(MemoryFile).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.names.lock().contains_key(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names.lock();
        let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.names.lock().remove(path);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.lock().keys().cloned().collect())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (at, mut data) = (size(at)?, self.0.lock());
        let end = at + bytes.len();
        if data.len() < end {
            data.resize(end, 0);
        }
        data[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let data = self.0.lock();
        let from = size(at)?.min(data.len());
        let bytes = into.len().min(data.len() - from);
        into[..bytes].copy_from_slice(&data[from..from + bytes]);
        Ok(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.lock().resize(size(bytes)?, 0);
        Ok(())
    }
}
