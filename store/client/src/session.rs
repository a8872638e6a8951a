//! A session: operations executed in the order in which they were submitted, reads included, each exactly once.
//!
//! Reads go through the log as transactions that only get, and everything carries (session, sequence): an
//! operation that is sent again is answered with what it did the first time, so that order holds over retries and
//! failover. The session tells the store the lowest sequence that it may still repeat; an operation whose outcome
//! is unknown keeps that number down until [`Session::outcome`] settled it.
//!
//! A store forgets a session that was idle for long, and refuses it from then on (`EXPIRED`). The session begins anew under
//! another id then, for later operations. A refused operation is *not* sent again: the refusal says that the id is
//! not remembered, and a copy that was lost on its way may have run before it was forgotten. Only its caller
//! can tell whether it matters. The order holds: a refused operation has not run, and later ones run after it.
//!
//! It leaves out batching and the wire: those are the [`Store`]'s.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use prost::Message;
use proto::store::{Identity, OutcomeResponse, Txn, TxnResponse};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Cause, Error, Refusal};
use crate::{Store, now_ms};

/// Operations of a session on their way at once.
const IN_FLIGHT_MAX: usize = 1_024;
/// Operations submitted and not yet sent.
const SUBMITTED_MAX: usize = 4_096;
/// Operations of unknown outcome whose replies the store is still asked to remember.
const UNKNOWN_MAX: usize = 256;

/// Operations in the order submitted.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    sequences: Arc<Mutex<Sequences>>,
    submit: mpsc::Sender<Submitted>,
}

/// Under which id the session goes, and which sequences may still be repeated. Sequences run on over its ids.
struct Sequences {
    /// The store knows the session by this.
    id: [u8; 16],
    /// When the id was made.
    created_ms: i64,
    /// The first sequence under this id.
    first: u64,
    /// The last one given out.
    last: u64,
    /// Submitted and not answered.
    open: BTreeSet<u64>,
    /// Answered "unknown" and not settled.
    unknown: BTreeSet<u64>,
}

impl Sequences {
    fn begin() -> Sequences {
        let (open, unknown) = (BTreeSet::new(), BTreeSet::new());
        let id = *uuid::Uuid::new_v4().as_bytes();
        Sequences { id, created_ms: now_ms().max(1), first: 1, last: 0, open, unknown }
    }

    /// Of this id: the store remembers no answers under an earlier one that it forgot.
    fn lowest(&self) -> u64 {
        let first = |set: &BTreeSet<u64>| set.range(self.first..).next().copied();
        let open = first(&self.open).unwrap_or(self.last + 1);
        open.min(first(&self.unknown).unwrap_or(open))
    }

    fn answered(&mut self, sequence: u64, error: Option<&Error>) {
        self.open.remove(&sequence);
        match error {
            Some(Error::Unknown { .. }) => {
                self.unknown.insert(sequence);
                while self.unknown.len() > UNKNOWN_MAX {
                    self.unknown.pop_first();
                }
            }
            Some(Error::Refused { reason: Refusal::Expired, .. }) if sequence >= self.first => self.renew(),
            _ => {}
        }
    }

    /// The store has forgotten the session: what is submitted from now on goes under another id.
    fn renew(&mut self) {
        self.first = self.last + 1;
        let Sequences { id, created_ms, .. } = Sequences::begin();
        (self.id, self.created_ms) = (id, created_ms);
    }
}

struct Submitted {
    txn: Txn,
    identity: Identity,
    sequence: u64,
    answer: oneshot::Sender<Result<TxnResponse, Error>>,
}

/// The answer of a submitted operation: a future, and the name to ask for its outcome by.
pub struct Answer {
    /// The operation's number in its session, from 1.
    pub sequence: u64,
    /// The key that routed it.
    pub tag: Bytes,
    /// Its identity.
    pub identity: Identity,
    receiver: oneshot::Receiver<Result<TxnResponse, Error>>,
}

impl Future for Answer {
    type Output = Result<TxnResponse, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|answer| {
            answer.unwrap_or_else(|_| Err(Error::Unknown { message: "the session was closed".to_owned() }))
        })
    }
}

impl Session {
    /// A new session. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Session {
        let sequences = Arc::new(Mutex::new(Sequences::begin()));
        let (submit, submitted) = mpsc::channel(SUBMITTED_MAX);
        tokio::spawn(run(Arc::clone(&store), submitted, Arc::clone(&sequences)));
        Session { inner: Arc::new(Inner { store, sequences, submit }) }
    }

    /// Takes the next place in the session's order, at once; the answer comes later.
    ///
    /// # Errors
    /// Too much waits already: nothing was submitted.
    pub fn submit(&self, txn: Txn) -> Result<Answer, Error> {
        let digest = proto::hash::digest(&[&txn.encode_to_vec()]);
        let tag = txn.tag().cloned().unwrap_or_default();
        let (answer, receiver) = oneshot::channel();
        // The lock makes the sequence and the place in the queue one step.
        let mut sequences = self.inner.sequences.lock();
        let full = |_| Error::Retry {
            cause: Cause::Busy,
            message: format!("{SUBMITTED_MAX} operations wait in this session"),
        };
        let place = self.inner.submit.try_reserve().map_err(full)?;
        sequences.last += 1;
        let sequence = sequences.last;
        sequences.open.insert(sequence);
        let (id, created_ms) = (sequences.id, sequences.created_ms);
        let identity = Identity::session(id, created_ms, sequence, sequences.lowest(), 1, digest);
        place.send(Submitted { txn, identity: identity.clone(), sequence, answer });
        Ok(Answer { sequence, tag, identity, receiver })
    }

    /// Settles an operation whose outcome is unknown: what became of it, or that it never will be executed.
    ///
    /// # Errors
    /// As [`Store::outcome`].
    pub async fn outcome(&self, answer: &Answer) -> Result<OutcomeResponse, Error> {
        let settled = self.inner.store.outcome(answer.tag.clone(), answer.identity.clone()).await?;
        self.inner.sequences.lock().unknown.remove(&answer.sequence);
        Ok(settled)
    }

    /// Operations submitted and not answered.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.inner.sequences.lock().open.len()
    }
}

type Running =
    BoxFuture<'static, (u64, oneshot::Sender<Result<TxnResponse, Error>>, Result<TxnResponse, Error>)>;

/// Sends what is submitted, in order, until the session is dropped and everything is answered.
async fn run(
    store: Arc<dyn Store>,
    mut submitted: mpsc::Receiver<Submitted>,
    sequences: Arc<Mutex<Sequences>>,
) {
    let mut running: FuturesUnordered<Running> = FuturesUnordered::new();
    let mut open = true;
    while open || !running.is_empty() {
        tokio::select! {
            Some(ended) = running.next() => end(&sequences, ended),
            next = submitted.recv(), if open && running.len() < IN_FLIGHT_MAX => match next {
                None => open = false,
                Some(operation) => {
                    let mut future = start(Arc::clone(&store), operation);
                    // The first poll takes the place in the store's order: before that of the next.
                    match futures::poll!(&mut future) {
                        Poll::Ready(ended) => end(&sequences, ended),
                        Poll::Pending => running.push(future),
                    }
                }
            },
        }
    }
}

fn start(store: Arc<dyn Store>, operation: Submitted) -> Running {
    let Submitted { txn, identity, sequence, answer } = operation;
    Box::pin(async move {
        let result = store.txn(txn, Some(identity)).await;
        (sequence, answer, result)
    })
}

fn end(
    sequences: &Mutex<Sequences>,
    ended: (u64, oneshot::Sender<Result<TxnResponse, Error>>, Result<TxnResponse, Error>),
) {
    let (sequence, answer, result) = ended;
    sequences.lock().answered(sequence, result.as_ref().err());
    // The submitter may not care for the answer.
    let _ = answer.send(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_sequence_waits_for_the_open_and_the_unknown() {
        let mut sequences = Sequences::begin();
        let unknown = Error::Unknown { message: String::new() };
        assert_eq!(sequences.lowest(), 1);
        for sequence in 1..=3 {
            sequences.last = sequence;
            sequences.open.insert(sequence);
        }
        sequences.answered(1, None);
        assert_eq!(sequences.lowest(), 2);
        sequences.answered(2, Some(&unknown));
        sequences.answered(3, None);
        assert_eq!(sequences.lowest(), 2, "what is unknown may still be asked for");
        sequences.unknown.remove(&2);
        assert_eq!(sequences.lowest(), 4);
    }
    #[test]
    fn a_session_that_the_store_forgot_begins_anew() {
        let mut sequences = Sequences::begin();
        let expired = Error::Refused { reason: Refusal::Expired, message: String::new() };
        let first_id = sequences.id;
        sequences.last = 3;
        sequences.open.extend(1..=3);
        sequences.answered(1, Some(&expired));
        let second_id = sequences.id;
        assert_ne!(first_id, second_id, "what is submitted later goes under another id");
        sequences.answered(2, Some(&expired));
        assert_eq!(sequences.id, second_id, "one forgotten id is one renewal");
        assert_eq!(
            (sequences.lowest(), sequences.open.len()),
            (4, 1),
            "the third is of the first id, and still open"
        );
        sequences.last = 4;
        sequences.open.insert(4);
        sequences.answered(3, Some(&Error::Unknown { message: String::new() }));
        assert_eq!(sequences.lowest(), 4, "what an earlier id asked keeps nothing of this one");
        sequences.answered(4, Some(&expired));
        assert_ne!(sequences.id, second_id);
    }
}
