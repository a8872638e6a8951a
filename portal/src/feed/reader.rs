//! A reader to whom events are told as they come.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use proto::portal::ListEventsResponse;
use store_client::backoff::Backoff;

use super::Wanted;
use crate::error::Error;
use crate::event_place::Cursor;
use crate::handle::Portal;
use crate::limits::{FEED_READERS_MAX, PAGE_DEFAULT};

/// So often it is looked whether the portal stops, or the reader is gone.
const LOOK: Duration = Duration::from_millis(500);
/// For so long in a row the store may be away; then the reader is told.
const AWAY_MAX: u32 = 20;

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
        let place = Arc::clone(&self.shared.feed_readers).try_acquire_owned().map_err(|_| {
            let why = format!(
                "as many readers of events as a portal has ({FEED_READERS_MAX}) are there; ask another portal"
            );
            Error::Overloaded { why, own: false }
        })?;
        self.may_serve(false).await?;
        let cursor = self.feed_cursor(after).await?;
        let reader =
            Reader { portal: Arc::clone(self), cursor, wanted, is_new: true, is_over: false, _place: place };
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
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Reader {
    async fn next(mut self) -> Option<(Result<ListEventsResponse, Error>, Reader)> {
        let (mut failures, mut backoff) = (0, Backoff::new(20, 1_000));
        loop {
            if self.is_over || self.portal.shared.is_stopping.load(Ordering::Relaxed) {
                return None;
            }
            let wait = if std::mem::take(&mut self.is_new) { Duration::ZERO } else { LOOK };
            let page = self.portal.events(&self.cursor, PAGE_DEFAULT, wait, &self.wanted).await;
            let page = page.and_then(|page| {
                self.cursor = Cursor::parse(&page.next, &self.portal.store().groups())?;
                Ok(page)
            });
            match page {
                Ok(page) => return Some((Ok(page), self)),
                Err(Error::Unavailable { .. } | Error::NotListed) if failures < AWAY_MAX => {
                    failures += 1;
                    tokio::time::sleep(backoff.after(Duration::ZERO)).await;
                }
                Err(error) => {
                    self.is_over = true;
                    return Some((Err(error), self));
                }
            }
        }
    }
}
