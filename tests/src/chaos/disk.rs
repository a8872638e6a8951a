//! Small disks: a tmpfs of its own for the folder of a node, to be filled up and emptied while the node runs. Only
//! root may mount one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

/// What one is made of when it is filled.
const BLOCK_BYTES: usize = 64 << 10;
/// What takes the room.
const BALLAST: &str = "ballast";

/// A mounted tmpfs; unmounted with the value, also while a process still uses it.
#[derive(Debug)]
pub struct SmallDisk {
    /// Where it is mounted.
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes at a folder, which is made.
    ///
    /// # Errors
    /// It may not be mounted here.
    pub fn mount(folder: &Path, bytes: u64) -> Result<SmallDisk, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let size = format!("size={bytes}");
        mount(Some("feira-chaos"), folder, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).map_err(
            |error| format!("cannot mount a tmpfs at {}: {error} (only root may)", folder.display()),
        )?;
        Ok(SmallDisk { folder: folder.to_owned() })
    }

    /// Bytes that are free.
    ///
    /// # Panics
    /// If the file system cannot be asked.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let stat = statvfs(&self.folder).expect("a mounted file system can be asked");
        stat.blocks_available() as u64 * stat.fragment_size() as u64
    }

    /// Takes room until at most so many bytes are free.
    ///
    /// # Panics
    /// If the ballast cannot be written for another reason than that the disk is full.
    pub fn fill(&self, leave_bytes: u64) {
        let options = File::options().create(true).append(true).open(self.folder.join(BALLAST));
        let mut ballast = options.expect("a file can be made");
        let block = vec![0; BLOCK_BYTES];
        while self.free_bytes() > leave_bytes {
            let room = self.free_bytes() - leave_bytes;
            let bytes = usize::try_from(room).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            match ballast.write_all(&block[..bytes]) {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return,
                written => written.expect("the ballast can be written"),
            }
        }
    }

    /// Gives all room back.
    pub fn empty(&self) {
        // It may have been emptied before.
        let _ = std::fs::remove_file(self.folder.join(BALLAST));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What is on it may tell why.
            return eprintln!("left mounted, to be looked at: {}", self.folder.display());
        }
        // The node may still run: the mount goes when its last file is closed.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}
