//! Torn and damaged files: what is cut and how it is evaluated, what is refused and how it is told.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::disk::DiskFile;
use crate::{Cut, RealDisk};

/// The files of a replica whose log ends in a batch of its own: names and bytes, place and length of that batch.
struct Files {
    files: Vec<(String, Vec<u8>)>,
    place: usize,
    bytes: usize,
}

impl Files {
    fn of(disk: &SimDisk, place: u64, end: u64) -> Files {
        let names = disk.list().unwrap();
        let files = names.into_iter().map(|name| (name.clone(), disk.content(&name).unwrap())).collect();
        Files { files, place: place as usize, bytes: (end - place) as usize }
    }

    /// Two batches beyond the first entry; each synced alone, or both at once.
    fn two_batches(synced_alone: bool) -> (Files, usize) {
        let (disk, mut log) = fresh();
        let middle = log.current_file_bytes();
        append(&mut log, &[entry(1, 2, 30), entry(1, 3, 700)]);
        if synced_alone {
            log.sync().unwrap();
        }
        let place = log.current_file_bytes();
        append(&mut log, &[entry(1, 4, 3), entry(1, 5, 120)]);
        log.sync().unwrap();
        (Files::of(&disk, place, log.current_file_bytes()), middle as usize)
    }

    /// A copy on another disk, with `log.0` changed.
    fn copy(&self, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
        self.copy_of("log.0", change)
    }

    fn copy_of(&self, changed: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
        let disk = SimDisk::new();
        for (name, bytes) in &self.files {
            disk.put(name, bytes);
        }
        let mut bytes = disk.content(changed).unwrap();
        change(&mut bytes);
        disk.put(changed, &bytes);
        disk
    }

    fn torn_at(&self, kept: usize) -> impl Fn(&mut Vec<u8>) {
        let (from, to) = (self.place + kept, self.place + self.bytes);
        move |bytes| bytes[from..to].fill(0)
    }
}

fn cut_of(disk: &SimDisk, id: &str) -> (u64, Option<Cut>, bool) {
    let (log, found) = open(disk.clone(), id);
    assert_eq!(all(&log).len() as u64, log.last().offset.0);
    (log.last().offset.0, found.cut, found.maybe_lost_tail)
}

#[test]
fn a_write_torn_at_any_byte_is_cut_and_innocent_only_under_the_same_boot() {
    let (found, _) = Files::two_batches(true);
    for kept in 0..found.bytes {
        let (last, cut, maybe_lost_tail) = cut_of(&found.copy(found.torn_at(kept)), "b1");
        assert_eq!((last, maybe_lost_tail), (3, false), "killed after {kept} bytes");
        assert_eq!(cut.is_some(), kept > 0);
        let disk = found.copy(found.torn_at(kept));
        let (last, cut, maybe_lost_tail) = cut_of(&disk, "b2");
        assert_eq!(
            (last, maybe_lost_tail, cut.is_some()),
            (3, kept > 0, kept > 0),
            "power lost after {kept} bytes"
        );
        assert_eq!(cut_of(&disk, "b2"), (3, None, kept > 0), "the suspicion stays, the cut is done");
    }
    let (last, cut, _) = cut_of(&found.copy(|_| ()), "b2");
    assert_eq!((last, cut), (5, None));
}

#[test]
fn on_a_real_disk_a_torn_write_is_cut_the_same_way() {
    let (found, _) = Files::two_batches(true);
    for kept in [1, 40, 71, 72, 100, found.bytes - 1] {
        let folder = tempfile::tempdir().unwrap();
        let disk = std::sync::Arc::new(RealDisk::open(folder.path()).unwrap());
        for (name, bytes) in &found.files {
            disk.open(name, true).unwrap().write_at(0, bytes).unwrap();
        }
        let zeros = vec![0; found.bytes - kept];
        let file = disk.open("log.0", false).unwrap();
        file.write_at((found.place + kept) as u64, &zeros).unwrap();
        let (log, found) = open(disk, "b1");
        assert_eq!((all(&log).len(), found.maybe_lost_tail), (3, false));
        assert!(found.cut.unwrap().innocent);
    }
}

#[test]
fn a_flipped_bit_in_the_last_batch_tells_of_a_possibly_lost_tail_even_under_the_same_boot() {
    let (found, _) = Files::two_batches(true);
    for at in found.place..found.place + found.bytes {
        let disk = found.copy(|bytes| bytes[at] ^= 1 << (at % 8));
        let (last, cut, maybe_lost_tail) = cut_of(&disk, "b1");
        assert_eq!((last, maybe_lost_tail), (3, true), "bit flipped at {at}");
        assert!(!cut.unwrap().innocent);
    }
}

#[test]
fn anything_but_a_torn_write_tells_of_a_possibly_lost_tail() {
    let (found, _) = Files::two_batches(true);
    let end = found.place + found.bytes;
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&str, Change<'_>); 5] = [
        ("the file was cut short", &|bytes| bytes.truncate(end - 1)),
        ("the file was cut short inside a header", &|bytes| bytes.truncate(found.place + 20)),
        ("zeros in the middle", &|bytes| bytes[found.place + 80..found.place + 90].fill(0)),
        ("a torn write with something after it", &|bytes| {
            bytes[end - 9..end].fill(0);
            bytes[end + 64] = 1;
        }),
        ("something that does not begin as a batch", &|bytes| {
            bytes[found.place..end].fill(0);
            bytes[found.place + 10] = 1;
        }),
    ];
    for (what, change) in cases {
        let (last, cut, maybe_lost_tail) = cut_of(&found.copy(change), "b1");
        assert_eq!((last, maybe_lost_tail), (3, true), "{what}");
        assert!(!cut.unwrap().innocent, "{what}");
    }
}

#[test]
fn a_bad_batch_that_was_synced_before_a_later_one_is_damage() {
    let (found, middle) = Files::two_batches(true);
    for at in (middle..found.place).step_by(5) {
        let disk = found.copy(|bytes| bytes[at] ^= 4);
        let error = try_open(disk, "b2").unwrap_err();
        let Error::Damaged { file, at: place, .. } = &error else { panic!("{error}") };
        assert_eq!((file.as_str(), *place as usize), ("log.0", middle), "bit flipped at {at}");
        assert!(error.to_string().contains("new member") && !error.is_fatal());
    }
}

#[test]
fn batches_of_one_sync_may_be_lost_in_any_order() {
    let (found, middle) = Files::two_batches(false);
    let disk = found.copy(|bytes| bytes[middle + 512..middle + 600].fill(0));
    let (last, cut, maybe_lost_tail) = cut_of(&disk, "b2");
    let cut = cut.unwrap();
    assert_eq!((last, maybe_lost_tail, cut.whole_batches, cut.at), (1, true, 1, middle as u64));
}

#[test]
fn damage_in_headers_and_older_files_is_refused() {
    let (disk, mut log) = fresh();
    append(&mut log, &[entry(1, 2, 30)]);
    let end = log.current_file_bytes();
    log.roll(Offset(2)).unwrap();
    let found = Files::of(&disk, 512, end);
    for at in (0..end as usize).step_by(3) {
        let error = try_open(found.copy(|bytes| bytes[at] ^= 16), "b1").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "bit flipped at {at}: {error}");
    }
    for at in 0..512 {
        let error = try_open(found.copy_of("log.1", |bytes| bytes[at] ^= 16), "b1").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "bit flipped at {at}: {error}");
    }
    let shorter = try_open(found.copy(|bytes| bytes.truncate(640)), "b1").unwrap_err();
    assert!(shorter.to_string().contains("the file before it ends at e1:1"), "{shorter}");
}

#[test]
fn damage_in_small_files_is_told_or_taken_the_safe_way() {
    let (disk, log) = fresh();
    let found = Files::of(&disk, 512, log.current_file_bytes());
    for at in 0..64 {
        let error = try_open(found.copy_of("vote", |bytes| bytes[at] ^= 1), "b1").unwrap_err();
        assert!(matches!(error, Error::NewMemberNeeded { .. }), "{error}");
    }
    for at in 0..256 {
        let error = try_open(found.copy_of("meta", |bytes| bytes[at] ^= 1), "b1").unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
    for at in 0..128 {
        let disk = found.copy_of("boot", |bytes| bytes[at] ^= 1);
        assert!(open(disk, "b1").1.maybe_lost_tail);
    }
    let newer = found.copy_of("meta", |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..252]);
        bytes[252..].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(try_open(newer, "b1"), Err(Error::Version { found: 2, known: 1, .. })));
}

#[test]
fn a_vote_older_than_the_log_is_refused_at_open() {
    let (disk, mut log) = fresh();
    let old = disk.content("vote").unwrap();
    log.save_ballot(ballot(2)).unwrap();
    append(&mut log, &[entry(2, 2, 1)]);
    log.sync().unwrap();
    disk.put("vote", &old);
    let error = try_open(disk, "b1").unwrap_err();
    assert!(error.to_string().contains("a vote was lost"), "{error}");
}

#[test]
fn another_replicas_log_is_refused() {
    let (disk, _) = fresh();
    let other = SimDisk::new();
    bootstrap(&other, &identity(), Incarnation(99), &boot("b1"), &membership()).unwrap();
    disk.put("log.0", &other.content("log.0").unwrap());
    assert!(matches!(try_open(disk, "b1"), Err(Error::Foreign { field: "incarnation", .. })));
}

#[test]
fn a_reader_tells_damage() {
    let (disk, mut log) = fresh();
    let place = log.current_file_bytes();
    append(&mut log, &[entry(1, 2, 100)]);
    assert!(disk.flip_bit("log.0", place as usize + 99, 3) && !disk.flip_bit("log.0", 1 << 30, 0));
    let error = log.reader().read(Offset(1), 9, 9999).unwrap_err();
    assert!(matches!(error, Error::Damaged { at, .. } if at >= 512), "{error}");
}

#[test]
fn a_batch_copied_into_a_payload_is_not_taken_for_one() {
    let (found, middle) = Files::two_batches(true);
    let (disk, mut log) = fresh();
    let batch = found.files.iter().find(|(name, _)| name == "log.0").unwrap().1[found.place..].to_vec();
    let payload = Bytes::from(batch[..found.bytes].to_vec());
    append(&mut log, &[Entry { payload, ..entry(1, 2, 0) }]);
    log.sync().unwrap();
    let found = Files::of(&disk, middle as u64, log.current_file_bytes());
    let (_, cut, _) = cut_of(&found.copy(|bytes| bytes[middle + 75] ^= 1), "b1");
    assert_eq!(cut.unwrap().whole_batches, 0);
}

#[test]
fn a_missing_newest_log_file_is_seen_even_if_nothing_in_it_was_applied() {
    let (disk, mut log) = fresh();
    append(&mut log, &[entry(1, 2, 40)]);
    log.roll(Offset(2)).unwrap();
    append(&mut log, &[entry(1, 3, 40)]);
    log.sync().unwrap();
    drop(log);
    disk.remove("log.1").unwrap();
    let error = try_open(disk.clone(), "b1").unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, Error::NewMemberNeeded { .. }) && told.starts_with("log.1 is gone"), "{told}");
    // Under a boot file of an older release, which has zeros there, it cannot be known.
    disk.put("boot", &crate::boot::encode(&boot("b1"), false, 0));
    let (log, _) = open(disk, "b1");
    assert_eq!(log.last().offset, Offset(2));
}

#[test]
fn a_log_file_that_a_truncation_removed_is_not_missed() {
    let (disk, mut log) = fresh();
    for offset in 2..5 {
        append(&mut log, &[entry(1, offset, 40)]);
        log.roll(Offset(offset)).unwrap();
    }
    log.truncate(Offset(3), Offset(1)).unwrap();
    drop(log);
    disk.kill();
    let (mut log, found) = open(disk.clone(), "b1");
    assert_eq!((log.last().offset, found.logs.len()), (Offset(2), 2));
    log.reset(7, Position::new(1, 90), 5).unwrap();
    drop(log);
    assert_eq!(open(disk.clone(), "b1").0.last().offset, Offset(90));
    disk.remove("log.7").unwrap();
    assert!(matches!(try_open(disk, "b1"), Err(Error::NewMemberNeeded { .. })));
}
