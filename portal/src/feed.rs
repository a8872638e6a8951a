//! The feed: what was done in the shop, one event an operation, in the order of each group's log.
//!
//! ```text
//!   an operation's transaction ──► f/OFFSET.INDEX/{CID or PID}        (`document::event`)
//!   Portal::events: from a cursor on ◄── scans of each group          a page, or a wait for one
//!   keeper: one admin portal at a time ──► the broker; old events go  (`keeper`)
//! ```
//!
//! Promises: a reader that goes on from each answer's cursor is given every event that is kept, once a cursor, in the order of its group's
//! log, hence those of one client or product in the order in which they happened. If what follows his cursor is kept no more, he is told, and never given
//! the rest as if it were all; a group that was empty when he began is no exception, since his cursor has a place in every group from the first answer on. One damaged event keeps nobody from the next: it is told as such. Events exist exactly where their operations were done: they are part of the same transaction.
//!
//! Leaves out: what is in an event ([`crate::document::event`]).

pub mod keeper;
mod publisher;
pub mod reader;
mod shown;
pub mod span;

pub use shown::is_damaged;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use prost::Message as _;
use proto::portal::{Event, ListEventsResponse};
use proto::store::Freshness;
use store_client::{Group, Page, Range};
use store_core::mutant;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use crate::document::event::EventRecord;
use crate::document::feed::{FeedRecord, KEY};
use crate::error::Error;
use crate::event_place::{self, Cursor, NOW, Place};
use crate::handle::Portal;
use crate::limits::{FEED_READERS_MAX, FILTERED_PAGES_MAX, PAGE_DEFAULT, PAGE_MAX};

/// Between two looks of somebody who waits for an event.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of a page of events over all groups, beyond its first: callers decode 4 MiB.
const PAGE_BYTES: usize = 2 << 20;

/// Which events are wanted; empty: all.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this client and its orders.
    pub cid: String,
    /// Of this product, and of orders with a line of it.
    pub pid: String,
    /// Of this order.
    pub oid: String,
}

impl Wanted {
    fn is_all(&self) -> bool {
        self.cid.is_empty() && self.pid.is_empty() && self.oid.is_empty()
    }

    fn takes(&self, event: &Event) -> bool {
        let is = |wanted: &str, kind: &str| wanted == event.id && event.kind == kind;
        let has_line = || event.lines.iter().any(|line| line.pid == self.pid);
        (self.cid.is_empty() || is(&self.cid, "client") || self.cid == event.cid)
            && (self.pid.is_empty() || is(&self.pid, "product") || has_line() || event.lines_left_out)
            && (self.oid.is_empty() || is(&self.oid, "order"))
    }
}

/// A part of one group's feed.
pub(crate) struct Part {
    pub(crate) group: Group,
    /// Each with the bytes of its key and record.
    pub(crate) events: Vec<(Place, Event, u64)>,
    /// The last place that was looked at; `None`: there was nothing.
    pub(crate) last: Option<Place>,
    /// How far the group's log was applied.
    pub(crate) applied: u64,
    pub(crate) more: bool,
}

impl Portal {
    /// Where a reader begins who sends this; `now`: behind what is there.
    ///
    /// # Errors
    /// INVALID_ARGUMENT; UNAVAILABLE.
    pub async fn feed_cursor(&self, after: &str) -> Result<Cursor, Error> {
        if after == NOW { self.feed_end().await } else { Cursor::parse(after, &self.store().groups()) }
    }

    /// Events behind a cursor, at most `limit` (0: the usual page) of each group's log. If none is there, one is waited for.
    ///
    /// # Errors
    /// FAILED_PRECONDITION: what follows is kept no more; UNAVAILABLE, also while events are put in order; an event is damaged.
    pub async fn events(
        &self,
        after: &Cursor,
        limit: u32,
        wait: Duration,
        wanted: &Wanted,
    ) -> Result<ListEventsResponse, Error> {
        if limit > PAGE_MAX {
            return Err(Error::invalid("limit", format!("{limit} is more than {PAGE_MAX}")));
        }
        let limit = if limit == 0 { PAGE_DEFAULT } else { limit };
        // Whoever waits looks again and again.
        let _place = if wait.is_zero() { None } else { Some(self.reader_place()?) };
        self.events_within(after, limit, wait, wanted).await
    }

    /// The same, of somebody who has a place.
    async fn events_within(
        &self,
        after: &Cursor,
        limit: u32,
        wait: Duration,
        wanted: &Wanted,
    ) -> Result<ListEventsResponse, Error> {
        let (began, mut cursor) = (Instant::now(), after.clone());
        let mut pages = 0;
        loop {
            let (events, more) = self.events_now(&mut cursor, limit, wanted, pages == 0).await?;
            pages += 1;
            let is_over = if more { pages >= FILTERED_PAGES_MAX } else { began.elapsed() >= wait };
            if !events.is_empty() || is_over {
                return Ok(ListEventsResponse { events, next: cursor.to_string(), more });
            }
            if !more {
                sleep(LOOK).await;
            }
        }
    }

    /// One of the places of those to whom events are told as they come.
    fn reader_place(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.shared.feed_readers).try_acquire_owned().map_err(|_| {
            let why = format!(
                "as many readers of events as a portal has ({FEED_READERS_MAX}) are there; ask another portal"
            );
            Error::Overloaded { why, own: false }
        })
    }

    /// One look at each group: what is wanted of it, and whether there is more. The cursor goes behind what was looked at; that of each event
    /// is where a reader goes on who has worked off the page so far.
    async fn events_now(
        &self,
        cursor: &mut Cursor,
        limit: u32,
        wanted: &Wanted,
        is_first: bool,
    ) -> Result<(Vec<Event>, bool), Error> {
        // What a filter passes over costs little: it is looked at in large pages.
        let page = if wanted.is_all() { limit } else { PAGE_MAX };
        // Looked at before the events: what is dropped later is missed by nobody who begins now.
        let firsts = self.firsts_unseen(cursor).await?;
        let of_group = |group| self.feed_part(group, cursor.of(group), page);
        let parts = try_join_all(self.store().groups().into_iter().map(of_group)).await?;
        not_ahead(cursor, &parts)?;
        if is_first || parts.iter().any(|part| !part.events.is_empty()) {
            self.still_kept(cursor, &parts).await?;
        }
        for (part, first) in parts.iter().filter_map(|part| Some((part, firsts.get(&part.group)?))) {
            // From now on he has a place in each group, so that he misses nothing of one that was empty.
            let first = part.events.first().map_or(*first, |(place, ..)| place.offset);
            cursor.saw(part.group, Place::behind(first.saturating_sub(1)));
        }
        let (mut more, mut end, mut events) = (false, cursor.clone(), Vec::new());
        for Part { group, events: of_group, last, more: has_more, .. } in parts {
            let taken = of_group.into_iter().filter(|(_, event, _)| wanted.takes(event));
            let mut taken: Vec<(Place, Event)> = taken.map(|(place, event, _)| (place, event)).collect();
            let is_cut = taken.len() > limit as usize;
            taken.truncate(limit as usize);
            let seen = if is_cut { taken.last().map(|(place, _)| *place) } else { last };
            if let Some(seen) = seen {
                end.saw(group, seen);
            }
            more |= has_more || is_cut;
            // Before the store stamped events their times were their portals', and could fall.
            let mut latest_ms = i64::MIN;
            for (place, event) in taken {
                latest_ms = latest_ms.max(event.at_ms);
                events.push((latest_ms, place, event));
            }
        }
        // By time over the groups. Stable: those of a group stay in the order of its log.
        events.sort_by_key(|(latest_ms, ..)| *latest_ms);
        let (mut page, mut bytes) = (Vec::with_capacity(events.len()), 0);
        for (_, place, mut event) in events {
            bytes += event.encoded_len();
            if bytes > PAGE_BYTES && !page.is_empty() {
                // The cursor is that of the last one.
                return Ok((page, true));
            }
            cursor.saw(event.group, place);
            event.cursor = cursor.to_string();
            page.push(event);
        }
        *cursor = end;
        Ok((page, more))
    }

    /// The events of a group behind a place.
    pub(crate) async fn feed_part(
        &self,
        group: Group,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Part, Error> {
        let range = after.map_or_else(event_place::all, Place::rest);
        let is_event = |key: &[u8]| event_place::placed(key).is_some();
        let mut page = self.scan_of(group, &range, limit, is_event).await?;
        if !page.records.is_empty() && self.comes_to_order(group).await? {
            // What was early may have been moved after the page was read.
            page = self.scan_of(group, &range, limit, is_event).await?;
        }
        let (mut events, mut last) = (Vec::with_capacity(page.records.len()), None);
        for one in &page.records {
            let Some(record) = &one.record else { continue };
            // No portal writes such a key, and it has no place to be told at.
            let Some((place, id)) = event_place::placed(&one.key) else { continue };
            let id = proto::keys::decode_id(id).unwrap_or_else(|_| id.to_owned());
            let event = match EventRecord::read(&one.key, &record.data) {
                Ok(event) => shown::shown(group, place, &id, event),
                Err(error) => shown::damaged(group, place, &one.key, &error),
            };
            let bytes = one.key.len() + record.data.len();
            events.push((place, event, bytes as u64));
            last = Some(place);
        }
        let applied = page.applied.iter().find(|(of, _)| *of == group).map_or(u64::MAX, |(_, at)| at.offset);
        Ok(Part { group, events, last, applied, more: page.next.is_some() })
    }

    /// A page of a group's records; of pages without anything usable the next.
    async fn scan_of(
        &self,
        group: Group,
        range: &Range,
        limit: u32,
        is_usable: impl Fn(&[u8]) -> bool,
    ) -> Result<Page, Error> {
        let mut after = None;
        loop {
            let scan = self.store().scan_group(group, range.clone(), limit, after, Freshness::linearizable());
            let page = scan.await?;
            let has_some = page.records.iter().any(|one| is_usable(&one.key));
            match &page.next {
                Some(next) if !has_some => after = Some(next.clone()),
                _ => return Ok(page),
            }
        }
    }

    /// Where there are events in their places, all members place them: no more come early. Those that came before must have been moved. True:
    /// that was not known before.
    async fn comes_to_order(&self, group: Group) -> Result<bool, Error> {
        let known = &self.shared.feeds_in_order;
        if known.lock().contains(&group) {
            return Ok(false);
        }
        // What is no event's key stands in nobody's way.
        let is_event = |key: &[u8]| event_place::placed_early(key).is_some();
        let early = self.scan_of(group, &event_place::early(), PAGE_DEFAULT, is_event).await?;
        if early.records.iter().any(|one| is_event(&one.key)) && !mutant!(EarlyPassedOver) {
            return Err(Error::NotListed);
        }
        known.lock().insert(group);
        Ok(true)
    }

    /// Of each group in which a reader has no place yet, the offset from which on its events are kept.
    async fn firsts_unseen(&self, cursor: &Cursor) -> Result<BTreeMap<Group, u64>, Error> {
        let groups = self.store().groups().into_iter().filter(|group| cursor.of(*group).is_none());
        let groups: Vec<Group> = groups.collect();
        if groups.is_empty() {
            return Ok(BTreeMap::new());
        }
        let feed = FeedRecord::read(self.read_through(&KEY.into()).await?.record.as_ref())?;
        let first = |group| feed.as_ref().map_or(0, |feed| feed.first(group));
        Ok(groups.into_iter().map(|group| (group, first(group))).collect())
    }

    /// Looked at after the events themselves: what was there then was not dropped before.
    async fn still_kept(&self, cursor: &Cursor, parts: &[Part]) -> Result<(), Error> {
        if parts.iter().all(|part| cursor.of(part.group).is_none()) {
            return Ok(());
        }
        let Some(feed) = FeedRecord::read(self.read_through(&KEY.into()).await?.record.as_ref())? else {
            return Ok(());
        };
        let is_gone = |part: &&Part| {
            cursor.of(part.group).is_some_and(|seen| seen.offset.saturating_add(1) < feed.first(part.group))
        };
        if parts.iter().find(is_gone).is_none() {
            return Ok(());
        }
        let mut oldest = cursor.clone();
        for part in parts {
            oldest.saw(part.group, Place::behind(feed.first(part.group).saturating_sub(1)));
        }
        Err(Error::FeedTrimmed { oldest: oldest.to_string(), kept_ms: 0 })
    }

    /// Behind everything that was done before this was asked.
    pub(crate) async fn feed_end(&self) -> Result<Cursor, Error> {
        let mut cursor = Cursor::default();
        for group in self.store().groups() {
            let page = self.scan_of(group, &event_place::all(), 1, |_| true).await?;
            for (group, applied) in &page.applied {
                cursor.saw(*group, Place::behind(applied.offset));
            }
        }
        Ok(cursor)
    }
}

/// Refuses a cursor from which events that are still to come would be passed over.
fn not_ahead(cursor: &Cursor, parts: &[Part]) -> Result<(), Error> {
    let is_ahead = |part: &Part| cursor.of(part.group).is_some_and(|seen| seen.offset > part.applied);
    if !parts.iter().any(is_ahead) {
        return Ok(());
    }
    let message = "is ahead of all that was done here: it is a cursor of another shop, or of this one before it was restored from a \
                   backup; begin at the beginning (without a cursor) or at the end (now)";
    Err(Error::invalid("after", message))
}
