//! A simulated disk in memory for tests: it remembers unsynced writes, and loses, keeps or tears them as a
//! real one may. Promises:
//!
//! - [`SimDisk::kill`] is `kill -9`: everything written is there, synced or not; open files are dead;
//! - [`SimDisk::crash`] is a power loss: of every 512-byte sector written since the file's last sync either the
//!   old or the new content survives, the length likewise, and of the names made, changed or removed since the
//!   last sync of the folder an arbitrary subset; all decided by the seed;
//! - [`SimDisk::die_at`] stops the machine inside any operation, a write after any number of its bytes;
//! - a failed sync loses its sectors for good: syncing again does not bring them back (as on Linux).
//!
//! Leaves out time, and reordering inside one sector.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// Which operation a planned fault strikes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Writing bytes.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing the folder.
    SyncFolder,
    /// Creating, renaming or removing a name, or setting a length.
    Change,
}

/// One file's content, now and as it would be after a power loss.
#[derive(Default)]
struct Inode {
    /// As every reader sees it.
    data: Vec<u8>,
    /// Sectors written since the last sync, as they were before.
    unsynced: BTreeMap<usize, [u8; SECTOR]>,
    /// The same of sectors whose sync failed.
    lost: BTreeMap<usize, [u8; SECTOR]>,
    /// The length at the last sync.
    synced_len: usize,
}

/// A change of the folder that was not synced.
enum NameChange {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

#[derive(Default)]
struct State {
    /// Every file ever made.
    inodes: Vec<Inode>,
    /// The folder as everybody sees it.
    names: BTreeMap<String, usize>,
    /// The folder at its last sync.
    durable_names: BTreeMap<String, usize>,
    /// What was done to it since, in order.
    changes: Vec<NameChange>,
    /// Handles of earlier lives are dead.
    boot: u64,
    /// Changing operations until the machine dies; `None`: it does not.
    dies_in: Option<u64>,
    /// It died.
    dead: bool,
    /// Decides how much of a write gets through when it dies.
    seed: u64,
    /// Planned faults: of which operation, how many to let pass, which error.
    faults: Vec<(Operation, u64, i32)>,
    /// Changing operations so far.
    operations: u64,
    /// Bytes that fit.
    capacity: Option<u64>,
}

/// The disk; clones are handles of the same one.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`].
pub struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    boot: u64,
}

/// The next number of a sequence that looks random (splitmix64).
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number of the same sequence below `limit`.
fn below(seed: &mut u64, limit: usize) -> usize {
    usize::try_from(random(seed) % limit as u64).expect("below a usize")
}

fn locked(state: &Arc<Mutex<State>>) -> MutexGuard<'_, State> {
    state.lock()
}

fn died() -> io::Error {
    io::Error::other("the simulated machine is dead")
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// `kill -9` and a restart under the same kernel: nothing written is lost.
    pub fn kill(&self) {
        let mut state = locked(&self.state);
        state.restart();
    }

    /// A power loss and a restart: what was not synced is lost, kept or torn, as `seed` decides.
    pub fn crash(&self, seed: u64) {
        let mut state = locked(&self.state);
        let mut seed = seed;
        state.lose_names(&mut seed);
        for inode in &mut state.inodes {
            inode.lose(&mut seed);
        }
        state.restart();
    }

    /// After `operations` more changing operations the next one stops half way, a write after any number of its
    /// bytes; then everything fails until [`SimDisk::kill`] or [`SimDisk::crash`].
    pub fn die_at(&self, operations: u64, seed: u64) {
        let mut state = locked(&self.state);
        state.dies_in = Some(operations);
        state.seed = seed;
    }

    /// Whether [`SimDisk::die_at`] has struck.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        locked(&self.state).dead
    }

    /// After `skip` more of these operations the next one fails with this error of the operating system
    /// (28: no space left, 5: input/output error).
    pub fn fail(&self, operation: Operation, skip: u64, os_error: i32) {
        locked(&self.state).faults.push((operation, skip, os_error));
    }

    /// So many changing operations were carried out.
    #[must_use]
    pub fn operations(&self) -> u64 {
        locked(&self.state).operations
    }

    /// From now on files may take so many bytes together; writes beyond fail for lack of space.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        locked(&self.state).capacity = bytes;
    }

    /// Flips one bit, on the medium: no sync or crash undoes it. False if there is no such byte.
    #[must_use]
    pub fn flip_bit(&self, name: &str, at: usize, bit: u8) -> bool {
        let mut state = locked(&self.state);
        let Some(inode) = state.names.get(name).copied() else { return false };
        match state.inodes[inode].data.get_mut(at) {
            Some(byte) => {
                *byte ^= 1 << (bit % 8);
                true
            }
            None => false,
        }
    }

    /// The bytes of a file as they are now.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = locked(&self.state);
        state.names.get(name).map(|inode| state.inodes[*inode].data.clone())
    }

    /// Puts a whole file there, durably, as if by hand.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = locked(&self.state);
        let synced_len = bytes.len();
        state.inodes.push(Inode { data: bytes.to_vec(), synced_len, ..Inode::default() });
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), inode);
        state.durable_names.insert(name.to_owned(), inode);
    }
}

impl State {
    fn restart(&mut self) {
        self.boot += 1;
        self.dead = false;
        self.dies_in = None;
        self.faults.clear();
    }

    /// Decides what becomes of a changing operation: an error, death, or `Ok`.
    fn admit(&mut self, operation: Operation) -> io::Result<()> {
        if self.dead {
            return Err(died());
        }
        self.operations += 1;
        if let Some(left) = &mut self.dies_in {
            if *left == 0 {
                self.dead = true;
                return Err(died());
            }
            *left -= 1;
        }
        if let Some(at) = self.faults.iter().position(|(of, ..)| *of == operation) {
            if self.faults[at].1 == 0 {
                return Err(io::Error::from_raw_os_error(self.faults.remove(at).2));
            }
            self.faults[at].1 -= 1;
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].data.len() as u64).sum()
    }

    fn lose_names(&mut self, seed: &mut u64) {
        // A journal keeps a prefix; other file systems may keep any subset.
        let keep_first = random(seed).is_multiple_of(2).then(|| below(seed, self.changes.len() + 1));
        let mut names = std::mem::take(&mut self.durable_names);
        for (i, change) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            let kept = keep_first.map_or_else(|| random(seed).is_multiple_of(2), |first| i < first);
            if !kept {
                continue;
            }
            match change {
                NameChange::Link(name, inode) => {
                    names.insert(name, inode);
                }
                NameChange::Rename(from, to, inode) => {
                    if names.get(&from) == Some(&inode) {
                        names.remove(&from);
                    }
                    names.insert(to, inode);
                }
                NameChange::Unlink(name) => {
                    names.remove(&name);
                }
            }
        }
        self.durable_names.clone_from(&names);
        self.names = names;
    }
}

impl Inode {
    fn lose(&mut self, seed: &mut u64) {
        let kept_len = if random(seed).is_multiple_of(2) { self.synced_len } else { self.data.len() };
        for (sector, old) in std::mem::take(&mut self.lost) {
            self.restore(sector, &old);
        }
        for (sector, old) in std::mem::take(&mut self.unsynced) {
            if random(seed).is_multiple_of(2) {
                self.restore(sector, &old);
            }
        }
        self.data.resize(kept_len, 0);
        self.synced_len = kept_len;
    }

    fn restore(&mut self, sector: usize, old: &[u8; SECTOR]) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.data.len());
        if start < end {
            self.data[start..end].copy_from_slice(&old[..end - start]);
        }
    }

    /// Remembers the sectors of a range as they are, before they change.
    fn remember(&mut self, start: usize, end: usize) {
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let data = &self.data;
            self.unsynced.entry(sector).or_insert_with(|| {
                let mut old = [0; SECTOR];
                let from = (sector * SECTOR).min(data.len());
                let to = (from + SECTOR).min(data.len());
                old[..to - from].copy_from_slice(&data[from..to]);
                old
            });
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.remember(at, end);
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[at..end].copy_from_slice(bytes);
    }

    fn set_len(&mut self, len: usize) {
        if len < self.data.len() {
            self.remember(len, self.data.len());
        }
        self.data.resize(len, 0);
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &str, create: bool) -> io::Result<SimFile> {
        let mut state = locked(&self.state);
        if state.dead {
            return Err(died());
        }
        let found = state.names.get(path).copied();
        let inode = match found {
            Some(inode) => inode,
            None if create => {
                state.admit(Operation::Change)?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.names.insert(path.to_owned(), inode);
                state.changes.push(NameChange::Link(path.to_owned(), inode));
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(SimFile { state: Arc::clone(&self.state), inode, boot: state.boot })
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let state = locked(&self.state);
        if state.dead { Err(died()) } else { Ok(state.names.contains_key(path)) }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.admit(Operation::Change)?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.admit(Operation::Change)?;
        if state.names.remove(path).is_some() {
            state.changes.push(NameChange::Unlink(path.to_owned()));
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = locked(&self.state);
        if state.dead { Err(died()) } else { Ok(state.names.keys().cloned().collect()) }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = locked(&self.state);
        state.admit(Operation::SyncFolder)?;
        state.changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = locked(&self.state);
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}

fn size(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl SimFile {
    /// The state, if this handle is of the present life.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = locked(&self.state);
        if state.dead || state.boot != self.boot { Err(died()) } else { Ok(state) }
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = size(at)?;
        let mut state = self.alive()?;
        let admitted = state.admit(Operation::Write);
        if state.dead && !bytes.is_empty() {
            let mut seed = state.seed;
            let part = below(&mut seed, bytes.len());
            state.inodes[self.inode].write(at, &bytes[..part]);
        }
        admitted?;
        let grown = (at + bytes.len()).saturating_sub(state.inodes[self.inode].data.len()) as u64;
        if grown > 0 && state.capacity.is_some_and(|capacity| state.used() + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.inodes[self.inode].write(at, bytes);
        Ok(())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let at = size(at)?;
        let state = self.alive()?;
        let data = &state.inodes[self.inode].data;
        let from = at.min(data.len());
        let bytes = into.len().min(data.len() - from);
        into[..bytes].copy_from_slice(&data[from..from + bytes]);
        Ok(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        let admitted = state.admit(Operation::Sync);
        let dead = state.dead;
        let inode = &mut state.inodes[self.inode];
        let sectors = std::mem::take(&mut inode.unsynced);
        match (&admitted, dead) {
            (Ok(()), _) => inode.synced_len = inode.data.len(),
            (Err(_), true) => inode.unsynced = sectors,
            (Err(_), false) => {
                for (sector, old) in sectors {
                    inode.lost.entry(sector).or_insert(old);
                }
            }
        }
        admitted
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.alive()?;
        Ok(state.inodes[self.inode].data.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let bytes = size(bytes)?;
        let mut state = self.alive()?;
        state.admit(Operation::Change)?;
        state.inodes[self.inode].set_len(bytes);
        Ok(())
    }
}
