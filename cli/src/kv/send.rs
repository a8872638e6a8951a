//! Sending a request and, where its outcome is unknown, asking for it.
//!
//! Order: [`Sender::start`] takes the command's place in the session before it returns; what it returns brings the
//! answer. Reads by `get` go through the session too, so that they see the writes sent before them.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use proto::store::{Freshness, Identity, Txn};
use store_client::{Error, Range, Refusal, Session, Store};

use super::request::{Reading, Request};
use super::view::{self, Of};
use crate::failure::{Failure, Kind};
use crate::show::answer::Answer;

/// What came of a command.
pub struct Done {
    /// To be shown.
    pub answer: Answer,
    /// Its class, if it is no success.
    pub class: Option<Kind>,
}

/// The way to the store.
#[derive(Clone)]
pub struct Sender {
    store: Arc<dyn Store>,
    session: Session,
}

/// An answer on its way.
pub type Coming = BoxFuture<'static, Result<Done, Failure>>;

impl Sender {
    /// A session over this store. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Sender {
        Sender { session: Session::new(Arc::clone(&store)), store }
    }

    /// Why answers do not come, if that is known.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.store.problem()
    }

    /// Sends a request; the answer comes later.
    ///
    /// # Errors
    /// Too much waits already: nothing was sent.
    pub fn start(&self, of: Of, request: Request) -> Result<Coming, Failure> {
        let store = Arc::clone(&self.store);
        Ok(match request {
            Request::Ordered { txn, reading, id: None, .. } => self.in_order(of, txn, reading)?,
            Request::Ordered { txn, reading, id: Some(id), digest } => {
                Box::pin(named(store, of, (txn, reading), (id, digest)))
            }
            Request::StaleGet(key) => Box::pin(stale_get(store, of, key)),
            Request::Scan { range, limit, stale } => {
                // A linearizable scan comes after what was sent before it: an ordered read tells when that is.
                let before = if stale { None } else { Some(self.barrier(&range)?) };
                Box::pin(scan(store, before, of, range, limit))
            }
            Request::Outcome { tag, id } => Box::pin(outcome(store, of, tag, id)),
        })
    }

    fn in_order(&self, of: Of, txn: Txn, reading: Reading) -> Result<Coming, Failure> {
        let mut sent = self.session.submit(txn).map_err(|error| failure_of(&error, None))?;
        let session = self.session.clone();
        Ok(Box::pin(async move {
            match (&mut sent).await {
                Ok(response) => Ok(done(&of, reading, response)),
                Err(error) if reading == Reading::Get => Err(failure_of(&error.of_read(), Some(&of))),
                Err(Error::Unknown { message }) => match session.outcome(&sent).await {
                    Ok(settled) => Ok(settle(&of, reading, &settled)),
                    Err(error) => Err(Failure::unknown(format!(
                        "#{} {}: outcome unknown: {message}; asking for it failed too: {error}",
                        of.number, of.command
                    ))
                    .next("read the key when the store answers again: feira status")),
                },
                Err(error) => Err(failure_of(&error, Some(&of))),
            }
        }))
    }

    fn barrier(&self, range: &Range) -> Result<store_client::Answer, Failure> {
        let (Range::Prefix(first) | Range::Between(first, _)) = range;
        let key = if first.is_empty() { Bytes::from_static(b"\x01") } else { first.clone() };
        self.session.submit(Txn::new().get(key)).map_err(|error| failure_of(&error, None))
    }
}

fn done(of: &Of, reading: Reading, response: proto::store::TxnResponse) -> Done {
    let answer = reading.of(response);
    Done { class: view::class(&answer), answer: view::written(of, &answer) }
}

/// An unknown outcome that the store has now told.
fn settle(of: &Of, reading: Reading, settled: &proto::store::OutcomeResponse) -> Done {
    use proto::store::outcome_response::Verdict;
    match (settled.verdict(), settled.response.clone()) {
        (Verdict::Done | Verdict::Refused, Some(response)) => done(of, reading, response),
        (Verdict::Done, None) => Done { answer: view::outcome(of, settled), class: None },
        (Verdict::Expired | Verdict::Unspecified, _) => {
            Done { answer: view::outcome(of, settled), class: Some(Kind::Unknown) }
        }
        (Verdict::Refused | Verdict::NotDone, _) => {
            Done { answer: view::outcome(of, settled), class: Some(Kind::Refused) }
        }
    }
}

/// A write under a request id that a person gave: the same id and command get the same answer.
async fn named(
    store: Arc<dyn Store>,
    of: Of,
    (txn, reading): (Txn, Reading),
    (id, digest): (String, [u8; 16]),
) -> Result<Done, Failure> {
    let tag = txn.tag().cloned().unwrap_or_default();
    let identity = Identity::user(id.clone(), 0, 1, digest);
    match store.txn(txn, Some(identity.clone())).await {
        Ok(response) => Ok(done(&of, reading, response)),
        Err(Error::Unknown { message }) => match store.outcome(tag, identity).await {
            Ok(settled) => Ok(settle(&of, reading, &settled)),
            Err(_) => Err(Failure::unknown(format!("#{} {}: {message}", of.number, of.command))
                .next(format!("ask later: outcome KEY {id}"))),
        },
        Err(error) => Err(failure_of(&error, Some(&of))),
    }
}

async fn stale_get(store: Arc<dyn Store>, of: Of, key: Bytes) -> Result<Done, Failure> {
    let got = store.get(key, Freshness::stale()).await.map_err(|error| failure_of(&error, Some(&of)))?;
    let status = store_client::Got::status(&got);
    let answer = proto::store::WriteResponse {
        status: status.into(),
        record: got.record,
        position: Some(got.applied),
        ..Default::default()
    };
    let class = (status != proto::store::Status::Success).then_some(Kind::Refused);
    Ok(Done { class, answer: view::written(&of, &answer) })
}

async fn scan(
    store: Arc<dyn Store>,
    before: Option<store_client::Answer>,
    of: Of,
    range: Range,
    limit: u32,
) -> Result<Done, Failure> {
    let stale = before.is_none();
    if let Some(before) = before {
        // Whether that read succeeded does not matter: it was answered, so all before it was.
        let _ = before.await;
    }
    let freshness = if stale { Freshness::stale() } else { Freshness::linearizable() };
    let page =
        store.scan(range, limit, None, freshness).await.map_err(|error| failure_of(&error, Some(&of)))?;
    let answer = view::page(&of, &page.records, page.position(), page.next.is_some());
    Ok(Done { answer, class: None })
}

async fn outcome(store: Arc<dyn Store>, of: Of, tag: Bytes, id: String) -> Result<Done, Failure> {
    let identity = Identity::user(id, 0, 1, proto::hash::digest(&[]));
    let told = store.outcome(tag, identity).await.map_err(|error| failure_of(&error, Some(&of)))?;
    Ok(Done { answer: view::outcome(&of, &told), class: None })
}

/// What an error of the store means to a person.
#[must_use]
pub fn failure_of(error: &Error, of: Option<&Of>) -> Failure {
    let (Error::Refused { message: said, .. }
    | Error::Retry { message: said, .. }
    | Error::Unknown { message: said }) = error;
    let message = match of {
        Some(of) => format!("#{} {}: {said}", of.number, of.command),
        None => said.clone(),
    };
    match error {
        Error::Refused { reason: Refusal::Expired, .. } => Failure::refused(message).next(
            "if this was asked for the first time, the clock of this machine is behind the store's: compare date -u",
        ),
        Error::Refused { .. } => Failure::refused(message),
        Error::Retry { cause, .. } => Failure::of_cause(*cause, message),
        Error::Unknown { .. } => Failure::unknown(message),
    }
}
