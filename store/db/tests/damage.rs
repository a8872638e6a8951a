//! Pages of an open database that change under it: what LMDB reports of it, what the marks say afterwards, and the table made anew
//! while readers go on with what they had.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use store_db::trust::{Reason, Verdict};
use store_db::{Error, Lmdb, Options, Read as _, Space, Table as _, Write as _};

const PAGE: [u8; 4_096] = [0; 4_096];
const PAGE_BYTES: u64 = PAGE.len() as u64;
/// Those that every transaction begins with.
const META_PAGES: u64 = 2;

fn open(folder: &Path) -> (Lmdb, Verdict) {
    Lmdb::open(folder, &Options { map_bytes: 64 << 20, ..Options::new("this boot") }).unwrap()
}

fn filled(folder: &Path) -> Lmdb {
    let (table, _) = open(folder);
    for at in 0..2_000u32 {
        table.write(|write| write.put(Space::Records, &at.to_be_bytes(), &[7; 200])).unwrap();
    }
    table.sync().unwrap();
    table
}

/// Every page but the first two becomes zeros, as the disk might lose them.
fn lose_pages(folder: &Path) {
    let data = File::options().write(true).open(folder.join("data.mdb")).unwrap();
    for page in META_PAGES..data.metadata().unwrap().len() / PAGE_BYTES {
        data.write_all_at(&PAGE, page * PAGE_BYTES).unwrap();
    }
}

fn read(table: &Lmdb) -> Result<bool, Error> {
    table.read(|read| read.get(Space::Records, &7u32.to_be_bytes()).map(|found| found.is_some()))
}

#[test]
fn damage_that_a_read_meets_is_reported_and_no_mark_vouches_for_it_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let table = filled(folder.path());
    assert!(folder.path().join("clean").exists() && table.damage().is_none());
    lose_pages(folder.path());
    assert!(read(&table).is_err_and(|error| error.is_reported_by_store()));
    assert!(table.damage().is_some());
    let is_marked = || ["clean", "opened"].iter().any(|mark| folder.path().join(mark).exists());
    assert!(!is_marked());
    let _ = table.sync();
    assert!(!is_marked(), "a sync vouches for nothing that is damaged");
    drop(table);
    let (table, verdict) = open(folder.path());
    assert_eq!(verdict, Verdict::Discarded(Reason::Unmarked));
    assert!(!read(&table).unwrap(), "it begins anew");
}

#[test]
fn damage_that_a_write_meets_leaves_no_mark_either() {
    let folder = tempfile::tempdir().unwrap();
    let table = filled(folder.path());
    lose_pages(folder.path());
    let written = table.write(|write| write.put(Space::Records, b"k", b"v"));
    assert!(written.is_err_and(|error| error.is_damage()));
    drop(table);
    assert_eq!(open(folder.path()).1, Verdict::Discarded(Reason::Unmarked));
}

#[test]
fn a_damaged_table_is_made_anew_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let table = filled(folder.path());
    lose_pages(folder.path());
    assert!(read(&table).is_err());
    // Whoever reads while that happens goes on with the files that he has.
    let outer = table.clone();
    let during = table.read(|_| {
        outer.reset()?;
        outer.write(|write| write.put(Space::Records, &7u32.to_be_bytes(), b"new"))
    });
    during.unwrap();
    assert!(table.damage().is_none() && read(&table).unwrap());
    table.sync().unwrap();
    drop((table, outer));
    let (table, verdict) = open(folder.path());
    assert_eq!(verdict, Verdict::Trusted);
    assert!(read(&table).unwrap());
}
