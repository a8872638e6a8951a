//! The keeper of the feed: one admin portal at a time, by a lease that is a record of the store ([`crate::document::feed`]).
//!
//! ```text
//!   early events ──► their places                          (an upgrade is over)
//!   events behind `published` ──► the broker ──► it goes on  (at least once, none skipped)
//!   events behind `read` ──► counted ──► it goes on
//!   events older than the shop wants, or beyond the bytes that the feed may take ──► dropped, `first` goes on
//! ```
//!
//! Promises: `published` is written after the broker has acknowledged what it names, so that whoever takes over repeats and never skips. What is dropped
//! before a broker could be told of it, or is too large for it, shows as a gap there. An event is
//! dropped only when the log's own time says that it is old enough, or the feed is beyond its bytes, the oldest first, after it was read, in one
//! transaction with `first`: a reader is told. Two that both think that they keep the feed harm nothing: each change guards the version of the
//! record, and what both publish is the same.
//!
//! Every portal of staff runs it; all but one wait for the lease to end. A clock decides nothing: that the lease is over is a guard on log time.

use std::sync::Arc;
use std::time::Duration;

use proto::store::{Txn, TxnResponse};
use store_client::{Group, Range};
use tokio::time::{Instant, sleep};

use super::publisher::Publisher;
use crate::attempt::send_step;
use crate::config::Bus;
use crate::document::event::EventRecord;
use crate::document::feed::{FROM_THE_BEGINNING, FeedRecord, GroupFeed, KEY, LEASE_MS, RENEWED};
use crate::error::Error;
use crate::event_place::{self, Place};
use crate::handle::Portal;
use crate::key;
use crate::limits::{FEED_BYTES_MAX, FEED_DROPPED_MAX, PAGE_MAX};

/// Between two looks at a feed that had nothing new: doubled each time, up to the second.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// Between two looks at a feed whose news were all seen: what comes meanwhile is read and published together.
const GATHER: Duration = Duration::from_millis(25);
/// Between two tries to become the keeper, about.
const WAIT: Duration = Duration::from_secs(3);
/// The lease is renewed when it is this old, though nothing was done.
const RENEW: Duration = Duration::from_secs(5);
/// What was read is written down when it is this old.
const WRITE: Duration = Duration::from_secs(1);
/// A keeper that could not renew for so long is none any more. Log time may go twice as fast as time.
const GIVE_UP: Duration = Duration::from_secs(6);
/// Between two looks for events that are too old.
const DROP: Duration = Duration::from_secs(10);
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// After this no portal of an earlier program serves any more: it has seen the shop's record, which was raised before (a look, and the longest cache
/// lease that can be configured).
const SETTLED: Duration = Duration::from_secs(65);
/// Nothing more is published when the lease is this old, before it is renewed.
const PUBLISH: Duration = Duration::from_secs(2);
/// Early events that are moved at a time.
const EARLY_PAGE: u32 = 200;
/// Their bytes, about.
const EARLY_BYTES: usize = 256 << 10;

const _: () = assert!(2 * GIVE_UP.as_millis() < LEASE_MS as u128);

/// Keeps the feed, or waits to be its keeper, until dropped. `bus`: the broker, if there is one.
pub async fn run(portal: Arc<Portal>, bus: Option<Bus>) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let (mut told, mut watched) = (None, Watched::default());
    loop {
        let ended = match acquire(&portal, &id, &mut watched).await {
            Ok(Some((record, offset))) => {
                tracing::info!("this portal keeps the feed of events");
                let publisher = bus.as_ref().map(Publisher::new);
                keep(&portal, Kept::new(record, offset), publisher).await
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let problem = ended.err();
        if problem != told {
            match &problem {
                Some(error) => tracing::warn!(%error, "the feed of events cannot be kept for now"),
                None => tracing::info!("the feed of events is kept again"),
            }
            told = problem;
        }
        sleep(WAIT.mul_f64(fastrand::f64() + 0.5)).await;
    }
}

/// A version of the record that stays, and since when.
#[derive(Default)]
struct Watched(Option<(u64, Instant)>);

impl Watched {
    /// Whether this version has been there for the time of a lease. The guard on log time says whether that is so.
    fn is_old(&mut self, offset: u64) -> bool {
        let since = self.0.filter(|(seen, _)| *seen == offset).map_or_else(Instant::now, |(_, since)| since);
        self.0 = Some((offset, since));
        since.elapsed().as_millis() >= u128::from(LEASE_MS.unsigned_abs())
    }
}

/// Takes the lease if nobody has it. `None`: somebody does, or was first.
async fn acquire(
    portal: &Portal,
    id: &str,
    watched: &mut Watched,
) -> Result<Option<(FeedRecord, u64)>, Error> {
    let record = portal.read_through(&KEY.into()).await?.record;
    let stored = FeedRecord::read(record.as_ref())?;
    let txn = match (&record, &stored) {
        (Some(record), _) if !watched.is_old(record.offset()) => return Ok(None),
        (Some(record), Some(stored)) => Txn::new()
            .guard_offset(KEY, record.offset())
            .guard_not_before(KEY, stored.renewed_ms.saturating_add(LEASE_MS)),
        _ => Txn::new().guard_absent(KEY),
    };
    let first = match stored {
        Some(stored) => stored,
        None => begun(portal).await?,
    };
    let mine = FeedRecord { keeper: id.to_owned(), ..first };
    let answer = send_step(portal, put(txn, portal, &mine)).await?;
    Ok(answer.success.then(|| (mine, answer.offset())))
}

/// The record of a feed that nobody has kept before: where there are no orders yet, each will have left its events.
async fn begun(portal: &Portal) -> Result<FeedRecord, Error> {
    let mut record = FeedRecord::default();
    for group in portal.store().groups() {
        let orders = portal.scan_of(group, &Range::Prefix(key::orders()), 1, |_| true).await?;
        if orders.records.is_empty() {
            record.groups.insert(group, GroupFeed { since: FROM_THE_BEGINNING, ..GroupFeed::default() });
        }
    }
    Ok(record)
}

fn put(txn: Txn, portal: &Portal, record: &FeedRecord) -> Txn {
    let now_ms = portal.log_time_ms();
    let record = FeedRecord { renewed_ms: now_ms, ..record.clone() };
    txn.put(KEY, now_ms, record.to_bytes()).stamped(&[RENEWED])
}

/// What a keeper knows.
struct Kept {
    record: FeedRecord,
    /// The version of the record; it is this keeper's for as long as it is that.
    offset: u64,
    /// The record says less than was done.
    is_behind: bool,
    /// When it was written last.
    written: Instant,
    /// When this keeper began.
    began: Instant,
    /// When events were last looked through for old ones; `None`: not yet.
    dropped: Option<Instant>,
}

impl Kept {
    fn new(record: FeedRecord, offset: u64) -> Kept {
        let now = Instant::now();
        Kept { record, offset, is_behind: false, written: now, began: now, dropped: None }
    }

    fn of(&mut self, group: Group) -> &mut GroupFeed {
        self.record.groups.entry(group).or_default()
    }

    /// Since now each operation leaves its event, if that was not known before.
    async fn settle(&mut self, portal: &Portal) -> Result<(), Error> {
        let groups = portal.store().groups();
        if groups.iter().all(|group| self.record.groups.get(group).is_some_and(|feed| feed.since > 0)) {
            return Ok(());
        }
        let end = portal.feed_end().await?;
        for group in groups {
            let since = end.of(group).map_or(0, |place| place.offset);
            let feed = self.of(group);
            if feed.since == 0 {
                feed.since = since;
                self.is_behind = true;
            }
        }
        Ok(())
    }

    /// Writes the record, with what else is done in the same transaction.
    async fn write(&mut self, portal: &Portal, more: impl FnOnce(Txn) -> Txn) -> Result<Written, Error> {
        let began = Instant::now();
        let txn = Txn::new().guard_offset(KEY, self.offset);
        let answer: TxnResponse = send_step(portal, more(put(txn, portal, &self.record))).await?;
        if answer.success {
            (self.offset, self.is_behind, self.written) = (answer.offset(), false, began);
            return Ok(Written::Done);
        }
        // It may be too early by the log's time; or the write before this one was done, and its answer lost.
        let record = portal.read_through(&KEY.into()).await?.record;
        match (FeedRecord::read(record.as_ref())?, record) {
            (Some(stored), Some(record)) if stored.keeper == self.record.keeper => {
                (self.offset, self.record) = (record.offset(), stored);
                Ok(Written::NotDone)
            }
            _ => Ok(Written::NotTheKeeper),
        }
    }
}

/// What came of a write of the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    /// It was done.
    Done,
    /// It was not, and the record is still this keeper's, who goes on from what it says.
    NotDone,
    /// Another is the keeper.
    NotTheKeeper,
}

/// Keeps the feed until another does. What fails is tried again for as long as the lease may be this keeper's.
async fn keep(portal: &Portal, mut kept: Kept, mut publisher: Option<Publisher>) -> Result<(), Error> {
    let mut pause = LOOK.0;
    loop {
        match round(portal, &mut kept, publisher.as_mut()).await {
            Ok(Round::NotTheKeeper) => return Ok(()),
            Ok(Round::Found { more }) => {
                pause = LOOK.0;
                if !more {
                    sleep(GATHER).await;
                }
            }
            Err(error) if kept.written.elapsed() > GIVE_UP => return Err(error),
            Ok(Round::Nothing) | Err(_) => {
                sleep(pause).await;
                pause = (2 * pause).min(LOOK.1);
            }
        }
        if kept.written.elapsed() > GIVE_UP {
            return Err(Error::away("the lease of the feed could not be renewed in time"));
        }
    }
}

/// What came of one round.
enum Round {
    /// There was something to be done; perhaps there is more.
    Found { more: bool },
    /// There was not.
    Nothing,
    /// Another is the keeper.
    NotTheKeeper,
}

async fn round(
    portal: &Portal,
    kept: &mut Kept,
    mut publisher: Option<&mut Publisher>,
) -> Result<Round, Error> {
    // A later program's events are not this one's to tell or to drop.
    portal.may_serve(true).await?;
    let (mut found, mut more) = (false, false);
    let groups = portal.store().groups();
    for group in &groups {
        let gone_on = follow(portal, kept, *group, publisher.as_deref_mut()).await?;
        found |= gone_on.is_some();
        more |= gone_on == Some(true);
    }
    if kept.began.elapsed() >= SETTLED {
        kept.settle(portal).await?;
    }
    let age = kept.written.elapsed();
    let is_due = age >= RENEW || (kept.is_behind && age >= WRITE);
    if is_due && kept.write(portal, |txn| txn).await? == Written::NotTheKeeper {
        return Ok(Round::NotTheKeeper);
    }
    if kept.dropped.is_none_or(|dropped| dropped.elapsed() >= DROP) {
        kept.dropped = Some(Instant::now());
        for group in groups {
            if drop_old(portal, kept, group).await? == Written::NotTheKeeper {
                return Ok(Round::NotTheKeeper);
            }
        }
    }
    Ok(if found { Round::Found { more } } else { Round::Nothing })
}

/// Goes over what is new in a group: publishes it where there is a broker, and counts it. A broker that is away holds up nothing but what is
/// published. `None`: there was nothing to be done; else whether there is more.
async fn follow(
    portal: &Portal,
    kept: &mut Kept,
    group: Group,
    publisher: Option<&mut Publisher>,
) -> Result<Option<bool>, Error> {
    let feed = *kept.of(group);
    let publisher = publisher.and_then(Publisher::ready);
    let from = if publisher.is_some() { feed.published } else { feed.read };
    let part = next(portal, group, from).await?;
    let acknowledged = match publisher {
        Some(publisher) => {
            let until = kept.written + PUBLISH;
            publisher.publish(group, feed.published, &part.events, until).await
        }
        None => 0,
    };
    let of_group = kept.of(group);
    for (place, _, bytes) in part.events.iter().filter(|(place, ..)| *place > feed.read) {
        of_group.read = *place;
        of_group.events += 1;
        of_group.bytes += bytes;
    }
    if let Some((place, ..)) = acknowledged.checked_sub(1).and_then(|last| part.events.get(last)) {
        of_group.published = *place;
    }
    let has_gone_on = *of_group != feed;
    kept.is_behind |= has_gone_on;
    Ok(has_gone_on.then_some(part.more))
}

/// The next events of a group. Early ones are moved to their places first.
async fn next(portal: &Portal, group: Group, from: Place) -> Result<super::Part, Error> {
    match portal.feed_part(group, Some(from), PAGE_MAX).await {
        Err(Error::NotListed) => {
            place_early(portal, group).await?;
            portal.feed_part(group, Some(from), PAGE_MAX).await
        }
        part => part,
    }
}

/// Moves the events that were appended while a member of the store ran a program of before.
///
/// # Errors
/// UNAVAILABLE.
pub async fn place_early(portal: &Portal, group: Group) -> Result<(), Error> {
    loop {
        let is_event = |key: &[u8]| event_place::placed_early(key).is_some();
        let page = portal.scan_of(group, &event_place::early(), EARLY_PAGE, is_event).await?;
        let (mut txn, mut bytes) = (Txn::new(), 0);
        for one in &page.records {
            // What is no event's key is nobody's to move, and stands in nobody's way.
            let Some((record, (place, id))) = one.record.as_ref().zip(event_place::placed_early(&one.key))
            else {
                continue;
            };
            bytes += record.data.len();
            if bytes > EARLY_BYTES && !txn.operations.is_empty() {
                break;
            }
            let key = one.key.clone();
            txn = txn.guard_offset(key.clone(), record.offset()).delete(key);
            txn = txn.put(place.key(id), record.timestamp_ms, record.data.clone());
        }
        if txn.operations.is_empty() {
            return Ok(());
        }
        // Another portal may have moved some: what is left is looked at again.
        send_step(portal, txn).await?;
    }
}

/// When an event that is dropped was, as the record of the feed is told, which goes back on no time: none is later than now, whatever it says.
fn told_ms(at_ms: i64, log_time_ms: i64) -> i64 {
    at_ms.min(log_time_ms)
}

/// Drops the oldest events of a group, if they are too old or too many.
async fn drop_old(portal: &Portal, kept: &mut Kept, group: Group) -> Result<Written, Error> {
    let days = portal.feed_days();
    let keeps_ms = i64::from(days).saturating_mul(DAY_MS);
    // Mostly the oldest is to stay.
    let mut limit = 1;
    loop {
        let feed = *kept.of(group);
        // What was not read yet is not dropped.
        let is_event = |key: &[u8]| event_place::placed(key).is_some();
        let page = portal.scan_of(group, &feed.read.up_to(), limit, is_event).await?;
        limit = FEED_DROPPED_MAX;
        let mut over = feed.bytes.saturating_sub(FEED_BYTES_MAX);
        let old_ms = portal.log_time_ms().saturating_sub(keeps_ms);
        let (mut after, mut latest_ms, mut keys) = (feed, None, Vec::new());
        for one in &page.records {
            let Some(record) = &one.record else { continue };
            let Some((place, _)) = event_place::placed(&one.key) else { continue };
            // Of a damaged one its portal's time.
            let read = EventRecord::read(&one.key, &record.data);
            let at_ms = read.map_or(record.timestamp_ms, |event| event.at_ms);
            let bytes = (one.key.len() + record.data.len()) as u64;
            if over == 0 {
                if at_ms > old_ms {
                    break;
                }
                latest_ms = latest_ms.max(Some(at_ms));
            }
            over = over.saturating_sub(bytes);
            after.first = place.offset + 1;
            after.dropped_ms = after.dropped_ms.max(Some(told_ms(at_ms, portal.log_time_ms())));
            // Who hears the next one from the broker hears that some before it were never told.
            after.published = after.published.max(place);
            after.events = after.events.saturating_sub(1);
            after.bytes = after.bytes.saturating_sub(bytes);
            keys.push(one.key.clone());
        }
        if keys.is_empty() {
            return Ok(Written::Done);
        }
        let dropped = keys.len();
        *kept.of(group) = after;
        let written = kept.write(portal, |mut txn| {
            if let Some(latest_ms) = latest_ms {
                txn = txn.guard_not_before(KEY, latest_ms.saturating_add(keeps_ms));
            }
            keys.into_iter().fold(txn, Txn::delete)
        });
        let written = written.await;
        if written.is_err() {
            // Whether it was done the next write finds out, by the version of the record.
            *kept.of(group) = feed;
        }
        match written? {
            Written::Done => tracing::debug!(group, dropped, "old events were dropped"),
            other => return Ok(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No span after a time that an event only claims could be asked for any more.
    #[test]
    fn an_event_that_says_a_time_to_come_is_dropped_as_one_of_now() {
        let now_ms = 1_795_962_000_000;
        for (at_ms, told) in [(now_ms - 9, now_ms - 9), (now_ms + DAY_MS, now_ms), (i64::MAX, now_ms)] {
            assert_eq!(told_ms(at_ms, now_ms), told);
        }
    }
}
