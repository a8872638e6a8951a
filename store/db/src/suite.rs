//! One conformance suite for every form of the table: run it on each implementation, the real and the fake.
//!
//! It panics at the first difference. Leaves out the properties of one form alone (durability, room).

use std::collections::BTreeSet;

use crate::error::Error;
use crate::table::{Read, Space, Table, Write};

/// Runs the whole suite; `fresh` makes an empty table.
///
/// # Panics
/// At the first thing that is not as a table promises.
pub fn run<T: Table>(mut fresh: impl FnMut() -> T) {
    reads_its_own_writes(&fresh());
    keeps_nothing_of_a_failed_write(&fresh());
    keeps_spaces_apart_and_clears_one(&fresh());
    appends_behind_all_others_only(&fresh());
    walks_in_order_from_anywhere(&fresh());
    orders_keys_of_all_lengths_alike(&fresh());
    stops_walking_when_told(&fresh());
    takes_keys_and_values_of_every_size(&fresh());
    clones_are_of_one_table(&fresh());
}

const HERE: Space = Space::Records;

fn stop() -> Error {
    Error::damaged("stop here")
}

fn put<T: Table>(table: &T, rows: &[(&str, &str)]) {
    let wrote = table.write(|write| {
        rows.iter().try_for_each(|(key, value)| write.put(HERE, key.as_bytes(), value.as_bytes()))
    });
    wrote.expect("a write");
}

fn keys(read: &impl Read, space: Space, from: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let walked = read.walk(space, from, &mut |key, _| {
        found.push(String::from_utf8_lossy(key).into_owned());
        Ok(true)
    });
    walked.expect("a walk");
    found
}

fn all<T: Table>(table: &T, from: &str) -> Vec<String> {
    table.read(|read| Ok(keys(read, HERE, from.as_bytes()))).expect("a read")
}

fn value<T: Table>(table: &T, key: &str) -> Option<String> {
    let got = table.read(|read| {
        Ok(read.get(HERE, key.as_bytes())?.map(|value| String::from_utf8_lossy(value).into_owned()))
    });
    got.expect("a read")
}

fn reads_its_own_writes<T: Table>(table: &T) {
    let wrote = table.write(|write| {
        write.put(HERE, b"a", b"1")?;
        write.put(HERE, b"b", b"2")?;
        assert_eq!(write.get(HERE, b"a")?, Some(&b"1"[..]));
        write.put(HERE, b"a", b"3")?;
        assert_eq!(write.get(HERE, b"a")?, Some(&b"3"[..]));
        assert_eq!(keys(write, HERE, b""), ["a", "b"]);
        assert!(write.delete(HERE, b"a")?);
        assert!(!write.delete(HERE, b"a")?, "it is gone already");
        assert_eq!(write.get(HERE, b"a")?, None);
        assert_eq!(keys(write, HERE, b""), ["b"]);
        Ok(7)
    });
    assert_eq!(wrote.expect("a write"), 7, "what the job returns comes back");
    assert_eq!((value(table, "a"), value(table, "b")), (None, Some("2".to_owned())));
}

fn keeps_nothing_of_a_failed_write<T: Table>(table: &T) {
    put(table, &[("a", "1"), ("b", "2")]);
    let failed: Result<(), Error> = table.write(|write| {
        write.put(HERE, b"a", b"changed")?;
        write.put(HERE, b"c", b"new")?;
        write.delete(HERE, b"b")?;
        write.clear(HERE)?;
        write.put(HERE, b"d", b"after")?;
        Err(stop())
    });
    assert!(matches!(failed, Err(Error::Damaged { .. })), "the job's error comes back");
    assert_eq!(all(table, ""), ["a", "b"]);
    assert_eq!((value(table, "a"), value(table, "b")), (Some("1".to_owned()), Some("2".to_owned())));
}

fn keeps_spaces_apart_and_clears_one<T: Table>(table: &T) {
    let wrote = table.write(|write| {
        for space in Space::ALL {
            write.put(space, b"k", space.name().as_bytes())?;
        }
        write.clear(Space::Replies)
    });
    wrote.expect("a write");
    for space in Space::ALL {
        let expected = (space != Space::Replies).then(|| space.name().as_bytes().to_vec());
        let got = table.read(|read| Ok(read.get(space, b"k")?.map(<[u8]>::to_vec)));
        assert_eq!(got.expect("a read"), expected, "{space:?}");
    }
}

fn appends_behind_all_others_only<T: Table>(table: &T) {
    put(table, &[("b", "1")]);
    let long = "x".repeat(3_000);
    let wrote = table.write(|write| {
        (0..200).try_for_each(|at| write.append(HERE, format!("c{at:03}").as_bytes(), long.as_bytes()))?;
        // Another space does not matter.
        write.append(Space::Replies, b"a", b"2")
    });
    wrote.expect("a write");
    assert_eq!((all(table, "").len(), all(table, "c199")), (201, vec!["c199".to_owned()]));
    for key in ["a", "c199", "c1"] {
        let refused = table.write(|write| {
            write.append(HERE, b"d", b"3")?;
            write.append(HERE, key.as_bytes(), b"4")
        });
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{key}: {refused:?}");
    }
    assert_eq!(value(table, "c199"), Some(long), "nothing was kept of what was refused");
    assert_eq!(all(table, "d"), Vec::<String>::new());
}

fn walks_in_order_from_anywhere<T: Table>(table: &T) {
    assert_eq!(all(table, ""), Vec::<String>::new(), "an empty table");
    assert_eq!(all(table, "a"), Vec::<String>::new(), "an empty table, from a key");
    put(table, &[("b", "2"), ("aa", "1"), ("c", "3"), ("a", "0"), ("ab", "1")]);
    assert_eq!(all(table, ""), ["a", "aa", "ab", "b", "c"]);
    assert_eq!(all(table, "a"), ["a", "aa", "ab", "b", "c"], "from a key that is there");
    assert_eq!(all(table, "aaa"), ["ab", "b", "c"], "from one that is not");
    assert_eq!(all(table, "c"), ["c"], "from the last");
    assert_eq!(all(table, "d"), Vec::<String>::new(), "from beyond the last");
}

/// Keys of eight bytes, as offsets have, among others.
fn orders_keys_of_all_lengths_alike<T: Table>(table: &T) {
    let least = "\0".repeat(8);
    let keys = ["", &least, "\0\0", "1234567", "12345678", "123456780", "12345679", "1234567:", "123456790"];
    for key in keys.iter().filter(|key| !key.is_empty()) {
        put(table, &[(key, key)]);
        put(table, &[("12345678", "again")]);
    }
    let sorted: BTreeSet<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
    for from in keys.into_iter().chain(["1", "12345677", "123456781", "~~~~~~~~~", "\u{7f}"]) {
        assert_eq!(all(table, from), sorted.range(from..).copied().collect::<Vec<_>>(), "from {from:?}");
    }
    assert_eq!((value(table, "12345678"), value(table, "12345677")), (Some("again".to_owned()), None));
    let deleted = table.write(|write| write.delete(HERE, b"12345678"));
    assert_eq!((deleted.expect("a write"), value(table, "12345678")), (true, None));
    assert_eq!(all(table, "1234567").len(), 5);
}

fn stops_walking_when_told<T: Table>(table: &T) {
    put(table, &[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut seen = 0;
    let walked = table.read(|read| {
        read.walk(HERE, b"", &mut |_, _| {
            seen += 1;
            Ok(seen < 2)
        })
    });
    walked.expect("a walk that ends early");
    assert_eq!(seen, 2);
    let failed = table.read(|read| read.walk(HERE, b"", &mut |_, _| Err(stop())));
    assert!(failed.is_err(), "what the visitor returns comes back");
}

fn takes_keys_and_values_of_every_size<T: Table>(table: &T) {
    let longest = [0xffu8; 511];
    let large = vec![7u8; 1 << 20];
    let wrote = table.write(|write| {
        write.put(HERE, &[0], b"")?;
        write.put(HERE, &longest, &large)
    });
    wrote.expect("the smallest and the largest row");
    let got = table.read(|read| {
        assert_eq!(read.get(HERE, &[0])?, Some(&b""[..]), "an empty value is a value");
        assert_eq!(read.get(HERE, &longest[1..])?, None);
        Ok(read.get(HERE, &longest)?.map(<[u8]>::len))
    });
    assert_eq!(got.expect("a read"), Some(large.len()));
}

fn clones_are_of_one_table<T: Table>(table: &T) {
    let clone = table.clone();
    put(&clone, &[("a", "1")]);
    assert_eq!(value(table, "a"), Some("1".to_owned()));
    clone.sync().expect("a sync");
    assert!(table.headroom().expect("the room").1 > 0);
}
