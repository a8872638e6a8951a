//! The outcome of a request whose answer did not come: done, refused, or not done and never to be.
//!
//! Promises: the store decides, in its log, and asking closes the id unless its success is remembered: whatever is still on its way
//! under it is refused from then on. Asking again is answered alike. Where the store cannot be asked nothing is closed, and nothing is known.
//!
//! Leaves out: the parts of a deletion with cascade. It has ids of its own for each; what is asked for is its end.

use bytes::Bytes;
use proto::portal::{RequestId, Settled};
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

impl Portal {
    /// Settles the request of this id, whose records lie beside the one under `tag`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: there is no id; UNAVAILABLE: the store cannot be asked, and nothing was closed.
    pub async fn settle(&self, tag: Bytes, given: Option<RequestId>) -> Result<Settled, Error> {
        if given.as_ref().is_none_or(|given| given.id.is_empty()) {
            return Err(Error::invalid(
                "request.id",
                "is missing: it names the request that is to be settled",
            ));
        }
        // Of an identity only the id counts here.
        let identity = Request::new("Settle", given, &())?.identity(1);
        let asked = self.shared.store.outcome(tag.clone(), identity).await;
        let OutcomeResponse { verdict, response, position } = asked?;
        let offset = position.map_or(0, |position| position.offset);
        self.session.saw(self.shared.store.group_of(&tag), offset);
        let outcome = match Verdict::try_from(verdict) {
            Ok(Verdict::Done) => DONE,
            Ok(Verdict::Refused) => REFUSED,
            Ok(Verdict::NotDone) => NOT_DONE,
            Ok(Verdict::Expired) => EXPIRED,
            Ok(Verdict::Unspecified) | Err(_) => {
                return Err(Error::away("the store's answer is of a later version"));
            }
        };
        let order = response.filter(|_| outcome == DONE).and_then(|response| self.order_shown(&response));
        Ok(Settled { outcome: outcome.to_owned(), order })
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
