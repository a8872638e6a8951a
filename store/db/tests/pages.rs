//! Damaged pages of a database's file: what the check before LMDB must find, and that LMDB survives whatever it lets pass.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use proptest::prelude::*;
use store_db::pages::{self, Failure, Unsound};
use store_db::trust::{Reason, Verdict};
use store_db::{Lmdb, Options, Read as _, Space, Table as _, Write as _};
use tempfile::TempDir;

const PAGE_BYTES: usize = 4_096;

fn open(folder: &Path) -> (Lmdb, Verdict) {
    Lmdb::open(folder, &Options { map_bytes: 64 << 20, ..Options::new("this boot") }).unwrap()
}

/// A database with branches, large values and free pages.
fn grown() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path());
    for round in 0..6u32 {
        let put = |write: &mut dyn store_db::Write| {
            for at in 0..600u32 {
                let value = vec![7; if at % 47 == round { 9_000 } else { 100 + (at % 50) as usize }];
                write.put(Space::Records, &(at * (round + 1)).to_be_bytes(), &value)?;
            }
            for at in (0..600u32).filter(|at| at % 3 == round % 3) {
                write.delete(Space::Records, &(at * (round + 1)).to_be_bytes())?;
            }
            write.put(Space::State, b"round", &round.to_be_bytes())
        };
        table.write(|write| put(write)).unwrap();
    }
    drop(table);
    folder
}

fn data(folder: &Path) -> File {
    File::options().read(true).write(true).open(folder.join("data.mdb")).unwrap()
}

fn content(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("data.mdb")).unwrap()
}

/// What the check says of a file with these bytes.
fn verdict(bytes: &[u8]) -> Result<(), Failure> {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    pages::check(&file)
}

fn found(bytes: &[u8]) -> Option<Unsound> {
    match verdict(bytes) {
        Ok(()) => None,
        Err(Failure::Unsound(unsound)) => Some(unsound),
        Err(other) => panic!("{other:?}"),
    }
}

fn is_leaf(page: &[u8]) -> bool {
    page[10..12] == 2u16.to_ne_bytes()
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn short(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap()))
}

/// Where the newer meta page begins, by its transaction.
fn meta(bytes: &[u8]) -> usize {
    if number(bytes, PAGE_BYTES + 144) > number(bytes, 144) { PAGE_BYTES } else { 0 }
}

/// Reads and writes everywhere. It may fail; it must come back.
fn use_all(table: &Lmdb) {
    for space in Space::ALL {
        let _ = table.read(|read| read.walk(space, b"", &mut |_, _| Ok(true)));
        let _ = table.read(|read| read.get(space, b"absent").map(drop));
        let _ = table.write(|write| {
            (0..64u32).try_for_each(|at| write.put(space, &(at * 31).to_be_bytes(), &[1; 3_000]))
        });
        let _ = table.write(|write| {
            (0..64u32).try_for_each(|at| write.delete(space, &(at * 31).to_be_bytes()).map(drop))
        });
    }
}

#[test]
fn a_page_that_would_keep_lmdb_for_ever_is_found_before_lmdb_sees_it() {
    let folder = grown();
    let sound = content(folder.path());
    assert_eq!(found(&sound), None);
    let (table, _) = open(folder.path());
    drop(table);
    // A leaf whose free space begins within its header: 2^31 entries for `NUMKEYS`. First of what the look itself reads.
    let file = data(folder.path());
    // Where the tree of names begins.
    let names = number(&sound, meta(&sound) + 128);
    file.write_all_at(&[0; 4], names * PAGE_BYTES as u64 + 12).unwrap();
    let (table, verdict) = open(folder.path());
    let Verdict::Discarded(Reason::Unsound(unsound)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(unsound, Unsound { page: names, fault: "bounds of its free space that cannot be" });
    use_all(&table);
}

#[test]
fn a_page_of_zeros_is_found_wherever_it_lies() {
    let folder = grown();
    let sound = content(folder.path());
    let pages = sound.len() / PAGE_BYTES;
    let mut leaves = 0;
    for page in 2..pages {
        let at = page * PAGE_BYTES;
        let mut bytes = sound.clone();
        bytes[at..at + PAGE_BYTES].fill(0);
        match found(&bytes) {
            Some(unsound) => {
                assert_eq!(unsound.page, page as u64, "{unsound}");
                leaves += usize::from(is_leaf(&sound[at..]));
            }
            // It is free, or the middle of a large value: LMDB reads no header there.
            None => {
                std::fs::write(folder.path().join("data.mdb"), &bytes).unwrap();
                let (table, verdict) = open(folder.path());
                assert_eq!(verdict, Verdict::Trusted, "page {page}");
                use_all(&table);
                drop(table);
                std::fs::write(folder.path().join("data.mdb"), &sound).unwrap();
            }
        }
    }
    assert!(leaves > 10, "{leaves} leaves of {pages} pages");
}

#[test]
fn a_page_that_is_another_one_is_found() {
    let folder = grown();
    let sound = content(folder.path());
    let leaves: Vec<usize> =
        (2..sound.len() / PAGE_BYTES).filter(|page| is_leaf(&sound[page * PAGE_BYTES..])).collect();
    let is_live = |page: &usize| {
        let mut bytes = sound.clone();
        bytes[page * PAGE_BYTES] ^= 1;
        found(&bytes).is_some()
    };
    let live: Vec<usize> = leaves.into_iter().filter(is_live).collect();
    let [first, second] = [live[3] * PAGE_BYTES, live[4] * PAGE_BYTES];
    let mut bytes = sound.clone();
    bytes.copy_within(second..second + PAGE_BYTES, first);
    let unsound = found(&bytes).unwrap();
    assert_eq!(unsound, Unsound { page: live[3] as u64, fault: "its header has another number" });
    // With its number, too: the counts or the order of keys tell.
    bytes[first..first + 8].copy_from_slice(&sound[first..first + 8]);
    let mut swapped = sound.clone();
    swapped[first + 20..first + 22].copy_from_slice(&sound[first + 22..first + 24]);
    swapped[first + 22..first + 24].copy_from_slice(&sound[first + 20..first + 22]);
    assert_eq!(found(&swapped).unwrap().fault, "keys that are not in order");
}

#[test]
fn a_meta_page_whose_transaction_belongs_on_the_other_is_found() {
    let folder = grown();
    let mut bytes = content(folder.path());
    let at = meta(&bytes) + 144;
    bytes[at] ^= 1;
    assert_eq!(found(&bytes).unwrap().fault, "a transaction that belongs on the other page");
}

#[test]
fn free_pages_that_are_not_in_the_order_of_their_transactions_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path());
    let put = |at: u32| {
        table.write(|write| {
            (0..20u32)
                .try_for_each(|row| write.put(Space::Records, &(row * 97 + at).to_be_bytes(), &[1; 900]))
        })
    };
    // A reader keeps what each of these transactions frees from being taken again.
    let read = table.read(|_| (0..300).try_for_each(put));
    read.unwrap();
    let sound = content(folder.path());
    assert_eq!(found(&sound), None);
    let tree = meta(&sound) + 16 + 24;
    assert_eq!(short(&sound, tree + 6), 2, "a branch and its leaves");
    let branch = usize::try_from(number(&sound, tree + 40)).unwrap() * PAGE_BYTES;
    let first = short(&sound, branch + short(&sound, branch + 16)) * PAGE_BYTES;
    let last_entry = first + short(&sound, first + short(&sound, first + 12) - 2);
    let mut bytes = sound;
    bytes[last_entry + 8..last_entry + 16].copy_from_slice(&1_000_000u64.to_ne_bytes());
    assert_eq!(found(&bytes).unwrap().fault, "keys that are not in order");
}

/// One step of a history.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put { key: u16, bytes: u16 },
    Delete { key: u16 },
    Commit,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..2_000u16, prop_oneof![4 => 0..400u16, 1 => 2_000..20_000u16])
            .prop_map(|(key, bytes)| Step::Put { key, bytes }),
        15 => (0..2_000u16).prop_map(|key| Step::Delete { key }),
        2 => Just(Step::Commit),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..1_500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_lmdb_wrote_is_sound(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let (table, _) = open(folder.path());
        for batch in steps.split_inclusive(|step| matches!(step, Step::Commit | Step::Reset)) {
            table.write(|write| {
                for step in batch {
                    match *step {
                        Step::Put { key, bytes } => {
                            let space = if key % 5 == 0 { Space::Replies } else { Space::Records };
                            // Keys of other lengths, up to the longest.
                            let key = [vec![b'k'; usize::from(key) % 400], key.to_be_bytes().to_vec()].concat();
                            write.put(space, &key, &vec![9; usize::from(bytes)])?;
                        }
                        Step::Delete { key } => {
                            let key = [vec![b'k'; usize::from(key) % 400], key.to_be_bytes().to_vec()].concat();
                            write.delete(Space::Records, &key)?;
                            write.delete(Space::Replies, &key)?;
                        }
                        Step::Commit => {}
                        Step::Reset => write.clear(Space::Records)?,
                    }
                }
                Ok::<_, store_db::Error>(())
            }).unwrap();
            prop_assert!(found(&content(folder.path())).is_none(), "{:?}", found(&content(folder.path())));
        }
    }

    #[test]
    fn lmdb_survives_whatever_damage_passes(
        seed in any::<u64>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        thread_local!(static SOUND: (TempDir, Vec<u8>) = {
            let folder = grown();
            let bytes = content(folder.path());
            (folder, bytes)
        });
        SOUND.with(|(folder, sound)| {
            let mut bytes = sound.clone();
            for (at, byte, kind) in &flips {
                // Half of them where structure is: heads of pages.
                let at = at.index(bytes.len());
                let at = if kind % 2 == 0 { at - at % PAGE_BYTES + at % 64 } else { at };
                bytes[at] = if kind / 2 == 0 { *byte } else { bytes[at] ^ (1 << (seed % 8)) };
            }
            if verdict(&bytes).is_ok() {
                std::fs::write(folder.path().join("data.mdb"), &bytes).unwrap();
                use_all(&open(folder.path()).0);
                std::fs::write(folder.path().join("data.mdb"), sound).unwrap();
            }
        });
    }
}
