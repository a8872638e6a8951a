//! The notes of deletions beside what they are of: the law `note-is-of-what-goes`. Pure.
//!
//! A note is of a client or product that is being deleted: else somebody would go on with what nobody asked for. What is being deleted may have none: an earlier
//! version began it.

use std::collections::BTreeSet;

use bytes::Bytes;
use portal::deletion::{DeletionRecord, Doomed};
use portal::error::Error;
use proto::store::Record;

use crate::verb::key::shown;

/// The notes of one consistent view, and what is being deleted in it.
#[derive(Debug, Default)]
pub struct Deletions {
    /// The keys of what notes are of.
    noted: BTreeSet<Bytes>,
    /// The keys of records that say that they are being deleted.
    going: BTreeSet<Bytes>,
}

impl Deletions {
    /// Enters a note.
    ///
    /// # Errors
    /// It is damaged.
    pub fn enter(&mut self, key: &[u8], record: &Record) -> Result<(), Error> {
        DeletionRecord::read(key, &record.data)?;
        let doomed = Doomed::parse(key);
        let doomed =
            doomed.ok_or_else(|| Error::damaged(key, format!("the key {} is no note's", shown(key))))?;
        self.noted.insert(doomed.record());
        Ok(())
    }

    /// Enters a client or product that is being deleted.
    pub fn goes(&mut self, key: &Bytes) {
        self.going.insert(key.clone());
    }

    /// The first note that is of nothing that goes, in words.
    #[must_use]
    pub fn first_difference(&self) -> Option<String> {
        let stray = self.noted.difference(&self.going).next()?;
        Some(format!(
            "note-is-of-what-goes: a deletion of {} is noted, and it is not being deleted",
            shown(stray)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_what_is_not_being_deleted_is_named() {
        let text = r#"{"request":"r","digest":"00000000000000000000000000000000","touched_ms":1}"#;
        let note = Record { data: Bytes::from_static(text.as_bytes()), ..Record::default() };
        let mut deletions = Deletions::default();
        deletions.goes(&Bytes::from_static(b"p/{fig}"));
        assert_eq!(deletions.first_difference(), None, "an earlier version began it");
        deletions.enter(b"d/p/{fig}", &note).unwrap();
        assert_eq!(deletions.first_difference(), None);
        deletions.enter(b"d/c/{ana}", &note).unwrap();
        let stray = deletions.first_difference().unwrap();
        assert_eq!(
            stray,
            "note-is-of-what-goes: a deletion of c/{ana} is noted, and it is not being deleted"
        );
        for (key, data) in [("d/c/ana", text), ("d/c/{ana}", "{}")] {
            let record = Record { data: Bytes::copy_from_slice(data.as_bytes()), ..Record::default() };
            assert!(matches!(deletions.enter(key.as_bytes(), &record), Err(Error::Damaged { .. })), "{key}");
        }
    }
}
