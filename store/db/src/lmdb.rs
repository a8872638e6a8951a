//! The table on LMDB: the only file that touches lmdb-rkv.
//!
//! Promises: no iterator or cursor of that crate is handed out (an `Iter` can outlive its `Cursor` there, from
//! safe code), and one folder is opened once in a process (LMDB forbids more; a registry refuses the second).
//! A read value borrows from its transaction, also one that the transaction wrote. Runs without syncing and never
//! with a writable map; [`crate::trust`] says when the files may be believed.
//!
//! Leaves out: several processes on one folder; the log's lock on the replica's folder keeps them apart.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lmdb::{
    Cursor as _, Database, DatabaseFlags, Environment, EnvironmentFlags, RoTransaction, RwTransaction,
    Transaction as _, WriteFlags,
};
use nix::sys::resource::{Resource, getrlimit};
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::error::{Error, OutOfSpace};
use crate::limits::{MAP_BYTES_DEFAULT, READERS_MAX};
use crate::pages;
use crate::table::{IMPORTING, Read, Space, Table, Visit, Write, assert_key, not_in_order};
use crate::trust::{self, Marks, Verdict};

/// Positions of `mdb_cursor_get` (lmdb.h, `MDB_cursor_op`).
mod cursor_op {
    pub(super) const FIRST: u32 = 0;
    pub(super) const NEXT: u32 = 8;
    pub(super) const SET: u32 = 15;
    pub(super) const SET_RANGE: u32 = 17;
}

const EIO: i32 = 5;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// The folders that are open in this process.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of the map in bytes, a multiple of the page size: the most that the data can take.
    pub map_bytes: u64,
    /// Read transactions at once.
    pub readers_max: u32,
    /// The identity of the running system: it changes with every start of the machine.
    pub boot_id: String,
}

impl Options {
    /// The defaults, on a system of this boot id.
    #[must_use]
    pub fn new(boot_id: impl Into<String>) -> Options {
        Options { map_bytes: MAP_BYTES_DEFAULT, readers_max: READERS_MAX, boot_id: boot_id.into() }
    }
}

/// What a damaged table is said to be; the first words that LMDB found for it.
type Damage = Mutex<Option<String>>;

/// A table on LMDB. Clones are of the same table; the last one closes it.
#[derive(Clone, Debug)]
pub struct Lmdb {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Closed before `place` is given back, since fields drop in this order. Another one after [`Table::reset`]: the files of the
    /// one before are removed, and their readers keep it until they have done.
    opened: RwLock<Arc<Opened>>,
    /// How it was opened.
    options: Options,
    /// What LMDB has reported of damage.
    damage: Damage,
    /// Held by each write from before it begins until it has committed.
    gate: Mutex<Gate>,
    /// The folder's place in the registry.
    place: Place,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.gate.get_mut().marks.lived();
        }
    }
}

/// One opening of the folder's files.
#[derive(Debug)]
struct Opened {
    environment: Environment,
    /// One database a space, by [`Space::number`].
    spaces: Spaces,
    /// Where the files are.
    folder: PathBuf,
}

#[derive(Debug)]
struct Gate {
    /// The marks beside the data.
    marks: Marks,
    /// Write transactions so far.
    commits: u64,
    /// The data file.
    data: File,
    /// It is known to have so many bytes at least.
    covered_bytes: u64,
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
    OPEN.lock()
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
        let mut verdict = trust::evaluate(&folder, &options.boot_id)?;
        if verdict == Verdict::Trusted
            && let Some(reason) = unfit(&folder, options)?
        {
            trust::discard(&folder)?;
            verdict = Verdict::Discarded(reason);
        }
        let (opened, marks) = Opened::open(&folder, options)?;
        let data = trust::data_file(&folder)?;
        let gate = Mutex::new(Gate { marks, commits: 0, data, covered_bytes: 0 });
        let (opened, damage) = (RwLock::new(Arc::new(opened)), Damage::default());
        let inner = Arc::new(Inner { opened, options: options.clone(), damage, gate, place });
        Ok((Lmdb { inner }, verdict))
    }

    /// Whether the table in `folder` is open in this process.
    #[must_use]
    pub fn is_open(folder: &Path) -> bool {
        folder.canonicalize().is_ok_and(|folder| registry().contains(&folder))
    }

    fn opened(&self) -> Arc<Opened> {
        Arc::clone(&self.inner.opened.read())
    }

    /// Looks at an error: damage that LMDB reports is kept in mind, and no mark vouches for the table any more. (If a mark cannot
    /// be removed, the caller has the first error to tell of, and the next opening finds the damage again.)
    fn noted(&self, marks: &mut Marks, error: Error) -> Error {
        if let Error::Unreadable { doing, source } = &error {
            self.inner.damage.lock().get_or_insert_with(|| format!("{source} (while {doing})"));
        }
        if error.is_damage() {
            let _ = marks.distrust();
        }
        error
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.inner.gate.lock()
    }
}

fn environment(folder: &Path, options: &Options) -> Result<Environment, Error> {
    let map_bytes =
        usize::try_from(options.map_bytes).map_err(|error| Error::table("sizing the map", error))?;
    Environment::new()
        // NO_TLS: a reader's place belongs to its transaction, so that one thread can read twice at once.
        .set_flags(EnvironmentFlags::NO_SYNC | EnvironmentFlags::NO_TLS)
        .set_max_dbs(u32::try_from(Space::ALL.len()).expect("a handful"))
        .set_max_readers(options.readers_max)
        .set_map_size(map_bytes)
        .open(folder)
        .map_err(|error| failed(folder, "opening the database", error))
}

fn open_spaces(folder: &Path, environment: &Environment, marks: &mut Marks) -> Result<Spaces, Error> {
    let mut open = |space: Space| match environment.open_db(Some(space.name())) {
        Err(lmdb::Error::NotFound) => {
            marks.before_write()?;
            let made = environment.create_db(Some(space.name()), DatabaseFlags::empty());
            made.map_err(|error| failed(folder, "making a space", error))
        }
        other => other.map_err(|error| failed(folder, "opening a space", error)),
    };
    let [records, replies, order, sessions, changes, state, prepared, locks, decisions] = Space::ALL;
    Ok([
        open(records)?,
        open(replies)?,
        open(order)?,
        open(sessions)?,
        open(changes)?,
        open(state)?,
        open(prepared)?,
        open(locks)?,
        open(decisions)?,
    ])
}

/// Why a table that its marks vouch for is of no use all the same. Snapshots and log have all that was in it, so
/// damage is no reason to refuse. The pages are checked before LMDB sees them: one that is damaged can kill the process that
/// looks at it, or keep it.
fn unfit(folder: &Path, options: &Options) -> Result<Option<trust::Reason>, Error> {
    match pages::check(&trust::open_data(folder)?) {
        Ok(()) => {}
        Err(pages::Failure::Unsound(unsound)) => return Ok(Some(trust::Reason::Unsound(unsound))),
        Err(pages::Failure::Short) => return Ok(Some(trust::Reason::Short)),
        // A sector that is lost is no reason to refuse for ever.
        Err(pages::Failure::Unread(error)) if error.raw_os_error() == Some(EIO) => {
            return Ok(Some(trust::Reason::Damaged));
        }
        Err(pages::Failure::Unread(error)) => return Err(Error::table("reading the database's file", error)),
    }
    match half_imported(folder, options) {
        Err(error) if error.is_damage() => Ok(Some(trust::Reason::Damaged)),
        looked => looked,
    }
}

fn half_imported(folder: &Path, options: &Options) -> Result<Option<trust::Reason>, Error> {
    let failed = |doing, error| failed(folder, doing, error);
    let environment = environment(folder, options)?;
    let state = match environment.open_db(Some(Space::State.name())) {
        Err(lmdb::Error::NotFound) => return Ok(None),
        other => other.map_err(|error| failed("opening a space", error))?,
    };
    let reading = environment.begin_ro_txn().map_err(|error| failed("beginning to read", error))?;
    match reading.get(state, &IMPORTING) {
        Ok(_) => Ok(Some(trust::Reason::HalfImported)),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(failed("reading", error)),
    }
}

/// Where the last page that LMDB ever took would end.
fn page_end_bytes(environment: &Environment) -> lmdb::Result<u64> {
    let pages = environment.info()?.last_pgno() as u64 + 1;
    Ok(pages * u64::from(environment.stat()?.page_size()))
}

/// Carries an error of LMDB over: what lacks room, and damage, are told apart.
fn failed(folder: &Path, doing: &'static str, error: lmdb::Error) -> Error {
    let full = |out_of_space| Error::Full { file: folder.join(trust::DATA), doing, out_of_space };
    match error {
        lmdb::Error::MapFull => full(OutOfSpace::Map),
        lmdb::Error::Other(ENOSPC | EDQUOT) => full(OutOfSpace::Disk),
        lmdb::Error::Other(EFBIG) => full(OutOfSpace::FileSize),
        // LMDB says so, too, when a disk takes only a part of what is written.
        lmdb::Error::Other(EIO) => {
            Error::Failing { file: folder.join(trust::DATA), doing, source: error.into() }
        }
        // What LMDB says when a page is not what its tree says, and of a transaction or an environment that has met such.
        lmdb::Error::Corrupted
        | lmdb::Error::PageNotFound
        | lmdb::Error::Invalid
        | lmdb::Error::VersionMismatch
        | lmdb::Error::Panic
        | lmdb::Error::BadTxn
        | lmdb::Error::Incompatible
        | lmdb::Error::CursorFull
        | lmdb::Error::PageFull => Error::Unreadable { doing, source: error.into() },
        other => Error::table(doing, other),
    }
}

fn get<'t>(
    txn: &'t impl lmdb::Transaction,
    opened: &Opened,
    space: Space,
    key: &[u8],
) -> Result<Option<&'t [u8]>, Error> {
    assert_key(key);
    match txn.get(opened.space(space), &key) {
        Ok(value) => Ok(Some(value)),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(opened.failed("reading", error)),
    }
}

fn walk(
    txn: &impl lmdb::Transaction,
    opened: &Opened,
    (space, from): (Space, &[u8]),
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let cursor = txn.open_ro_cursor(opened.space(space));
    let cursor = cursor.map_err(|error| opened.failed("beginning to walk", error))?;
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
            Err(error) => return Err(opened.failed("walking", error)),
        }
    }
}

/// A read transaction: one unchanging consistent view.
#[derive(Debug)]
pub struct Reading<'t> {
    txn: RoTransaction<'t>,
    opened: &'t Opened,
}

/// A write transaction.
#[derive(Debug)]
pub struct Writing<'t> {
    txn: RwTransaction<'t>,
    opened: &'t Opened,
}

impl Read for Reading<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        get(&self.txn, self.opened, space, key)
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        walk(&self.txn, self.opened, (space, from), visit)
    }
}

impl Read for Writing<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        get(&self.txn, self.opened, space, key)
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        walk(&self.txn, self.opened, (space, from), visit)
    }
}

impl Write for Writing<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_key(key);
        let written = self.txn.put(self.opened.space(space), &key, &value, WriteFlags::empty());
        written.map_err(|error| self.opened.failed("writing", error))
    }

    fn append(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_key(key);
        match self.txn.put(self.opened.space(space), &key, &value, WriteFlags::APPEND) {
            Err(lmdb::Error::KeyExist) => Err(not_in_order(space)),
            written => written.map_err(|error| self.opened.failed("writing", error)),
        }
    }

    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error> {
        assert_key(key);
        match self.txn.del(self.opened.space(space), &key, None) {
            Ok(()) => Ok(true),
            Err(lmdb::Error::NotFound) => Ok(false),
            Err(error) => Err(self.opened.failed("deleting", error)),
        }
    }

    /// With one cursor: a row on the page of the one before is found there, and not from the root.
    fn lay<'r, K: Deref<Target = [u8]>>(
        &mut self,
        space: Space,
        rows: impl Iterator<Item = (K, Option<&'r [u8]>)>,
    ) -> Result<(), Error> {
        let opened = self.opened;
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        let cursor = self.txn.open_rw_cursor(opened.space(space));
        let mut cursor = cursor.map_err(|error| opened.failed("beginning to write", error))?;
        for (key, value) in rows {
            assert_key(&key);
            let laid = match value {
                Some(value) => cursor.put(&&*key, &value, WriteFlags::empty()),
                None => match cursor.get(Some(&key), None, cursor_op::SET) {
                    Ok(_) => cursor.del(WriteFlags::empty()),
                    Err(lmdb::Error::NotFound) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            laid.map_err(|error| opened.failed("writing", error))?;
        }
        Ok(())
    }

    fn clear(&mut self, space: Space) -> Result<(), Error> {
        let cleared = self.txn.clear_db(self.opened.space(space));
        cleared.map_err(|error| self.opened.failed("emptying a space", error))
    }
}

impl Table for Lmdb {
    type Read<'t> = Reading<'t>;
    type Write<'t> = Writing<'t>;

    fn read<T>(&self, job: impl FnOnce(&Reading<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let opened = self.opened();
        opened.read(job).map_err(|error| match error.is_reported_by_store() {
            true => self.noted(&mut self.gate().marks, error),
            false => error,
        })
    }

    fn write<T>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut gate = self.gate();
        let opened = self.opened();
        opened.write(&mut gate, job).map_err(|error| self.noted(&mut gate.marks, error))
    }

    fn damage(&self) -> Option<String> {
        self.inner.damage.lock().clone()
    }

    fn reset(&self) -> Result<(), Error> {
        let mut gate = self.gate();
        let folder = &self.inner.place.0;
        // A crash from here on leaves no mark, and so nothing that is believed.
        trust::discard(folder)?;
        let (opened, marks) = Opened::open(folder, &self.inner.options)?;
        let data = trust::data_file(folder)?;
        *gate = Gate { marks, commits: gate.commits + 1, data, covered_bytes: 0 };
        *self.inner.opened.write() = Arc::new(opened);
        *self.inner.damage.lock() = None;
        Ok(())
    }

    /// Besides, marks the table as clean if nothing was written meanwhile.
    fn sync(&self) -> Result<(), Error> {
        let before = self.gate().commits;
        let opened = self.opened();
        let synced = opened.environment.sync(true);
        let mut gate = self.gate();
        if let Err(error) = synced {
            gate.marks.distrust()?;
            return Err(opened.failed("syncing", error));
        }
        gate.marks.lived();
        if gate.commits == before { gate.marks.after_sync() } else { Ok(()) }
    }

    fn headroom(&self) -> Result<(u64, u64), Error> {
        let opened = self.opened();
        opened.headroom().map_err(|error| {
            self.noted(&mut self.gate().marks, opened.failed("measuring the database", error))
        })
    }
}

impl Opened {
    /// Opens the folder's files, which can be believed, or are not there.
    fn open(folder: &Path, options: &Options) -> Result<(Opened, Marks), Error> {
        let environment = environment(folder, options)?;
        let mut marks = Marks::begin(folder, &options.boot_id)?;
        let spaces = open_spaces(folder, &environment, &mut marks)?;
        Ok((Opened { environment, spaces, folder: folder.to_owned() }, marks))
    }

    fn read<T>(&self, job: impl FnOnce(&Reading<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let txn = self.environment.begin_ro_txn();
        let txn = txn.map_err(|error| self.failed("beginning to read", error))?;
        job(&Reading { txn, opened: self })
    }

    fn write<T>(
        &self,
        gate: &mut Gate,
        job: impl FnOnce(&mut Writing<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        gate.marks.before_write()?;
        let txn = self.environment.begin_rw_txn();
        let txn = txn.map_err(|error| self.failed("beginning to write", error))?;
        let mut writing = Writing { txn, opened: self };
        let done = job(&mut writing)?;
        gate.commits += 1;
        writing.txn.commit().map_err(|error| self.failed("committing", error))?;
        self.cover(gate)?;
        Ok(done)
    }

    /// Bytes used and bytes that can be used.
    fn headroom(&self) -> lmdb::Result<(u64, u64)> {
        let info = self.environment.info()?;
        let free = self.environment.freelist()?;
        let page_bytes = u64::from(self.environment.stat()?.page_size());
        let used = (info.last_pgno() as u64 + 1).saturating_sub(free as u64);
        // A file beyond the process's limit (`ulimit -f`) ends in the middle of a commit.
        let file_bytes_max = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft);
        Ok((used * page_bytes, (info.map_size() as u64).min(file_bytes_max)))
    }

    fn space(&self, space: Space) -> Database {
        self.spaces[usize::from(space.number())]
    }

    fn failed(&self, doing: &'static str, error: lmdb::Error) -> Error {
        failed(&self.folder, doing, error)
    }

    /// Makes the data file as long as LMDB's count of pages says: LMDB never writes a page that was taken and given
    /// back within one transaction, and the file may end before it. Then a file that is too short was cut.
    fn cover(&self, gate: &mut Gate) -> Result<(), Error> {
        let wanted = page_end_bytes(&self.environment);
        let wanted = wanted.map_err(|error| self.failed("measuring the database", error))?;
        if wanted > gate.covered_bytes {
            gate.covered_bytes = trust::lengthen(&gate.data, &self.folder, wanted)?;
        }
        Ok(())
    }
}
