//! The events of a span of time, a page at a time: one group after the other, each from where the span begins in its log to where it ends.
//!
//! ```text
//!   group 1   ──────[from ══════════ page ══► to)──────      the cursor is a place of one group:
//!   group 2   ────[from ═══════════════ to)────────────      those before it are done, those behind it are to come
//! ```
//!
//! Log time does not fall within a log, so that where the span begins is found by halving, in some dozens of looks at single events.
//! Events of before the store stamped them have their portals' times: those that are wrong by more than [`SLACK_MS`] may be passed over.
//!
//! Promises: an event of the span is on one page, once. Events of the span that were dropped are an error, on whichever page, and never passed over.
//! Since when events are complete is told ([`Spanned::since_ms`]).
//!
//! Leaves out: what is added up from them.

use std::ops::Range;

use futures::future::try_join_all;
use proto::portal::Event;
use store_client::Group;

use super::{Part, is_damaged};
use crate::document::event::EventRecord;
use crate::document::feed::{FROM_THE_BEGINNING, FeedRecord, GroupFeed, KEY};
use crate::error::Error;
use crate::event_place::{self, Cursor, Place};
use crate::handle::Portal;

/// So far before the span and behind it events are looked at.
const SLACK_MS: i64 = 3_600_000;

/// A page of a span.
#[derive(Clone, Debug)]
pub struct Spanned {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins; empty: this was the last.
    pub next: String,
    /// Of the first page: what was done in the span before this may have left no event; 0: there is none such.
    pub since_ms: i64,
}

impl Portal {
    /// The next page of the events of a span of log time, which looks at no more than `limit` of them.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the cursor; FEED_TRIMMED: events of the span are kept no more; UNAVAILABLE, also while events are put in order.
    pub async fn events_between(&self, span: &Range<i64>, after: &str, limit: u32) -> Result<Spanned, Error> {
        let groups = self.store().groups();
        let (at, place) = match Cursor::parse(after, &groups)?.only() {
            Some((group, place)) => (groups.iter().position(|one| *one == group).unwrap_or(0), place),
            None if after.is_empty() => (0, self.beginning(groups[0], span.start).await?),
            None => {
                return Err(Error::invalid(
                    "after",
                    "is no cursor of sales; send what was answered, or nothing",
                ));
            }
        };
        let part = self.feed_part(groups[at], Some(place), limit).await?;
        // Looked at after the events themselves: what was there then was not dropped before.
        let feed = FeedRecord::read(self.read_through(&KEY.into()).await?.record.as_ref())?;
        self.is_kept(span, feed.as_ref()).await?;
        let since_ms = if after.is_empty() { self.complete_since(span, feed.as_ref()).await? } else { 0 };
        let Part { group, events, last, more, .. } = part;
        let is_over = events.iter().any(|(_, event, _)| event.at_ms >= span.end.saturating_add(SLACK_MS));
        let next = match (last, groups.get(at + 1)) {
            (Some(last), _) if more && !is_over => cursor(group, last),
            (_, Some(next)) => cursor(*next, self.beginning(*next, span.start).await?),
            (_, None) => String::new(),
        };
        // A damaged one has no time: who adds up is told of it.
        let is_in = |event: &Event| is_damaged(event) || span.contains(&event.at_ms);
        let events = events.into_iter().map(|(_, event, _)| event).filter(is_in).collect();
        Ok(Spanned { events, next, since_ms })
    }

    /// Behind what lies before a moment in the log of a group.
    async fn beginning(&self, group: Group, from_ms: i64) -> Result<Place, Error> {
        let from_ms = from_ms.saturating_sub(SLACK_MS);
        // What lies at or before `low` is earlier, what lies behind `high` is not.
        let end = self.scan_of(group, &event_place::all(), 1, |_| true).await?;
        let end = end.applied.iter().find(|(one, _)| *one == group).map_or(0, |(_, at)| at.offset);
        let (mut low, mut high) = (0, end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_behind(group, Place::behind(middle)).await? {
                Some((place, at_ms)) if at_ms < from_ms => low = place.offset.max(middle + 1).min(high),
                _ => high = middle,
            }
        }
        Ok(Place::behind(low))
    }

    /// The first event behind a place, with its time; of a damaged one its portal's.
    async fn first_behind(&self, group: Group, place: Place) -> Result<Option<(Place, i64)>, Error> {
        let is_event = |key: &[u8]| event_place::placed(key).is_some();
        let page = self.scan_of(group, &place.rest(), 1, is_event).await?;
        let first = page.records.iter().find_map(|one| {
            let (place, _) = event_place::placed(&one.key)?;
            let record = one.record.as_ref()?;
            let read = EventRecord::read(&one.key, &record.data);
            Some((place, read.map_or(record.timestamp_ms, |event| event.at_ms)))
        });
        Ok(first)
    }

    /// Whether no event of the span was dropped.
    async fn is_kept(&self, span: &Range<i64>, feed: Option<&FeedRecord>) -> Result<(), Error> {
        let Some(feed) = feed else { return Ok(()) };
        let mut kept_ms = i64::MIN;
        for (group, of_group) in &feed.groups {
            kept_ms = kept_ms.max(self.kept_since(*group, of_group).await?);
        }
        if kept_ms <= span.start {
            return Ok(());
        }
        let mut oldest = Cursor::default();
        for group in self.store().groups() {
            oldest.saw(group, Place::behind(feed.first(group).saturating_sub(1)));
        }
        Err(Error::FeedTrimmed { oldest: oldest.to_string(), kept_ms })
    }

    /// From when on all events of a group are kept that it ever had.
    async fn kept_since(&self, group: Group, feed: &GroupFeed) -> Result<i64, Error> {
        match (feed.first, feed.dropped_ms) {
            (0, _) => Ok(i64::MIN),
            (_, Some(dropped_ms)) => Ok(dropped_ms.saturating_add(1)),
            // Dropped by a program that did not note when they were: what is older than the oldest may be gone.
            (first, None) => {
                let oldest = self.first_behind(group, Place::behind(first - 1)).await?;
                Ok(oldest.map_or_else(|| self.log_time_ms(), |(_, at_ms)| at_ms))
            }
        }
    }

    /// From when on each operation has left its event, if that is after the beginning of the span; else 0.
    async fn complete_since(&self, span: &Range<i64>, feed: Option<&FeedRecord>) -> Result<i64, Error> {
        let of_group = async |group: Group| -> Result<i64, Error> {
            let feed = feed.and_then(|feed| feed.groups.get(&group).copied()).unwrap_or_default();
            match feed.since {
                FROM_THE_BEGINNING => Ok(0),
                0 => Ok(self.log_time_ms()),
                // It is kept since a moment before the span.
                since if feed.first > since => Ok(0),
                since => {
                    let first = self.first_behind(group, Place::behind(since)).await?;
                    Ok(first.map_or_else(|| self.log_time_ms(), |(_, at_ms)| at_ms))
                }
            }
        };
        let all = try_join_all(self.store().groups().into_iter().map(of_group)).await?;
        let since_ms = all.into_iter().max().unwrap_or_default().min(span.end);
        Ok(if since_ms > span.start { since_ms } else { 0 })
    }
}

fn cursor(group: Group, place: Place) -> String {
    let mut cursor = Cursor::default();
    cursor.saw(group, place);
    cursor.to_string()
}
