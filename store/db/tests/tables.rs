//! The table's two forms under one suite; when LMDB's files are believed.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use store_db::pages::Unsound;
use store_db::trust::{Reason, Verdict};
use store_db::{Error, Lmdb, Memory, Options, OutOfSpace, Read as _, Space, Table as _, Write as _, suite};

fn options(boot_id: &str) -> Options {
    Options { map_bytes: 64 << 20, ..Options::new(boot_id) }
}

fn open(folder: &Path, boot_id: &str) -> (Lmdb, Verdict) {
    Lmdb::open(folder, &options(boot_id)).unwrap()
}

fn put(table: &Lmdb, key: &[u8]) {
    table.write(|write| write.put(Space::Records, key, b"value")).unwrap();
}

fn has(table: &Lmdb, key: &[u8]) -> bool {
    table.read(|read| Ok(read.get(Space::Records, key)?.is_some())).unwrap()
}

#[test]
fn memory_is_a_table() {
    suite::run(Memory::new);
}

#[test]
fn lmdb_is_a_table() {
    let folders: Vec<_> = (0..16).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut next = folders.iter();
    suite::run(|| open(next.next().unwrap().path(), "boot").0);
}

#[test]
fn one_folder_is_opened_once_in_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot");
    let clone = table.clone();
    let detour = folder.path().join(".");
    for path in [folder.path(), &detour] {
        assert!(matches!(Lmdb::open(path, &options("boot")), Err(Error::AlreadyOpen { .. })));
    }
    drop(table);
    assert!(
        matches!(Lmdb::open(&detour, &options("boot")), Err(Error::AlreadyOpen { .. })),
        "a clone holds it"
    );
    drop(clone);
    assert_eq!(open(folder.path(), "boot").1, Verdict::Trusted, "it is free again");
}

fn unsound(page: u64, fault: &'static str) -> Reason {
    Reason::Unsound(Unsound { page, fault })
}

#[test]
fn a_database_that_lmdb_cannot_open_is_made_anew_from_snapshot_and_log() {
    // Magic and version of the first of its two pages of facts about itself.
    for (at, fault) in [(16, "no magic number of LMDB"), (20, "a format of LMDB that is not known here")] {
        let folder = tempfile::tempdir().unwrap();
        let (table, _) = open(folder.path(), "boot");
        put(&table, b"k");
        drop(table);
        let data = folder.path().join("data.mdb");
        let mut bytes = std::fs::read(&data).unwrap();
        bytes[at] ^= 0xFF;
        std::fs::write(&data, bytes).unwrap();
        let (table, verdict) = open(folder.path(), "boot");
        assert_eq!((verdict, has(&table, b"k")), (Verdict::Discarded(unsound(0, fault)), false), "byte {at}");
    }
}

#[test]
fn a_walk_hands_out_nothing_that_outlives_it_and_holds_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let few_readers = Options { readers_max: 2, ..options("boot") };
    let (table, _) = Lmdb::open(folder.path(), &few_readers).unwrap();
    put(&table, b"k");
    for _ in 0..10 {
        let mut seen = Vec::new();
        let walked = table.read(|read| {
            read.walk(Space::Records, b"", &mut |key, _| {
                seen.push(key.to_vec());
                Ok(true)
            })
        });
        walked.unwrap();
        assert_eq!(seen, [b"k".to_vec()]);
    }
}

#[test]
fn a_reader_keeps_its_picture_while_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot");
    put(&table, b"a");
    let read = table.read(|read| {
        put(&table, b"b");
        Ok((read.get(Space::Records, b"a")?.is_some(), read.get(Space::Records, b"b")?.is_some()))
    });
    assert_eq!(read.unwrap(), (true, false));
    assert!(has(&table, b"b"));
}

#[test]
fn a_full_map_keeps_nothing_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let small = Options { map_bytes: 1 << 20, ..options("boot") };
    let (table, _) = Lmdb::open(folder.path(), &small).unwrap();
    put(&table, b"a");
    let (used, size) = table.headroom().unwrap();
    assert!(used > 0 && used < size && size == 1 << 20, "{used} of {size}");
    let failed = table.write(|write| {
        (0..10_000u32).try_for_each(|n| write.put(Space::Records, &n.to_be_bytes(), &[0; 1_000]))
    });
    assert!(matches!(failed, Err(Error::Full { out_of_space: OutOfSpace::Map, .. })), "{failed:?}");
    assert!(has(&table, b"a") && !has(&table, &0u32.to_be_bytes()));
    let failed = failed.unwrap_err();
    assert!(!failed.is_deterministic());
    let said = failed.to_string();
    assert!(said.contains("data.mdb") && said.contains("raise store.map_bytes"), "{said}");
    put(&table, b"b");
}

#[test]
fn after_a_process_crash_the_table_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (table, verdict) = open(folder.path(), "boot-1");
    assert_eq!(verdict, Verdict::Discarded(Reason::Absent));
    put(&table, b"a");
    drop(table);
    let (table, verdict) = open(folder.path(), "boot-1");
    assert_eq!(verdict, Verdict::Trusted);
    assert!(has(&table, b"a"));
}

#[test]
fn after_a_machine_crash_it_is_emptied_unless_it_was_clean() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot-1");
    put(&table, b"a");
    table.sync().unwrap();
    drop(table);
    let (table, verdict) = open(folder.path(), "boot-2");
    assert_eq!(verdict, Verdict::Trusted, "clean: everything was synced");
    assert!(has(&table, b"a") && folder.path().join("clean").exists(), "opening writes nothing");
    put(&table, b"b");
    assert!(!folder.path().join("clean").exists(), "the mark goes before the first write");
    drop(table);
    let (table, verdict) = open(folder.path(), "boot-3");
    assert_eq!(verdict, Verdict::Discarded(Reason::Unclean));
    assert!(!has(&table, b"a"), "it was emptied");
}

#[test]
fn a_table_opened_after_a_process_crash_can_be_marked_clean_without_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot-1");
    put(&table, b"a");
    drop(table);
    let (table, _) = open(folder.path(), "boot-1");
    table.sync().unwrap();
    drop(table);
    assert_eq!(open(folder.path(), "boot-2").1, Verdict::Trusted);
}

#[test]
fn a_file_that_is_no_database_is_called_damaged_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), "boot"));
    let mark = std::fs::read(folder.path().join("opened")).unwrap();
    let data = std::fs::OpenOptions::new().write(true).open(folder.path().join("data.mdb")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&data, &[0x5a; 8192], 0).unwrap();
    assert_eq!(std::fs::read(folder.path().join("opened")).unwrap(), mark, "the marks alone do not show it");
    assert_eq!(open(folder.path(), "boot").1, Verdict::Discarded(unsound(0, "no magic number of LMDB")));
}

#[test]
fn one_thread_can_read_twice_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot");
    put(&table, b"a");
    let inner = table.read(|_| {
        table.headroom()?;
        table.read(|read| Ok(read.get(Space::Records, b"a")?.is_some()))
    });
    assert!(inner.unwrap());
}

#[test]
fn a_copied_data_file_is_not_trusted_unless_clean() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot");
    put(&table, b"a");
    drop(table);
    let (data, copy) = (folder.path().join("data.mdb"), folder.path().join("copy"));
    std::fs::copy(&data, &copy).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    assert_eq!(open(folder.path(), "boot").1, Verdict::Discarded(Reason::Unclean), "another inode");
}

/// Version 0.1 had six spaces.
#[test]
fn a_database_of_an_earlier_version_gets_the_spaces_that_it_lacks() {
    let (earlier, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let environment =
        lmdb::Environment::new().set_max_dbs(6).set_map_size(64 << 20).open(earlier.path()).unwrap();
    for space in &Space::ALL[..6] {
        let made = environment.create_db(Some(space.name()), lmdb::DatabaseFlags::empty()).unwrap();
        let mut writing = environment.begin_rw_txn().unwrap();
        for n in 0..200u32 {
            writing.put(made, &n.to_be_bytes(), &[7u8; 900], lmdb::WriteFlags::empty()).unwrap();
        }
        lmdb::Transaction::commit(writing).unwrap();
    }
    drop(environment);
    let (table, _) = open(folder.path(), "boot");
    table.sync().unwrap();
    drop(table);
    std::fs::copy(earlier.path().join("data.mdb"), folder.path().join("data.mdb")).unwrap();
    for _ in 0..2 {
        let (table, verdict) = open(folder.path(), "boot");
        assert_eq!(verdict, Verdict::Trusted);
        assert!(has(&table, &7u32.to_be_bytes()));
        for space in [Space::Prepared, Space::Locks, Space::Decisions] {
            table.write(|write| write.put(space, b"k", b"v")).unwrap();
        }
        table.sync().unwrap();
    }
}

#[test]
fn marks_that_are_gone_or_torn_are_not_trusted() {
    for keep in [0, 10, 30] {
        let folder = tempfile::tempdir().unwrap();
        let (table, _) = open(folder.path(), "boot");
        put(&table, b"a");
        table.sync().unwrap();
        drop(table);
        for mark in ["opened", "clean"] {
            let path = folder.path().join(mark);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len().min(keep)]).unwrap();
        }
        assert_eq!(open(folder.path(), "boot").1, Verdict::Discarded(Reason::Unmarked), "{keep} bytes kept");
    }
}

/// Fills a table, cuts its file to `keep` bytes of 64 KiB and more, and opens it again.
fn cut_and_open(keep: u64, boot_id: &str, sync: bool) -> (tempfile::TempDir, Lmdb, Verdict) {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = open(folder.path(), "boot");
    let rows = table
        .write(|write| (0..500u32).try_for_each(|n| write.put(Space::Records, &n.to_be_bytes(), &[7; 500])));
    rows.unwrap();
    if sync {
        table.sync().unwrap();
    }
    drop(table);
    let data = std::fs::File::options().write(true).open(folder.path().join("data.mdb")).unwrap();
    assert!(data.metadata().unwrap().len() > 64 << 10);
    data.set_len(keep).unwrap();
    let (table, verdict) = open(folder.path(), boot_id);
    (folder, table, verdict)
}

#[test]
fn a_cut_file_killed_the_process_that_looked_at_a_page_behind_its_end() {
    for (sync, boot_id) in [(true, "boot"), (true, "another boot"), (false, "boot")] {
        for keep in [0, 100, 4096, 8192, 20_000, 64 << 10] {
            let (_folder, table, verdict) = cut_and_open(keep, boot_id, sync);
            let reason = match verdict {
                Verdict::Discarded(reason) => Some(reason),
                // What is empty is made anew.
                Verdict::Trusted if keep == 0 && !sync => None,
                Verdict::Trusted => panic!("{keep} bytes were trusted"),
            };
            assert!(matches!(reason, None | Some(Reason::Short | Reason::Damaged)), "{reason:?}");
            let walked = table.read(|read| read.walk(Space::Records, b"", &mut |_, _| panic!("it is empty")));
            walked.unwrap();
            put(&table, b"k");
        }
    }
}

#[test]
fn the_file_is_never_shorter_than_what_lmdb_counts_as_its_pages() {
    let folder = tempfile::tempdir().unwrap();
    let (mut table, _) = open(folder.path(), "boot");
    for round in 0..100u32 {
        // Rows that come and go within one transaction leave pages that are taken and never written.
        let mixed = table.write(|write| {
            let rows = 100 + round * 10;
            (0..rows).try_for_each(|n| write.put(Space::Records, &n.to_be_bytes(), &[1; 1_500]))?;
            (0..rows).rev().try_for_each(|n| write.delete(Space::Records, &n.to_be_bytes()).map(|_| ()))
        });
        mixed.unwrap();
        drop(table);
        let (again, verdict) = open(folder.path(), "boot");
        assert_eq!(verdict, Verdict::Trusted, "round {round}");
        table = again;
    }
}
