//! The router of answers: every request id names a *responder* (a pipeline stream, the unary calls, the process itself) and a
//! number that is the responder's own. One batch of answers is one delivery, and one wake, for each responder.
//!
//! ```text
//!   request id = responder (32 bits) ∘ number (32 bits)
//! ```
//!
//! Answers for a responder that is gone are dropped: its caller has gone too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use store_engine::RequestId;
use store_engine::front::NodeResponse;
use tokio::sync::oneshot;

/// Gets answers.
pub(crate) trait Responder: Send + Sync {
    /// Takes all of `told`, in order; called by the node's thread and by the applier's.
    fn deliver(&self, responses: &mut Vec<(u32, NodeResponse)>);

    /// Whether its requests must not be executed any more, because an earlier one was not.
    fn is_broken(&self) -> bool {
        false
    }

    /// No answer will ever come any more.
    fn close(&self);
}

/// The responders by number.
#[derive(Default)]
pub(crate) struct ResponseRouter {
    responders: Mutex<HashMap<u32, Arc<dyn Responder>>>,
    /// The last number given out; never used twice in the life of a process.
    last: AtomicU32,
}

impl ResponseRouter {
    /// A new responder, made with its number.
    pub(crate) fn register<R: Responder + 'static>(&self, make: impl FnOnce(u32) -> R) -> Arc<R> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number < u32::MAX, "a process does not serve four billion streams");
        let responder = Arc::new(make(number));
        self.responders.lock().insert(number, Arc::clone(&responder) as Arc<dyn Responder>);
        responder
    }

    /// Forgets a responder.
    pub(crate) fn leave(&self, number: u32) {
        self.responders.lock().remove(&number);
    }

    /// Tells every responder that no answer will ever come.
    pub(crate) fn close(&self) {
        let all: Vec<_> = self.responders.lock().drain().map(|(_, responder)| responder).collect();
        for responder in all {
            responder.close();
        }
    }

    /// The request id for `number` of a responder.
    pub(crate) fn request_id(responder: u32, number: u32) -> RequestId {
        RequestId(u64::from(responder) << 32 | u64::from(number))
    }

    /// Delivers what `response_batch` has collected.
    pub(crate) fn deliver(&self, response_batch: &mut ResponseBatch) {
        for (number, responses) in &mut response_batch.by_responder {
            if responses.is_empty() {
                continue;
            }
            let responder = self.responders.lock().get(number).cloned();
            match responder {
                Some(responder) => responder.deliver(responses),
                None => responses.clear(),
            }
        }
        if response_batch.by_responder.len() > RESPONDERS_KEPT {
            response_batch.by_responder.clear();
        }
    }
}

/// Responders whose empty vectors are kept from batch to batch.
const RESPONDERS_KEPT: usize = 64;

/// Sorts the answers of one batch by responder, keeping their order. One for each thread.
#[derive(Default)]
pub(crate) struct ResponseBatch {
    by_responder: HashMap<u32, Vec<(u32, NodeResponse)>>,
}

impl ResponseBatch {
    pub(crate) fn add(&mut self, request_id: RequestId, responses: NodeResponse) {
        let (responder, number) = parts(request_id);
        self.by_responder.entry(responder).or_default().push((number, responses));
    }
}

/// Responder and number of a request id.
pub(crate) fn parts(request_id: RequestId) -> (u32, u32) {
    let number = u32::try_from(request_id.0 & u64::from(u32::MAX)).expect("masked to 32 bits");
    (u32::try_from(request_id.0 >> 32).expect("shifted to 32 bits"), number)
}

/// Calls that wait for one answer each: the unary operations, and what the process itself asks.
pub(crate) struct Calls {
    responder: u32,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u32,
    answers: HashMap<u32, oneshot::Sender<NodeResponse>>,
}

impl Calls {
    pub(crate) fn new(responder: u32) -> Calls {
        Calls { responder, waiting: Mutex::default() }
    }

    /// A place for one call.
    pub(crate) fn open(&self) -> (RequestId, oneshot::Receiver<NodeResponse>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.last = waiting.last.wrapping_add(1);
        // After four billion calls the numbers begin again; those of calls still open are passed over.
        while waiting.answers.contains_key(&waiting.last) {
            waiting.last = waiting.last.wrapping_add(1);
        }
        let number = waiting.last;
        waiting.answers.insert(number, sender);
        (ResponseRouter::request_id(self.responder, number), receiver)
    }
}

impl Responder for Calls {
    fn deliver(&self, responses: &mut Vec<(u32, NodeResponse)>) {
        let mut waiting = self.waiting.lock();
        for (number, responses) in responses.drain(..) {
            if let Some(answer) = waiting.answers.remove(&number) {
                // The caller may have given up.
                let _ = answer.send(responses);
            }
        }
    }

    fn close(&self) {
        self.waiting.lock().answers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_engine::Answer;

    #[test]
    fn each_responder_gets_its_answers_in_order() {
        let router = ResponseRouter::default();
        let (a, b) = (router.register(Calls::new), router.register(Calls::new));
        let (mut first, mut second, mut other) = (a.open(), a.open(), b.open());
        let mut response_batch = ResponseBatch::default();
        for (request_id, bytes) in [(second.0, 2), (other.0, 3), (first.0, 1)] {
            response_batch.add(request_id, NodeResponse::Answer(Answer::BadSize { bytes }));
        }
        router.deliver(&mut response_batch);
        for (receiver, expected) in [(&mut first.1, 1), (&mut second.1, 2), (&mut other.1, 3)] {
            let Ok(NodeResponse::Answer(Answer::BadSize { bytes })) = receiver.try_recv() else {
                panic!("told")
            };
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn what_is_for_somebody_gone_is_dropped() {
        let router = ResponseRouter::default();
        let calls = router.register(Calls::new);
        let (request_id, mut answer) = calls.open();
        router.leave(parts(request_id).0);
        let mut response_batch = ResponseBatch::default();
        response_batch.add(request_id, NodeResponse::Answer(Answer::Unknown));
        router.deliver(&mut response_batch);
        assert!(answer.try_recv().is_err());
    }
}
