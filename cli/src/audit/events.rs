//! The events of the feed beside the orders that they are of: the law `change-has-event`. Pure.
//!
//! The version of each order, if it was made since every operation leaves its event and the event is kept, has its event: at its offset, with its id.

use std::collections::BTreeMap;

use portal::document::event::EventRecord;
use portal::document::feed::{FeedRecord, GroupFeed};
use portal::error::Error;
use portal::event_place::{placed, placed_early};
use proto::store::Record;
use store_client::Group;

use crate::verb::key::shown;

/// The events of one consistent view, and the orders that should have one.
#[derive(Debug, Default)]
pub struct Events {
    /// Orders by group and offset of their version, and ids that events have there; what is in both is in neither.
    unmatched: BTreeMap<(Group, u64, String), Side>,
    /// How far the feed of each group is kept; none: nobody has kept it yet.
    feeds: BTreeMap<Group, GroupFeed>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Order,
    Event,
}

impl Events {
    /// Enters an order of a group.
    pub fn expect(&mut self, group: Group, oid: &str, record: &Record) {
        self.meet(group, record.offset(), oid, Side::Order);
    }

    /// Enters an event of a group.
    ///
    /// # Errors
    /// It is damaged.
    pub fn enter(&mut self, group: Group, key: &[u8], record: &Record) -> Result<(), Error> {
        let event = EventRecord::read(key, &record.data)?;
        let place = placed(key).or_else(|| placed_early(key)).map(|(place, _)| place);
        let place =
            place.ok_or_else(|| Error::damaged(key, format!("the key {} is no event's", shown(key))))?;
        if let Some(oid) = event.oid {
            self.meet(group, place.offset, &oid, Side::Event);
        }
        Ok(())
    }

    /// Enters the record of the feed.
    ///
    /// # Errors
    /// It is damaged.
    pub fn keep(&mut self, record: &Record) -> Result<(), Error> {
        let record = FeedRecord::read(Some(record))?;
        self.feeds = record.map(|record| record.groups).unwrap_or_default();
        Ok(())
    }

    fn meet(&mut self, group: Group, offset: u64, oid: &str, side: Side) {
        let at = (group, offset, oid.to_owned());
        match self.unmatched.remove(&at) {
            Some(other) if other != side => {}
            _ => drop(self.unmatched.insert(at, side)),
        }
    }

    /// The first order without its event, in words. (Events without an order at their offset are of its earlier versions.)
    #[must_use]
    pub fn first_difference(&self) -> Option<String> {
        self.feeds.iter().find_map(|(group, feed)| self.first_difference_of(*group, feed))
    }

    fn first_difference_of(&self, group: Group, feed: &GroupFeed) -> Option<String> {
        if feed.since == 0 {
            return None;
        }
        let from = feed.first.max(feed.since + 1);
        let kept = (group, from, String::new())..(group + 1, 0, String::new());
        let mut lacking = self.unmatched.range(kept).filter(|(_, side)| **side == Side::Order);
        let ((_, offset, oid), _) = lacking.next()?;
        Some(format!("change-has-event: order {oid} was changed at offset {offset}, and no event says so"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use portal::event_place::Place;
    use proto::store::Position;

    use super::*;

    fn at(offset: u64, data: &str) -> Record {
        let position = Some(Position { epoch: 1, offset });
        Record { position, data: Bytes::copy_from_slice(data.as_bytes()), ..Record::default() }
    }

    fn event(events: &mut Events, offset: u64, oid: &str) {
        let data = format!(r#"{{"did":"created","portal":"p","at_ms":1,"oid":"{oid}"}}"#);
        let key = Place { offset, index: 3 }.key("ana");
        events.enter(1, &key, &at(offset, &data)).unwrap();
    }

    fn kept(events: &mut Events, since: u64, first: u64) {
        let text = format!(
            r#"{{"keeper":"k","renewed_ms":1,"groups":{{"1":{{"read":{{"offset":9,"index":0}},"since":{since},"first":{first},"events":1,"bytes":1}}}}}}"#
        );
        events.keep(&at(1, &text)).unwrap();
    }

    #[test]
    fn an_order_whose_last_change_no_event_tells_is_named() {
        let orders = |since, first| {
            let mut events = Events::default();
            events.expect(1, "a", &at(20, "{}"));
            event(&mut events, 20, "a");
            event(&mut events, 12, "a");
            events.expect(1, "b", &at(30, "{}"));
            event(&mut events, 30, "c");
            kept(&mut events, since, first);
            events.first_difference()
        };
        assert_eq!(
            orders(10, 0).as_deref(),
            Some("change-has-event: order b was changed at offset 30, and no event says so")
        );
        assert_eq!(orders(30, 0), None, "before every portal told of it");
        assert_eq!(orders(10, 31), None, "its event is kept no more");
        assert_eq!(orders(0, 0), None, "it is not known since when");
    }
}
