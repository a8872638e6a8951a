//! A table whose newest rows are in memory: a write goes into a layer, and a whole layer into the table below in one
//! transaction.
//!
//! ```text
//!   write ──► active layer ──► frozen layer ──► one transaction of the table below      (a flush)
//!   read  ──► active, then frozen, then below: one consistent view
//! ```
//!
//! A B-tree on disk pays for each transaction with every page on the way to every row. The log makes writes durable, not
//! the table ([`crate::trust`]), so nothing is lost by paying once for thousands of them: rows that are written again and
//! again (where the database stands, stocks, sessions) reach the disk once, and in key order.
//!
//! Promises:
//! - *A layer is whole writes.* The row that says where the database stands is in it, so the table below is always the
//!   state of one earlier position, and the log goes on from there: a kill of the process loses layers, never a half of one.
//! - *A reader sees one view.* It holds the view while it opens the transaction below, and a frozen layer leaves the view
//!   only after its transaction has committed: a row is in the layer, below, or in both alike.
//! - *A long reader* ([`Table::read_settled`]) sees the table below alone, after everything was flushed, and keeps nobody
//!   out. A short one keeps the end of a write waiting.
//! - *Memory is bounded.* A write that finds twice [`Limits`] in the active layer flushes it first; so a table below that does
//!   not take its flush (a disk that hangs) stops the writes in the end. A frozen layer may be as large besides.
//! - *What was written has room below.* Until it is flushed it counts as room that is taken: a page for each row (for rows that
//!   come in the order of their keys, for each few), twice, since LMDB writes a page anew and reuses the one before only later,
//!   and the bytes of the rows, twice, since pages are split half full. Where little room is left, layers are flushed early.
//!
//! Leaves out: the thread that flushes ([`Layered::wait_until_due`] tells it when).

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use store_core::mutant;

use crate::error::Error;
pub use crate::layer::Limits;
use crate::layer::{Layer, Row, Sought, walk_over};
use crate::table::{Read, Space, Table, Visit, Write, assert_key, not_in_order};

/// A page below, of which a flush writes one a row at most, about.
const PAGE_BYTES: u64 = 4_096;
/// What a flush takes below for a page, and for a byte, at most, about.
const GROWTH: u64 = 2;
/// Layers that would take this part of the room that is left are flushed at once.
const EARLY_SHARE: u64 = 4;

/// For each space a key before which there is no row, as far as known: those that are deleted from the front, one after the
/// other, leave rows that say so, which are not to be walked over again each time.
type Fronts = [Box<[u8]>; Space::ALL.len()];

/// The layers at one moment.
#[derive(Default, Debug)]
struct View {
    /// Takes what is written.
    active: Layer,
    /// On its way into the table below.
    frozen: Option<Arc<Layer>>,
}

impl View {
    /// Makes the active layer the frozen one, if there is none; false: it is empty, or has to wait.
    fn freeze(&mut self) -> bool {
        if self.frozen.is_some() || self.active.is_empty() {
            return false;
        }
        self.frozen = Some(Arc::new(std::mem::take(&mut self.active)));
        true
    }

    /// The newest layer first.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.active).chain(self.frozen.as_deref())
    }
}

/// A table of layers over another. Clones are of the same table.
#[derive(Clone, Debug)]
pub struct Layered<T> {
    /// The table below.
    below: T,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// Held by each write, and by whoever wants none to come.
    gate: Mutex<Fronts>,
    /// Held by each flush.
    flushing: Mutex<()>,
    view: RwLock<View>,
    /// Bytes of all layers, and the pages that their flushes write, for whoever does not want to wait for the view.
    pending: [AtomicUsize; 2],
    /// A flush is due before a layer is full.
    is_early: AtomicBool,
    /// A flush is due.
    due: Mutex<bool>,
    is_due: Condvar,
}

impl<T: Table> Layered<T> {
    /// No layers over `below`.
    pub fn new(below: T, limits: Limits) -> Layered<T> {
        let shared = Shared {
            limits,
            gate: Mutex::default(),
            flushing: Mutex::default(),
            view: RwLock::default(),
            pending: Default::default(),
            is_early: AtomicBool::new(false),
            due: Mutex::default(),
            is_due: Condvar::new(),
        };
        Layered { below, shared: Arc::new(shared) }
    }

    /// The table below: what a kill of the process leaves.
    #[must_use]
    pub fn below(&self) -> &T {
        &self.below
    }

    /// Waits until a flush is due, and no longer than this; whether one is.
    pub fn wait_until_due(&self, most: Duration) -> bool {
        let mut due = self.shared.due.lock();
        self.shared.is_due.wait_while_for(&mut due, |due| !*due, most);
        std::mem::take(&mut *due)
    }

    /// Ends a wait: a flush is due, or whoever waits has to look up.
    pub fn wake(&self) {
        *self.shared.due.lock() = true;
        self.shared.is_due.notify_one();
    }

    /// Carries a layer that is full into the table below; any, where room is short.
    ///
    /// # Errors
    /// As [`Layered::flush`].
    pub fn flush_full(&self) -> Result<(), Error> {
        if self.shared.is_early.swap(false, Ordering::Relaxed) {
            return self.flush();
        }
        let _alone = self.shared.flushing.lock();
        self.flush_frozen()
    }

    /// Carries what was written before into the table below.
    ///
    /// # Errors
    /// The table below cannot be written. What was to be flushed stays in its layer.
    pub fn flush(&self) -> Result<(), Error> {
        let _alone = self.shared.flushing.lock();
        // One that a write has frozen, or that failed before, comes first.
        self.flush_frozen()?;
        if self.shared.view.write().freeze() { self.flush_frozen() } else { Ok(()) }
    }

    fn flush_frozen(&self) -> Result<(), Error> {
        let Some(frozen) = self.shared.view.read().frozen.clone() else { return Ok(()) };
        self.below.write(|below| {
            for space in Space::ALL {
                if mutant!(FlushWithoutState) && space == Space::State {
                    continue;
                }
                let rows = frozen.rows(space).from(&[]);
                below.lay(space, rows.map(|(key, row)| (key, row.value.as_deref())))?;
            }
            Ok(())
        })?;
        let mut view = self.shared.view.write();
        view.frozen = None;
        self.note(&view);
        Ok(())
    }

    fn drop_layers(&self, view: &mut View) {
        *view = View::default();
        self.note(view);
    }

    fn note(&self, view: &View) {
        let [bytes, pages] = &self.shared.pending;
        bytes.store(view.layers().map(|layer| layer.bytes).sum(), Ordering::Relaxed);
        pages.store(view.layers().map(Layer::pages).sum(), Ordering::Relaxed);
    }
}

/// One consistent view.
pub struct Reading<'t> {
    /// `None`: everything is below.
    view: Option<&'t View>,
    below: &'t dyn Read,
}

impl Reading<'_> {
    /// The newest layer first.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.view.into_iter().flat_map(View::layers)
    }

    fn find(&self, sought: Sought<'_>) -> Result<Option<&[u8]>, Error> {
        match self.layers().find_map(|layer| layer.get(sought)) {
            Some(value) => Ok(value),
            None => self.below.get(sought.space, sought.key),
        }
    }
}

impl Read for Reading<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        assert_key(key);
        self.find(Sought::new(space, key))
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        walk_over(self.layers(), self.below, (space, from), visit)
    }
}

/// A write under way.
pub enum Writing<'t> {
    /// Into a layer of its own, which is laid over the active one in the end.
    Layered {
        /// What was written.
        own: Box<OwnLayer>,
        /// What was there before.
        before: Reading<'t>,
    },
    /// Into the table below, while there are no layers.
    Through(&'t mut dyn Write),
}

/// The rows of one write.
pub struct OwnLayer {
    rows: Layer,
    fronts: RefCell<Fronts>,
}

impl OwnLayer {
    fn set(&mut self, space: Space, key: &[u8], value: Option<Box<[u8]>>, is_new: bool) {
        assert_key(key);
        let front = &mut self.fronts.get_mut()[usize::from(space.number())];
        if value.is_some() && key < &**front {
            *front = key.into();
        }
        self.rows.set(space, key, Row { value, is_new });
    }
}

impl Read for Writing<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        match self {
            Writing::Through(below) => below.get(space, key),
            Writing::Layered { own, before } => {
                assert_key(key);
                let sought = Sought::new(space, key);
                match own.rows.get(sought) {
                    Some(value) => Ok(value),
                    None => before.find(sought),
                }
            }
        }
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        match self {
            Writing::Through(below) => below.walk(space, from, visit),
            Writing::Layered { own, before } => {
                let layers = std::iter::once(&own.rows).chain(before.layers());
                if !from.is_empty() {
                    return walk_over(layers, before.below, (space, from), visit);
                }
                let at = usize::from(space.number());
                let mut is_first = true;
                let front = own.fronts.borrow()[at].clone();
                walk_over(layers, before.below, (space, &front), &mut |key, value| {
                    if std::mem::take(&mut is_first) {
                        own.fronts.borrow_mut()[at] = key.into();
                    }
                    visit(key, value)
                })
            }
        }
    }
}

impl Write for Writing<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match self {
            Writing::Through(below) => below.put(space, key, value),
            Writing::Layered { own, .. } => {
                own.set(space, key, Some(value.into()), false);
                Ok(())
            }
        }
    }

    fn put_owned(&mut self, space: Space, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        match self {
            Writing::Through(below) => below.put(space, key, &value),
            Writing::Layered { own, .. } => {
                own.set(space, key, Some(value.into()), false);
                Ok(())
            }
        }
    }

    fn insert(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        match self {
            Writing::Through(below) => below.insert(space, key, value),
            Writing::Layered { own, .. } => {
                own.set(space, key, Some(value.into()), true);
                Ok(())
            }
        }
    }

    fn append(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Writing::Through(below) = self {
            return below.append(space, key, value);
        }
        let mut is_behind = true;
        self.walk(space, key, &mut |_, _| {
            is_behind = false;
            Ok(false)
        })?;
        if is_behind { self.put(space, key, value) } else { Err(not_in_order(space)) }
    }

    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error> {
        let was_there = match self {
            Writing::Through(below) => return below.delete(space, key),
            Writing::Layered { .. } => self.get(space, key)?.is_some(),
        };
        if let (true, Writing::Layered { own, .. }) = (was_there, self) {
            own.set(space, key, None, false);
        }
        Ok(was_there)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<(), Error> {
        match self {
            Writing::Through(below) => below.remove(space, key),
            Writing::Layered { own, .. } => {
                own.set(space, key, None, false);
                Ok(())
            }
        }
    }

    /// Row by row, in a layer: whole states are written through.
    fn clear(&mut self, space: Space) -> Result<(), Error> {
        if let Writing::Through(below) = self {
            return below.clear(space);
        }
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        self.walk(space, &[], &mut |key, _| {
            keys.push(key.into());
            Ok(true)
        })?;
        keys.iter().try_for_each(|key| self.delete(space, key).map(drop))
    }
}

impl<T: Table> Table for Layered<T> {
    type Read<'t> = Reading<'t>;
    type Write<'t> = Writing<'t>;

    fn read<R>(&self, job: impl FnOnce(&Reading<'_>) -> Result<R, Error>) -> Result<R, Error> {
        // Before the transaction below is opened: no frozen layer goes meanwhile.
        let view = self.shared.view.read();
        self.below.read(|below| job(&Reading { view: Some(&view), below }))
    }

    fn read_settled<R>(&self, job: impl FnOnce(&Reading<'_>) -> Result<R, Error>) -> Result<R, Error> {
        let flushes = !mutant!(SettledWithoutFlush);
        if flushes {
            // Most of it, before writes have to wait.
            self.flush()?;
        }
        let gate = self.shared.gate.lock();
        if flushes {
            self.flush()?;
        }
        self.below.read(|below| {
            drop(gate);
            job(&Reading { view: None, below })
        })
    }

    fn write<R>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<R, Error>) -> Result<R, Error> {
        let mut gate = self.shared.gate.lock();
        let limits = self.shared.limits;
        let is_too_full = self.shared.view.read().active.reaches(2, limits);
        if is_too_full {
            self.flush()?;
        }
        let ran = {
            let view = self.shared.view.read();
            self.below.read(|below| {
                let before = Reading { view: Some(&view), below };
                let own = OwnLayer { rows: Layer::default(), fronts: RefCell::new(gate.clone()) };
                let mut writing = Writing::Layered { own: Box::new(own), before };
                let done = job(&mut writing)?;
                match writing {
                    Writing::Layered { own, .. } => Ok((done, Some(own))),
                    Writing::Through(_) => Ok((done, None)),
                }
            })
        };
        let (done, own) = match ran {
            // The table below has to know: no mark may vouch for it any more.
            Err(error) if error.is_damage() => return self.below.write(|_| Err(error)),
            ran => ran?,
        };
        let mut view = self.shared.view.write();
        if let Some(own) = own {
            *gate = own.fronts.into_inner();
            view.active.cover(own.rows);
        }
        let is_due = view.active.reaches(1, limits) && view.freeze();
        self.note(&view);
        drop(view);
        if is_due {
            self.wake();
        }
        Ok(done)
    }

    fn write_through<R>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<R, Error>) -> Result<R, Error> {
        let mut gate = self.shared.gate.lock();
        *gate = Fronts::default();
        self.flush()?;
        self.below.write(|below| job(&mut Writing::Through(below)))
    }

    fn replace<R>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<R, Error>) -> Result<R, Error> {
        let mut gate = self.shared.gate.lock();
        let _alone = self.shared.flushing.lock();
        // Nobody reads layers over what replaced the table below.
        let mut view = self.shared.view.write();
        let done = self.below.write(|below| job(&mut Writing::Through(below)))?;
        *gate = Fronts::default();
        self.drop_layers(&mut view);
        Ok(done)
    }

    fn damage(&self) -> Option<String> {
        self.below.damage()
    }

    fn reset(&self) -> Result<(), Error> {
        let mut gate = self.shared.gate.lock();
        let _alone = self.shared.flushing.lock();
        *gate = Fronts::default();
        // Nobody reads meanwhile: the table below alone is older.
        let mut view = self.shared.view.write();
        self.drop_layers(&mut view);
        self.below.reset()
    }

    fn sync(&self) -> Result<(), Error> {
        // What is below already is whole, whatever becomes of the rest.
        let flushed = self.flush();
        self.below.sync()?;
        flushed
    }

    fn headroom(&self) -> Result<(u64, u64), Error> {
        let (used, usable) = self.below.headroom()?;
        let pending = self.pending_bytes(used);
        if pending > usable.saturating_sub(used) / EARLY_SHARE {
            // Not here: whoever asks for the room waits for no reader.
            self.shared.is_early.store(true, Ordering::Relaxed);
            self.wake();
        }
        Ok((used + pending, usable))
    }

    /// No flush writes anew what is not there.
    fn pending_bytes(&self, used: u64) -> u64 {
        let [bytes, pages] = self.shared.pending.each_ref().map(|count| count.load(Ordering::Relaxed) as u64);
        ((pages * PAGE_BYTES).min(used) + bytes) * GROWTH
    }
}
