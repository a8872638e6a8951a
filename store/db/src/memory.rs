//! The table in memory: sorted maps with a list of undos, for the simulator, tests and fakes.
//!
//! Promises: the same behaviour as LMDB, by one suite. Clones are of one table, so a simulated process crash
//! keeps it (keep a clone) and a machine crash loses it (drop them all). A reader keeps the writer out, and the
//! other way round: never read inside a write.
//!
//! Leaves out: durability, and a limit of size.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use crate::error::Error;
use crate::table::{Read, Space, Table, Visit, Write, assert_key};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A table in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    spaces: Arc<RwLock<Spaces>>,
}

/// One map a space, by [`Space::number`].
#[derive(Debug, Default)]
pub struct Spaces {
    maps: [Map; Space::ALL.len()],
}

/// How to take one step back.
#[derive(Debug)]
enum Undo {
    /// What was under a key.
    Row(Space, Vec<u8>, Option<Vec<u8>>),
    /// A whole space.
    Space(Space, Map),
}

/// A write transaction.
#[derive(Debug)]
pub struct Writing<'t> {
    spaces: &'t mut Spaces,
    undos: Vec<Undo>,
}

impl Memory {
    /// An empty table.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }
}

impl Spaces {
    fn map(&mut self, space: Space) -> &mut Map {
        &mut self.maps[usize::from(space.number())]
    }
}

impl Read for Spaces {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        assert_key(key);
        Ok(self.maps[usize::from(space.number())].get(key).map(Vec::as_slice))
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        let rows = self.maps[usize::from(space.number())]
            .range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        for (key, value) in rows {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl Read for Writing<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        self.spaces.get(space, key)
    }

    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error> {
        self.spaces.walk(space, from, visit)
    }
}

impl Write for Writing<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        assert_key(key);
        let before = self.spaces.map(space).insert(key.to_vec(), value.to_vec());
        self.undos.push(Undo::Row(space, key.to_vec(), before));
        Ok(())
    }

    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error> {
        assert_key(key);
        let before = self.spaces.map(space).remove(key);
        let was_there = before.is_some();
        self.undos.push(Undo::Row(space, key.to_vec(), before));
        Ok(was_there)
    }

    fn clear(&mut self, space: Space) -> Result<(), Error> {
        let before = std::mem::take(self.spaces.map(space));
        self.undos.push(Undo::Space(space, before));
        Ok(())
    }
}

impl Writing<'_> {
    fn roll_back(self) {
        for undo in self.undos.into_iter().rev() {
            match undo {
                Undo::Row(space, key, Some(value)) => {
                    self.spaces.map(space).insert(key, value);
                }
                Undo::Row(space, key, None) => {
                    self.spaces.map(space).remove(&key);
                }
                Undo::Space(space, map) => *self.spaces.map(space) = map,
            }
        }
    }
}

impl Table for Memory {
    type Read<'t> = Spaces;
    type Write<'t> = Writing<'t>;

    fn read<T>(&self, job: impl FnOnce(&Spaces) -> Result<T, Error>) -> Result<T, Error> {
        job(&self.spaces.read().expect("a write that panics ends the replica"))
    }

    fn write<T>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut spaces = self.spaces.write().expect("a write that panics ends the replica");
        let mut writing = Writing { spaces: &mut spaces, undos: Vec::new() };
        let done = job(&mut writing);
        if done.is_err() {
            writing.roll_back();
        }
        done
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn room(&self) -> Result<(u64, u64), Error> {
        let spaces = self.spaces.read().expect("a write that panics ends the replica");
        let rows = spaces.maps.iter().flatten();
        Ok((rows.map(|(key, value)| (key.len() + value.len()) as u64).sum(), u64::MAX))
    }
}
