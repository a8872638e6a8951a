//! The record of the feed (`feed`): who keeps it, and how far.
//!
//! ```json
//! {"keeper":"…","renewed_ms":1764403200000,
//!  "groups":{"1":{"read":{"offset":1234,"index":7},"published":{"offset":1200,"index":5},"since":9,"first":17,"dropped_ms":1761811200000,"events":900,"bytes":240000}}}
//! ```
//!
//! One admin portal at a time is the keeper: it follows the feed, publishes it where there is a broker, counts it, and drops what is older than the shop
//! wants. The record is its lease: it writes it every few seconds, and another takes it over when log time, which the store stamps into it, has gone
//! on for [`LEASE_MS`] since.

use std::collections::BTreeMap;

use proto::store::Record;
use serde::{Deserialize, Serialize};
use store_client::Group;

use super::{read, write};
use crate::error::Error;
use crate::event_place::Place;

/// The key of the record.
pub const KEY: &[u8] = b"feed";
/// For how long a keeper is one without renewing, by log time.
pub const LEASE_MS: i64 = 15_000;
/// Where the record says when it was written.
pub const RENEWED: &str = "/renewed_ms";

/// `since` of a feed that is as old as the shop: no order was there when it was first kept.
pub const FROM_THE_BEGINNING: u64 = 1;

/// The record as stored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedRecord {
    /// The keeper, by an id that it made when it began.
    pub keeper: String,
    /// When it wrote this, milliseconds since 1970 by the log's time.
    pub renewed_ms: i64,
    /// What it has done, by group.
    pub groups: BTreeMap<Group, GroupFeed>,
}

/// How far the feed of a group is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupFeed {
    /// The last event that was read.
    pub read: Place,
    /// The last event that a broker has acknowledged.
    #[serde(default, skip_serializing_if = "is_nowhere")]
    pub published: Place,
    /// Since this offset each operation has left its event, since no portal of before was there any more; 0: that is not known yet.
    #[serde(default, skip_serializing_if = "is_no_offset")]
    pub since: u64,
    /// Events below this offset are kept no more.
    pub first: u64,
    /// The latest time of those that were dropped; `None`: none were, or by a program that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_ms: Option<i64>,
    /// How many are kept of those that were read.
    pub events: u64,
    /// And how many bytes: keys and records.
    pub bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_no_offset(offset: &u64) -> bool {
    *offset == 0
}

fn is_nowhere(place: &Place) -> bool {
    *place == Place::default()
}

impl FeedRecord {
    /// Reads the stored record; there may be none.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn read(record: Option<&Record>) -> Result<Option<FeedRecord>, Error> {
        record.map(|record| read(KEY, &record.data)).transpose()
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// The record of a shop of one group that is dealt out to several, each with the number and the bytes of its events that were read. Events
    /// keep their places, so that each group's feed stands where that of all stood.
    #[must_use]
    pub fn dealt(&self, from: Group, counted: &BTreeMap<Group, (u64, u64)>) -> FeedRecord {
        let all = self.groups.get(&from).copied().unwrap_or_default();
        let of = |(group, (events, bytes)): (&Group, &(u64, u64))| {
            (*group, GroupFeed { events: *events, bytes: *bytes, ..all })
        };
        FeedRecord { groups: counted.iter().map(of).collect(), ..self.clone() }
    }

    /// Events of a group below this offset are kept no more.
    #[must_use]
    pub fn first(&self, group: Group) -> u64 {
        self.groups.get(&group).map_or(0, |feed| feed.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_the_feed_is_stored_as_documented() {
        let (read, published) = (Place { offset: 1_234, index: 7 }, Place { offset: 1_200, index: 5 });
        let feed =
            GroupFeed { read, published, since: 9, first: 17, dropped_ms: None, events: 900, bytes: 240_000 };
        let of =
            |feed| FeedRecord { keeper: "k".to_owned(), renewed_ms: 5, groups: BTreeMap::from([(1, feed)]) };
        let record = of(feed);
        let text = concat!(
            r#"{"keeper":"k","renewed_ms":5,"#,
            r#""groups":{"1":{"read":{"offset":1234,"index":7},"published":{"offset":1200,"index":5},"#,
            r#""since":9,"first":17,"events":900,"bytes":240000}}}"#
        );
        assert_eq!(String::from_utf8_lossy(&record.to_bytes()), text);
        let stored = Record { data: text.to_owned().into(), ..Record::default() };
        assert_eq!(FeedRecord::read(Some(&stored)), Ok(Some(record)));
        let text = text.replace(r#""first":17,"#, r#""first":17,"dropped_ms":3,"#);
        let record = of(GroupFeed { dropped_ms: Some(3), ..feed });
        assert_eq!(String::from_utf8_lossy(&record.to_bytes()), text);
        assert_eq!(FeedRecord::read(None), Ok(None));
    }
}
