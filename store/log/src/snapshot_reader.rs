//! Reading a snapshot: as blocks for the state machine, as raw bytes for another replica. Promises that every
//! byte was verified when it was opened, and each block again when it is read.

use bytes::{Bytes, BytesMut};

use crate::block::Blocks;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::limits::SNAPSHOT_BLOCK_BYTES_MAX;
use crate::meta::Meta;
use crate::names;
use crate::snapshot::{self, Origin, SnapshotFile, SnapshotInfo};

/// An open, verified snapshot. The file stays readable even if its name is removed meanwhile.
#[derive(Debug)]
pub struct SnapshotReader<F> {
    /// The file.
    file: F,
    /// Its name.
    name: String,
    /// What it is.
    listed: SnapshotFile,
}

impl<F: DiskFile> SnapshotReader<F> {
    /// Opens `snap.number` and verifies all of it.
    ///
    /// # Errors
    /// As [`crate::verify_snapshot`].
    pub fn open<D: Disk<File = F>>(disk: &D, meta: &Meta, number: u64) -> Result<SnapshotReader<F>, Error> {
        let (file, listed) = snapshot::open(disk, &meta.cluster, meta.group, number)?;
        let name = names::snapshot_file(number);
        snapshot::verify_file(&file, &name, listed.info.position)?;
        Ok(SnapshotReader { file, name, listed })
    }

    /// Opens a snapshot that stands alone, under any name and of any cluster, and verifies all of it; says whose it is.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`] (which says so too of a file that is something else), [`Error::Version`].
    pub fn alone<D: Disk<File = F>>(disk: &D, name: &str) -> Result<(Origin, SnapshotReader<F>), Error> {
        let file = match disk.open(name, false) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Missing { file: name.to_owned() });
            }
            other => other.map_err(|e| Error::of("open", name, e))?,
        };
        let (origin, info) = SnapshotInfo::read_any(&file, name)?;
        snapshot::verify_file(&file, name, info.position)?;
        let bytes = file.len().map_err(|e| Error::of("measure", name, e))?;
        Ok((origin, SnapshotReader { file, name: name.to_owned(), listed: SnapshotFile { info, bytes } }))
    }

    /// What it is of, and its length.
    #[must_use]
    pub fn listed(&self) -> SnapshotFile {
        self.listed
    }

    /// Calls `visit` with the data of each block, in order, verified; ends early with what it returns.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the disk returns other bytes than before, or what `visit` returns.
    pub fn each_block<E: From<Error>>(&self, mut visit: impl FnMut(Bytes) -> Result<(), E>) -> Result<(), E> {
        let mut blocks = Blocks::new(&self.file, &self.name)?;
        while let Some(data) = blocks.step_data(self.listed.info.position)? {
            assert!(data.len() <= SNAPSHOT_BLOCK_BYTES_MAX, "a verified block is within its limit");
            visit(data)?;
        }
        Ok(())
    }

    /// Up to `bytes_max` raw bytes of the file from `at` on; none at its end. For sending.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn raw(&self, at: u64, bytes_max: usize) -> Result<Bytes, Error> {
        let left = usize::try_from(self.listed.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut buffer = BytesMut::zeroed(bytes_max.min(left));
        let read = self.file.read_at(at, &mut buffer).map_err(|e| Error::of("read", &self.name, e))?;
        buffer.truncate(read);
        Ok(buffer.freeze())
    }
}
