//! The table on LMDB: the only file that touches lmdb-rkv.
//!
//! Promises: no iterator or cursor of that crate is handed out (an `Iter` can outlive its `Cursor` there, from
//! safe code), and one folder is opened once in a process (LMDB forbids more; a registry refuses the second).
//! What is read borrows from its transaction, what a transaction wrote included. Runs without syncing and never
//! with a writable map; [`crate::trust`] says when the files may be believed.
//!
//! Leaves out: several processes on one folder; the log's lock on the replica's folder keeps them apart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use lmdb::{
    Cursor as _, Database, DatabaseFlags, Environment, EnvironmentFlags, RoTransaction, RwTransaction,
    Transaction as _, WriteFlags,
};

use crate::error::Error;
use crate::limits::{MAP_BYTES_DEFAULT, READERS_MAX};
use crate::table::{IMPORTING, Read, Space, Table, Visit, Write, assert_key};
use crate::trust::{self, Marks, Verdict};

/// Positions of `mdb_cursor_get` (lmdb.h, `MDB_cursor_op`).
mod cursor_op {
    pub(super) const FIRST: u32 = 0;
    pub(super) const NEXT: u32 = 8;
    pub(super) const SET_RANGE: u32 = 17;
}

const ENOSPC: i32 = 28;

/// The folders that are open in this process.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of the map in bytes, a multiple of the page size: the most that the data can take.
    pub map_bytes: u64,
    /// Read transactions at once.
    pub readers_max: u32,
    /// The identity of the running system ([`trust::boot_id`]).
    pub boot_id: String,
}

impl Options {
    /// The defaults, on a system of this boot id.
    #[must_use]
    pub fn new(boot_id: impl Into<String>) -> Options {
        Options { map_bytes: MAP_BYTES_DEFAULT, readers_max: READERS_MAX, boot_id: boot_id.into() }
    }
}

/// A table on LMDB. Clones are of the same table; the last one closes it.
#[derive(Clone, Debug)]
pub struct Lmdb {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Closed before `_place` is given back, since fields drop in this order.
    environment: Environment,
    /// One database a space, by [`Space::number`].
    spaces: Spaces,
    /// Held by each write from before it begins until it has committed.
    gate: Mutex<Gate>,
    /// The folder's place in the registry.
    _place: Place,
}

#[derive(Debug)]
struct Gate {
    /// The marks beside the data.
    marks: Marks,
    /// Write transactions so far.
    commits: u64,
}

type Spaces = [Database; Space::ALL.len()];

/// An open folder's place in the registry.
#[derive(Debug)]
struct Place(PathBuf);

impl Place {
    fn take(path: PathBuf) -> Result<Place, Error> {
        if !registry().insert(path.clone()) {
            return Err(Error::AlreadyOpen { path });
        }
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        registry().remove(&self.0);
    }
}

fn registry() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    OPEN.lock().expect("nothing panics while it holds the registry")
}

impl Lmdb {
    /// Opens the table in `folder`, which is made if it is absent; empties it if it cannot be trusted.
    ///
    /// # Errors
    /// The folder is open already, or cannot be used.
    pub fn open(folder: &Path, options: &Options) -> Result<(Lmdb, Verdict), Error> {
        let unusable = |error| Error::table("opening the database's folder", error);
        fs::create_dir_all(folder).map_err(unusable)?;
        let folder = folder.canonicalize().map_err(unusable)?;
        let place = Place::take(folder.clone())?;
        let mut verdict = trust::judge(&folder, &options.boot_id)?;
        if verdict == Verdict::Trusted
            && let Some(reason) = unfit(&folder, options)?
        {
            trust::discard(&folder)?;
            verdict = Verdict::Discarded(reason);
        }
        let environment = environment(&folder, options)?;
        let mut marks = Marks::begin(&folder, &options.boot_id)?;
        let spaces = open_spaces(&environment, &mut marks)?;
        let gate = Mutex::new(Gate { marks, commits: 0 });
        let inner = Arc::new(Inner { environment, spaces, gate, _place: place });
        Ok((Lmdb { inner }, verdict))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.inner.gate.lock().expect("a write that panics ends the replica")
    }
}

fn environment(folder: &Path, options: &Options) -> Result<Environment, Error> {
    let map_bytes =
        usize::try_from(options.map_bytes).map_err(|error| Error::table("sizing the map", error))?;
    Environment::new()
        // NO_TLS: a reader's place belongs to its transaction, so that one thread can read twice at once.
        .set_flags(EnvironmentFlags::NO_SYNC | EnvironmentFlags::NO_TLS)
        .set_max_dbs(u32::from(Space::State.number()) + 1)
        .set_max_readers(options.readers_max)
        .set_map_size(map_bytes)
        .open(folder)
        .map_err(|error| failed("opening the database", error))
}

fn open_spaces(environment: &Environment, marks: &mut Marks) -> Result<Spaces, Error> {
    let mut open = |space: Space| match environment.open_db(Some(space.name())) {
        Err(lmdb::Error::NotFound) => {
            marks.before_write()?;
            let made = environment.create_db(Some(space.name()), DatabaseFlags::empty());
            made.map_err(|error| failed("making a space", error))
        }
        other => other.map_err(|error| failed("opening a space", error)),
    };
    let [records, replies, order, sessions, changes, state] = Space::ALL;
    Ok([open(records)?, open(replies)?, open(order)?, open(sessions)?, open(changes)?, open(state)?])
}

/// Why a table that its marks vouch for is of no use all the same. Snapshots and log have all that was in it, so
/// damage that LMDB sees is no reason to refuse.
fn unfit(folder: &Path, options: &Options) -> Result<Option<trust::Reason>, Error> {
    match half_imported(folder, options) {
        Ok(half) => Ok(half.then_some(trust::Reason::HalfImported)),
        Err(Error::Damaged { .. }) => Ok(Some(trust::Reason::Damaged)),
        Err(error) => Err(error),
    }
}

/// Whether an import was cut off: then the spaces hold parts of two states.
fn half_imported(folder: &Path, options: &Options) -> Result<bool, Error> {
    let environment = environment(folder, options)?;
    let state = match environment.open_db(Some(Space::State.name())) {
        Err(lmdb::Error::NotFound) => return Ok(false),
        other => other.map_err(|error| failed("opening a space", error))?,
    };
    let reading = environment.begin_ro_txn().map_err(|error| failed("beginning to read", error))?;
    match reading.get(state, &IMPORTING) {
        Ok(_) => Ok(true),
        Err(lmdb::Error::NotFound) => Ok(false),
        Err(error) => Err(failed("reading", error)),
    }
}

/// Carries an error of LMDB over: what lacks room, and damage, are told apart.
fn failed(doing: &'static str, error: lmdb::Error) -> Error {
    match error {
        lmdb::Error::MapFull | lmdb::Error::Other(ENOSPC) => Error::Full { doing },
        lmdb::Error::Corrupted
        | lmdb::Error::PageNotFound
        | lmdb::Error::Invalid
        | lmdb::Error::VersionMismatch => Error::damaged(format!("LMDB says so while {doing}: {error}")),
        other => Error::table(doing, other),
    }
}

fn get<'t>(
    txn: &'t impl lmdb::Transaction,
    spaces: &Spaces,
    space: Space,
    key: &[u8],
) -> Result<Option<&'t [u8]>, Error> {
    assert_key(key);
    match txn.get(spaces[usize::from(space.number())], &key) {
        Ok(value) => Ok(Some(value)),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(failed("reading", error)),
    }
}

fn walk(
    txn: &impl lmdb::Transaction,
    spaces: &Spaces,
    (space, from): (Space, &[u8]),
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let cursor = txn.open_ro_cursor(spaces[usize::from(space.number())]);
    let cursor = cursor.map_err(|error| failed("beginning to walk", error))?;
    // LMDB answers BadValSize to an empty key, and has no key longer than its limit.
    let mut step = match from {
        [] => cursor.get(None, None, cursor_op::FIRST),
        from => cursor.get(Some(from), None, cursor_op::SET_RANGE),
    };
    loop {
        match step {
            Ok((Some(key), value)) if visit(key, value)? => step = cursor.get(None, None, cursor_op::NEXT),
            Ok((Some(_), _)) | Err(lmdb::Error::NotFound) => return Ok(()),
            Ok((None, _)) => return Err(Error::damaged("a cursor of LMDB stands on no key")),
            Err(error) => return Err(failed("walking", error)),
        }
    }
}

/// A read transaction: one unchanging picture.
#[derive(Debug)]
pub struct Reading<'t> {
    txn: RoTransaction<'t>,
    spaces: &'t Spaces,
}

/// A write transaction.
#[derive(Debug)]
pub struct Writing<'t> {
    txn: RwTransaction<'t>,
    spaces: &'t Spaces,
}

impl Read for Reading<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        get(&self.txn, self.spaces, space, key)
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        walk(&self.txn, self.spaces, (space, from), visit)
    }
}

impl Read for Writing<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        get(&self.txn, self.spaces, space, key)
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        walk(&self.txn, self.spaces, (space, from), visit)
    }
}

impl Write for Writing<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_key(key);
        let written =
            self.txn.put(self.spaces[usize::from(space.number())], &key, &value, WriteFlags::empty());
        written.map_err(|error| failed("writing", error))
    }

    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error> {
        assert_key(key);
        match self.txn.del(self.spaces[usize::from(space.number())], &key, None) {
            Ok(()) => Ok(true),
            Err(lmdb::Error::NotFound) => Ok(false),
            Err(error) => Err(failed("deleting", error)),
        }
    }

    fn clear(&mut self, space: Space) -> Result<(), Error> {
        let cleared = self.txn.clear_db(self.spaces[usize::from(space.number())]);
        cleared.map_err(|error| failed("emptying a space", error))
    }
}

impl Table for Lmdb {
    type Read<'t> = Reading<'t>;
    type Write<'t> = Writing<'t>;

    fn read<T>(&self, job: impl FnOnce(&Reading<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let txn =
            self.inner.environment.begin_ro_txn().map_err(|error| failed("beginning to read", error))?;
        job(&Reading { txn, spaces: &self.inner.spaces })
    }

    fn write<T>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut gate = self.gate();
        gate.marks.before_write()?;
        let txn =
            self.inner.environment.begin_rw_txn().map_err(|error| failed("beginning to write", error))?;
        let mut writing = Writing { txn, spaces: &self.inner.spaces };
        let done = job(&mut writing)?;
        gate.commits += 1;
        writing.txn.commit().map_err(|error| failed("committing", error))?;
        Ok(done)
    }

    /// Besides, marks the table as clean if nothing was written meanwhile.
    fn sync(&self) -> Result<(), Error> {
        let before = self.gate().commits;
        let synced = self.inner.environment.sync(true);
        let mut gate = self.gate();
        if let Err(error) = synced {
            gate.marks.distrust()?;
            return Err(failed("syncing", error));
        }
        if gate.commits == before { gate.marks.after_sync() } else { Ok(()) }
    }

    fn room(&self) -> Result<(u64, u64), Error> {
        let told = |error| failed("measuring the database", error);
        let environment = &self.inner.environment;
        let info = environment.info().map_err(told)?;
        let free = environment.freelist().map_err(told)?;
        let page_bytes = u64::from(environment.stat().map_err(told)?.page_size());
        let used = (info.last_pgno() as u64 + 1).saturating_sub(free as u64);
        Ok((used * page_bytes, info.map_size() as u64))
    }
}
