//! The place of an event in the feed, and the cursor of a reader: `f/OFFSET.INDEX/{CID or PID}`.
//!
//! OFFSET is the entry's offset in the log of its group, 16 hexadecimal digits, INDEX the operation's in its transaction, 4: the store puts them
//! into the key when it appends the record. So the events of a group lie in the order of its log, whomever they are of, and each with the records of
//! its client or product, in one group.
//!
//! While a member of the store runs a program of before, an event is appended under `f//{CID or PID}OFFSET.INDEX`: it is *early*, and is moved to its place
//! once all members place them ([`crate::feed::keeper`]).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store_client::{Group, Range};

use crate::document::event::KEYS;
use crate::error::Error;

/// What the keys of early events begin with.
const EARLY: &[u8] = b"f//";
/// The first key after all events.
const END: &[u8] = b"f0";
/// The first key of an event in its place.
const BEGIN: &[u8] = b"f/0";
/// The word for where the feed ends now.
pub const NOW: &str = "now";

/// The place of an event in the log of its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The entry's offset.
    pub offset: u64,
    /// The operation's index in its transaction.
    pub index: u32,
}

impl Place {
    /// Behind everything up to this offset.
    #[must_use]
    pub const fn behind(offset: u64) -> Place {
        Place { offset, index: 0xffff }
    }

    fn text(self) -> String {
        format!("{:016x}.{:04x}", self.offset, self.index)
    }

    fn parse(text: &str) -> Option<Place> {
        let (offset, index) = text.split_once('.')?;
        let place = Place {
            offset: u64::from_str_radix(offset, 16).ok()?,
            index: u32::from_str_radix(index, 16).ok()?,
        };
        (place.text() == text).then_some(place)
    }

    /// The key of an event of the id that is encoded so.
    #[must_use]
    pub fn key(self, encoded_id: &str) -> Bytes {
        Bytes::from(format!("f/{}/{{{encoded_id}}}", self.text()))
    }

    /// The keys of the events behind this place.
    #[must_use]
    pub fn rest(self) -> Range {
        // The byte after the slash that follows the place.
        Range::Between(Bytes::from(format!("f/{}0", self.text())), Bytes::from_static(END))
    }

    /// The keys of the events up to this place.
    #[must_use]
    pub fn up_to(self) -> Range {
        Range::Between(Bytes::from_static(BEGIN), Bytes::from(format!("f/{}0", self.text())))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.offset, self.index)
    }
}

/// The keys of all events that are in their places.
#[must_use]
pub fn all() -> Range {
    Range::Between(Bytes::from_static(BEGIN), Bytes::from_static(END))
}

/// The keys of early events.
#[must_use]
pub fn early() -> Range {
    Range::Prefix(Bytes::from_static(EARLY))
}

/// The place and the id, as it stands in the key; `None`: it is no key of an event in its place.
#[must_use]
pub fn placed(key: &[u8]) -> Option<(Place, &str)> {
    let (place, id) = std::str::from_utf8(key.strip_prefix(KEYS)?).ok()?.split_once('/')?;
    Some((Place::parse(place)?, id.strip_prefix('{')?.strip_suffix('}')?))
}

/// The same of an early event.
#[must_use]
pub fn placed_early(key: &[u8]) -> Option<(Place, &str)> {
    let (id, place) =
        std::str::from_utf8(key.strip_prefix(EARLY)?).ok()?.strip_prefix('{')?.split_once('}')?;
    Some((Place::parse(place)?, id))
}

/// Where a reader of the feed stands: the last place that it has seen, of each group. A group that is not in it is read from the oldest event on that is
/// kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cursor(BTreeMap<Group, Place>);

impl Cursor {
    /// Reads what a caller sends: `GROUP:OFFSET.INDEX`, several with commas between them; nothing: the beginning.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it is no such text, or names a group that is not there.
    pub fn parse(text: &str, groups: &[Group]) -> Result<Cursor, Error> {
        let place = |part: &str| -> Option<(Group, Place)> {
            let (group, place) = part.split_once(':')?;
            let (offset, index) = place.split_once('.')?;
            let place = Place { offset: offset.parse().ok()?, index: index.parse().ok()? };
            (place.index <= 0xffff).then_some((group.parse().ok()?, place))
        };
        let mut cursor = Cursor::default();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (group, place) =
                place(part).filter(|(group, _)| groups.contains(group)).ok_or_else(|| {
                    Error::invalid("after", "is no cursor of this feed; send what was answered, or nothing")
                })?;
            cursor.0.insert(group, place);
        }
        Ok(cursor)
    }

    /// The last place of a group that was seen.
    #[must_use]
    pub fn of(&self, group: Group) -> Option<Place> {
        self.0.get(&group).copied()
    }

    /// The group and the place of a cursor of one group; `None`: it is of none, or of several.
    #[must_use]
    pub fn only(&self) -> Option<(Group, Place)> {
        let mut all = self.0.iter();
        all.next().filter(|_| all.next().is_none()).map(|(group, place)| (*group, *place))
    }

    /// Everything up to this place of a group was seen.
    pub fn saw(&mut self, group: Group, place: Place) {
        let seen = self.0.entry(group).or_default();
        *seen = place.max(*seen);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(|(group, place)| format!("{group}:{place}")).collect();
        f.write_str(&each.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_event_gives_its_place_and_its_id_back() {
        let place = Place { offset: 1_234, index: 7 };
        let key = place.key("ana");
        assert_eq!(key, "f/00000000000004d2.0007/{ana}");
        assert_eq!(placed(&key), Some((place, "ana")));
        assert_eq!(placed_early(b"f//{ana}00000000000004d2.0007"), Some((place, "ana")));
        for no in
            ["f/4d2.0007/{ana}", "f/00000000000004d2.0007/ana", "f//{ana}00000000000004d2.0007", "f/", "g/x"]
        {
            assert_eq!(placed(no.as_bytes()), None, "{no}");
        }
    }

    #[test]
    fn what_is_behind_a_place_begins_after_all_of_its_keys() {
        let place = Place { offset: 16, index: 2 };
        let Range::Between(from, to) = place.rest() else { panic!("a range") };
        let is_behind = |key: Bytes| from <= key && key < to;
        for id in ["", "zzz", "\u{10ffff}"] {
            assert!(!is_behind(place.key(id)), "{id}");
        }
        for next in [Place { offset: 16, index: 3 }, Place { offset: 17, index: 0 }, Place::behind(u64::MAX)]
        {
            assert!(is_behind(next.key("a")), "{next}");
        }
    }

    #[test]
    fn a_cursor_is_read_back_and_nonsense_refused() {
        let groups = [1, 9];
        let cursor = Cursor::parse("1:5.2,9:7.65535", &groups).expect("a cursor");
        assert_eq!(cursor.to_string(), "1:5.2,9:7.65535");
        assert_eq!(Cursor::parse("", &groups), Ok(Cursor::default()));
        for bad in ["1", "1:5", "1:5.65536", "2:5.1", "1:5.1,", "x:5.1", "1:-5.1", "now"] {
            assert!(matches!(Cursor::parse(bad, &groups), Err(Error::Invalid { .. })), "{bad}");
        }
    }
}
