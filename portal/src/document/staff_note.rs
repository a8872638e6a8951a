//! The notes of staff in an order that they changed for its client, and of the shop that ended it by its rules (`o/{CID}/OID`, member
//! `staff`).
//!
//! ```json
//! {"did":"cancelled","reason":"asked for by telephone","by":"joana","at_ms":1764403200000}
//! ```
//!
//! Staff give a reason for each change; who they are is what they say, since nobody proves it. An order keeps the last
//! [`crate::limits::STAFF_NOTES_MAX`] notes. Its client is shown them: whoever's order was changed by another reads why.

use serde::{Deserialize, Serialize};

use proto::portal::{ImportedNote, StaffNote as Shown};

use crate::error::Error;
use crate::id::plain;
use crate::limits::{STAFF_NAME_BYTES_MAX, STAFF_REASON_BYTES_MAX};

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Did {
    /// Quantities were set.
    Modified,
    /// The order was confirmed.
    Confirmed,
    /// The order was cancelled.
    Cancelled,
    /// It was paid.
    Paid,
    /// It was packed.
    Packed,
    /// It was sent.
    Sent,
    /// It came back, and its goods are sold again.
    Returned,
    /// It came back, and its goods are of no use any more.
    Discarded,
    /// The client got the money back.
    Refunded,
    /// It was open for too long: the shop cancelled it, by its rules.
    Expired,
}

impl Did {
    /// All of them.
    pub const ALL: [Did; 10] = [
        Did::Modified,
        Did::Confirmed,
        Did::Cancelled,
        Did::Paid,
        Did::Packed,
        Did::Sent,
        Did::Returned,
        Did::Discarded,
        Did::Refunded,
        Did::Expired,
    ];

    /// The word in records and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Did::Modified => "modified",
            Did::Confirmed => "confirmed",
            Did::Cancelled => "cancelled",
            Did::Paid => "paid",
            Did::Packed => "packed",
            Did::Sent => "sent",
            Did::Returned => "returned",
            Did::Discarded => "discarded",
            Did::Refunded => "refunded",
            Did::Expired => "expired",
        }
    }
}

/// A note as stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaffNote {
    /// What was done.
    pub did: Did,
    /// Why, in staff's words; empty only for what needs none: paid, packed, sent, expired.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who did it, as the request said; empty: it did not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When, milliseconds since 1970, by the clock of the portal that did it.
    pub at_ms: i64,
}

impl StaffNote {
    /// What the shop did by its rules.
    #[must_use]
    pub const fn of_shop(did: Did, at_ms: i64) -> StaffNote {
        StaffNote { did, reason: String::new(), by: String::new(), at_ms }
    }

    /// A note that comes with an imported order; `field` names it in errors, and its time is not after `latest_ms`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: `did` is no such word, `at_ms` no such time, or reason or name are too long, or have a control character.
    pub fn imported(field: &str, note: &ImportedNote, latest_ms: i64) -> Result<StaffNote, Error> {
        let within = |name: &str| format!("{field}.{name}");
        let did = Did::ALL.into_iter().find(|did| did.word() == note.did).ok_or_else(|| {
            let words: Vec<&str> = Did::ALL.iter().map(|did| did.word()).collect();
            Error::invalid(within("did"), format!("{:?} is none of {}", note.did, words.join(", ")))
        })?;
        let reason = StaffReason::maybe(&note.reason, &note.by).map_err(|error| match error {
            Error::Invalid { field: name, why } => Error::invalid(within(&name), why),
            other => other,
        })?;
        is_time(&within("at_ms"), note.at_ms, (0, latest_ms))?;
        Ok(reason.note(did, note.at_ms))
    }

    /// As it is shown.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let StaffNote { did, reason, by, at_ms } = self.clone();
        Shown { did: did.word().to_owned(), reason, by, at_ms }
    }
}

/// Refuses what is no time of an order or note: before the first, or after the last.
pub(crate) fn is_time(field: &str, ms: i64, (least_ms, latest_ms): (i64, i64)) -> Result<(), Error> {
    if ms < least_ms {
        let why = format!("{ms} is no time of an order; milliseconds since 1970 are meant");
        return Err(Error::invalid(field, why));
    }
    if ms > latest_ms {
        let why =
            format!("{ms} is no time of an order: more than a day ahead; milliseconds since 1970 are meant");
        return Err(Error::invalid(field, why));
    }
    Ok(())
}

/// Why staff change an order, and who says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StaffReason {
    reason: String,
    by: String,
}

impl StaffReason {
    /// Checks what a request says; blanks around it go.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: there is no reason, one of both is too long, or has a control character.
    pub fn parse(reason: &str, by: &str) -> Result<StaffReason, Error> {
        if reason.trim().is_empty() {
            let why = "is empty; say in a few words why, for the client and for other staff";
            return Err(Error::invalid("reason", why));
        }
        StaffReason::maybe(reason, by)
    }

    /// As [`StaffReason::parse`], for what needs no reason: it may be empty.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: one of both is too long, or has a control character.
    pub fn maybe(reason: &str, by: &str) -> Result<StaffReason, Error> {
        let (reason, by) = (reason.trim(), by.trim());
        for (field, text, most) in
            [("reason", reason, STAFF_REASON_BYTES_MAX), ("by", by, STAFF_NAME_BYTES_MAX)]
        {
            if text.len() > most {
                let why = format!("{} bytes; at most {most}: make it shorter", text.len());
                return Err(Error::invalid(field, why));
            }
            plain(field, text)?;
        }
        Ok(StaffReason { reason: reason.to_owned(), by: by.to_owned() })
    }

    /// The note of what was done for it.
    #[must_use]
    pub fn note(&self, did: Did, at_ms: i64) -> StaffNote {
        StaffNote { did, reason: self.reason.clone(), by: self.by.clone(), at_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::write;
    use crate::limits::STAFF_NOTE_BYTES_MAX;

    #[test]
    fn a_note_is_stored_as_documented() {
        let reason = StaffReason::parse(" asked for by telephone ", "joana").expect("a reason");
        let stored =
            r#"{"did":"cancelled","reason":"asked for by telephone","by":"joana","at_ms":1764403200000}"#;
        let note = reason.note(Did::Cancelled, 1_764_403_200_000);
        assert_eq!(String::from_utf8_lossy(&write(&note)), stored);
        let nobody = StaffReason::parse("damaged", "").expect("a reason").note(Did::Modified, 7);
        assert_eq!(
            String::from_utf8_lossy(&write(&nobody)),
            r#"{"did":"modified","reason":"damaged","at_ms":7}"#
        );
        let sent = StaffReason::maybe(" ", "").expect("none is needed").note(Did::Sent, 7);
        assert_eq!(String::from_utf8_lossy(&write(&sent)), r#"{"did":"sent","at_ms":7}"#);
        for note in [note, nobody, sent] {
            assert_eq!(serde_json::from_slice::<StaffNote>(&write(&note)).expect("a note"), note);
        }
    }

    #[test]
    fn the_longest_note_fits_where_room_is_kept_for_it() {
        let (reason, by) = ("\"".repeat(STAFF_REASON_BYTES_MAX), "\\".repeat(STAFF_NAME_BYTES_MAX));
        let note = StaffReason::parse(&reason, &by).expect("a reason").note(Did::Confirmed, i64::MIN);
        let around = r#","staff":[]"#.len();
        assert!(write(&note).len() + around <= STAFF_NOTE_BYTES_MAX, "{}", write(&note).len());
    }

    #[test]
    fn a_reason_is_asked_for_and_bounded() {
        let long = "x".repeat(STAFF_REASON_BYTES_MAX + 1);
        for (reason, by, field) in [
            ("", "", "reason"),
            (" \u{a0} ", "joana", "reason"),
            (&long, "", "reason"),
            ("two\nlines", "", "reason"),
            ("fine", &long[..=STAFF_NAME_BYTES_MAX], "by"),
            ("fine", "\u{1b}[2J", "by"),
        ] {
            let error = StaffReason::parse(reason, by).expect_err(field);
            assert!(matches!(&error, Error::Invalid { field: at, .. } if at == field), "{error}");
        }
    }
}
