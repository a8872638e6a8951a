//! A reader to whom events are told as they come.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use proto::portal::ListEventsResponse;
use store_client::backoff::Backoff;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::Wanted;
use crate::error::Error;
use crate::event_place::Cursor;
use crate::handle::Portal;
use crate::limits::PAGE_DEFAULT;

/// So often it is looked whether the portal stops, or the reader is gone.
const LOOK: Duration = Duration::from_millis(500);
/// For so long in a row the store may be away; then the reader is told.
const AWAY_MAX: u32 = 20;
/// A reader who takes no page for so long loses its place.
const STALLED_MAX: Duration = Duration::from_secs(60);

impl Portal {
    /// Events behind `after` (as of ListEvents), page by page, for as long as the stream is held and the portal does not stop. A page is empty after a
    /// while without events.
    ///
    /// # Errors
    /// INVALID_ARGUMENT; RESOURCE_EXHAUSTED: as many readers as a portal has are there; UNAVAILABLE. The stream ends with an error as of
    /// [`Portal::events`].
    pub async fn watch_events(
        self: &Arc<Self>,
        after: &str,
        wanted: Wanted,
    ) -> Result<BoxStream<'static, Result<ListEventsResponse, Error>>, Error> {
        let place = Place::take(self)?;
        self.may_serve(false).await?;
        let cursor = self.feed_cursor(after).await?;
        let reader = Reader { portal: Arc::clone(self), cursor, wanted, is_new: true, is_over: false, place };
        Ok(stream::unfold(reader, Reader::next).boxed())
    }
}

struct Reader {
    portal: Arc<Portal>,
    cursor: Cursor,
    wanted: Wanted,
    /// It was told nothing yet.
    is_new: bool,
    is_over: bool,
    place: Arc<Place>,
}

/// A reader's place, which it loses if it does not take what is there for it.
struct Place {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    taken: Mutex<Instant>,
}

impl Place {
    fn take(portal: &Portal) -> Result<Arc<Place>, Error> {
        let permit = Mutex::new(Some(portal.reader_place()?));
        let place = Arc::new(Place { permit, taken: Mutex::new(Instant::now()) });
        tokio::spawn(watch(Arc::downgrade(&place)));
        Ok(place)
    }

    /// The reader takes the next page; false: it has lost its place.
    fn takes(&self) -> bool {
        *self.taken.lock() = Instant::now();
        self.permit.lock().is_some()
    }
}

/// Gives the place of a reader who takes nothing to another.
async fn watch(place: Weak<Place>) {
    loop {
        sleep(STALLED_MAX / 4).await;
        let Some(place) = place.upgrade() else { return };
        if place.taken.lock().elapsed() > STALLED_MAX {
            drop(place.permit.lock().take());
            return;
        }
    }
}

impl Reader {
    async fn page(&self, wait: Duration) -> Result<ListEventsResponse, Error> {
        // A later program's events are not this one's to tell.
        self.portal.may_serve(false).await?;
        self.portal.events_within(&self.cursor, PAGE_DEFAULT, wait, &self.wanted).await
    }

    async fn next(mut self) -> Option<(Result<ListEventsResponse, Error>, Reader)> {
        let (mut failures, mut backoff) = (0, Backoff::new(20, 1_000));
        loop {
            let has_place = self.place.takes();
            if self.is_over || !has_place || self.portal.shared.is_stopping.load(Ordering::Relaxed) {
                return None;
            }
            let wait = if std::mem::take(&mut self.is_new) { Duration::ZERO } else { LOOK };
            let page = self.page(wait).await;
            let page = page.and_then(|page| {
                self.cursor = Cursor::parse(&page.next, &self.portal.store().groups())?;
                Ok(page)
            });
            match page {
                Ok(page) => return Some((Ok(page), self)),
                Err(Error::Unavailable { .. } | Error::NotListed) if failures < AWAY_MAX => {
                    failures += 1;
                    sleep(backoff.after(Duration::ZERO)).await;
                }
                Err(error) => {
                    self.is_over = true;
                    return Some((Err(error), self));
                }
            }
        }
    }
}
