//! The rows of the indexes beside the records that they are of: the law `index-holds-its-records`. Pure.
//!
//! Each row is one of its record's as the record is, with what filters look at; where the mark of an index is set, each record has all
//! its rows. A record that cannot be read is told of by the books, and has none.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use portal::error::Kind;
use portal::index;
use proto::store::Record;

use crate::verb::key::shown;

/// The rows of one consistent view, and those that its records have.
#[derive(Debug, Default)]
pub struct Rows {
    /// Those that records have: data by key.
    expected: BTreeMap<Bytes, Bytes>,
    /// Those that are there.
    there: BTreeMap<Bytes, Bytes>,
    /// The marks that are set.
    marks: BTreeSet<Bytes>,
}

impl Rows {
    /// Enters what stands in an index: a row or a mark.
    pub fn enter(&mut self, key: &Bytes, record: &Record) {
        if [Kind::Product, Kind::Client].map(index::mark).contains(key) {
            self.marks.insert(key.clone());
        } else {
            self.there.insert(key.clone(), record.data.clone());
        }
    }

    /// Enters a product or client.
    pub fn expect(&mut self, key: &Bytes, record: &Record) {
        let rows = index::rows_of(key, record).unwrap_or_default();
        self.expected.extend(rows.into_iter().map(|row| (row.key, row.data)));
    }

    /// The first row that is not its record's, or is missing, in words.
    #[must_use]
    pub fn first_difference(&self) -> Option<String> {
        let wrong = self.there.iter().find_map(|(key, data)| match self.expected.get(key) {
            None => Some(format!("the row {} is of no record", shown(key))),
            Some(expected) if expected != data => Some(format!("the row {} says something else", shown(key))),
            Some(_) => None,
        });
        let is_marked = |key: &Bytes| self.marks.iter().any(|mark| key.starts_with(mark));
        let lacks = |key: &&Bytes| is_marked(key) && !self.there.contains_key(*key);
        let missing = || {
            let key = self.expected.keys().find(lacks)?;
            Some(format!("the index is marked as complete, and the row {} is missing", shown(key)))
        };
        let what = wrong.or_else(missing)?;
        Some(format!("index-holds-its-records: {what}; feira admin reindex makes the rows anew"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(data: &str) -> Record {
        Record { data: Bytes::copy_from_slice(data.as_bytes()), ..Record::default() }
    }

    /// A fig and its rows, each of which `change` may change or leave out.
    fn difference(is_marked: bool, change: impl Fn(&mut BTreeMap<Bytes, Bytes>)) -> Option<String> {
        let (key, fig) = (
            Bytes::from_static(b"p/{fig}"),
            record(r#"{"state":"active","description":"Fig","price":"1.50","extra":{}}"#),
        );
        let mut rows = Rows::default();
        rows.expect(&key, &fig);
        let mut there: BTreeMap<Bytes, Bytes> = rows.expected.clone();
        change(&mut there);
        for (key, data) in there {
            rows.enter(&key, &record(std::str::from_utf8(&data).unwrap()));
        }
        if is_marked {
            rows.enter(&index::mark(Kind::Product), &record("{}"));
        }
        rows.first_difference()
    }

    #[test]
    fn rows_that_are_their_records_are_right_and_missing_ones_only_where_there_is_no_mark() {
        assert_eq!(difference(true, |_| {}), None);
        assert_eq!(difference(false, BTreeMap::clear), None);
        let missing = difference(true, |there| drop(there.pop_first())).unwrap();
        assert!(missing.starts_with("index-holds-its-records: the index is marked as complete"), "{missing}");
        assert!(missing.contains("i/p/d/fig /{fig}"), "{missing}");
    }

    #[test]
    fn rows_that_are_no_records_are_named_also_without_a_mark() {
        for key in ["i/p/d/figo /{fig}", "i/p/d/fig /{figo}", "i/c/n/fig /{fig}", "i/p/nonsense"] {
            let more = difference(false, |there| {
                there.insert(Bytes::from_static(key.as_bytes()), Bytes::from_static(b"{}"));
            });
            let more = more.unwrap();
            assert!(more.contains(key) && more.contains("is of no record"), "{more}");
        }
        let other = difference(false, |there| {
            there.insert(Bytes::from_static(b"i/p/d/fig /{fig}"), Bytes::from_static(b"{}"));
        });
        assert!(other.unwrap().contains("says something else"));
    }
}
