//! The outcome of a request whose answer did not come: done, refused, or not done and never to be.
//!
//! Promises: the store decides, in its log, and asking closes the id unless its success is remembered: whatever is still on its way
//! under it is refused from then on. Asking again is answered alike. Where the store's answer does not come nothing is known; the id may be closed.
//! An id without a time is known, and closed, only within what the store remembers.
//!
//! A deletion with cascade has an id of its own for its first step. If the deletion was not done, that one is asked for and closed as well:
//! either the first step was done, and the cascade is begun, or it never will be, nor anything after it.
//!
//! ```text
//!   outcome of the id ─► done: so it is told
//!                    └─► else it is closed ─► outcome of its first step ─► done: begun
//!                                                                     └─► else it is closed: as the id's outcome
//! ```
//!
//! The id first: the success of a deletion leaves no step of it to be closed, and it is repeated as before.

use bytes::Bytes;
use proto::portal::{RequestId, Settled};
use proto::store::failed_guard::Reason;
use proto::store::outcome_response::Verdict;
use proto::store::{OutcomeResponse, TxnResponse};

use crate::attempt::Request;
use crate::document::order::OrderRecord;
use crate::error::Error;
use crate::handle::Portal;
use crate::key;

/// It was done.
pub const DONE: &str = "done";
/// It was refused: nothing was done, and it is closed.
pub const REFUSED: &str = "refused";
/// It was not done, and never will be: it is closed.
pub const NOT_DONE: &str = "not_done";
/// It is older than what is remembered: nobody knows any more, and it never runs again.
pub const EXPIRED: &str = "expired";
/// Its id has no time: it was not done within what is remembered, and is closed for as long as that is.
pub const NOT_REMEMBERED: &str = "not_remembered";
/// A deletion with cascade, not at its end: its first step was done, and its last never will be under this id.
pub const BEGUN: &str = "begun";

/// The first step of a deletion with cascade: what is deleted is closing from then on.
pub const CLOSE: &str = "close";

impl Portal {
    /// Settles the request of this id, whose records lie beside the one under `tag`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: there is no id; UNAVAILABLE: the store's answer did not come, and the id may be closed.
    pub async fn settle(&self, tag: Bytes, given: Option<RequestId>) -> Result<Settled, Error> {
        if given.as_ref().is_none_or(|given| given.id.is_empty()) {
            return Err(Error::invalid(
                "request.id",
                "is missing: it names the request that is to be settled",
            ));
        }
        let is_timed = given.as_ref().is_some_and(|given| given.created_ms > 0);
        let request = Request::new("Settle", given, &())?;
        let (verdict, response) = self.verdict(&tag, &request).await?;
        let is_done = verdict == Verdict::Done;
        if !is_done && self.is_begun(&tag, &request).await? {
            return Ok(Settled { outcome: BEGUN.to_owned(), order: None });
        }
        let outcome = match verdict {
            Verdict::Done => DONE,
            Verdict::Refused => REFUSED,
            Verdict::NotDone if is_timed => NOT_DONE,
            Verdict::NotDone => NOT_REMEMBERED,
            Verdict::Expired => EXPIRED,
            Verdict::Unspecified => return Err(Error::away("the store's answer is of a later version")),
        };
        let order = response.filter(|_| is_done).and_then(|response| self.order_shown(&response));
        Ok(Settled { outcome: outcome.to_owned(), order })
    }

    /// What the store says of an id, which is closed unless that is done.
    async fn verdict(&self, tag: &Bytes, request: &Request) -> Result<(Verdict, Option<TxnResponse>), Error> {
        // Of an identity only the id counts here.
        let asked = self.shared.store.outcome(tag.clone(), request.identity(1)).await;
        let OutcomeResponse { verdict, response, position } = asked?;
        let offset = position.map_or(0, |position| position.offset);
        self.session.saw(self.shared.store.group_of(tag), offset);
        Ok((Verdict::try_from(verdict).unwrap_or(Verdict::Unspecified), response))
    }

    /// Whether a deletion with cascade was begun under this id; it never will be from now on.
    async fn is_begun(&self, tag: &Bytes, request: &Request) -> Result<bool, Error> {
        if *tag == key::shop() {
            return Ok(false);
        }
        let (verdict, response) = self.verdict(tag, &request.part(CLOSE)).await?;
        // What was closing already: the cascade of an earlier request was taken up.
        let is_taken_up = |response: TxnResponse| {
            response.failed.iter().any(|failed| failed.reason() == Reason::WrongValue)
        };
        Ok(verdict == Verdict::Done || (verdict == Verdict::Refused && response.is_some_and(is_taken_up)))
    }

    /// The order that an answer shows, if it is about one.
    fn order_shown(&self, answer: &TxnResponse) -> Option<proto::portal::Order> {
        answer.results.iter().find_map(|touched| {
            let (cid, oid) = key::order_in(&touched.key)?;
            let record = touched.record.as_ref().filter(|record| !record.data.is_empty())?;
            let order = OrderRecord::read(&touched.key, record).ok()?;
            Some(order.shown(&cid, &oid, record, &self.rules_seen()))
        })
    }
}
