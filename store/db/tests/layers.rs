//! The table with layers: the suite over both tables below; flushes, kills, and readers beside them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use store_db::layered::Limits;
use store_db::{Error, Layered, Lmdb, Memory, Options, Read, Space, Table, Write as _, suite};

const HERE: Space = Space::Records;

fn options() -> Options {
    Options { map_bytes: 64 << 20, ..Options::new("boot") }
}

fn limits(layer_bytes: usize) -> Limits {
    Limits { layer_bytes, layer_rows: usize::MAX }
}

fn over_memory(layer_bytes: usize) -> Layered<Memory> {
    Layered::new(Memory::new(), limits(layer_bytes))
}

fn put(table: &impl Table, key: &[u8], value: &[u8]) {
    table.write(|write| write.put(HERE, key, value)).unwrap();
}

fn rows(read: &impl Read) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let mut last = None;
    read.walk(HERE, &[], &mut |key, value| {
        assert!(last.as_deref() < Some(key), "in key order, each once");
        last = Some(key.to_vec());
        rows.insert(key.to_vec(), value.to_vec());
        Ok(true)
    })
    .unwrap();
    rows
}

fn all(table: &impl Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
    table.read(|read| Ok(rows(read))).unwrap()
}

#[test]
fn layers_over_either_table_are_a_table() {
    for layer_bytes in [1, 300, 1 << 30] {
        suite::run(|| over_memory(layer_bytes));
        let folders: Vec<_> = (0..16).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut next = folders.iter();
        suite::run(|| {
            let (below, _) = Lmdb::open(next.next().unwrap().path(), &options()).unwrap();
            Layered::new(below, limits(layer_bytes))
        });
    }
}

#[test]
fn a_kill_loses_what_was_not_flushed_and_a_sync_flushes() {
    let table = over_memory(1 << 20);
    put(&table, b"a", b"1");
    assert!(all(table.below()).is_empty(), "it is in a layer");
    table.flush().unwrap();
    put(&table, b"b", b"2");
    table.write(|write| write.delete(HERE, b"a").map(drop)).unwrap();
    assert_eq!(all(table.below()).into_keys().collect::<Vec<_>>(), [b"a"]);
    table.sync().unwrap();
    assert_eq!(all(table.below()), all(&table));
    assert_eq!(all(&table).into_keys().collect::<Vec<_>>(), [b"b"]);
}

#[test]
fn a_full_layer_is_due_and_one_that_nobody_flushes_is_flushed_by_the_next_write() {
    let table = over_memory(1_000);
    put(&table, b"a", &[1; 100]);
    assert!(!table.wait_until_due(Duration::ZERO));
    put(&table, b"b", &[2; 2_000]);
    assert!(table.wait_until_due(Duration::ZERO) && !table.wait_until_due(Duration::ZERO), "told once");
    assert!(all(table.below()).is_empty());
    // The frozen layer waits for its flush; the active one takes twice what makes a flush due, and no more.
    put(&table, b"c", &[3; 1_500]);
    put(&table, b"d", &[4; 1_500]);
    assert!(all(table.below()).is_empty());
    put(&table, b"e", b"5");
    assert_eq!(all(table.below()).into_keys().collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    assert_eq!(all(&table).len(), 5);
}

#[test]
fn a_settled_reader_sees_everything_below_and_keeps_no_write_waiting() {
    let table = over_memory(1 << 20);
    put(&table, b"a", b"1");
    let seen = table.read_settled(|read| Ok(rows(read))).unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(all(table.below()), seen);

    let folder = tempfile::tempdir().unwrap();
    let table = Layered::new(Lmdb::open(folder.path(), &options()).unwrap().0, Limits::default());
    put(&table, b"a", b"1");
    let seen = table.read_settled(|read| {
        put(&table, b"b", b"2");
        table.flush()?;
        Ok(rows(read))
    });
    assert_eq!(seen.unwrap().into_keys().collect::<Vec<_>>(), [b"a"]);
    assert_eq!(all(&table).len(), 2);
}

#[test]
fn what_is_written_through_covers_every_layer() {
    let table = over_memory(1 << 20);
    put(&table, b"a", b"1");
    table
        .write_through(|write| {
            assert_eq!(write.get(HERE, b"a")?, Some(&b"1"[..]), "layers are flushed first");
            write.clear(HERE)?;
            write.append(HERE, b"b", b"2")
        })
        .unwrap();
    assert_eq!(all(&table), all(table.below()));
    assert_eq!(all(&table).into_keys().collect::<Vec<_>>(), [b"b"]);
}

#[test]
fn a_table_made_anew_has_no_layer_of_before() {
    let table = over_memory(1 << 20);
    put(&table, b"a", b"1");
    table.reset().unwrap();
    assert!(all(&table).is_empty());
}

#[test]
fn damage_that_a_write_meets_leaves_no_mark_that_vouches() {
    let folder = tempfile::tempdir().unwrap();
    let table = Layered::new(Lmdb::open(folder.path(), &options()).unwrap().0, Limits::default());
    put(&table, b"a", b"1");
    table.sync().unwrap();
    assert!(folder.path().join("clean").exists());
    let failed: Result<(), Error> = table.write(|_| Err(Error::Damaged { what: "a row".to_owned() }));
    assert!(failed.is_err());
    assert!(!folder.path().join("clean").exists() && !folder.path().join("opened").exists());
}

#[test]
fn a_layer_is_full_by_its_rows_too() {
    let table = Layered::new(Memory::new(), Limits { layer_bytes: usize::MAX, layer_rows: 3 });
    for key in [b"a", b"b", b"a"] {
        put(&table, key, b"1");
        assert!(!table.wait_until_due(Duration::ZERO), "a row that is written again is one row");
    }
    put(&table, b"c", b"1");
    assert!(table.wait_until_due(Duration::ZERO));
    table.flush_full().unwrap();
    assert_eq!(all(table.below()).len(), 3);
}

#[test]
fn layers_count_as_room_that_is_taken() {
    let table = over_memory(1 << 20);
    let before = table.headroom().unwrap().0;
    put(&table, b"a", &[1; 10_000]);
    assert!(table.headroom().unwrap().0 >= before + 20_000, "pages may be half full");
    assert!(table.pending_bytes(0) >= 20_000);
    table.flush().unwrap();
    assert_eq!(table.pending_bytes(0), 0);
}

/// As a node admits writes: only while more than a reserve is free.
#[test]
fn whatever_was_written_while_room_was_left_has_room_below() {
    const RESERVE: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let small = Options { map_bytes: 48 << 20, ..options() };
    let table = Layered::new(
        Lmdb::open(folder.path(), &small).unwrap().0,
        Limits { layer_bytes: 4 << 20, layer_rows: 4_096 },
    );
    let (mut random, mut rows, mut refused) = (1u64, 0u64, 0);
    while refused < 3 {
        let (used, usable) = table.headroom().unwrap();
        if usable.saturating_sub(used) < RESERVE {
            refused += 1;
        } else {
            refused = 0;
            let wrote = table.write(|write| {
                (0..500).try_for_each(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    write.put(HERE, &random.to_be_bytes(), &[7; 60])
                })
            });
            wrote.unwrap();
            rows += 500;
        }
        if table.wait_until_due(Duration::ZERO) {
            table.flush_full().expect("what was admitted has room");
        }
    }
    table.sync().expect("what was admitted has room");
    assert!(rows > 50_000, "{rows} rows fit before that");
    assert_eq!(all(table.below()).len() as u64, rows);
}

#[test]
fn what_replaces_everything_has_no_layer_over_it_and_one_that_fails_changes_nothing() {
    let table = over_memory(1 << 20);
    put(&table, b"a", b"1");
    let failed: Result<(), Error> = table.replace(|write| {
        write.clear(HERE)?;
        Err(Error::Damaged { what: "a snapshot".to_owned() })
    });
    assert!(failed.is_err());
    assert_eq!(all(&table).into_keys().collect::<Vec<_>>(), [b"a"]);
    table
        .replace(|write| {
            write.clear(HERE)?;
            write.put(HERE, b"b", b"2")
        })
        .unwrap();
    assert_eq!(all(&table), all(table.below()));
    assert_eq!(all(&table).into_keys().collect::<Vec<_>>(), [b"b"]);
}

/// Two rows are always written alike. Whatever is flushed meanwhile, nobody sees them differ, or go back.
#[test]
fn readers_see_whole_writes_in_order_while_layers_are_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let below = Lmdb::open(folder.path(), &options()).unwrap().0;
    let table = Layered::new(below, limits(2_000));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for settled in [false, false, true] {
            let (table, ended) = (&table, &ended);
            scope.spawn(move || {
                let mut last = 0u64;
                while !ended.load(Ordering::Acquire) {
                    let seen = match settled {
                        true => table.read_settled(|read| Ok(rows(read))),
                        false => table.read(|read| Ok(rows(read))),
                    };
                    let seen = seen.unwrap();
                    let Some(one) = seen.get(&b"a"[..]) else { continue };
                    assert_eq!(Some(one), seen.get(&b"z"[..]));
                    let number = u64::from_be_bytes(one[..].try_into().unwrap());
                    assert!(number >= last, "{number} after {last}");
                    assert_eq!(seen.contains_key(&b"m"[..]), number % 2 == 1, "deleted and put in turn");
                    last = number;
                }
            });
        }
        let flusher = scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                if table.wait_until_due(Duration::from_millis(1)) {
                    table.flush().unwrap();
                }
            }
        });
        for number in 1..=20_000u64 {
            let value = number.to_be_bytes();
            let wrote = table.write(|write| {
                write.put(HERE, b"a", &value)?;
                match number % 2 {
                    1 => write.put(HERE, b"m", b"")?,
                    _ => assert!(write.delete(HERE, b"m")?),
                }
                write.put(HERE, b"z", &value)
            });
            wrote.unwrap();
        }
        ended.store(true, Ordering::Release);
        flusher.join().unwrap();
    });
    table.flush().unwrap();
    assert_eq!(all(table.below()), all(&table));
}

/// Keys of many pages: short names, numbers, and long names that begin alike.
fn key_of(number: u64) -> Vec<u8> {
    match number % 3 {
        0 => number.to_be_bytes().to_vec(),
        1 => format!("row/{number:06}").into_bytes(),
        _ => format!("row/{{a-client-of-the-shop}}/{number:030}").into_bytes(),
    }
}

/// What one write does to rows of a large table.
#[derive(Clone, Copy, Debug)]
enum Stretch {
    /// Puts rows here and there.
    Scatter(u64),
    /// Puts rows one behind the other.
    Fill(u64),
    /// Deletes rows one behind the other, there or not, and puts one among them.
    Mow(u64),
    /// Flushes.
    Flush,
}

fn stretch() -> impl Strategy<Value = Stretch> {
    prop_oneof![
        2 => any::<u64>().prop_map(Stretch::Scatter),
        2 => (0..3_000u64).prop_map(Stretch::Fill),
        2 => (0..3_000u64).prop_map(Stretch::Mow),
        2 => Just(Stretch::Flush),
    ]
}

impl Stretch {
    /// The rows that it puts or deletes.
    fn rows(self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let value = |number: u64| {
            let length = if number.is_multiple_of(97) { 9_000 } else { number % 700 };
            Some(vec![number.to_le_bytes()[0]; usize::try_from(length).unwrap()])
        };
        match self {
            Stretch::Flush => Vec::new(),
            Stretch::Scatter(seed) => {
                let random = |nth: u64| seed.wrapping_add(nth).wrapping_mul(6_364_136_223_846_793_005) >> 33;
                (0..300).map(|nth| (key_of(random(nth) % 3_000), value(random(nth) / 3))).collect()
            }
            Stretch::Fill(from) => (from..from + 400).map(|one| (key_of(one), value(one * 7))).collect(),
            Stretch::Mow(from) => {
                let kept = from + 250;
                let rows = (from..from + 500).map(|one| (key_of(one), None));
                rows.chain([(key_of(kept), value(kept))]).collect()
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever lies side by side or far apart below, and however many pages become empty.
    #[test]
    fn a_flush_leaves_below_exactly_what_was_written(stretches in vec(stretch(), 1..14)) {
        let folder = tempfile::tempdir().unwrap();
        let table = Layered::new(Lmdb::open(folder.path(), &options()).unwrap().0, limits(1 << 30));
        let mut model = BTreeMap::new();
        for stretch in stretches {
            let rows = stretch.rows();
            let wrote = table.write(|write| rows.iter().try_for_each(|(key, value)| match value {
                Some(value) => write.put(HERE, key, value),
                None => write.delete(HERE, key).map(drop),
            }));
            wrote.unwrap();
            for (key, value) in rows {
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
            if matches!(stretch, Stretch::Flush) {
                table.flush().unwrap();
                prop_assert_eq!(&all(table.below()), &model);
            }
            prop_assert_eq!(&all(&table), &model);
        }
        table.sync().unwrap();
        drop(table);
        // Its pages are looked at before it is believed.
        let (below, verdict) = Lmdb::open(folder.path(), &options()).unwrap();
        prop_assert_eq!(verdict, store_db::trust::Verdict::Trusted);
        prop_assert_eq!(&all(&below), &model);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    /// A write of two rows, of which one goes again, and the first row that it sees goes too.
    Turn(u8),
    /// A write that fails.
    Fail(u8),
    Clear,
    Flush,
    Settled,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..12u8).prop_map(Step::Delete),
        3 => (0..12u8).prop_map(Step::Turn),
        1 => (0..12u8).prop_map(Step::Fail),
        1 => Just(Step::Clear),
        2 => Just(Step::Flush),
        1 => Just(Step::Settled),
        1 => Just(Step::Kill),
    ]
}

/// A table with layers, and what a plain map makes of the same steps.
struct Compared {
    table: Layered<Memory>,
    layer_bytes: usize,
    model: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What a kill may go back to: every state since the last flush that was asked for.
    states: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Compared {
    fn new(layer_bytes: usize) -> Compared {
        let model = BTreeMap::new();
        Compared { table: over_memory(layer_bytes), layer_bytes, states: vec![model.clone()], model }
    }

    fn step(&mut self, step: Step) {
        let Compared { table, model, states, .. } = self;
        match step {
            Step::Put(key, value) => {
                if model.insert(vec![key], vec![value]).is_none() && value % 2 == 0 {
                    table.write(|write| write.insert(HERE, &[key], &[value])).unwrap();
                } else {
                    put(table, &[key], &[value]);
                }
            }
            Step::Delete(key) => {
                let was_there = table.write(|write| write.delete(HERE, &[key])).unwrap();
                assert_eq!(was_there, model.remove(&vec![key]).is_some());
            }
            Step::Turn(key) => {
                let first = table.write(|write| {
                    write.put(HERE, &[key], b"turned")?;
                    if !model.contains_key(&vec![key + 100]) {
                        write.insert(HERE, &[key + 100], b"short")?;
                    }
                    assert!(write.delete(HERE, &[key + 100])?);
                    let mut first = Vec::new();
                    write.walk(HERE, &[], &mut |key, _| {
                        first = key.to_vec();
                        Ok(false)
                    })?;
                    assert!(write.delete(HERE, &first)?);
                    Ok(first)
                });
                model.insert(vec![key], b"turned".to_vec());
                model.remove(&vec![key + 100]);
                assert_eq!(model.pop_first().unwrap().0, first.unwrap());
            }
            Step::Fail(key) => {
                let failed: Result<(), Error> = table.write(|write| {
                    write.put(HERE, &[key], b"nothing of this")?;
                    write.walk(HERE, &[], &mut |_, _| Ok(false))?;
                    write.clear(HERE)?;
                    write.walk(HERE, &[], &mut |_, _| Ok(false))?;
                    let position = store_core::Position::default();
                    Err(Error::NotUnderstood { position, what: String::new() })
                });
                assert!(failed.is_err());
            }
            Step::Clear => {
                table.write(|write| write.clear(HERE)).unwrap();
                model.clear();
            }
            Step::Flush => {
                table.flush().unwrap();
                states.clear();
            }
            Step::Settled => {
                assert_eq!(&table.read_settled(|read| Ok(rows(read))).unwrap(), model);
                states.clear();
            }
            Step::Kill => self.kill(),
        }
        self.states.push(self.model.clone());
    }

    fn kill(&mut self) {
        let below = self.table.below().clone();
        self.table = Layered::new(below, limits(self.layer_bytes));
        let found = all(&self.table);
        assert!(self.states.contains(&found), "{found:?} is none of {:?}", self.states);
        self.model = found;
        self.states.clear();
    }

    fn compare(&self) {
        assert_eq!(all(&self.table), self.model);
        for key in 0..12u8 {
            let got = self.table.read(|read| Ok(read.get(HERE, &[key])?.map(<[u8]>::to_vec))).unwrap();
            assert_eq!(got.as_ref(), self.model.get(&vec![key]));
            let next = self.table.read(|read| {
                let mut next = None;
                read.walk(HERE, &[key], &mut |found, _| {
                    next = Some(found.to_vec());
                    Ok(false)
                })?;
                Ok(next)
            });
            assert_eq!(next.unwrap(), self.model.range(vec![key]..).next().map(|(key, _)| key.clone()));
        }
    }
}

proptest! {
    /// A kill takes the table back to some write since the last flush, never to a part of one.
    #[test]
    fn whatever_is_written_flushed_and_killed_a_table_is_what_whole_writes_made(
        steps in vec(step(), 1..120),
        layer_bytes in prop_oneof![Just(1usize), Just(400), Just(1 << 20)],
    ) {
        let mut compared = Compared::new(layer_bytes);
        for step in steps {
            compared.step(step);
            compared.compare();
        }
    }
}
