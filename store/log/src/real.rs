//! The operating system's folder as a [`Disk`].
//!
//! Promises that a folder is opened for writing once: an exclusive lock on its file `lock`, which the kernel
//! drops with the process. [`RealDisk::peek`] reads a folder that may be in use, without the lock, and refuses
//! every change. Leaves sub-folders (the database) alone.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::identity::BootId;
use crate::names::LOCK_FILE;

/// A folder of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    /// Where it is.
    folder: PathBuf,
    /// Held as long as the disk is: the kernel's lock goes with it. `None`: only reading.
    lock: Option<File>,
    /// Goes after the lock: fields are dropped in their order.
    in_use: Arc<()>,
}

impl RealDisk {
    /// Opens `folder`, creating it if need be, and locks it.
    ///
    /// # Errors
    /// [`Error::InUse`] if it is locked; otherwise as the operating system says.
    pub fn open(folder: impl AsRef<Path>) -> Result<RealDisk, Error> {
        let folder = folder.as_ref().to_path_buf();
        let name = folder.display().to_string();
        let missing: Vec<&Path> = folder.ancestors().take_while(|f| is_missing(f)).collect();
        if !missing.is_empty() {
            fs::create_dir_all(&folder).map_err(|e| Error::of("create", &name, e))?;
            missing.iter().try_for_each(|f| sync_parent(f)).map_err(|e| Error::sync(&name, e))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK_FILE))
            .map_err(|e| Error::of("open", LOCK_FILE, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(RealDisk { folder, lock: Some(lock), in_use: Arc::default() }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { folder: name }),
            Err(TryLockError::Error(e)) => Err(Error::of("lock", LOCK_FILE, e)),
        }
    }

    /// Opens `folder` for reading only, even while a node uses it. What is being written at this moment can
    /// look torn.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn peek(folder: impl AsRef<Path>) -> Result<RealDisk, Error> {
        let folder = folder.as_ref().to_path_buf();
        fs::read_dir(&folder).map_err(|e| Error::of("read", &folder.display().to_string(), e))?;
        Ok(RealDisk { folder, lock: None, in_use: Arc::default() })
    }

    /// Where the folder is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What cannot be upgraded any more once the folder is let go, its lock with it. To try the lock would take it for a moment, in
    /// the way of whoever opens the folder then.
    #[must_use]
    pub fn in_use(&self) -> Weak<()> {
        Arc::downgrade(&self.in_use)
    }

    fn writable(&self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder was opened for reading only"))
    }
}

fn is_missing(folder: &Path) -> bool {
    !folder.as_os_str().is_empty() && !folder.exists()
}

/// A folder's own name is durable only when its parent is synced.
fn sync_parent(folder: &Path) -> io::Result<()> {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
///
/// # Errors
/// The kernel does not say (not Linux). A caller then passes an id that it never used before, which is safe: it
/// reads as a restarted machine.
pub fn boot_id() -> Result<BootId, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|e| Error::of("read", path, e))?;
    BootId::new(text.trim().as_bytes())
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, path: &str, create: bool) -> io::Result<RealFile> {
        let write = self.lock.is_some();
        if create {
            self.writable()?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .create(create)
            .truncate(false)
            .open(self.folder.join(path))?;
        Ok(RealFile { file })
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        fs::exists(self.folder.join(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.writable()?;
        match fs::remove_file(self.folder.join(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.folder)?;
        // Both fields are narrower than 64 bits on some systems.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        let bytes = (stat.blocks_available() as u64).saturating_mul(stat.fragment_size() as u64);
        Ok(bytes)
    }
}

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile {
    /// The open file.
    file: File,
}

impl DiskFile for RealFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn drop_cached(&self) {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        // A hint: where it is not taken, nothing is lost.
        let _ = posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}
