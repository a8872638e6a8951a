//! The table in memory: sorted maps with a list of undos, for the simulator, tests and fakes.
//!
//! Promises: the same behaviour as LMDB, by one suite. Clones are of one table, so a simulated process crash
//! keeps it (keep a clone) and a machine crash loses it (drop them all). A reader keeps the writer out, and the
//! other way round: never read inside a write.
//!
//! Leaves out: durability, and a limit of size.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, RwLock};

use crate::error::Error;
use crate::table::{Read, Space, Table, Visit, Write, assert_key, not_in_order};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A table in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    spaces: Arc<RwLock<Spaces>>,
    /// What was reported of damage.
    damage: Arc<Mutex<Option<String>>>,
}

/// One map a space, by [`Space::number`].
#[derive(Debug, Default)]
pub struct Spaces {
    maps: [Map; Space::ALL.len()],
    /// Of all keys and values: asked for again and again, and so not counted each time.
    bytes: usize,
    /// Keys of [`Space::Records`] that cannot be read: planted damage.
    damaged: BTreeSet<Vec<u8>>,
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

    /// From here on a read of this record finds a damaged page, as one of LMDB's may be.
    ///
    /// # Panics
    /// If a write has panicked.
    pub fn plant_damage(&self, key: &[u8]) {
        self.spaces.write().expect("a write that panics ends the replica").damaged.insert(key.to_vec());
    }

    fn noted<T>(&self, ran: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Unreadable { source, .. }) = &ran {
            let mut damage = self.damage.lock().expect("nothing panics while it is held");
            damage.get_or_insert_with(|| source.to_string());
        }
        ran
    }
}

impl Spaces {
    fn map(&mut self, space: Space) -> &mut Map {
        &mut self.maps[usize::from(space.number())]
    }

    /// Sets or removes a row; what was there.
    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let key_bytes = key.len();
        self.bytes += value.as_ref().map_or(0, |value| key_bytes + value.len());
        let before = match value {
            Some(value) => self.map(space).insert(key, value),
            None => self.map(space).remove(&key),
        };
        self.bytes -= before.as_ref().map_or(0, |before| key_bytes + before.len());
        before
    }

    /// Replaces a whole space; what was there.
    fn set_all(&mut self, space: Space, rows: Map) -> Map {
        let before = std::mem::replace(self.map(space), rows);
        self.bytes = self.bytes + bytes_of(self.map(space)) - bytes_of(&before);
        before
    }
}

fn bytes_of(rows: &Map) -> usize {
    rows.iter().map(|(key, value)| key.len() + value.len()).sum()
}

impl Read for Spaces {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error> {
        assert_key(key);
        if space == Space::Records && self.damaged.contains(key) {
            return Err(Error::Unreadable { doing: "reading", source: "a planted page".into() });
        }
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
        let before = self.spaces.set(space, key.to_vec(), Some(value.to_vec()));
        self.undos.push(Undo::Row(space, key.to_vec(), before));
        Ok(())
    }

    fn append(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let is_behind = self.spaces.map(space).last_key_value().is_none_or(|(last, _)| last.as_slice() < key);
        if is_behind { self.put(space, key, value) } else { Err(not_in_order(space)) }
    }

    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error> {
        assert_key(key);
        let before = self.spaces.set(space, key.to_vec(), None);
        let was_there = before.is_some();
        self.undos.push(Undo::Row(space, key.to_vec(), before));
        Ok(was_there)
    }

    fn clear(&mut self, space: Space) -> Result<(), Error> {
        let before = self.spaces.set_all(space, Map::new());
        self.undos.push(Undo::Space(space, before));
        Ok(())
    }
}

impl Writing<'_> {
    fn roll_back(self) {
        for undo in self.undos.into_iter().rev() {
            match undo {
                Undo::Row(space, key, before) => {
                    self.spaces.set(space, key, before);
                }
                Undo::Space(space, rows) => {
                    self.spaces.set_all(space, rows);
                }
            }
        }
    }
}

impl Table for Memory {
    type Read<'t> = Spaces;
    type Write<'t> = Writing<'t>;

    fn read<T>(&self, job: impl FnOnce(&Spaces) -> Result<T, Error>) -> Result<T, Error> {
        let ran = job(&self.spaces.read().expect("a write that panics ends the replica"));
        self.noted(ran)
    }

    fn write<T>(&self, job: impl FnOnce(&mut Writing<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut spaces = self.spaces.write().expect("a write that panics ends the replica");
        let mut writing = Writing { spaces: &mut spaces, undos: Vec::new() };
        let done = job(&mut writing);
        if done.is_err() {
            writing.roll_back();
        }
        self.noted(done)
    }

    fn damage(&self) -> Option<String> {
        self.damage.lock().expect("nothing panics while it is held").clone()
    }

    fn reset(&self) -> Result<(), Error> {
        *self.spaces.write().expect("a write that panics ends the replica") = Spaces::default();
        *self.damage.lock().expect("nothing panics while it is held") = None;
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn headroom(&self) -> Result<(u64, u64), Error> {
        let spaces = self.spaces.read().expect("a write that panics ends the replica");
        Ok((spaces.bytes as u64, u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_keys_and_values_take_whatever_happened_to_them() {
        let table = Memory::new();
        let used = || table.headroom().unwrap().0;
        let wrote = table.write(|write| {
            write.put(Space::Records, b"a", b"12")?;
            write.put(Space::Records, b"a", b"345")?;
            write.append(Space::Records, b"bb", b"6")?;
            write.put(Space::Replies, b"c", b"78")?;
            write.delete(Space::Replies, b"c")?;
            write.delete(Space::Replies, b"absent")
        });
        assert!(!wrote.unwrap());
        assert_eq!(used(), 1 + 3 + 2 + 1);
        let failed: Result<(), Error> = table.write(|write| {
            write.put(Space::Records, b"a", b"")?;
            write.delete(Space::Records, b"bb")?;
            write.clear(Space::Records)?;
            write.put(Space::Records, b"d", b"9")?;
            Err(Error::damaged("stop here"))
        });
        assert!(failed.is_err());
        assert_eq!(used(), 1 + 3 + 2 + 1, "what was taken back");
        table.write(|write| write.clear(Space::Records)).unwrap();
        assert_eq!(used(), 0);
    }
}
